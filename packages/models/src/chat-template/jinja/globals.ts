/** The functions that every template has: Jinja2's, and those that transformers adds. */
import {
  Callable,
  Dict,
  isInteger,
  orElse,
  Range,
  Thing,
  typeName,
  Undefined,
  type Arguments,
  type Value,
} from './value.js';
import { NotSupported, Refusal, RenderFailure } from './failure.js';
import { listOf } from './iteration.js';
import { Namespace } from './namespace.js';
import { display } from './printing.js';
import { strftime } from './strftime.js';
import type { Run } from './run.js';
import { pairUnits } from './work.js';

/** As in Jinja2's sandbox. */
const maxRange = 100_000n;

/** @param now the clock of `strftime_now` */
export function globalsOf(run: Run, now: () => Date): ReadonlyMap<string, Value> {
  const entries: [string, (args: Arguments) => Value][] = [
    ['range', range],
    ['dict', (args) => new Dict(fieldsOf(args, 'dict', run))],
    [
      'namespace',
      (args) => {
        const namespace = new Namespace();
        for (const [key, value] of fieldsOf(args, 'namespace', run))
          namespace.set(display(key, run.work), value);
        return namespace;
      },
    ],
    ['cycler', (args) => new Cycler(args)],
    ['joiner', (args) => joiner(args)],
    [
      'raise_exception',
      (args) => {
        throw new Refusal(display(only(args, 'message', 'raise_exception'), run.work));
      },
    ],
    ['strftime_now', (args) => strftime(now(), display(only(args, 'format', 'strftime_now'), run.work))],
    [
      'lipsum',
      () => {
        throw new NotSupported('The function lipsum');
      },
    ],
  ];
  return new Map<string, Value>([
    ...entries.map(([name, call]) => [name, new Callable(name, call, 'function')] as const),
    ['self', new Blocks()],
  ]);
}

function only({ positional, named }: Arguments, name: string, called: string): Value {
  const value = positional.length > 0 ? positional[0] : named.get(name);
  if (value === undefined || positional.length + named.size !== 1) {
    throw new RenderFailure(`${called}() takes one argument`);
  }
  return value;
}

function range({ positional, named }: Arguments): Value {
  if (named.size > 0) throw new RenderFailure('range() takes no keyword arguments');
  const numbers = positional.map((value) => {
    if (value instanceof Undefined) throw new RenderFailure(value.message);
    if (isInteger(value)) return BigInt(value);
    throw new RenderFailure(
      `'${typeName(value)}' object cannot be interpreted as an integer: range() takes integers`,
    );
  });
  const [first, second, step = 1n] = numbers;
  if (first === undefined || numbers.length > 3) throw new RenderFailure('range expects 1 to 3 arguments');
  if (step === 0n) throw new RenderFailure('range() arg 3: the step must not be zero');
  const made = second === undefined ? new Range(0n, first, step) : new Range(first, second, step);
  if (BigInt(made.length) > maxRange) {
    throw new RenderFailure(`a range of ${made.length} entries is beyond the limit of ${maxRange}`);
  }
  return made;
}

/** The fields of `dict(mapping, name=value)`. */
function* fieldsOf(
  { positional, named }: Arguments,
  called: string,
  run: Run,
): Generator<readonly [Value, Value]> {
  if (positional.length > 1)
    throw new RenderFailure(`${called} expected at most 1 argument, got ${positional.length}`);
  const [given] = positional;
  const pairs = given instanceof Dict ? given.entries() : given === undefined ? [] : pairsOf(given, run);
  for (const pair of pairs) {
    run.work.spend(pairUnits);
    yield pair;
  }
  for (const [name, value] of named) {
    run.work.spend(pairUnits);
    yield [name, value];
  }
}

function* pairsOf(given: Value, run: Run): Generator<readonly [Value, Value]> {
  for (const pair of listOf(given, run.work)) {
    const [key, value, more] = listOf(pair, run.work);
    if (key === undefined || value === undefined || more !== undefined) {
      throw new RenderFailure('a dict is made of pairs');
    }
    yield [key, value];
  }
}

/** `self`, which knows the blocks of a template: only whether it is defined matters to chat templates. */
class Blocks extends Thing {
  readonly kind = 'TemplateReference';

  override attribute(name: string): never {
    throw new NotSupported(`The block self.${name}`);
  }
}

class Cycler extends Thing {
  readonly kind = 'Cycler';
  readonly #items: readonly Value[];
  #at = 0;

  constructor({ positional, named }: Arguments) {
    super();
    if (positional.length === 0 || named.size > 0)
      throw new RenderFailure('at least one item has to be provided');
    this.#items = positional;
  }

  override attribute(name: string): Value | undefined {
    switch (name) {
      case 'current':
        return this.#items[this.#at];
      case 'pos':
        return BigInt(this.#at);
      case 'items':
        return [...this.#items];
      case 'next':
        return new Callable(name, () => {
          const item = this.#items[this.#at]!;
          this.#at = (this.#at + 1) % this.#items.length;
          return item;
        });
      case 'reset':
        return new Callable(name, () => {
          this.#at = 0;
          return null;
        });
    }
    return undefined;
  }
}

function joiner({ positional, named }: Arguments): Callable {
  const separator = orElse(positional.length > 0 ? positional[0] : named.get('sep'), () => ', ');
  let used = false;
  return new Callable(
    'joiner',
    () => {
      const first = !used;
      used = true;
      return first ? '' : separator;
    },
    'Joiner',
  );
}
