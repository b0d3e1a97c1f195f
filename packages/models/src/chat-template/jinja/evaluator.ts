/** Expressions to values. Every node pays before it is evaluated. */
import { binary, signed } from './arithmetic.js';
import { attributeOf, itemOf, sliceOf } from './attribute.js';
import { compare } from './comparison.js';
import {
  Callable,
  Dict,
  isText,
  orElse,
  textOf,
  Thing,
  Tuple,
  typeName,
  Undefined,
  type Arguments,
  type Value,
} from './value.js';
import { RenderFailure } from './failure.js';
import { listOf, truthy } from './iteration.js';
import { numberFilters } from './number-filters.js';
import { display } from './printing.js';
import type { Run } from './run.js';
import type { Scope } from './scope.js';
import { sequenceFilters } from './sequence-filters.js';
import type { CallArguments, Expression, FilterCall } from './syntax.js';
import { tests } from './tests.js';
import { textFilters } from './text-filters.js';
import { entryUnits, nodeUnits, pairUnits, type Work } from './work.js';

const filters = new Map([...textFilters, ...sequenceFilters, ...numberFilters]);

export class Evaluator implements Run {
  constructor(readonly work: Work) {}

  filter(name: string, input: Value, args: Arguments): Value {
    const filter = filters.get(name);
    if (filter === undefined) throw new RenderFailure(`No filter named '${name}'.`);
    this.work.spend(nodeUnits);
    return filter(this, input, args, name);
  }

  test(name: string, input: Value, args: Arguments): boolean {
    this.work.spend(nodeUnits);
    if (name === 'filter') return isText(input) && filters.has(textOf(input));
    if (name === 'test')
      return isText(input) && (tests.has(textOf(input)) || ['filter', 'test'].includes(textOf(input)));
    const test = tests.get(name);
    if (test === undefined) throw new RenderFailure(`No test named '${name}'.`);
    return truthy(test(this, input, args, name));
  }

  attribute(value: Value, name: string): Value {
    return attributeOf(value, name, this);
  }

  item(value: Value, index: Value): Value {
    return itemOf(value, index, this);
  }

  evaluate(node: Expression, scope: Scope): Value {
    this.work.spend(nodeUnits);
    switch (node.kind) {
      case 'constant':
        return node.value;
      case 'name':
        return orElse(scope.get(node.name), () => new Undefined(`'${node.name}' is undefined`));
      case 'attribute':
        return this.attribute(this.evaluate(node.object, scope), node.name);
      case 'item':
        return this.#item(node, scope);
      case 'call':
        return this.call(this.evaluate(node.callee, scope), this.args(node.args, scope));
      case 'filter':
        return this.filter(node.name, this.evaluate(node.input, scope), this.args(node.args, scope));
      case 'test':
        return this.test(node.name, this.evaluate(node.input, scope), this.args(node.args, scope));
      case 'logical': {
        const left = this.evaluate(node.left, scope);
        return truthy(left) === (node.operator === 'or') ? left : this.evaluate(node.right, scope);
      }
      case 'compare':
        return this.#compare(node, scope);
      case 'choice':
        if (truthy(this.evaluate(node.condition, scope))) return this.evaluate(node.then, scope);
        return node.otherwise === undefined
          ? new Undefined('the inline if-expression evaluated to false and no else section was defined.')
          : this.evaluate(node.otherwise, scope);
      case 'concat':
        return this.#concat(node.parts, scope);
      case 'binary':
        return binary(
          node.operator,
          this.evaluate(node.left, scope),
          this.evaluate(node.right, scope),
          this.work,
        );
      case 'unary': {
        const operand = this.evaluate(node.operand, scope);
        return node.operator === 'not' ? !truthy(operand) : signed(node.operator, operand);
      }
      case 'list':
        return this.#items(node.items, scope);
      case 'tuple':
        return new Tuple(this.#items(node.items, scope));
      case 'dict':
        this.work.spend(pairUnits * node.entries.length);
        return new Dict(
          node.entries.map(
            ([key, value]) => [this.evaluate(key, scope), this.evaluate(value, scope)] as const,
          ),
        );
    }
  }

  /** @throws RenderFailure for what cannot be called */
  call(callee: Value, args: Arguments): Value {
    if (callee instanceof Undefined) throw new RenderFailure(callee.message);
    const call = callee instanceof Callable || callee instanceof Thing ? callee.call : undefined;
    if (call === undefined) throw new RenderFailure(`'${typeName(callee)}' object is not callable`);
    return this.work.nested(() => call(args));
  }

  args(node: CallArguments, scope: Scope): Arguments {
    const positional = this.#items(node.positional, scope);
    const named = new Map<string, Value>();
    for (const { name, value } of node.named) named.set(name, this.evaluate(value, scope));
    if (node.spread !== undefined) positional.push(...listOf(this.evaluate(node.spread, scope), this.work));
    if (node.spreadNamed !== undefined) this.#spreadNamed(this.evaluate(node.spreadNamed, scope), named);
    return { positional, named };
  }

  /** The filters one after another. */
  filtered(value: Value, calls: readonly FilterCall[], scope: Scope): Value {
    for (const { name, args } of calls) value = this.filter(name, value, this.args(args, scope));
    return value;
  }

  #spreadNamed(given: Value, named: Map<string, Value>): void {
    if (!(given instanceof Dict))
      throw new RenderFailure(`argument after ** must be a mapping, not ${typeName(given)}`);
    for (const [key, value] of given.entries()) {
      if (!isText(key)) throw new RenderFailure('keywords must be strings');
      if (named.has(textOf(key)))
        throw new RenderFailure(`multiple values for keyword argument '${textOf(key)}'`);
      this.work.spend(pairUnits);
      named.set(textOf(key), value);
    }
  }

  #items(nodes: readonly Expression[], scope: Scope): Value[] {
    this.work.spend(entryUnits * nodes.length);
    return nodes.map((item) => this.evaluate(item, scope));
  }

  #item(node: Expression & { kind: 'item' }, scope: Scope): Value {
    const object = this.evaluate(node.object, scope);
    const { index } = node;
    if (index.kind !== 'slice') return this.item(object, this.evaluate(index, scope));
    const part = (of: Expression | undefined) => (of === undefined ? null : this.evaluate(of, scope));
    return sliceOf(object, part(index.start), part(index.stop), part(index.step), this);
  }

  #compare(node: Expression & { kind: 'compare' }, scope: Scope): boolean {
    let left = this.evaluate(node.first, scope);
    for (const { operator, operand } of node.rest) {
      const right = this.evaluate(operand, scope);
      if (!compare(operator, left, right, this.work)) return false;
      left = right;
    }
    return true;
  }

  #concat(parts: readonly Expression[], scope: Scope): string {
    let text = '';
    for (const part of parts) {
      const piece = display(this.evaluate(part, scope), this.work);
      this.work.spend(piece.length);
      text += piece;
    }
    return text;
  }
}
