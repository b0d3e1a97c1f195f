/** What a render in progress offers to filters, tests and methods. */
import type { Work } from './work.js';
import type { Arguments, Value } from './value.js';

export interface Run {
  readonly work: Work;
  /** The attribute, else the entry of that name, else Undefined. @throws RenderFailure for one of an undefined value */
  attribute(value: Value, name: string): Value;
  /** The entry, else the attribute of that name, else Undefined. @throws RenderFailure for one of an undefined value */
  item(value: Value, index: Value): Value;
  /** Applies a filter by its name. @throws RenderFailure for one that does not exist */
  filter(name: string, input: Value, args: Arguments): Value;
  /** Applies a test by its name. @throws RenderFailure for one that does not exist */
  test(name: string, input: Value, args: Arguments): boolean;
}
