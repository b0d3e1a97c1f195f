/** From the source of a template to its syntax tree. */
import { ExpressionParser } from './expression-parser.js';
import { normalized, tokensOf } from './lexer.js';
import { TokenStream } from './token-stream.js';
import type { FilterCall, Signature, Statement, Template } from './syntax.js';

/** @throws SyntaxFailure, and V8's RangeError for a source that is nested too deep */
export function templateFrom(source: string): Template {
  const lines = normalized(source);
  const expressions = new ExpressionParser(new TokenStream(tokensOf(lines), lines));
  const body = new StatementParser(expressions).template();
  return { body, reads: expressions.reads[0]! };
}

class StatementParser {
  readonly #stream: TokenStream;
  /** How many loops of the present macro hold this place. */
  #loops = 0;
  readonly #blocks = new Set<string>();

  constructor(private readonly expressions: ExpressionParser) {
    this.#stream = expressions.stream;
  }

  template(): Statement[] {
    return this.#body([]);
  }

  /** Statements up to a tag with one of the names, which is left to be read; `{%` before it is consumed. */
  #body(ends: readonly string[]): Statement[] {
    const stream = this.#stream;
    const body: Statement[] = [];
    for (;;) {
      switch (stream.current.type) {
        case 'data':
          body.push({ kind: 'text', text: stream.next().value });
          break;
        case 'variableBegin':
          stream.next();
          body.push({ kind: 'print', value: this.expressions.tuple() });
          stream.expect('variableEnd');
          break;
        case 'blockBegin':
          stream.next();
          if (stream.isName(...ends)) return body;
          body.push(...this.#statement());
          stream.expect('blockEnd');
          break;
        default:
          if (ends.length > 0) {
            throw stream.failure(`unexpected end of template, expected ${ends.join(' or ')}`);
          }
          return body;
      }
    }
  }

  /** The rest of an opening tag, the body, and the name in the closing tag. */
  #block(...ends: string[]): [body: Statement[], end: string] {
    this.#stream.skip('operator', ':');
    this.#stream.expect('blockEnd');
    const body = this.#body(ends);
    return [body, this.#stream.next().value];
  }

