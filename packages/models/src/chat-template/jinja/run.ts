/** What a render in progress offers to filters, tests and methods. */
import type { Work } from './work.js';
import type { Arguments, Value } from './value.js';

export interface Run {
  readonly work: Work;
  /** Applies a filter by its name. @throws RenderFailure for one that does not exist */
  filter(name: string, input: Value, args: Arguments): Value;
  /** Applies a test by its name. @throws RenderFailure for one that does not exist */
  test(name: string, input: Value, args: Arguments): boolean;
}
