/**
 * GBNF, the notation of llama.cpp (its `grammars/README.md` is the specification): `name ::= expression`, alternatives with
 * `|`, texts in quotes, classes of characters in brackets, groups, `*`, `+`, `?`, `{m,n}`, comments from `#` on.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import { anyCharacter, complementOf, unionOf, type CharacterSet } from './character-set.js';
import {
  character,
  choice,
  empty,
  repeat,
  rule,
  sequence,
  text,
  type Expression,
  type Grammar,
} from './expression.js';

/** Characters of a grammar. */
const longestSource = 2 ** 20;

/** Groups within groups. */
const deepestGroups = 200;

/** Counts of repetitions; each is built as so many copies. */
const mostRepetitions = 100_000;

const escapes: Readonly<Record<string, string>> = {
  n: '\n',
  r: '\r',
  t: '\t',
  '"': '"',
  '\\': '\\',
  '[': '[',
  ']': ']',
};

class GbnfParser {
  #at = 0;
  #depth = 0;
  readonly rules = new Map<string, Expression>();

  constructor(private readonly source: string) {}

  parse(): Grammar {
    this.#skip(true);
    while (this.#at < this.source.length) this.#rule();
    if (!this.rules.has('root')) this.#fail('has no rule "root"');
    return { root: 'root', rules: this.rules };
  }

  #fail(sentence: string): never {
    const line = this.source.slice(0, this.#at).split('\n').length;
    throw new UnicornError('usage/grammar', `The grammar ${sentence} (line ${line}).`, {
      fields: { line, position: this.#at },
      fix: 'Write it as the GBNF of llama.cpp has it.',
    });
  }

  #match(pattern: RegExp): string | undefined {
    const sticky = new RegExp(pattern.source, 'uy');
    sticky.lastIndex = this.#at;
    const found = sticky.exec(this.source)?.[0];
    this.#at += found?.length ?? 0;
    return found;
  }

  /** White space and comments; line ends only where a rule may go on behind them. */
  #skip(overLines: boolean): void {
    this.#match(overLines ? /(?:[ \t\r\n]|#[^\n]*)*/ : /(?:[ \t]|#[^\n]*)*/);
  }

  #name(): string | undefined {
    return this.#match(/[A-Za-z][A-Za-z0-9_-]*/);
  }

  #rule(): void {
    const name = this.#name() ?? this.#fail('has a line that begins with no name of a rule');
    this.#skip(false);
    if (this.#match(/::=/) === undefined) this.#fail(`has no "::=" behind "${name}"`);
    this.#skip(true);
    if (this.rules.has(name)) this.#fail(`defines "${name}" twice`);
    this.rules.set(name, this.#alternatives(false));
    this.#skip(false);
    if (this.#at < this.source.length && this.#match(/\r?\n/) === undefined)
      this.#fail(`goes on behind the rule "${name}" with what is no part of it`);
    this.#skip(true);
  }

  #alternatives(isGroup: boolean): Expression {
    const items = [this.#sequence(isGroup)];
    while (this.#match(/\|/) !== undefined) {
      this.#skip(true);
      items.push(this.#sequence(isGroup));
    }
    return choice(...items);
  }

  #sequence(isGroup: boolean): Expression {
    const items: Expression[] = [];
    for (;;) {
      const item = this.#item();
      if (!item) return items.length === 0 ? empty : sequence(...items);
      this.#skip(isGroup);
      items.push(this.#repeated(item));
      this.#skip(isGroup);
    }
  }

  #item(): Expression | undefined {
    const next = this.source[this.#at];
    if (next === '"') return this.#text();
    if (next === '[') return this.#class();
    if (next === '(') return this.#group();
    if (next === '.') {
      this.#at++;
      return character(anyCharacter);
    }
    const name = this.#name();
    return name === undefined ? undefined : rule(name);
  }

  #group(): Expression {
    this.#at++;
    if (++this.#depth > deepestGroups) this.#fail('nests too deep');
    this.#skip(true);
    const inner = this.#alternatives(true);
    if (this.#match(/\)/) === undefined) this.#fail('has a "(" without a ")"');
    this.#depth--;
    return inner;
  }

  #repeated(item: Expression): Expression {
    const sign = this.#match(/[*+?]|\{\s*\d{1,9}\s*(?:,\s*(?:\d{1,9})?\s*)?\}/);
    if (sign === undefined) {
      if (this.source[this.#at] === '{') this.#fail('has a "{" that begins no count');
      return item;
    }
    if (sign === '*') return repeat(item);
    if (sign === '+') return repeat(item, 1);
    if (sign === '?') return repeat(item, 0, 1);
    const [low, high] = sign.slice(1, -1).split(',');
    const min = Number(low);
    const max = high === undefined ? min : high.trim() === '' ? undefined : Number(high);
    if (max !== undefined && max < min) this.#fail('has a count whose end is before its beginning');
    if (Math.max(min, max ?? 0) > mostRepetitions)
      this.#fail(`repeats something more than ${mostRepetitions} times`);
    return repeat(item, min, max);
  }

  #text(): Expression {
    this.#at++;
    let value = '';
    while (this.#match(/"/) === undefined) value += this.#character('"');
    return text(value);
  }

  #class(): Expression {
    this.#at++;
    const isNegated = this.#match(/\^/) !== undefined;
    const parts: CharacterSet[] = [];
    while (this.#match(/\]/) === undefined) {
      const first = this.#character(']').codePointAt(0)!;
      const isRange = /^-[^\]]/u.test(this.source.slice(this.#at, this.#at + 3));
      if (isRange) this.#at++;
      const last = isRange ? this.#character(']').codePointAt(0)! : first;
      if (last < first) this.#fail('has a range whose end is before its beginning');
      parts.push([first, last]);
    }
    const set = unionOf(...parts);
    return character(isNegated ? complementOf(set) : set);
  }

  /** One character of a text or a class, which an escape may stand for. */
  #character(closing: string): string {
    const escaped = this.#match(/\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[nrt"\\[\]])/);
    if (escaped !== undefined) {
      const known = escapes[escaped[1]!];
      if (known !== undefined) return known;
      const code = parseInt(escaped.slice(2), 16);
      if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        this.#fail('has an escape that is not a character');
      return String.fromCodePoint(code);
    }
    if (this.source[this.#at] === '\\') this.#fail('has an escape that means nothing');
    const plain = this.#match(/[^\n]/);
    return plain ?? this.#fail(`has no closing ${closing}`);
  }
}

/**
 * A grammar from its notation. Its root is the rule `root`.
 *
 * @throws UnicornError `usage/grammar` with the line; `resource/grammar` for more than 2^20 characters
 */
export function parseGbnf(source: string): Grammar {
  if (typeof source !== 'string') {
    throw new UnicornError('usage/grammar', 'A grammar is a text.', {
      fix: 'Give rules in the notation GBNF.',
    });
  }
  if (source.length > longestSource) {
    throw new UnicornError('resource/grammar', `The grammar has more than ${longestSource} characters.`, {
      fields: { length: source.length, longestSource },
      fix: 'Make it shorter.',
    });
  }
  return new GbnfParser(source).parse();
}
