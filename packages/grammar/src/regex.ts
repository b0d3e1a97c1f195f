/**
 * Regular expressions as JSON Schema's `pattern` has them: the part of ECMA-262 (with the flag `u`) that is regular. A
 * grammar matches a text as a whole, so a pattern without anchors is one with anything before and behind it.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import { anyCharacter, complementOf, unionOf, without, type CharacterSet } from './character-set.js';
import { character, choice, empty, repeat, sequence, type Expression } from './expression.js';

export interface RegexOptions {
  /** How one character of a set is written. Default: as itself, in UTF-8. */
  readonly write?: (set: CharacterSet) => Expression;
  /**
   * Whether the pattern may match anywhere in the text, as JSON Schema wants it, unless `^` and `$` hold it. Default: false,
   * the whole text must match.
   */
  readonly search?: boolean;
}

const digits: CharacterSet = [0x30, 0x39];
const wordCharacters: CharacterSet = [0x30, 0x39, 0x41, 0x5a, 0x5f, 0x5f, 0x61, 0x7a];
const lineEnds: CharacterSet = [0x0a, 0x0a, 0x0d, 0x0d, 0x2028, 0x2029];
/** White space and line ends of ECMA-262, 12.2 and 12.3. */
const spaces: CharacterSet = unionOf(
  [0x09, 0x0d, 0x20, 0x20, 0xa0, 0xa0, 0x1680, 0x1680, 0x2000, 0x200a],
  [0x2028, 0x2029, 0x202f, 0x202f, 0x205f, 0x205f, 0x3000, 0x3000, 0xfeff, 0xfeff],
);
const classes: Readonly<Record<string, CharacterSet>> = {
  d: digits,
  D: complementOf(digits),
  w: wordCharacters,
  W: complementOf(wordCharacters),
  s: spaces,
  S: complementOf(spaces),
};
const controls: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, '0': 0 };

/** Counts of repetitions; each is built as so many copies. */
const mostRepetitions = 100_000;

/** Groups within groups. */
const deepestGroups = 200;

/** A pattern and whether it is held at its ends. */
interface Alternative {
  readonly expression: Expression;
  readonly fromStart: boolean;
  readonly toEnd: boolean;
}

class RegexParser {
  readonly #characters: readonly string[];
  #at = 0;
  #depth = 0;

  constructor(
    private readonly source: string,
    private readonly write: (set: CharacterSet) => Expression,
  ) {
    this.#characters = Array.from(source);
  }

  parse(): Alternative[] {
    const alternatives = this.#alternatives(true);
    if (this.#at < this.#characters.length) this.#fail('has a ")" without a "("');
    return alternatives;
  }

  #fail(sentence: string, code: 'usage/grammar' | 'unsupported/grammar' = 'usage/grammar'): never {
    throw new UnicornError(code, `The pattern ${JSON.stringify(this.source.slice(0, 200))} ${sentence}.`, {
      fields: { pattern: this.source.slice(0, 1000), position: this.#at },
      fix:
        code === 'usage/grammar'
          ? 'Write it as ECMA-262 has it, with the flag u.'
          : 'Leave that out, or check it when the answer is there.',
    });
  }

  get #next(): string | undefined {
    return this.#characters[this.#at];
  }

