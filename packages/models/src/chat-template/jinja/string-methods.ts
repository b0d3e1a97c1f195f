/** The methods of Python's `str`. Lengths and places are of code points. */
import { codePointLength, indexOfUnit, isPlain, unitOf } from './code-points.js';
import { RenderFailure } from './failure.js';
import { formatText } from './format-text.js';
import { casefolded, capitalized, isAll, isCased, isTitle, swapped, titled } from './letter-case.js';
import { listOf, truthy } from './iteration.js';
import { operation, type Operation } from './signature.js';
import {
  occurrences,
  replaced,
  searchUnits,
  splitAt,
  splitAtFromEnd,
  splitLines,
  splitWords,
  splitWordsFromEnd,
  stripped,
} from './text-split.js';
import { countOf, Dict, isText, textOf, Tuple, typeName, type Value } from './value.js';
import { entryUnits, type Work } from './work.js';
import { sliceBounds } from './slicing.js';

type Method = Operation<string>;

/** A text given to a method. @throws RenderFailure for anything else */
function text(value: Value): string {
  if (isText(value)) return textOf(value);
  throw new RenderFailure(`a string is needed, not '${typeName(value)}'`);
}

const optionalText = (value: Value | undefined): string | undefined =>
  value === undefined || value === null ? undefined : text(value);

/** A limit that is none when it is absent or negative. */
function limit(value: Value | undefined): number {
  const count = value === undefined ? -1 : countOf(value);
  return count < 0 ? Infinity : count;
}

/** The part between two places that may count from the end, and the place in UTF-16 where it begins. */
function window(
  self: string,
  start: Value | undefined,
  end: Value | undefined,
): [part: string, unit: number] | undefined {
  if ((start ?? null) === null && (end ?? null) === null) return [self, 0];
  const length = codePointLength(self);
  const place = (value: Value | undefined, missing: number) => {
    if ((value ?? null) === null) return missing;
    const index = countOf(value!);
    return index < 0 ? Math.max(0, index + length) : index;
  };
  const [from, to] = [place(start, 0), Math.min(place(end, length), length)];
  if (from > to) return undefined;
  const unit = unitOf(self, from);
  return [self.slice(unit, unitOf(self, to)), unit];
}

/** The code point at which a part is found, or -1. */
function found(
  self: string,
  part: Value,
  start: Value | undefined,
  end: Value | undefined,
  last: boolean,
  work: Work,
) {
  work.spend(searchUnits(self, text(part)));
  const where = window(self, start, end);
  if (where === undefined) return -1;
  const at = last ? where[0].lastIndexOf(text(part)) : where[0].indexOf(text(part));
  return at < 0 ? -1 : indexOfUnit(self, where[1] + at);
}

function search(last: boolean, mustExist: boolean): Method {
  return operation('part start? end? /', (run, self, part, start, end) => {
    const index = found(self, part!, start, end, last, run.work);
    if (index < 0 && mustExist) throw new RenderFailure('substring not found');
    return BigInt(index);
  });
}

function edge(isAt: (self: string, part: string) => boolean, name: string): Method {
  return operation('part start? end? /', (run, self, part, start, end) => {
    run.work.spend(self.length);
    const where = window(self, start, end)?.[0];
    if (!(part instanceof Tuple) && !isText(part!)) {
      throw new RenderFailure(`${name} first arg must be str or a tuple of str, not ${typeName(part!)}`);
    }
    const parts = part instanceof Tuple ? part.items : [part];
    return parts.some((one) => where !== undefined && isAt(where, text(one)));
  });
}

function strip(start: boolean, end: boolean): Method {
  return operation('chars? /', (run, self, characters) => {
    run.work.spend(self.length);
    return stripped(self, optionalText(characters), start, end);
  });
}

function split(
  at: (text: string, separator: string, limit: number, work: Work) => string[],
  words: (text: string, limit: number, work: Work) => string[],
): Method {
  return operation('sep? maxsplit?', (run, self, separator, most) => {
    const by = optionalText(separator);
    run.work.spend(searchUnits(self, by ?? ''));
    if (by === '') throw new RenderFailure('empty separator');
    return by === undefined ? words(self, limit(most), run.work) : at(self, by, limit(most), run.work);
  });
}

