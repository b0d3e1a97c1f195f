/** Python's `strftime` in its C locale and the local time zone. */
import { NotSupported } from './failure.js';

const monthNames =
  'January February March April May June July August September October November December'.split(' ');
const dayNames = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');
const two = (n: number) => String(n).padStart(2, '0');
const dayMs = 86_400_000;

/** Days since the year began, from 0, whatever the clock was changed by. */
function dayOfYear(date: Date): number {
  const day = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return Math.round((day - Date.UTC(date.getFullYear(), 0, 1)) / dayMs);
}

type Directive = (date: Date, pad: (n: number) => string) => string;

const directives: Readonly<Record<string, Directive>> = {
  Y: (date) => String(date.getFullYear()),
  C: (date, pad) => pad(Math.floor(date.getFullYear() / 100)),
  y: (date, pad) => pad(date.getFullYear() % 100),
  m: (date, pad) => pad(date.getMonth() + 1),
  d: (date, pad) => pad(date.getDate()),
  e: (date) => String(date.getDate()).padStart(2, ' '),
  B: (date) => monthNames[date.getMonth()]!,
  b: (date) => monthNames[date.getMonth()]!.slice(0, 3),
  h: (date) => monthNames[date.getMonth()]!.slice(0, 3),
  A: (date) => dayNames[date.getDay()]!,
  a: (date) => dayNames[date.getDay()]!.slice(0, 3),
  w: (date) => String(date.getDay()),
  u: (date) => String(date.getDay() || 7),
  H: (date, pad) => pad(date.getHours()),
  I: (date, pad) => pad(date.getHours() % 12 || 12),
  M: (date, pad) => pad(date.getMinutes()),
  S: (date, pad) => pad(date.getSeconds()),
  f: (date) => String(date.getMilliseconds()).padStart(3, '0').padEnd(6, '0'),
  p: (date) => (date.getHours() < 12 ? 'AM' : 'PM'),
  j: (date, pad) =>
    pad === two ? String(dayOfYear(date) + 1).padStart(3, '0') : String(dayOfYear(date) + 1),
  U: (date, pad) => pad(Math.floor((dayOfYear(date) + 7 - date.getDay()) / 7)),
  W: (date, pad) => pad(Math.floor((dayOfYear(date) + 7 - ((date.getDay() + 6) % 7)) / 7)),
  s: (date) => String(Math.floor(date.getTime() / 1000)),
  Z: () => '',
  z: () => '',
  n: () => '\n',
  t: () => '\t',
  '%': () => '%',
};

const compound: Readonly<Record<string, string>> = {
  c: '%a %b %e %H:%M:%S %Y',
  x: '%m/%d/%y',
  X: '%H:%M:%S',
  D: '%m/%d/%y',
  F: '%Y-%m-%d',
  T: '%H:%M:%S',
  R: '%H:%M',
  r: '%I:%M:%S %p',
};

/** @throws NotSupported for a week of ISO 8601; directives that C does not know stay as they are */
export function strftime(date: Date, format: string): string {
  return format.replace(/%(-?)([a-zA-Z%])/g, (directive, dash: string, letter: string) => {
    const whole = compound[letter];
    if (whole !== undefined) return strftime(date, whole);
    if ('GgV'.includes(letter)) throw new NotSupported(`The date format ${directive}`);
    return directives[letter]?.(date, dash === '' ? two : String) ?? directive;
  });
}
