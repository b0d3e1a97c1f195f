/** Statements to text. */
import { Callable, Dict, Stream, Tuple, Undefined, type Arguments, type Value } from './value.js';
import { RenderFailure } from './failure.js';
import { Evaluator } from './evaluator.js';
import { globalsOf } from './globals.js';
import { entriesOf, listOf, truthy } from './iteration.js';
import { LoopContext } from './loop-context.js';
import { Namespace } from './namespace.js';
import { display } from './printing.js';
import { Scope } from './scope.js';
import type { For, Signature, Statement, Target, Template } from './syntax.js';
import { Work, nodeUnits } from './work.js';

/** What ended a body before its last statement. */
type Exit = 'break' | 'continue' | undefined;

/** The text made so far. Paid for piece by piece. */
class Output {
  text = '';

  constructor(private readonly work: Work) {}

  write(piece: string): void {
    this.work.spend(piece.length);
    this.text += piece;
  }
}

/**
 * The text of a template.
 *
 * @param variables hide functions of the same name
 * @param now the clock of `strftime_now`
 * @throws RenderFailure, Refusal, WorkExceeded, and V8's RangeError for a template that nests too deep
 */
export function render(
  template: Template,
  variables: Iterable<readonly [string, Value]>,
  now: () => Date,
  work: Work,
): string {
  const evaluator = new Evaluator(work);
  const globals = new Scope();
  for (const [name, value] of globalsOf(evaluator, now)) globals.set(name, value);
  for (const [name, value] of variables) globals.set(name, value);
  const output = new Output(work);
  new Renderer(evaluator).body(template.body, new Scope(globals), output);
  return output.text;
}

class Renderer {
  readonly #work: Work;

  constructor(private readonly evaluator: Evaluator) {
    this.#work = evaluator.work;
  }

  body(body: readonly Statement[], scope: Scope, output: Output): Exit {
    for (const statement of body) {
      const exit = this.#statement(statement, scope, output);
      if (exit !== undefined) return exit;
    }
    return undefined;
  }