function partition(last: boolean): Method {
  return operation('sep /', (run, self, separator) => {
    const by = text(separator!);
    run.work.spend(searchUnits(self, by));
    if (by === '') throw new RenderFailure('empty separator');
    const at = last ? self.lastIndexOf(by) : self.indexOf(by);
    if (at < 0) return new Tuple(last ? ['', '', self] : [self, '', '']);
    return new Tuple([self.slice(0, at), by, self.slice(at + by.length)]);
  });
}

/** Spaces, or another character, put at the sides. */
function justified(place: (missing: number, width: number) => number): Method {
  return operation('width fillchar? /', (run, self, width, fill = ' ') =>
    padded(run.work, self, countOf(width!), text(fill), place),
  );
}

export function padded(
  work: Work,
  self: string,
  width: number,
  fill: string,
  left: (missing: number, width: number) => number,
): string {
  if (codePointLength(fill) !== 1)
    throw new RenderFailure('The fill character must be exactly one character long');
  work.spend(self.length);
  const missing = Math.max(0, width - codePointLength(self));
  work.spend(missing);
  const before = left(missing, width);
  return fill.repeat(before) + self + fill.repeat(missing - before);
}

/** CPython's choice of the side that gets the odd space. */
export const centered = (missing: number, width: number): number =>
  Math.floor(missing / 2) + (missing & width & 1);

function changed(change: (self: string) => string): Method {
  return operation('', (run, self) => {
    run.work.spend(3 * self.length); // the most that a change of case makes of a character
    return change(self);
  });
}

function is(holds: (self: string) => boolean): Method {
  return operation('', (run, self) => {
    run.work.spend(self.length);
    return holds(self);
  });
}

