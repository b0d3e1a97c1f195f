/** From tokens to expressions, with Jinja2's own order of precedence (unary minus binds a filter less than a name does). */
import { TokenStream } from './token-stream.js';
import type {
  BinaryOperator,
  CallArguments,
  Comparison,
  Expression,
  FilterCall,
  Slice,
  Target,
} from './syntax.js';

const comparisons: readonly string[] = ['==', '!=', '<', '<=', '>', '>='];
const constants = new Map<string, null | boolean>([
  ['true', true],
  ['True', true],
  ['false', false],
  ['False', false],
  ['none', null],
  ['None', null],
]);
const none = { kind: 'constant', value: null } as const;

export class ExpressionParser {
  /** The names read so far, and those of each macro that is being parsed. */
  readonly reads: Set<string>[] = [new Set()];

  constructor(readonly stream: TokenStream) {}

  expression(): Expression {
    let value = this.withoutChoice();
    while (this.stream.skip('name', 'if')) {
      const condition = this.withoutChoice();
      const otherwise = this.stream.skip('name', 'else') ? this.expression() : undefined;
      value = { kind: 'choice', condition, then: value, otherwise };
    }
    return value;
  }

  /** An expression without `if`, as the one after `in` of a loop is. */
  withoutChoice(): Expression {
    return this.#logical('or', () => this.#logical('and', () => this.#not()));
  }

