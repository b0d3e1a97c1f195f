/** The parameters of a function, a filter or a method, and matching a call's arguments to them. */
import { RenderFailure } from './failure.js';
import type { Run } from './run.js';
import { Callable, type Arguments, type Value } from './value.js';

/**
 * Something with parameters. `given` has an entry for each, undefined where the call gave none.
 *
 * @typeParam Self what a filter is applied to, or whose method it is
 */
export interface Operation<Self> {
  (run: Run, self: Self, args: Arguments, name: string): Value;
}

/**
 * @param parameters their names, one space between two; a `?` behind those that may be left out, and a `/` at the end when
 * none may be given by its name
 */
export function operation<Self>(
  parameters: string,
  apply: (run: Run, self: Self, ...given: (Value | undefined)[]) => Value,
): Operation<Self> {
  const words = parameters === '' ? [] : parameters.split(' ');
  const byPlace = words.at(-1) === '/';
  if (byPlace) words.pop();
  const names = words.map((word) => word.replace('?', ''));
  const required = words.filter((word) => !word.endsWith('?')).length;
  return (run, self, args, name) => apply(run, self, ...bound(name, names, required, byPlace, args));
}

function bound(
  called: string,
  names: readonly string[],
  required: number,
  byPlace: boolean,
  { positional, named }: Arguments,
): (Value | undefined)[] {
  if (positional.length > names.length) {
    throw new RenderFailure(
      `${called}() takes at most ${names.length} arguments, ${positional.length} were given`,
    );
  }
  const given: (Value | undefined)[] = names.map((_, i) => positional[i]);
  for (const [name, value] of named) {
    const place = byPlace ? -1 : names.indexOf(name);
    if (place < 0) throw new RenderFailure(`${called}() got an unexpected keyword argument '${name}'`);
    if (place < positional.length) {
      throw new RenderFailure(`${called}() got multiple values for argument '${name}'`);
    }
    given[place] = value;
  }
  for (let i = 0; i < required; i++) {
    if (given[i] === undefined) throw new RenderFailure(`${called}() misses its argument '${names[i]}'`);
  }
  return given;
}

/** A method, as a value of its own. */
export function boundMethod<Self>(name: string, method: Operation<Self>, self: Self, run: Run): Callable {
  return new Callable(name, (args) => method(run, self, args, name));
}
