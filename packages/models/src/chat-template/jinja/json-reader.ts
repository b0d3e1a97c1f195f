/**
 * Reads JSON as Python does: 1.0 is a float, 9007199254740993 stays whole, keys keep the order in which they stand, and
 * of two equal keys the last counts.
 */
import { Dict, type Value } from './value.js';

const number = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const string = /"(?:[^"\\\x00-\x1f]|\\[^])*"/y;
const blank = /[ \t\n\r]*/y;
const words: readonly (readonly [string, Value])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
];
const maxDepth = 300;

/** @throws SyntaxError for what is not JSON, or is nested deeper than 300 levels */
export function readJson(text: string): Value {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

class Reader {
  #at = 0;

  constructor(private readonly text: string) {}

  value(depth: number): Value {
    if (depth > maxDepth) throw new SyntaxError(`nested deeper than ${maxDepth} levels`);
    this.#skipBlank();
    const { text } = this;
    switch (text[this.#at]) {
      case '"':
        return this.#string();
      case '[':
        return this.#list(']', () => this.value(depth + 1));
      case '{':
        return new Dict(
          this.#list('}', () => {
            this.#skipBlank();
            const key = this.#string();
            this.#skipBlank();
            this.#expect(':');
            return [key, this.value(depth + 1)] as const;
          }),
        );
      default:
        break;
    }
    for (const [word, value] of words) {
      if (!text.startsWith(word, this.#at)) continue;
      this.#at += word.length;
      return value;
    }
    const found = this.#match(number);
    if (found === undefined) throw this.#unexpected();
    return found[1] === undefined && found[2] === undefined ? BigInt(found[0]) : Number(found[0]);
  }

  end(): void {
    this.#skipBlank();
    if (this.#at < this.text.length) throw this.#unexpected();
  }

  #list<T>(close: string, element: () => T): T[] {
    this.#at++;
    const elements: T[] = [];
    this.#skipBlank();
    if (this.text[this.#at] === close) {
      this.#at++;
      return elements;
    }
    for (;;) {
      elements.push(element());
      this.#skipBlank();
      if (this.text[this.#at] === close) break;
      this.#expect(',');
    }
    this.#at++;
    return elements;
  }

  #string(): string {
    const quoted = this.#match(string)?.[0];
    if (quoted === undefined) throw this.#unexpected();
    return JSON.parse(quoted) as string;
  }

  #match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.text) ?? undefined;
    if (found !== undefined) this.#at += found[0].length;
    return found;
  }

  #skipBlank(): void {
    this.#match(blank);
  }

  #expect(sign: string): void {
    if (this.text[this.#at] !== sign) throw this.#unexpected();
    this.#at++;
  }

  #unexpected(): SyntaxError {
    const { text } = this;
    const found = this.#at < text.length ? JSON.stringify(text[this.#at]) : 'the end';
    return new SyntaxError(`unexpected ${found} at character ${this.#at}`);
  }
}
