/** Jinja2's filters of lists and dicts. Those that Python writes as generators give streams, which can be walked once. */
import { binary } from './arithmetic.js';
import { attributeOf } from './attribute.js';
import { equal, ordered, payForKey, sorted } from './comparison.js';
import {
  countOf,
  Dict,
  DictView,
  hashOf,
  isSequence,
  isText,
  itemsOf,
  likeText,
  orElse,
  Stream,
  textOf,
  Tuple,
  typeName,
  Undefined,
  type Arguments,
  type Value,
} from './value.js';
import { NotSupported, RenderFailure } from './failure.js';
import { entriesOf, iterated, lengthOf, listOf, truthy } from './iteration.js';
import { dictMethods } from './container-methods.js';
import { operation, type Operation } from './signature.js';
import type { Run } from './run.js';
import { pathGetter, pathsGetter } from './value-path.js';
import { entryUnits, pairUnits } from './work.js';

type Filter = Operation<Value>;

const generator = (iterator: Iterator<Value>): Stream => new Stream('generator', iterator);

/** Texts in lower case, unless their case matters. */
function caseless(get: (item: Value) => Value, caseSensitive: Value): (item: Value) => Value {
  if (truthy(caseSensitive)) return get;
  return (item) => {
    const value = get(item);
    return isText(value) ? textOf(value).toLowerCase() : value;
  };
}

const length: Filter = operation('', (run, self) => {
  const size = lengthOf(self, run.work);
  if (size === undefined) throw new RenderFailure(`object of type '${typeName(self)}' has no len()`);
  return BigInt(size);
});

const fallback: Filter = operation('default_value? boolean?', (_run, self, value = '', boolean = false) =>
  self instanceof Undefined || (truthy(boolean) && !truthy(self)) ? value : self,
);

function extreme(sign: 1 | -1): Filter {
  return operation('case_sensitive? attribute?', (run, self, sensitive = false, attribute = null) => {
    const key = caseless(pathGetter(attribute, run), sensitive);
    let best: { item: Value; key: Value } | undefined;
    for (const item of entriesOf(self, run.work)) {
      const candidate = { item, key: key(item) };
      if (best === undefined || sign * ordered(candidate.key, best.key, sign < 0 ? '<' : '>', run.work) > 0)
        best = candidate;
    }
    return best === undefined ? new Undefined('No aggregated item, sequence was empty.') : best.item;
  });
}

/** What `select`, `reject` and their kin do: a test by its name, of the item or of an attribute. */
function choosing(wanted: boolean, byAttribute: boolean): Filter {
  return (run, self, { positional, named }) =>
    generator(
      (function* () {
        if (!truthy(self)) return;
        const given = [...positional];
        let get = (item: Value): Value => item;
        if (byAttribute) {
          if (given.length === 0) throw new RenderFailure('Missing parameter for attribute name');
          get = pathGetter(given.shift()!, run);
        }
        const name = given.shift();
        for (const item of entriesOf(self, run.work)) {
          const value = get(item);
          const holds =
            name === undefined ? truthy(value) : run.test(nameOf(name), value, { positional: given, named });
          if (holds === wanted) yield item;
        }
      })(),
    );
}

function nameOf(value: Value): string {
  if (isText(value)) return textOf(value);
  throw new RenderFailure(`'${typeName(value)}' is not the name of a filter or a test`);
}

const map: Filter = (run, self, args) =>
  generator(
    (function* () {
      if (!truthy(self)) return;
      const apply = mapping(run, args);
      for (const item of entriesOf(self, run.work)) yield apply(item);
    })(),
  );

function mapping(run: Run, { positional, named }: Arguments): (item: Value) => Value {
  const attribute = named.get('attribute');
  if (positional.length === 0 && attribute !== undefined) {
    for (const name of named.keys()) {
      if (name !== 'attribute' && name !== 'default')
        throw new RenderFailure(`Unexpected keyword argument '${name}'`);
    }
    return pathGetter(attribute, run, named.get('default') ?? null);
  }
  const [name, ...rest] = positional;
  if (name === undefined) throw new RenderFailure('map requires a filter argument');
  return (item) => run.filter(nameOf(name), item, { positional: rest, named: new Map(named) });
}

const reverse: Filter = operation('', (run, self) => {
  if (isText(self)) {
    run.work.spend(entryUnits * textOf(self).length);
    return likeText(self, [...textOf(self)].reverse().join(''));
  }
  if (iterated(self, run.work) === undefined) throw new RenderFailure('argument must be iterable');
  const reversed = listOf(self, run.work).reverse();
  // Python reverses what has a length in place, without a copy; streams and undefined values become lists.
  if (self instanceof Stream || self instanceof Undefined) return reversed;
  return new Stream(Array.isArray(self) ? 'list_reverseiterator' : 'reversed', reversed.values());
});

const groupby: Filter = operation(
  'attribute default? case_sensitive?',
  (run, self, attribute, missing = null, sensitive = false) => {
    const get = pathGetter(attribute!, run, missing);
    const key = caseless(get, sensitive);
    const groups: { key: Value; items: Value[] }[] = [];
    for (const item of sorted(listOf(self, run.work), key, false, run.work)) {
      const of = key(item);
      const last = groups.at(-1);
      if (last !== undefined && equal(last.key, of, run.work)) last.items.push(item);
      else groups.push({ key: of, items: [item] });
    }
    return groups.map(
      (group) =>
        new Tuple([truthy(sensitive) ? group.key : get(group.items[0]!), group.items], ['grouper', 'list']),
    );
  },
);