  /**
   * One expression, or several with commas between them, which make a tuple.
   *
   * @param isEnd whether the tuple has ended, after a comma
   */
  tuple(element = () => this.expression(), isEnd = () => this.#isTupleEnd()): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    while (!isEnd()) {
      items.push(element());
      if (!this.stream.skip('operator', ',')) break;
      isTuple = true;
    }
    if (isTuple) return { kind: 'tuple', items };
    if (items[0] === undefined) throw this.stream.failure('expected an expression');
    return items[0];
  }

  #isTupleEnd(): boolean {
    return this.stream.is('variableEnd') || this.stream.is('blockEnd') || this.stream.isOperator(')');
  }

  /** What can be assigned to. @param withField whether `namespace.name` can */
  target(isEnd = () => this.#isTupleEnd(), withField = false): Target {
    const items: Target[] = [];
    let isTuple = false;
    while (!isEnd()) {
      items.push(this.#oneTarget(withField));
      if (!this.stream.skip('operator', ',')) break;
      isTuple = true;
    }
    if (isTuple) return { kind: 'tuple', items };
    if (items[0] === undefined) throw this.stream.unexpected();
    return items[0];
  }

  #oneTarget(withField: boolean): Target {
    if (this.stream.skip('operator', '(')) {
      const target = this.target(() => this.stream.isOperator(')'));
      this.stream.expect('operator', ')');
      return target;
    }
    const name = this.name();
    if (!withField || !this.stream.skip('operator', '.')) return { kind: 'name', name };
    this.#read(name);
    return { kind: 'field', namespace: name, name: this.stream.expect('name').value };
  }

  /** A name that can be assigned to. */
  name(): string {
    if (constants.has(this.stream.current.value)) {
      throw this.stream.failure(`can't assign to '${this.stream.current.value}'`);
    }
    return this.stream.expect('name').value;
  }

  #logical(operator: 'and' | 'or', operand: () => Expression): Expression {
    let left = operand();
    while (this.stream.skip('name', operator)) left = { kind: 'logical', operator, left, right: operand() };
    return left;
  }

  #not(): Expression {
    if (this.stream.skip('name', 'not')) return { kind: 'unary', operator: 'not', operand: this.#not() };
    const first = this.#sum();
    const rest: { operator: Comparison; operand: Expression }[] = [];
    for (let operator = this.#comparison(); operator !== undefined; operator = this.#comparison()) {
      rest.push({ operator, operand: this.#sum() });
    }
    return rest.length === 0 ? first : { kind: 'compare', first, rest };
  }

  #comparison(): Comparison | undefined {
    const { stream } = this;
    if (stream.isOperator(...comparisons)) return stream.next().value as Comparison;
    if (stream.skip('name', 'in')) return 'in';
    if (!stream.isName('not') || stream.following.value !== 'in') return undefined;
    stream.next();
    stream.next();
    return 'not in';
  }

  #sum(): Expression {
    return this.#binary(['+', '-'], () => this.#concat());
  }

  #concat(): Expression {
    const first = this.#product();
    const parts = [first];
    while (this.stream.skip('operator', '~')) parts.push(this.#product());
    return parts.length === 1 ? first : { kind: 'concat', parts };
  }

  #product(): Expression {
    return this.#binary(['*', '/', '//', '%'], () => this.#binary(['**'], () => this.#unary(true)));
  }

  #binary(operators: readonly string[], operand: () => Expression): Expression {
    let left = operand();
    while (this.stream.isOperator(...operators)) {
      const operator = this.stream.next().value as BinaryOperator;
      left = { kind: 'binary', operator, left, right: operand() };
    }
    return left;
  }

  #unary(withFilter: boolean): Expression {
    let value: Expression;
    if (this.stream.isOperator('-', '+')) {
      const operator = this.stream.next().value as '-' | '+';
      value = { kind: 'unary', operator, operand: this.#unary(false) };
    } else {
      value = this.#primary();
    }
    value = this.#postfix(value);
    return withFilter ? this.#filtered(value) : value;
  }

  #primary(): Expression {
    const { stream } = this;
    const { type, value } = stream.current;
    switch (type) {
      case 'name': {
        stream.next();
        const constant = constants.get(value);
        if (constant !== undefined) return { kind: 'constant', value: constant };
        this.#read(value);
        return { kind: 'name', name: value };
      }
      case 'string': {
        let text = '';
        while (stream.is('string')) text += stream.next().value;
        return { kind: 'constant', value: text };
      }
      case 'integer':
        stream.next();
        return { kind: 'constant', value: BigInt(/^0+$/.test(value) ? '0' : value.toLowerCase()) };
      case 'float':
        stream.next();
        return { kind: 'constant', value: Number(value) };
      default:
        break;
    }
    if (stream.skip('operator', '(')) {
      const inner: Expression = stream.isOperator(')') ? { kind: 'tuple', items: [] } : this.tuple();
      stream.expect('operator', ')');
      return inner;
    }
    if (stream.skip('operator', '[')) {
      return { kind: 'list', items: this.#until(']', () => this.expression()) };
    }
    if (stream.skip('operator', '{')) {
      const entries = this.#until('}', () => {
        const key = this.expression();
        stream.expect('operator', ':');
        return [key, this.expression()] as const;
      });
      return { kind: 'dict', entries };
    }
    throw stream.unexpected();
  }

  /** Elements with commas between them and perhaps one after them. */
  #until<T>(close: string, element: () => T): T[] {
    const elements: T[] = [];
    while (!this.stream.isOperator(close)) {
      if (elements.length > 0) this.stream.expect('operator', ',');
      if (this.stream.isOperator(close)) break;
      elements.push(element());
    }
    this.stream.expect('operator', close);
    return elements;
  }

  #postfix(value: Expression): Expression {
    for (;;) {
      if (this.stream.skip('operator', '.')) {
        if (this.stream.is('name')) {
          value = { kind: 'attribute', object: value, name: this.stream.next().value };
        } else {
          const index = BigInt(this.stream.expect('integer').value);
          value = { kind: 'item', object: value, index: { kind: 'constant', value: index } };
        }
      } else if (this.stream.skip('operator', '[')) {
        value = { kind: 'item', object: value, index: this.#index() };
      } else if (this.stream.isOperator('(')) {
        value = { kind: 'call', callee: value, args: this.args() };
      } else {
        return value;
      }
    }
  }

  #index(): Expression | Slice {
    const parts = this.#until(']', () => this.#subscript());
    const [only] = parts;
    if (parts.length === 1) return only!;
    if (parts.some(({ kind }) => kind === 'slice')) throw this.stream.failure('slices in a tuple');
    return { kind: 'tuple', items: parts as Expression[] };
  }

  #subscript(): Expression | Slice {
    const { stream } = this;
    const part = () => (stream.isOperator(':', ']', ',') ? undefined : this.expression());
    const start = part();
    if (!stream.skip('operator', ':')) {
      if (start === undefined) throw stream.unexpected();
      return start;
    }
    const stop = part();
    const step = stream.skip('operator', ':') ? part() : undefined;
    return { kind: 'slice', start, stop, step };
  }

  #filtered(value: Expression): Expression {
    for (;;) {
      if (this.stream.skip('operator', '|')) {
        value = { kind: 'filter', input: value, ...this.filter() };
      } else if (this.stream.skip('name', 'is')) {
        value = this.#test(value);
      } else if (this.stream.isOperator('(')) {
        value = { kind: 'call', callee: value, args: this.args() };
      } else {
        return value;
      }
    }
  }

  /** The name of a filter and what it is given. */
  filter(): FilterCall {
    const name = this.#dotted();
    return {
      name,
      args: this.stream.isOperator('(') ? this.args() : { positional: [], named: [] },
    };
  }

  #test(input: Expression): Expression {
    const { stream } = this;
    const negated = stream.skip('name', 'not');
    const name = this.#dotted();
    let args: CallArguments = { positional: [], named: [] };
    if (stream.isOperator('(')) args = this.args();
    else if (
      (['name', 'string', 'integer', 'float'].includes(stream.current.type) || stream.isOperator('[', '{')) &&
      !stream.isName('else', 'or', 'and')
    ) {
      if (stream.isName('is')) throw stream.failure('You cannot chain multiple tests with is');
      args = { positional: [this.#postfix(this.#primary())], named: [] };
    }
    const test: Expression = { kind: 'test', input, name, args };
    return negated ? { kind: 'unary', operator: 'not', operand: test } : test;
  }

  #dotted(): string {
    let name = this.stream.expect('name').value;
    while (this.stream.skip('operator', '.')) name += `.${this.stream.expect('name').value}`;
    return name;
  }

  args(): CallArguments {
    const { stream } = this;
    stream.expect('operator', '(');
    const args: CallArguments = { positional: [], named: [] };
    const ensure = (holds: boolean) => {
      if (!holds) throw stream.failure('invalid syntax for function call expression');
    };
    this.#until(')', () => {
      if (stream.skip('operator', '*')) {
        ensure(args.spread === undefined && args.spreadNamed === undefined);
        args.spread = this.expression();
      } else if (stream.skip('operator', '**')) {
        ensure(args.spreadNamed === undefined);
        args.spreadNamed = this.expression();
      } else if (
        stream.is('name') &&
        stream.following.type === 'operator' &&
        stream.following.value === '='
      ) {
        ensure(args.spreadNamed === undefined);
        const name = stream.next().value;
        stream.next();
        ensure(!args.named.some((other) => other.name === name));
        args.named.push({ name, value: this.expression() });
      } else {
        ensure(args.spread === undefined && args.spreadNamed === undefined && args.named.length === 0);
        args.positional.push(this.expression());
      }
      return none;
    });
    return args;
  }

  #read(name: string): void {
    for (const reads of this.reads) reads.add(name);
  }
}
