/** The variable `loop` of a `for`. It looks one entry ahead only when it is asked what comes. */
import { RenderFailure } from './failure.js';
import { entriesOf, lengthOf } from './iteration.js';
import { equal } from './comparison.js';
import { Callable, Thing, Tuple, Undefined, orElse, type Arguments, type Value } from './value.js';
import { entryUnits, type Work } from './work.js';

export class LoopContext extends Thing {
  readonly kind = 'LoopContext';
  #iterator: Iterator<Value>;
  #index0 = -1;
  #length: number | undefined;
  #after: Value | undefined;
  #current: Value | undefined;
  #before: Value | undefined;
  #changed: Value = null;

  /**
   * @param iterable walked here
   * @param recurse renders the loop's body over other entries, one level deeper; undefined for a loop that is not recursive
   * @param depth0 how many loops of its own hold this one
   */
  constructor(
    iterable: Value,
    private readonly work: Work,
    private readonly recurse: ((iterable: Value, depth0: number) => Value) | undefined,
    private readonly depth0: number,
  ) {
    super();
    this.#length = lengthOf(iterable, work);
    this.#iterator = entriesOf(iterable, work);
  }

  /** The next entry; undefined at the end. */
  next(): Value | undefined {
    const value = this.#peek();
    this.#after = undefined;
    if (value === undefined) return undefined;
    this.#index0++;
    this.#before = this.#current;
    this.#current = value;
    return value;
  }

  override get length(): number {
    if (this.#length === undefined) {
      const rest: Value[] = [];
      for (let next = this.#iterator.next(); next.done !== true; next = this.#iterator.next()) {
        this.work.spend(entryUnits);
        rest.push(next.value);
      }
      this.#iterator = rest.values();
      this.#length = rest.length + this.#index0 + 1 + (this.#after === undefined ? 0 : 1);
    }
    return this.#length;
  }

  override attribute(name: string): Value | undefined {
    switch (name) {
      case 'index0':
        return BigInt(this.#index0);
      case 'index':
        return BigInt(this.#index0 + 1);
      case 'revindex0':
        return BigInt(this.length - this.#index0 - 1);
      case 'revindex':
        return BigInt(this.length - this.#index0);
      case 'length':
        return BigInt(this.length);
      case 'first':
        return this.#index0 === 0;
      case 'last':
        return this.#peek() === undefined;
      case 'depth0':
        return BigInt(this.depth0);
      case 'depth':
        return BigInt(this.depth0 + 1);
      case 'previtem':
        return this.#index0 === 0 ? new Undefined('there is no previous item') : this.#before;
      case 'nextitem':
        return orElse(this.#peek(), () => new Undefined('there is no next item'));
      case 'cycle':
        return new Callable('cycle', ({ positional }) => {
          if (positional.length === 0) throw new RenderFailure('no items for cycling given');
          return positional[this.#index0 % positional.length]!;
        });
      case 'changed':
        return new Callable('changed', ({ positional }) => {
          const values = new Tuple(positional);
          const changed = this.#changed === null || !equal(this.#changed, values, this.work);
          if (changed) this.#changed = values;
          return changed;
        });
    }
    return undefined;
  }

  override readonly call = ({ positional, named }: Arguments): Value => {
    const iterable = positional.length > 0 ? positional[0] : named.get('iterable');
    if (iterable === undefined) throw new RenderFailure("loop() misses its argument 'iterable'");
    if (this.recurse === undefined) {
      throw new RenderFailure("The loop must have the 'recursive' marker to be called recursively.");
    }
    return this.recurse(iterable, this.depth0 + 1);
  };

  override print(): string {
    return `<LoopContext ${this.#index0 + 1}/${this.length}>`;
  }

  #peek(): Value | undefined {
    if (this.#after === undefined) {
      const next = this.#iterator.next();
      if (next.done !== true) this.#after = next.value;
    }
    return this.#after;
  }
}