const batch: Filter = operation('linecount fill_with?', (run, self, count, fill = null) =>
  generator(
    (function* () {
      const size = countOf(count!);
      let row: Value[] = [];
      for (const item of entriesOf(self, run.work)) {
        if (row.length === size) {
          yield row;
          row = [];
        }
        run.work.spend(entryUnits);
        row.push(item);
      }
      if (row.length === 0) return;
      const missing = fill === null ? 0 : Math.max(0, size - row.length);
      run.work.spend(entryUnits * missing);
      yield [...row, ...Array.from({ length: missing }, () => fill)];
    })(),
  ),
);

const slice: Filter = operation('slices fill_with?', (run, self, count, fill = null) =>
  generator(
    (function* () {
      const items = listOf(self, run.work);
      const slices = countOf(count!);
      if (slices === 0) throw new RenderFailure('integer division or modulo by zero');
      const each = Math.floor(items.length / slices);
      const extra = items.length - each * slices;
      for (let i = 0, at = 0; i < slices; i++) {
        const size = each + (i < extra ? 1 : 0);
        run.work.spend(entryUnits * (size + 1));
        const part = items.slice(at, at + size);
        at += size;
        yield fill !== null && i >= extra ? [...part, fill] : part;
      }
    })(),
  ),
);

const unique: Filter = operation(
  'case_sensitive? attribute?',
  (run, self, sensitive = false, attribute = null) => {
    const key = caseless(pathGetter(attribute, run), sensitive);
    return generator(
      (function* () {
        const seen = new Set<unknown>();
        for (const item of entriesOf(self, run.work)) {
          const of = key(item);
          payForKey(of, run.work);
          run.work.spend(pairUnits);
          const hash = hashOf(of);
          if (seen.has(hash)) continue;
          seen.add(hash);
          yield item;
        }
      })(),
    );
  },
);

export const sequenceFilters: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ['length', length],
  ['count', length],
  ['default', fallback],
  ['d', fallback],
  [
    'first',
    operation('', (run, self) => {
      const next = entriesOf(self, run.work).next();
      return next.done === true ? new Undefined('No first item, sequence was empty.') : next.value;
    }),
  ],
  [
    'last',
    operation('', (run, self) => {
      if (self instanceof Stream) throw new RenderFailure(`'${self.kind}' object is not reversible`);
      const items = isSequence(self) ? itemsOf(self) : listOf(self, run.work);
      return orElse(items.at(-1), () => new Undefined('No last item, sequence was empty.'));
    }),
  ],
  ['list', operation('', (run, self) => listOf(self, run.work))],
  ['reverse', reverse],
  ['min', extreme(-1)],
  ['max', extreme(1)],
  [
    'sum',
    operation('attribute? start?', (run, self, attribute = null, start = 0n) => {
      if (isText(start)) throw new RenderFailure("sum() can't sum strings");
      const get = pathGetter(attribute, run);
      let total: Value = start;
      for (const item of entriesOf(self, run.work)) total = binary('+', total, get(item), run.work);
      return total;
    }),
  ],
  [
    'sort',
    operation(
      'reverse? case_sensitive? attribute?',
      (run, self, reversed = false, sensitive = false, attribute = null) => {
        const get = pathsGetter(attribute, run);
        const lower = caseless((value) => value, sensitive);
        return sorted(listOf(self, run.work), (item) => get(item).map(lower), truthy(reversed), run.work);
      },
    ),
  ],
  [
    'dictsort',
    operation(
      'case_sensitive? by? reverse?',
      (run, self, sensitive = false, by = 'key', reversed = false) => {
        if (by !== 'key' && by !== 'value')
          throw new RenderFailure('You can only sort by either "key" or "value"');
        if (!(self instanceof Dict))
          throw new RenderFailure(`'${typeName(self)}' object has no attribute 'items'`);
        run.work.spend(pairUnits * self.size);
        const pairs = [...new DictView('dict_items', self).items()] as Tuple[];
        const key = caseless((pair) => (pair as Tuple).items[by === 'key' ? 0 : 1]!, sensitive);
        return sorted(pairs, key, truthy(reversed), run.work);
      },
    ),
  ],
  [
    'items',
    operation('', (_run, self) => {
      if (self instanceof Undefined) return generator([].values());
      if (!(self instanceof Dict)) {
        // Python's function is a generator: it fails when it is walked.
        return generator(
          (function* () {
            yield* [];
            throw new RenderFailure('Can only get item pairs from a mapping.');
          })(),
        );
      }
      return generator(new DictView('dict_items', self).items());
    }),
  ],
  ['groupby', groupby],
  ['unique', unique],
  ['batch', batch],
  ['slice', slice],
  ['map', map],
  ['select', choosing(true, false)],
  ['reject', choosing(false, false)],
  ['selectattr', choosing(true, true)],
  ['rejectattr', choosing(false, true)],
  [
    'attr',
    operation('name', (run, self, name) => {
      const key = nameOf(name!);
      // Entries of a dict are not attributes; its methods are.
      if (self instanceof Dict && !dictMethods.has(key)) {
        return new Undefined(`'dict object' has no attribute '${key}'`);
      }
      return attributeOf(self, key, run);
    }),
  ],
  [
    'random',
    () => {
      throw new NotSupported("The filter 'random'");
    },
  ],
]);
