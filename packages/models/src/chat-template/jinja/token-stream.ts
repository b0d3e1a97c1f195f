/** The tokens of a template, one at a time, and the words in which a parser complains about one. */
import { SyntaxFailure } from './failure.js';
import { lineOf, type Token, type TokenType } from './lexer.js';

export class TokenStream {
  #at = 0;

  constructor(
    private readonly tokens: readonly Token[],
    private readonly source: string,
  ) {}

  get current(): Token {
    return this.tokens[this.#at]!;
  }

  get following(): Token {
    return this.tokens[Math.min(this.#at + 1, this.tokens.length - 1)]!;
  }

  next(): Token {
    const token = this.current;
    if (this.#at < this.tokens.length - 1) this.#at++;
    return token;
  }

  is(type: TokenType, value?: string): boolean {
    const { current } = this;
    return current.type === type && (value === undefined || current.value === value);
  }

  isOperator(...signs: readonly string[]): boolean {
    return this.current.type === 'operator' && signs.includes(this.current.value);
  }

  isName(...names: readonly string[]): boolean {
    return this.current.type === 'name' && names.includes(this.current.value);
  }

  /** Whether it was there; it is consumed if so. */
  skip(type: TokenType, value: string): boolean {
    const found = this.is(type, value);
    if (found) this.next();
    return found;
  }

  expect(type: TokenType, value?: string): Token {
    if (this.is(type, value)) return this.next();
    throw this.failure(`expected ${value ?? words[type]}, got ${this.#described()}`);
  }

  unexpected(): SyntaxFailure {
    return this.failure(`unexpected ${this.#described()}`);
  }

  failure(message: string, { at } = this.current): SyntaxFailure {
    return new SyntaxFailure(`${message} (line ${lineOf(this.source, at)})`);
  }

  #described(): string {
    const { type, value } = this.current;
    return type === 'operator' || type === 'name' ? `'${value}'` : words[type];
  }
}

const words: Readonly<Record<TokenType, string>> = {
  data: 'text',
  variableBegin: "'{{'",
  variableEnd: "'}}'",
  blockBegin: "'{%'",
  blockEnd: "'%}'",
  name: 'a name',
  string: 'a string',
  integer: 'an integer',
  float: 'a number',
  operator: 'an operator',
  end: 'the end of the template',
};