  #statement(): Statement[] {
    const tag = this.#stream.expect('name');
    switch (tag.value) {
      case 'for':
        return [this.#for()];
      case 'if':
        return [this.#if()];
      case 'set':
        return [this.#set()];
      case 'macro': {
        const name = this.expressions.name();
        return [{ kind: 'macro', name, ...this.#function('endmacro', true) }];
      }
      case 'call':
        return [this.#callBlock()];
      case 'filter': {
        const filters = [this.expressions.filter(), ...this.#filters()];
        return [{ kind: 'filterBlock', filters, body: this.#closed('endfilter') }];
      }
      case 'with':
        return [this.#with()];
      case 'generation':
        return [{ kind: 'scope', body: this.#closed('endgeneration') }];
      case 'block':
        return [this.#namedBlock()];
      case 'print':
        return this.#print();
      case 'break':
      case 'continue':
        if (this.#loops === 0) throw this.#stream.failure(`'${tag.value}' outside of a loop`, tag);
        return [{ kind: tag.value }];
      case 'include':
      case 'import':
      case 'from':
      case 'extends':
        return [this.#missing(tag.value)];
      case 'autoescape': {
        const wanted = this.expressions.expression();
        const body = this.#closed('endautoescape');
        const isOff = wanted.kind === 'constant' && wanted.value === false;
        return [isOff ? { kind: 'scope', body } : { kind: 'missing', statement: tag.value }];
      }
      default:
        throw this.#stream.failure(`unknown tag '${tag.value}'`, tag);
    }
  }

  #for(): Statement {
    const stream = this.#stream;
    const target = this.expressions.target(() => stream.isName('in'));
    stream.expect('name', 'in');
    const iterable = this.expressions.tuple(
      () => this.expressions.withoutChoice(),
      () => stream.is('blockEnd') || stream.isName('recursive', 'if'),
    );
    const condition = stream.skip('name', 'if') ? this.expressions.expression() : undefined;
    const recursive = stream.skip('name', 'recursive');
    this.#loops++;
    const [body, end] = this.#block('endfor', 'else');
    this.#loops--;
    const otherwise = end === 'else' ? this.#closed('endfor') : [];
    return { kind: 'for', target, iterable, condition, recursive, body, otherwise };
  }

  #if(): Statement {
    const branches: (Statement & { kind: 'if' })['branches'] = [];
    for (;;) {
      const condition = this.expressions.tuple(() => this.expressions.withoutChoice());
      const [body, end] = this.#block('elif', 'else', 'endif');
      branches.push({ condition, body });
      if (end === 'elif') continue;
      return { kind: 'if', branches, otherwise: end === 'else' ? this.#closed('endif') : [] };
    }
  }

  #set(): Statement {
    const target = this.expressions.target(
      () => this.#stream.is('blockEnd') || this.#stream.isOperator('=', '|'),
      true,
    );
    if (this.#stream.skip('operator', '=')) {
      return { kind: 'set', target, value: this.expressions.tuple() };
    }
    const filters = this.#filters();
    return { kind: 'setBlock', target, filters, body: this.#closed('endset') };
  }

  #callBlock(): Statement {
    const parameters = this.#stream.isOperator('(') ? this.#parameters() : [];
    const call = this.expressions.expression();
    if (call.kind !== 'call') throw this.#stream.failure('expected call');
    return { kind: 'callBlock', call, ...this.#function('endcall', false), parameters };
  }

  #with(): Statement {
    const bindings: (Statement & { kind: 'with' })['bindings'] = [];
    while (!this.#stream.is('blockEnd')) {
      if (bindings.length > 0) this.#stream.expect('operator', ',');
      const target = this.expressions.target(() => this.#stream.isOperator('='));
      this.#stream.expect('operator', '=');
      bindings.push({ target, value: this.expressions.expression() });
    }
    return { kind: 'with', bindings, body: this.#closed('endwith') };
  }

  #namedBlock(): Statement {
    const stream = this.#stream;
    const name = stream.expect('name').value;
    if (this.#blocks.has(name)) throw stream.failure(`block '${name}' defined twice`);
    this.#blocks.add(name);
    const scoped = stream.skip('name', 'scoped');
    const required = stream.skip('name', 'required');
    const loops = this.#loops;
    this.#loops = 0;
    const [body] = this.#block('endblock');
    this.#loops = loops;
    stream.skip('name', name);
    // A block sees the variables of the template, but none of the loops around it.
    return required || (!scoped && loops > 0)
      ? { kind: 'missing', statement: 'block' }
      : { kind: 'scope', body };
  }

  #print(): Statement[] {
    const values: Statement[] = [];
    while (!this.#stream.is('blockEnd')) {
      if (values.length > 0) this.#stream.expect('operator', ',');
      values.push({ kind: 'print', value: this.expressions.expression() });
    }
    return values;
  }

  /** Parsed as far as a tag goes; what it asks for is refused when it is reached. */
  #missing(statement: string): Statement {
    while (!this.#stream.is('blockEnd') && !this.#stream.is('end')) this.#stream.next();
    return { kind: 'missing', statement };
  }

  #filters(): FilterCall[] {
    const filters: FilterCall[] = [];
    while (this.#stream.skip('operator', '|')) filters.push(this.expressions.filter());
    return filters;
  }

  /** A body that is a function: a loop around it is none of its own. */
  #function(end: string, withParameters: boolean): { body: Statement[] } & Signature {
    const parameters = withParameters ? this.#parameters() : [];
    const reads = new Set<string>();
    this.expressions.reads.push(reads);
    const body = this.#closed(end);
    this.expressions.reads.pop();
    return { parameters, reads, body };
  }

  #parameters(): Signature['parameters'] {
    const parameters: Signature['parameters'] = [];
    this.#stream.expect('operator', '(');
    while (!this.#stream.isOperator(')')) {
      if (parameters.length > 0) this.#stream.expect('operator', ',');
      const name = this.expressions.name();
      const value = this.#stream.skip('operator', '=') ? this.expressions.expression() : undefined;
      if (value === undefined && parameters.at(-1)?.value !== undefined) {
        throw this.#stream.failure('non-default argument follows default argument');
      }
      if (parameters.some((other) => other.name === name)) {
        throw this.#stream.failure(`duplicate argument '${name}'`);
      }
      parameters.push({ name, value });
    }
    this.#stream.next();
    return parameters;
  }

  /** A body from which no `break` leads out. */
  #closed(end: string): Statement[] {
    const loops = this.#loops;
    if (end === 'endmacro' || end === 'endcall' || end === 'endgeneration') this.#loops = 0;
    const [body] = this.#block(end);
    this.#loops = loops;
    return body;
  }
}
