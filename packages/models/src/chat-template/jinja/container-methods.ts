/** The methods of Python's dict, list and tuple. Those that change a value are known by name, and refused. */
import { equal, payForKey } from './comparison.js';
import { Dict, DictView, itemsOf, orElse, Tuple, type Value } from './value.js';
import { RenderFailure } from './failure.js';
import { operation, type Operation } from './signature.js';
import { sliceBounds } from './slicing.js';

type Methods<Self> = ReadonlyMap<string, Operation<Self> | 'changes'>;

const changes = (names: string) => names.split(' ').map((name) => [name, 'changes'] as const);

export const dictMethods: Methods<Dict> = new Map<string, Operation<Dict> | 'changes'>([
  [
    'get',
    operation('key default? /', (run, self, key, missing = null) => {
      payForKey(key!, run.work);
      return orElse(self.get(key!), () => missing);
    }),
  ],
  ['items', operation('', (_run, self) => new DictView('dict_items', self))],
  ['keys', operation('', (_run, self) => new DictView('dict_keys', self))],
  ['values', operation('', (_run, self) => new DictView('dict_values', self))],
  ['copy', operation('', (_run, self) => self)],
  ...changes('clear pop popitem setdefault update'),
]);

export const sequenceMethods: Methods<Value[] | Tuple> = new Map<
  string,
  Operation<Value[] | Tuple> | 'changes'
>([
  [
    'count',
    operation('value /', (run, self, value) =>
      BigInt(itemsOf(self).filter((item) => equal(item, value!, run.work)).length),
    ),
  ],
  [
    'index',
    operation('value start? stop? /', (run, self, value, start = null, stop = null) => {
      const items = itemsOf(self);
      const { from, count } = sliceBounds(items.length, start, stop, null);
      for (let i = from; i < from + count; i++) if (equal(items[i]!, value!, run.work)) return BigInt(i);
      throw new RenderFailure('the value is not in the list');
    }),
  ],
  ['copy', operation('', (_run, self) => self)],
  ...changes('append clear extend insert pop remove reverse sort'),
]);
