/**
 * From the source of a template to tokens, with the white space handled as transformers asks Jinja2 to: `trim_blocks` and
 * `lstrip_blocks` are on, one newline at the end is dropped, and every kind of newline is `\n`.
 */
import { SyntaxFailure } from './failure.js';
import { pythonSpace, stripEnd } from './white-space.js';
import { unescaped } from './string-literal.js';

export type TokenType =
  | 'data'
  | 'variableBegin'
  | 'variableEnd'
  | 'blockBegin'
  | 'blockEnd'
  | 'name'
  | 'string'
  | 'integer'
  | 'float'
  | 'operator'
  | 'end';

export interface Token {
  type: TokenType;
  /** The text of data and names, the value of a string, the spelling of the rest. */
  value: string;
  /** Place in the source, for messages. */
  at: number;
}

const opening = /\{[{%#]/g;
const rawBegin = new RegExp(`\\{%([-+]?)${pythonSpace}*raw${pythonSpace}*(?:-%\\}${pythonSpace}*|%\\})`, 'y');
const rawEnd = new RegExp(
  `\\{%([-+]?)${pythonSpace}*endraw${pythonSpace}*(?:\\+%\\}|-%\\}${pythonSpace}*|%\\}\\n?)`,
  'y',
);
const blockEnd = new RegExp(`(?:\\+%\\}|-%\\}${pythonSpace}*|%\\}\\n?)`, 'y');
const variableEnd = new RegExp(`(?:-\\}\\}${pythonSpace}*|\\}\\})`, 'y');
const commentEnd = new RegExp(`([-+]?)#\\}`, 'g');
const spaces = new RegExp(`${pythonSpace}+`, 'y');
const digits = '\\d+(?:_\\d+)*';
const float = new RegExp(`(?<!\\.)${digits}(?:(?:\\.${digits})?e[+-]?${digits}|\\.${digits})`, 'iy');
const integer = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const name = /[\p{ID_Start}_][\p{ID_Continue}]*/uy;
const string = /'(?:[^'\\]|\\[^])*'|"(?:[^"\\]|\\[^])*"/y;
const operator = /\/\/|\*\*|[=!<>]=|[-+/*%~[\](){}><=.:|,;]/y;
const closed: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

/** Every kind of newline as `\n`, and one fewer at the end. */
export function normalized(source: string): string {
  const lines = source.includes('\r') ? source.replace(/\r\n?/g, '\n') : source;
  return lines.endsWith('\n') ? lines.slice(0, -1) : lines;
}

/** @param source {@link normalized}. @throws SyntaxFailure */
export function tokensOf(source: string): Token[] {
  return new Lexer(source).run();
}

class Lexer {
  readonly #tokens: Token[] = [];
  #at = 0;
  /** Whether what comes next begins a line, so that white space before a tag may be dropped. */
  #lineBegins = true;

  constructor(private readonly source: string) {}

  run(): Token[] {
    const { source } = this;
    while (this.#at < source.length) {
      opening.lastIndex = this.#at;
      const found = opening.exec(source);
      if (found === null) {
        this.#push('data', source.slice(this.#at));
        break;
      }
      this.#tag(found.index);
    }
    this.#at = source.length;
    this.#push('end', '');
    return this.#tokens;
  }

  #tag(begin: number): void {
    const kind = this.source[begin + 1]!;
    const raw = kind === '%' ? this.#match(rawBegin, begin) : undefined;
    const sign = raw === undefined ? this.source[begin + 2] : raw[1];
    const isSign = sign === '-' || sign === '+';
    this.#data(begin, sign === '-' ? 'strip' : sign === '+' || kind === '{' ? 'keep' : 'indentation');
    if (raw !== undefined) {
      this.#advance(begin + raw[0].length);
      this.#raw();
      return;
    }
    this.#at = begin;
    if (kind === '#') {
      this.#comment(begin + 2 + (isSign ? 1 : 0));
      return;
    }
    this.#push(kind === '{' ? 'variableBegin' : 'blockBegin', '');
    this.#at = begin + 2 + (isSign ? 1 : 0);
    this.#code(kind === '{');
  }

  /** The text before a tag, without what the tag takes away. */
  #data(end: number, how: 'strip' | 'keep' | 'indentation'): void {
    let text = this.source.slice(this.#at, end);
    if (how === 'strip') text = stripEnd(text);
    else if (how === 'indentation') {
      const line = text.lastIndexOf('\n') + 1;
      if (line > 0 || this.#lineBegins) {
        const kept = stripEnd(text);
        if (kept.length <= line) text = text.slice(0, line);
      }
    }
    if (text !== '') this.#push('data', text);
  }

  #raw(): void {
    const begin = this.#at;
    for (let at = this.source.indexOf('{%', begin); at >= 0; at = this.source.indexOf('{%', at + 2)) {
      const end = this.#match(rawEnd, at);
      if (end === undefined) continue;
      this.#data(at, end[1] === '-' ? 'strip' : end[1] === '+' ? 'keep' : 'indentation');
      this.#advance(at + end[0].length);
      return;
    }
    throw this.#failure('Missing end of raw directive', begin);
  }

  #comment(begin: number): void {
    commentEnd.lastIndex = begin;
    const end = commentEnd.exec(this.source);
    if (end === null) throw this.#failure('Missing end of comment tag', begin);
    let after = end.index + end[0].length;
    if (end[1] === '-') after += this.#match(spaces, after)?.[0].length ?? 0;
    else if (end[1] === '' && this.source[after] === '\n') after++;
    this.#advance(after);
  }

  /** The inside of a tag, and its end. */
  #code(isVariable: boolean): void {
    const open: string[] = [];
    const endOf = isVariable ? variableEnd : blockEnd;
    for (;;) {
      if (this.#at >= this.source.length) throw this.#failure('unexpected end of template', this.#at);
      const end = open.length === 0 ? this.#match(endOf, this.#at) : undefined;
      if (end !== undefined) {
        this.#push(isVariable ? 'variableEnd' : 'blockEnd', '');
        this.#advance(this.#at + end[0].length);
        return;
      }
      this.#codeToken(open);
    }
  }

  #codeToken(open: string[]): void {
    const at = this.#at;
    const blank = this.#match(spaces, at);
    if (blank !== undefined) {
      this.#at += blank[0].length;
      return;
    }
    for (const [type, pattern] of [
      ['float', float],
      ['integer', integer],
      ['name', name],
    ] as const) {
      const found = this.#match(pattern, at);
      if (found === undefined) continue;
      const text = found[0];
      this.#push(type, type === 'name' ? text.normalize('NFKC') : text.replaceAll('_', ''));
      this.#at += text.length;
      return;
    }
    const quoted = this.#match(string, at)?.[0];
    if (quoted !== undefined) {
      this.#push('string', unescaped(quoted.slice(1, -1)));
      this.#at += quoted.length;
      return;
    }
    const sign = this.#match(operator, at)?.[0];
    if (sign === undefined) throw this.#failure(`unexpected char ${JSON.stringify(this.source[at])}`, at);
    const closing = closed[sign];
    if (closing !== undefined) open.push(closing);
    else if (sign === ')' || sign === ']' || sign === '}') {
      const expected = open.pop();
      if (expected !== sign) {
        throw this.#failure(
          expected === undefined ? `unexpected '${sign}'` : `unexpected '${sign}', expected '${expected}'`,
          at,
        );
      }
    }
    this.#push('operator', sign);
    this.#at += sign.length;
  }

  #match(pattern: RegExp, at: number): RegExpExecArray | undefined {
    pattern.lastIndex = at;
    return pattern.exec(this.source) ?? undefined;
  }

  /** Leaves a tag. */
  #advance(to: number): void {
    this.#at = to;
    this.#lineBegins = this.source[to - 1] === '\n';
  }

  #push(type: TokenType, value: string): void {
    this.#tokens.push({ type, value, at: this.#at });
  }

  #failure(message: string, at: number): SyntaxFailure {
    return new SyntaxFailure(`${message} (line ${lineOf(this.source, at)})`);
  }
}

/** @param source {@link normalized} */
export function lineOf(source: string, at: number): number {
  return source.slice(0, at).split('\n').length;
}