export const stringMethods: ReadonlyMap<string, Method> = new Map<string, Method>([
  ['strip', strip(true, true)],
  ['lstrip', strip(true, false)],
  ['rstrip', strip(false, true)],
  ['split', split(splitAt, splitWords)],
  ['rsplit', split(splitAtFromEnd, splitWordsFromEnd)],
  [
    'splitlines',
    operation('keepends?', (run, self, keep = false) => {
      run.work.spend(self.length);
      return splitLines(self, truthy(keep), run.work);
    }),
  ],
  ['partition', partition(false)],
  ['rpartition', partition(true)],
  ['find', search(false, false)],
  ['rfind', search(true, false)],
  ['index', search(false, true)],
  ['rindex', search(true, true)],
  [
    'count',
    operation('part start? end? /', (run, self, part, start, end) => {
      run.work.spend(searchUnits(self, text(part!)));
      const where = window(self, start, end);
      return where === undefined ? 0n : BigInt(occurrences(where[0], text(part!), run.work));
    }),
  ],
  ['startswith', edge((self, part) => self.startsWith(part), 'startswith')],
  ['endswith', edge((self, part) => self.endsWith(part), 'endswith')],
  [
    'removeprefix',
    operation('prefix /', (run, self, prefix) => {
      run.work.spend(self.length);
      return self.startsWith(text(prefix!)) ? self.slice(text(prefix!).length) : self;
    }),
  ],
  [
    'removesuffix',
    operation('suffix /', (run, self, suffix) => {
      run.work.spend(self.length);
      return self.endsWith(text(suffix!)) ? self.slice(0, self.length - text(suffix!).length) : self;
    }),
  ],
  [
    'replace',
    operation('old new count? /', (run, self, old, by, count) => {
      run.work.spend(searchUnits(self, text(old!)));
      return replaced(self, text(old!), text(by!), limit(count), run.work);
    }),
  ],
  [
    'join',
    operation('iterable /', (run, self, parts) =>
      joined(
        self,
        listOf(parts!, run.work).map((part) => text(part)),
        run.work,
      ),
    ),
  ],
  ['format', (run, self, args) => formatText(run, self, args)],
  [
    'format_map',
    operation('mapping /', (run, self, mapping) => {
      if (!(mapping instanceof Dict)) throw new RenderFailure('format_map() takes a mapping');
      const named = new Map(
        [...mapping.entries()].map(([key, value]) => [isText(key) ? textOf(key) : '', value]),
      );
      return formatText(run, self, { positional: [], named });
    }),
  ],
  ['upper', changed((self) => self.toUpperCase())],
  ['lower', changed((self) => self.toLowerCase())],
  ['title', changed(titled)],
  ['capitalize', changed(capitalized)],
  ['swapcase', changed(swapped)],
  ['casefold', changed(casefolded)],
  ['center', justified(centered)],
  ['ljust', justified(() => 0)],
  ['rjust', justified((missing) => missing)],
  [
    'zfill',
    operation('width /', (run, self, width) => {
      const sign = /^[+-]/.exec(self)?.[0] ?? '';
      const digits = self.slice(sign.length);
      return sign + padded(run.work, digits, countOf(width!) - sign.length, '0', (missing) => missing);
    }),
  ],
  [
    'expandtabs',
    operation('tabsize?', (run, self, size = 8n) => expandedTabs(self, countOf(size), run.work)),
  ],
  ['isalpha', is((self) => isAll(self, /^\p{L}$/u))],
  [
    'isdigit',
    is((self) =>
      isAll(
        self,
        /^[\p{Nd}\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468\u2474-\u247c\u2488-\u2490\u24ea\u24f5-\u24fd\u24ff\u2776-\u277e\u2780-\u2788\u278a-\u2792]$/u,
      ),
    ),
  ],
  ['isdecimal', is((self) => isAll(self, /^\p{Nd}$/u))],
  ['isnumeric', is((self) => isAll(self, /^\p{N}$/u))],
  ['isalnum', is((self) => isAll(self, /^[\p{L}\p{N}]$/u))],
  [
    'isspace',
    is((self) => isAll(self, /^[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$/u)),
  ],
  ['isascii', is((self) => !/[^\x00-\x7f]/.test(self))],
  ['isprintable', is((self) => !/[\p{C}\p{Z}]/u.test(self.replaceAll(' ', '')))],
  ['isidentifier', is((self) => /^[\p{XIDS}_]\p{XIDC}*$/u.test(self))],
  ['isupper', is((self) => isCased(self, 'upper'))],
  ['islower', is((self) => isCased(self, 'lower'))],
  ['istitle', is(isTitle)],
]);

/** Methods that Python has and templates here have not: refused when they are looked at. */
export const missingStringMethods: ReadonlySet<string> = new Set(['encode', 'translate', 'maketrans']);

/** The parts with a separator between them, paid for before they are joined. */
export function joined(separator: string, parts: readonly string[], work: Work): string {
  let length = Math.max(0, parts.length - 1) * separator.length;
  for (const part of parts) length += part.length;
  work.spend(length);
  return parts.join(separator);
}

function expandedTabs(self: string, size: number, work: Work): string {
  let written = '';
  let column = 0;
  for (const character of self) {
    if (character === '\t') {
      const width = size > 0 ? size - (column % size) : 0;
      work.spend(width);
      written += ' '.repeat(width);
      column += width;
    } else {
      work.spend(1);
      written += character;
      column = character === '\n' || character === '\r' ? 0 : column + 1;
    }
  }
  return written;
}

/** The code points of a text between two places, a number of steps apart. */
export function slicedText(self: string, start: Value, stop: Value, step: Value, work: Work): string {
  work.spend(self.length);
  const plain = isPlain(self);
  const characters = plain ? undefined : [...self];
  const length = characters?.length ?? self.length;
  const { from, count, by } = sliceBounds(length, start, stop, step);
  if (by === 1) return characters?.slice(from, from + count).join('') ?? self.slice(from, from + count);
  work.spend(entryUnits * count);
  return Array.from({ length: count }, (_, i) => characters?.[from + i * by] ?? self[from + i * by]).join('');
}
