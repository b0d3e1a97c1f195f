/** Python's `%` on texts: `'%s has %05.1f' % (name, value)`. */
import {
  countOf,
  Dict,
  floatOf,
  isNumber,
  isText,
  likeText,
  Markup,
  textOf,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './value.js';
import { codePointLength, unitOf } from './code-points.js';
import { RenderFailure } from './failure.js';
import { aligned, bounded, floatDigits, signOf, type FormatSpec } from './format-spec.js';
import { escaped } from './markup.js';
import { display, integerText, represented } from './printing.js';
import type { Work } from './work.js';

const directive = /%(?:\(([^()]*)\))?([-+ #0]*)(\d+|\*)?(?:\.(\d+|\*)?)?[hlL]?([^])?/g;
const precisionGiven = /\.[\d*]*[hlL]?[^]?$/;

export function formatPercent(template: string | Markup, given: Value, work: Work): string | Markup {
  const text = textOf(template);
  work.spend(text.length);
  const values = new Values(given);
  let written = '';
  let at = 0;
  const write = (piece: string) => {
    work.spend(piece.length);
    written += piece;
  };
  for (const found of text.matchAll(directive)) {
    write(text.slice(at, found.index));
    at = found.index + found[0].length;
    write(directed(found, values, template instanceof Markup, work));
  }
  write(text.slice(at));
  values.end();
  return likeText(template, written);
}

/** What stands behind the `%`: a tuple of values, a dict, or one value. */
class Values {
  readonly #all: readonly Value[];
  #next = 0;

  constructor(private readonly given: Value) {
    this.#all = given instanceof Tuple ? given.items : [given];
  }

  next(): Value {
    const value = this.#all[this.#next++];
    if (value === undefined) throw new RenderFailure('not enough arguments for format string');
    return value;
  }

  named(key: string): Value {
    if (!(this.given instanceof Dict)) throw new RenderFailure('format requires a mapping');
    const value = this.given.get(key);
    if (value === undefined) throw new RenderFailure(`'${key}'`);
    return value;
  }

  /** @throws RenderFailure when some were not used; a dict or a list alone need not be */
  end(): void {
    const { given } = this;
    const mayRemain = given instanceof Dict || Array.isArray(given) || given instanceof Undefined;
    if (this.#next < this.#all.length && !mayRemain) {
      throw new RenderFailure('not all arguments converted during string formatting');
    }
  }
}

function directed(
  [whole, key, flags = '', width, precision, type]: RegExpMatchArray,
  values: Values,
  safe: boolean,
  work: Work,
): string {
  if (type === undefined) throw new RenderFailure('incomplete format');
  if (type === '%') return '%';
  const number = (digits: string | undefined) => (digits === '*' ? countOf(values.next()) : bounded(digits));
  const wide = number(width) ?? 0;
  const exact = number(precision) ?? (precisionGiven.test(whole) ? 0 : undefined);
  const left = flags.includes('-') || wide < 0;
  const spec: FormatSpec = {
    fill: flags.includes('0') && !left ? '0' : ' ',
    align: left ? '<' : flags.includes('0') ? '=' : '>',
    sign: flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '-',
    alternate: flags.includes('#'),
    width: bounded(String(Math.abs(wide)))!,
    grouping: '',
    precision: exact,
    type,
  };
  const value = key === undefined ? values.next() : values.named(key);
  return converted(value, spec, safe, work);
}

function converted(value: Value, spec: FormatSpec, safe: boolean, work: Work): string {
  const textSpec = { ...spec, fill: ' ', align: spec.align === '<' ? '<' : '>' } as const;
  switch (spec.type) {
    case 's':
    case 'r':
    case 'a': {
      const shown =
        spec.type === 's' ? (safe ? escaped(value, work) : display(value, work)) : represented(value, work);
      const ascii = spec.type === 'a' ? asciiOnly(shown) : shown;
      return aligned(
        '',
        spec.precision === undefined ? ascii : ascii.slice(0, unitOf(ascii, spec.precision)),
        textSpec,
        work,
      );
    }
    case 'c':
      return aligned('', character(value), textSpec, work);
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
      return integer(value, spec, work);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G': {
      if (!isNumber(value)) throw notANumber(value, 'must be real number');
      const float = floatOf(value);
      const fill = Number.isFinite(float)
        ? spec
        : { ...spec, fill: ' ', align: spec.align === '=' ? ('>' as const) : spec.align };
      return aligned(
        signOf(float < 0 || Object.is(float, -0), spec),
        floatDigits(float, spec, work),
        fill,
        work,
      );
    }
  }
  throw new RenderFailure(`unsupported format character '${spec.type}'`);
}

function integer(value: Value, spec: FormatSpec, work: Work): string {
  if (!isNumber(value)) throw notANumber(value, `%${spec.type} format: a real number is required`);
  const radix = { o: 8, x: 16, X: 16 }[spec.type];
  if (typeof value === 'number' && (radix !== undefined || !Number.isFinite(value))) {
    throw notANumber(value, `%${spec.type} format: an integer is required`);
  }
  const whole = BigInt(typeof value === 'number' ? Math.trunc(value) : value);
  const size = whole < 0n ? -whole : whole;
  let digits = radix === undefined ? integerText(size) : size.toString(radix);
  if (spec.type === 'X') digits = digits.toUpperCase();
  work.spend(spec.precision ?? 0);
  const prefix = spec.alternate && radix !== undefined ? `0${spec.type}` : '';
  return aligned(signOf(whole < 0n, spec) + prefix, digits.padStart(spec.precision ?? 0, '0'), spec, work);
}

function character(value: Value): string {
  if (typeof value === 'bigint' && value >= 0n && value <= 0x10ffffn)
    return String.fromCodePoint(Number(value));
  if (isText(value) && codePointLength(textOf(value)) === 1) return textOf(value);
  throw new RenderFailure('%c requires int or char');
}

function asciiOnly(text: string): string {
  return text.replace(/[^\x00-\x7f]/gu, (found) => {
    const code = found.codePointAt(0)!;
    const [letter, width] = code < 0x100 ? ['x', 2] : code < 0x10000 ? ['u', 4] : ['U', 8];
    return `\\${letter}${code.toString(16).padStart(width, '0')}`;
  });
}

function notANumber(value: Value, message: string): RenderFailure {
  return new RenderFailure(value instanceof Undefined ? value.message : `${message}, not ${typeName(value)}`);
}