  #statement(node: Statement, scope: Scope, output: Output): Exit {
    this.#work.spend(nodeUnits);
    switch (node.kind) {
      case 'text':
        output.write(node.text);
        return undefined;
      case 'print':
        output.write(display(this.evaluator.evaluate(node.value, scope), this.#work));
        return undefined;
      case 'for':
        return this.#for(node, scope, output);
      case 'if': {
        const branch = node.branches.find(({ condition }) =>
          truthy(this.evaluator.evaluate(condition, scope)),
        );
        return this.body(branch?.body ?? node.otherwise, scope, output);
      }
      case 'set':
        this.#assign(node.target, this.evaluator.evaluate(node.value, scope), scope);
        return undefined;
      case 'setBlock': {
        const inner = new Output(this.#work);
        const exit = this.body(node.body, new Scope(scope), inner);
        if (exit === undefined)
          this.#assign(node.target, this.evaluator.filtered(inner.text, node.filters, scope), scope);
        return exit;
      }
      case 'macro':
        scope.set(node.name, this.#function(node.name, node, scope));
        return undefined;
      case 'callBlock': {
        const callee = this.evaluator.evaluate(node.call.callee, scope);
        const args = this.evaluator.args(node.call.args, scope);
        args.named.set('caller', this.#function('caller', node, scope));
        output.write(display(this.evaluator.call(callee, args), this.#work));
        return undefined;
      }
      case 'filterBlock': {
        const inner = new Output(this.#work);
        const exit = this.body(node.body, new Scope(scope), inner);
        if (exit === undefined)
          output.write(display(this.evaluator.filtered(inner.text, node.filters, scope), this.#work));
        return exit;
      }
      case 'with': {
        const inner = new Scope(scope);
        for (const { target, value } of node.bindings)
          this.#assign(target, this.evaluator.evaluate(value, scope), inner);
        return this.body(node.body, inner, output);
      }
      case 'scope':
        return this.body(node.body, new Scope(scope), output);
      case 'break':
      case 'continue':
        return node.kind;
      case 'missing':
        throw new RenderFailure(`the statement '${node.statement}' is not supported in chat templates`);
    }
  }

  #for(node: For, scope: Scope, output: Output): Exit {
    const iterable = this.evaluator.evaluate(node.iterable, scope);
    return this.#loop(node, iterable, 0, scope, output);
  }

  #loop(node: For, iterable: Value, depth0: number, scope: Scope, output: Output): Exit {
    const recurse = (inner: Value, depth: number): Value => {
      const text = new Output(this.#work);
      this.#loop(node, inner, depth, scope, text);
      return text.text;
    };
    const loop = new LoopContext(
      this.#filtered(node, iterable, scope),
      this.#work,
      node.recursive ? recurse : undefined,
      depth0,
    );
    let completed = false;
    for (let entry = loop.next(); entry !== undefined; entry = loop.next()) {
      const inner = new Scope(scope);
      inner.set('loop', loop);
      this.#assign(node.target, entry, inner);
      const exit = this.body(node.body, inner, output);
      if (exit === 'break') break;
      // As Jinja2 has it, `else` runs as well where no body came to its end.
      if (exit === undefined) completed = true;
    }
    return completed ? undefined : this.body(node.otherwise, new Scope(scope), output);
  }

  /** The entries for which the condition of a loop holds. */
  #filtered(node: For, iterable: Value, scope: Scope): Value {
    const { condition } = node;
    if (condition === undefined) return iterable;
    const entries = entriesOf(iterable, this.#work);
    const chosen = function* (this: Renderer): Generator<Value> {
      for (const entry of entries) {
        const inner = new Scope(scope);
        inner.set('loop', new Undefined("'loop' is undefined"));
        this.#assign(node.target, entry, inner);
        if (truthy(this.evaluator.evaluate(condition, inner))) yield entry;
      }
    };
    return new Stream('generator', chosen.call(this));
  }

  #assign(target: Target, value: Value, scope: Scope): void {
    switch (target.kind) {
      case 'name':
        scope.set(target.name, value);
        return;
      case 'field': {
        const namespace = scope.get(target.namespace);
        if (!(namespace instanceof Namespace)) {
          throw new RenderFailure('cannot assign attribute on non-namespace object');
        }
        namespace.set(target.name, value);
        return;
      }
      case 'tuple': {
        const values = listOf(value, this.#work);
        if (values.length !== target.items.length) {
          throw new RenderFailure(`${values.length} values to unpack, expected ${target.items.length}`);
        }
        target.items.forEach((item, i) => this.#assign(item, values[i]!, scope));
      }
    }
  }

  /** A macro, or the body of a call block. */
  #function(name: string, node: { body: Statement[] } & Signature, scope: Scope): Callable {
    const call = (args: Arguments): Value => {
      const inner = new Scope(scope);
      this.#bind(name, node, args, inner);
      const output = new Output(this.#work);
      this.body(node.body, inner, output);
      return output.text;
    };
    return new Callable(name, call, 'Macro', `<Macro '${name}'>`);
  }

  #bind(
    name: string,
    { parameters, reads }: Signature,
    { positional, named }: Arguments,
    scope: Scope,
  ): void {
    const rest = new Map(named);
    parameters.forEach((parameter, i) => {
      let value = positional[i];
      if (value === undefined) {
        value = rest.get(parameter.name);
        rest.delete(parameter.name);
      }
      if (value === undefined) {
        value =
          parameter.value === undefined
            ? new Undefined(`parameter '${parameter.name}' was not provided`)
            : this.evaluator.evaluate(parameter.value, scope);
      }
      scope.set(parameter.name, value);
    });
    const isParameter = (word: string) => parameters.some((parameter) => parameter.name === word);
    if (reads.has('caller') && !isParameter('caller')) {
      scope.set('caller', rest.get('caller') ?? new Undefined('No caller defined'));
      rest.delete('caller');
    }
    if (reads.has('kwargs') && !isParameter('kwargs')) scope.set('kwargs', new Dict(rest));
    else if (rest.size > 0) {
      throw new RenderFailure(`macro '${name}' takes no keyword argument '${[...rest.keys()][0]}'`);
    }
    if (reads.has('varargs') && !isParameter('varargs')) {
      scope.set('varargs', new Tuple(positional.slice(parameters.length)));
    } else if (positional.length > parameters.length) {
      throw new RenderFailure(`macro '${name}' takes not more than ${parameters.length} argument(s)`);
    }
  }
}