  #take(wanted: string): boolean {
    const isThere = this.#characters.slice(this.#at, this.#at + wanted.length).join('') === wanted;
    if (isThere) this.#at += wanted.length;
    return isThere;
  }

  #alternatives(isTop: boolean): Alternative[] {
    const found = [this.#alternative(isTop)];
    while (this.#take('|')) found.push(this.#alternative(isTop));
    return found;
  }

  #alternative(isTop: boolean): Alternative {
    const items: Expression[] = [];
    let [fromStart, toEnd] = [false, false];
    for (let next = this.#next; next !== undefined && next !== '|' && next !== ')'; next = this.#next) {
      if (next === '^') {
        if (!isTop || items.length > 0)
          this.#fail('has a "^" that is not at its beginning', 'unsupported/grammar');
        fromStart = true;
        this.#at++;
      } else if (next === '$') {
        this.#at++;
        const isLast = this.#next === undefined || this.#next === '|';
        if (!isTop || !isLast) this.#fail('has a "$" that is not at its end', 'unsupported/grammar');
        toEnd = true;
      } else items.push(this.#repeated(this.#atom()));
    }
    return { expression: items.length === 0 ? empty : sequence(...items), fromStart, toEnd };
  }

  #repeated(atom: Expression): Expression {
    let [min, max]: [number, number | undefined] = [1, 1];
    if (this.#take('*')) [min, max] = [0, undefined];
    else if (this.#take('+')) [min, max] = [1, undefined];
    else if (this.#take('?')) [min, max] = [0, 1];
    else if (this.#next === '{') [min, max] = this.#counts();
    else return atom;
    // Lazy or not makes no difference to what matches as a whole.
    this.#take('?');
    if (this.#next !== undefined && '*+?{'.includes(this.#next)) this.#fail('repeats a repetition');
    return repeat(atom, min, max);
  }

  #counts(): [number, number | undefined] {
    const rest = this.#characters.slice(this.#at, this.#at + 24).join('');
    const found = /^\{(\d+)(,(\d*))?\}/.exec(rest);
    if (!found) this.#fail('has a "{" that begins no count');
    this.#at += found[0].length;
    const min = Number(found[1]);
    const max = found[2] === undefined ? min : found[3] === '' ? undefined : Number(found[3]);
    if (max !== undefined && max < min) this.#fail('has a count whose end is before its beginning');
    if (Math.max(min, max ?? 0) > mostRepetitions)
      this.#fail(`repeats something more than ${mostRepetitions} times`, 'unsupported/grammar');
    return [min, max];
  }

  #atom(): Expression {
    const next = this.#next!;
    if (next === '(') return this.#group();
    if (next === '[') return this.write(this.#class());
    this.#at++;
    if (next === '.') return this.write(without(anyCharacter, lineEnds));
    if (next === '\\') return this.write(this.#escape(false));
    if ('*+?'.includes(next)) this.#fail(`repeats nothing by "${next}"`);
    if ('{}]'.includes(next)) this.#fail(`has a "${next}" that is not escaped`);
    return this.write(singleton(next.codePointAt(0)!));
  }

  #group(): Expression {
    this.#at++;
    if (++this.#depth > deepestGroups) this.#fail('nests too deep', 'unsupported/grammar');
    if (this.#take('?')) {
      const isNamed = /^<[^=!>][^>]*>/.exec(this.#characters.slice(this.#at, this.#at + 200).join(''));
      if (isNamed) this.#at += Array.from(isNamed[0]).length;
      else if (!this.#take(':'))
        this.#fail('looks ahead or behind, which is not regular', 'unsupported/grammar');
    }
    const alternatives = this.#alternatives(false);
    if (!this.#take(')')) this.#fail('has a "(" without a ")"');
    this.#depth--;
    return choice(...alternatives.map(({ expression }) => expression));
  }

  #class(): CharacterSet {
    this.#at++;
    const isNegated = this.#take('^');
    const parts: CharacterSet[] = [];
    while (!this.#take(']')) {
      const first = this.#classMember();
      const isRange = this.#next === '-' && this.#characters[this.#at + 1] !== ']';
      if (!isRange) {
        parts.push(first);
        continue;
      }
      this.#at++;
      const last = this.#classMember();
      const [low, high] = [first[0], last[0]];
      if (first.length !== 2 || last.length !== 2 || first[0] !== first[1] || last[0] !== last[1])
        this.#fail('has a range between what are not single characters');
      if (low! > high!) this.#fail('has a range whose end is before its beginning');
      parts.push([low!, high!]);
    }
    const set = unionOf(...parts);
    return isNegated ? complementOf(set) : set;
  }

  #classMember(): CharacterSet {
    const next = this.#next ?? this.#fail('has a "[" without a "]"');
    this.#at++;
    return next === '\\' ? this.#escape(true) : singleton(next.codePointAt(0)!);
  }

  /** What stands behind a backslash. */
  #escape(isInClass: boolean): CharacterSet {
    const next = this.#next ?? this.#fail('ends with a backslash');
    this.#at++;
    const known = Object.hasOwn(classes, next) ? classes[next] : undefined;
    if (known) return known;
    if (next === 'b' && isInClass) return singleton(8);
    if (next === 'b' || next === 'B')
      this.#fail('has a word boundary, which is not supported', 'unsupported/grammar');
    if (next === '0' && /\d/.test(this.#next ?? '')) this.#fail('has an octal escape');
    if (Object.hasOwn(controls, next)) return singleton(controls[next]!);
    if (/[1-9k]/.test(next))
      this.#fail('refers back to a group, which is not regular', 'unsupported/grammar');
    if (next === 'p' || next === 'P') return this.#property(next === 'P');
    if (next === 'c') {
      const letter = this.#next ?? '';
      if (!/[A-Za-z]/.test(letter)) this.#fail('has a "\\c" without a letter');
      this.#at++;
      return singleton(letter.codePointAt(0)! % 32);
    }
    if (next === 'x') return singleton(this.#hex(2));
    if (next === 'u') return singleton(this.#unicode());
    if (/[A-Za-z0-9]/.test(next)) this.#fail(`has an escape "\\${next}" that means nothing`);
    return singleton(next.codePointAt(0)!);
  }

  #hex(length: number): number {
    const code = this.#characters.slice(this.#at, this.#at + length).join('');
    if (code.length !== length || !/^[0-9A-Fa-f]+$/.test(code))
      this.#fail('has an escape without its digits');
    this.#at += length;
    return parseInt(code, 16);
  }

  #unicode(): number {
    if (!this.#take('{')) {
      const first = this.#hex(4);
      const isHigh = first >= 0xd800 && first <= 0xdbff && this.#take('\\u');
      return isHigh ? 0x10000 + (first - 0xd800) * 0x400 + (this.#hex(4) - 0xdc00) : first;
    }
    const rest = this.#characters.slice(this.#at, this.#at + 10).join('');
    const found = /^([0-9A-Fa-f]+)\}/.exec(rest);
    const code = parseInt(found?.[1] ?? '', 16);
    if (!found || code > 0x10ffff) this.#fail('has an escape that is not a character');
    this.#at += found[0].length;
    return code;
  }

  /** `\p{...}`: asked of JavaScript's own tables, character by character. */
  #property(isNegated: boolean): CharacterSet {
    const rest = this.#characters.slice(this.#at, this.#at + 80).join('');
    const found = /^\{[A-Za-z0-9_=]+\}/.exec(rest);
    if (!found) this.#fail('has a "\\p" without its property');
    this.#at += found[0].length;
    try {
      const set = propertySet(found[0]);
      return isNegated ? complementOf(set) : set;
    } catch {
      return this.#fail(`names a property ${found[0]} that Unicode does not have`);
    }
  }
}

const properties = new Map<string, CharacterSet>();

function propertySet(braced: string): CharacterSet {
  const known = properties.get(braced);
  if (known) return known;
  const pattern = new RegExp(`^\\p${braced}$`, 'u');
  const ranges: number[] = [];
  for (let code = 0; code <= 0x10ffff; code++) {
    if (code === 0xd800) code = 0xe000;
    if (!pattern.test(String.fromCodePoint(code))) continue;
    if (ranges.at(-1) === code - 1) ranges[ranges.length - 1] = code;
    else ranges.push(code, code);
  }
  properties.set(braced, ranges);
  return ranges;
}

function singleton(codePoint: number): CharacterSet {
  return [codePoint, codePoint];
}

/**
 * The texts that a pattern matches.
 *
 * @throws UnicornError `usage/grammar` for what is not a pattern, `unsupported/grammar` for what is not regular (looking
 * ahead, references to groups), word boundaries and anchors in the middle
 */
export function regexExpression(pattern: string, options: RegexOptions = {}): Expression {
  const { write = character, search = false } = options;
  if (typeof pattern !== 'string') {
    throw new UnicornError('usage/grammar', 'A pattern is a text.', {
      fix: 'Give the source of a regular expression.',
    });
  }
  const anything = search ? repeat(write(anyCharacter)) : empty;
  return choice(
    ...new RegexParser(pattern, write)
      .parse()
      .map(({ expression, fromStart, toEnd }) =>
        sequence(fromStart ? empty : anything, expression, toEnd ? empty : anything),
      ),
  );
}
