/** Jinja2's tests, the words behind `is`. */
import { binary } from './arithmetic.js';
import { compare, contains, equal } from './comparison.js';
import {
  Callable,
  Dict,
  isNumber,
  isText,
  Markup,
  Range,
  Thing,
  Tuple,
  Undefined,
  type Value,
} from './value.js';
import { RenderFailure } from './failure.js';
import { isCased } from './letter-case.js';
import { iterated } from './iteration.js';
import { display } from './printing.js';
import { operation, type Operation } from './signature.js';
import type { Comparison } from './syntax.js';

type Test = Operation<Value>;

const is = (holds: (value: Value) => boolean): Test => operation('', (_run, self) => holds(self));

const comparing = (operator: Comparison): Test =>
  operation('other /', (run, self, other) => compare(operator, self, other!, run.work));

const remainderIs = (wanted: bigint): Test =>
  operation('', (run, self) => equal(binary('%', self, 2n, run.work), wanted, run.work));

/** Python's `is`: small integers and short constants are one object, as CPython has it. */
function isSame(left: Value, right: Value): boolean {
  if (typeof left === 'bigint' || typeof left === 'string' || typeof left === 'number') {
    if (typeof left !== typeof right || left !== right) return false;
    if (typeof left === 'bigint' && left >= -5n && left <= 256n) return true;
    if (typeof left === 'string' && left.length <= 1) return true;
    throw new RenderFailure("'is sameas' of such values depends on Python's own memory");
  }
  return left === right;
}

export const tests: ReadonlyMap<string, Test> = new Map<string, Test>([
  ['defined', is((value) => !(value instanceof Undefined))],
  ['undefined', is((value) => value instanceof Undefined)],
  ['none', is((value) => value === null)],
  ['boolean', is((value) => typeof value === 'boolean')],
  ['true', is((value) => value === true)],
  ['false', is((value) => value === false)],
  ['integer', is((value) => typeof value === 'bigint')],
  ['float', is((value) => typeof value === 'number')],
  ['number', is(isNumber)],
  ['string', is(isText)],
  ['mapping', is((value) => value instanceof Dict)],
  [
    'sequence',
    is(
      (value) =>
        isText(value) ||
        Array.isArray(value) ||
        value instanceof Tuple ||
        value instanceof Dict ||
        value instanceof Range ||
        value instanceof Undefined,
    ),
  ],
  [
    'iterable',
    operation(
      '',
      (run, self) =>
        iterated(self, run.work) !== undefined || (self instanceof Thing && self.kind === 'LoopContext'),
    ),
  ],
  [
    'callable',
    is(
      (value) =>
        value instanceof Callable ||
        value instanceof Undefined ||
        (value instanceof Thing && value.call !== undefined),
    ),
  ],
  ['escaped', is((value) => value instanceof Markup)],
  ['odd', remainderIs(1n)],
  ['even', remainderIs(0n)],
  ['divisibleby', operation('num', (run, self, by) => equal(binary('%', self, by!, run.work), 0n, run.work))],
  ['lower', operation('', (run, self) => isCased(display(self, run.work), 'lower'))],
  ['upper', operation('', (run, self) => isCased(display(self, run.work), 'upper'))],
  ['sameas', operation('other', (_run, self, other) => isSame(self, other!))],
  ['in', operation('seq', (run, self, container) => contains(container!, self, run.work))],
  ...[
    ['==', 'eq', 'equalto'],
    ['!=', 'ne'],
    ['>', 'gt', 'greaterthan'],
    ['>=', 'ge'],
    ['<', 'lt', 'lessthan'],
    ['<=', 'le'],
  ].flatMap((names) => names.map((name) => [name, comparing(names[0] as Comparison)] as const)),
]);
