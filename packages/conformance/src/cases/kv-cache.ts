/** kvWrite and attention: every KV dtype, grouped queries, windows, softcap, reach, ragged batches, scattered blocks. */
import { type DeviceInfo, type DType, type HostTensor } from '@unicorn-exec/tensor';
import { Sketch, type Case } from '../case.js';
import { layRagged, makeState, type RaggedSequence } from '../ragged.js';
import { enteringErrors, isExact, storingNoise, type ProductFormat } from '../product-format.js';
import { errorAt, type Errors } from '../bound.js';
import { functionUnits, gamma, unit, type BoundContext } from '../tolerance.js';
import type { OpSuite } from './suite.js';

/** What storing a value that is off by `e` can change in what is read back. Exact values are stored exactly alike. */
function storedError(dtype: DType, x: number, e: number, blockTop: number): number {
  if (e === 0) return 0;
  switch (dtype) {
    case 'f32':
      return e;
    case 'f16':
      // Both roundings may go apart: half a unit of 2^-10 each, or the subnormal step of 2^-24.
      return e + 2 ** -10 * (Math.abs(x) + e) + 2 ** -24;
    case 'bf16':
      return e + 2 ** -7 * (Math.abs(x) + e);
    default:
      // q8_0: half a step each, and a scale that is off relatively by e / blockTop and by an f16 rounding each.
      return 2 * e + (blockTop + e) / 127 + 2 ** -10 * blockTop;
  }
}

/**
 * The state is exact where keys and values are: kvWrite's encoding is part of its meaning. Padded rows share the slots
 * of block 0, in any order: nothing is promised of those.
 */
function kvWriteBound({ inputs }: BoundContext): Errors[] {
  const state = inputs.state!.tensor;
  const [, parts, heads, blockTokens, headDim] = state.shape as [number, number, number, number, number];
  const slots = inputs.slots!.tensor.integers;
  const before = inputs.state!.errors;
  const sunk = slots.some((slot) => slot < blockTokens);
  const inexact = inputs.key!.errors ?? inputs.value?.errors;
  if (!before && !sunk && !inexact) return [undefined];
  const errors = before ? Float64Array.from(before) : new Float64Array(state.elements);
  for (const [part, source] of [inputs.key!, inputs.value].entries()) {
    if (!source) continue;
    const x = source.tensor.floats;
    slots.forEach((slot, token) => {
      for (let head = 0; head < heads; head++) {
        const block = Math.floor(slot / blockTokens);
        const row = ((block * parts + part) * heads + head) * blockTokens + (slot % blockTokens);
        const from = (token * heads + head) * headDim;
        for (let i = 0; i < headDim; i++) {
          const group = from + (i - (i % 32));
          const top = x.subarray(group, group + 32).reduce((a, b) => Math.max(a, Math.abs(b)), 0);
          errors[row * headDim + i] =
            block === 0
              ? Infinity
              : storedError(state.dtype, x[from + i]!, errorAt(source.errors, from + i), top);
        }
      }
    });
  }
  return [errors];
}

/** The rows of a state that one query head sees: indices of key rows; value rows lie `valueOffset` further. */
function visibleRows(
  { inputs, attributes }: BoundContext,
  sequence: number,
  row: number,
  kvHead: number,
): { keys: number[]; valueOffset: number } {
  const [, parts, kvHeads, blockTokens] = inputs.state!.tensor.shape as [number, number, number, number];
  const columns = inputs.blocks!.tensor.columns;
  const table = inputs.blocks!.tensor.integers;
  const position = inputs.positions!.tensor.integers[row]!;
  const last = inputs.reach?.tensor.integers[row] ?? position;
  const window = attributes.window as number | undefined;
  const first = window === undefined ? 0 : Math.max(0, position - window + 1);
  const keys: number[] = [];
  for (let key = first; key <= last; key++) {
    const block = table[sequence * columns + Math.floor(key / blockTokens)]!;
    keys.push((block * parts * kvHeads + kvHead) * blockTokens + (key % blockTokens));
  }
  return { keys, valueOffset: (parts - 1) * kvHeads * blockTokens };
}

/** The largest relative rounding of a probability. */
function probabilityUnit(format: ProductFormat): number {
  if (isExact(format)) return 0;
  const { activations } = format;
  return activations.kind === 'float' && activations.dtype === 'bf16' ? 2 ** -8 : 2 ** -11;
}

/**
 * Scores s = scale q.k: rounding gamma(headDim + 4) |scale| |q|.|k|; q may be stored like what enters a product with a
 * weight, a head being a row. The softcap has slope 1 and
 * functionUnits of its argument. Let D bound the error of each score, with 2 units of |s| + |top| for the subtraction
 * and functionUnits for exp. A weight is then off by a factor within exp(+-D) and a normalized one within exp(+-2D).
 * Hence the output, a sum of p v, is off by at most
 *   (exp(2D) - 1) sum p |v|  +  exp(2D) sum p ev  +  gamma(keys + 6) sum p |v|  [+ u sum p |v|, where
 * probabilities may pass through f16 (u = 2^-11), or bf16 (2^-8), unless products keep every bit].
 */
function attentionBound(context: BoundContext): Errors[] {
  const { inputs, attributes, outputs, format } = context;
  const query = inputs.query!.tensor;
  const moved = enteringErrors(format.activations, inputs.query!);
  const { tensor: state, errors: stateErrors } = inputs.state!;
  const [rows, heads, headDim] = query.shape as [number, number, number];
  const kvHeads = state.shape[2]!;
  const { scale, softcap } = attributes as { scale: number; softcap?: number };
  const starts = inputs.starts!.tensor.integers;
  const q = query.floats;
  const passing = probabilityUnit(format);
  const errors = new Float64Array(outputs[0]!.elements);
  const line = new Float32Array(headDim);
  for (let sequence = 0; sequence < starts.length; sequence++) {
    const end = starts[sequence + 1] ?? rows;
    for (let row = starts[sequence]!; row < end; row++) {
      for (let head = 0; head < heads; head++) {
        const kvHead = Math.floor((head * kvHeads) / heads);
        const { keys, valueOffset } = visibleRows(context, sequence, row, kvHead);
        const from = (row * heads + head) * headDim;
        let drift = 0;
        const scores = keys.map((key) => {
          state.decodeRow(key, line);
          let [dot, size, carried] = [0, 0, 0];
          for (let i = 0; i < headDim; i++) {
            const [a, b] = [q[from + i]!, line[i]!];
            const e = errorAt(stateErrors, key * headDim + i);
            dot += a * b;
            const off = errorAt(moved, from + i);
            size += (Math.abs(a) + off) * (Math.abs(b) + e);
            carried += off * Math.abs(b) + (Math.abs(a) + off) * e;
          }
          const raw = dot * scale;
          drift = Math.max(
            drift,
            Math.abs(scale) * (carried + gamma(headDim + 4) * size) +
              (softcap === undefined ? 0 : functionUnits * unit * (Math.abs(raw) + softcap)),
          );
          return softcap === undefined ? raw : softcap * Math.tanh(raw / softcap);
        });
        const top = Math.max(...scores);
        const reach = Math.max(...scores.map(Math.abs), 0);
        drift += 4 * unit * reach + functionUnits * unit;
        const weights = scores.map((score) => Math.exp(score - top));
        const total = weights.reduce((a, b) => a + b, 0);
        const relative = Math.expm1(2 * drift) + gamma(keys.length + 6) + passing + 2 * unit;
        keys.forEach((key, index) => {
          const p = weights[index]! / total;
          state.decodeRow(key + valueOffset, line);
          for (let i = 0; i < headDim; i++) {
            const e = errorAt(stateErrors, (key + valueOffset) * headDim + i);
            errors[from + i]! += p * (relative * (Math.abs(line[i]!) + e) + Math.exp(2 * drift) * e);
          }
        });
      }
    }
  }
  return [errors];
}

export interface AttentionShape {
  readonly dtype: DType;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly blockTokens: number;
  readonly sequences: readonly RaggedSequence[];
  readonly window?: number;
  readonly softcap?: number;
  /** Queries see this many positions past their own, as far as the sequence goes: an image's two-way span. */
  readonly ahead?: number;
  readonly filler?: 'zeros' | 'junk' | 'poison';
  /** The state stores keys alone, which are the values too. */
  readonly valuesAreKeys?: boolean;
  /** Only the last row of each sequence asks, after all have been written. */
  readonly lastRowsOnly?: boolean;
  readonly scale?: number;
}

function attentionCase(label: string, shape: AttentionShape, extra: Partial<Case> = {}): Case {
  const { dtype, heads, kvHeads, headDim, blockTokens, sequences, window, softcap, ahead } = shape;
  const valuesAreKeys = shape.valuesAreKeys ?? false;
  const name = `attention ${dtype} ${label}`;
  // Quantized queries move scores, whose exponentials amplify: ten products' worth, as long as scores are of order 4.
  const noise = { rounded: 1, stored: 10 };
  return {
    name,
    op: 'attention',
    ...((shape.scale ?? 0) <= 1 ? { noise } : {}),
    ...extra,
    make() {
      const batch = layRagged(sequences, { blockTokens, window, seed: name });
      const asking = shape.lastRowsOnly
        ? batch.starts
            .map((start, sequence) => (batch.starts[sequence + 1] ?? batch.tokens) - 1)
            .filter((row) => row >= 0)
        : batch.positions.map((_, row) => row);
      const queryRows = shape.lastRowsOnly ? 'outputs' : 'rows';
      const sketch = new Sketch(name, [], {
        rows: batch.tokens,
        outputs: asking.length,
        sequences: batch.sequences,
        blocks: batch.blocks,
        pool: batch.pool,
      });
      const stateShape = { dtype, pool: batch.pool, kvHeads, blockTokens, headDim, valuesAreKeys };
      const before = makeState(stateShape, shape.filler ?? 'junk', batch.pastSlots, name);
      const stored = valuesAreKeys ? 1 : 2;
      const state = sketch.state('kv', ['pool', stored, kvHeads, blockTokens, headDim], before);
      const key = sketch.input('key', ['rows', kvHeads, headDim]);
      const value = valuesAreKeys ? undefined : sketch.input('value', ['rows', kvHeads, headDim]);
      const slots = sketch.given('slots', 'i32', ['rows'], batch.slots);
      const written = sketch.builder.kvWrite(state, key, value, slots);
      const lastOf = (row: number): number => {
        const next = batch.starts.find((start) => start > row) ?? batch.tokens;
        return batch.positions[next - 1]!;
      };
      const query = sketch.input('query', [queryRows, heads, headDim]);
      const positions = sketch.given(
        'positions',
        'i32',
        [queryRows],
        asking.map((row) => batch.positions[row]!),
      );
      const starts = sketch.given(
        'starts',
        'i32',
        ['sequences'],
        shape.lastRowsOnly ? batch.starts.map((_, sequence) => sequence) : batch.starts,
      );
      const blocks = sketch.given('blocks', 'i32', ['sequences', 'blocks'], batch.table);
      const reach =
        ahead === undefined
          ? undefined
          : sketch.given(
              'reach',
              'i32',
              [queryRows],
              asking.map((row) => Math.min(batch.positions[row]! + ahead, lastOf(row))),
            );
      const attributes = { scale: shape.scale ?? 1 / Math.sqrt(headDim), window, softcap };
      sketch.output(
        'y',
        sketch.builder.attention({ query, state: written, positions, starts, blocks, reach }, attributes),
      );
      return sketch.problem();
    },
  };
}

const ragged: readonly RaggedSequence[] = [
  { past: 0, rows: 13 },
  { past: 29, rows: 1 },
  { past: 7, rows: 5 },
  { past: 17, rows: 1 },
];

/** head dims that the KV dtype can hold. */
function headDims(dtype: DType): { small: number; large: number } {
  return dtype === 'q8_0' ? { small: 32, large: 96 } : { small: 20, large: 66 };
}

function attentionCases({ dtypes }: DeviceInfo): Case[] {
  const list: Case[] = [];
  for (const dtype of dtypes.kv) {
    const { small, large } = headDims(dtype);
    const base: AttentionShape = {
      dtype,
      heads: 6,
      kvHeads: 2,
      headDim: small,
      blockTokens: 4,
      sequences: ragged,
    };
    list.push(
      attentionCase('one token', { ...base, sequences: [{ past: 0, rows: 1 }] }),
      attentionCase('first prompt', { ...base, sequences: [{ past: 0, rows: 23 }] }),
      attentionCase('ragged', base),
      attentionCase('one head per KV head', { ...base, heads: 3, kvHeads: 3, headDim: large }),
      attentionCase('one KV head for seven', { ...base, heads: 7, kvHeads: 1 }),
      attentionCase('long past', {
        ...base,
        blockTokens: 16,
        headDim: large,
        sequences: [
          { past: 211, rows: 3 },
          { past: 500, rows: 1 },
        ],
      }),
      attentionCase('window', { ...base, window: 7 }),
      attentionCase('window of one', { ...base, window: 1 }),
      attentionCase('window beyond the past', { ...base, window: 1000 }),
      attentionCase('softcap', { ...base, softcap: 2, scale: 1 }),
      attentionCase('window and softcap', { ...base, window: 11, softcap: 5, scale: 1 }),
      attentionCase('sharp scores', { ...base, scale: 8 }),
      attentionCase('reach', { ...base, ahead: 3 }),
      attentionCase('reach and window', { ...base, ahead: 2, window: 5 }),
      attentionCase('a sequence without rows', {
        ...base,
        sequences: [
          { past: 3, rows: 2 },
          { past: 9, rows: 0 },
          { past: 0, rows: 1 },
          { past: 5, rows: 0 },
        ],
      }),
      attentionCase('last rows only', { ...base, lastRowsOnly: true }),
      attentionCase(
        'poisoned cache',
        { ...base, filler: 'poison' },
        {
          promise:
            'What a query may not see does not matter, not even NaN: other blocks, later slots, the sink.',
        },
      ),
      attentionCase(
        'poisoned cache and window',
        { ...base, filler: 'poison', window: 6 },
        {
          promise: 'What left the window does not matter, not even NaN.',
        },
      ),
      poisonedQueryCase(dtype, small),
      paddedCase(dtype, small),
      attentionCase('of keys that are the values', { ...base, valuesAreKeys: true }),
      attentionCase('of keys that are the values, long past and window', {
        ...base,
        blockTokens: 16,
        headDim: large,
        window: 151,
        valuesAreKeys: true,
        sequences: [
          { past: 211, rows: 3 },
          { past: 500, rows: 1 },
        ],
      }),
      attentionCase(
        'of keys that are the values, poisoned cache',
        { ...base, valuesAreKeys: true, filler: 'poison' },
        { promise: 'What a query may not see does not matter, not even NaN.' },
      ),
    );
  }
  const [first] = dtypes.kv;
  if (first) list.push(beyondTableCase(first, headDims(first).small));
  return list;
}

/** Widens a case's problem by changing its tensors. */
function changed(
  test: Case,
  extra: Partial<Case>,
  change: (tensors: Readonly<Record<string, HostTensor>>) => void,
): Case {
  return {
    ...test,
    ...extra,
    make(rows) {
      const problem = test.make(rows);
      change(problem.tensors);
      return problem;
    },
  };
}

function poisonedQueryCase(dtype: DType, headDim: number): Case {
  const test = attentionCase('NaN in a query', {
    dtype,
    heads: 4,
    kvHeads: 2,
    headDim,
    blockTokens: 4,
    sequences: [{ past: 3, rows: 3 }],
  });
  const promise = 'A NaN in a query spoils its own head of its own row.';
  return changed(test, { promise, nonFinite: true }, ({ query }) => {
    query!.floats[(1 * 4 + 2) * headDim + 5] = NaN;
  });
}

/** Rows that fill up a static shape form one more sequence that owns nothing: position 0, all blocks the sink. */
function paddedCase(dtype: DType, headDim: number): Case {
  const test = attentionCase('padded rows', {
    dtype,
    heads: 4,
    kvHeads: 2,
    headDim,
    blockTokens: 4,
    sequences: [
      { past: 5, rows: 2 },
      { past: 0, rows: 3 },
    ],
    filler: 'zeros',
  });
  return changed(
    test,
    {
      promise:
        'Padded rows write to block 0 and change no other row; nothing is promised of their own results.',
    },
    ({ slots, positions, blocks }) => {
      // The second sequence becomes the padding: its rows at position 0, in the sink.
      slots!.integers.fill(0, 2);
      positions!.integers.fill(0, 2);
      blocks!.integers.fill(0, blocks!.columns);
    },
  );
}

function beyondTableCase(dtype: DType, headDim: number): Case {
  const test = attentionCase('a position beyond the block table', {
    dtype,
    heads: 2,
    kvHeads: 1,
    headDim,
    blockTokens: 4,
    sequences: [{ past: 0, rows: 2 }],
  });
  return changed(test, { rejects: 'usage/block-table' }, ({ positions }) => {
    positions!.integers[1] = 8;
  });
}

interface WriteShape {
  readonly dtype: DType;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly blockTokens: number;
  readonly slots: readonly number[];
  readonly valuesAreKeys?: boolean;
}

function writeCase(label: string, shape: WriteShape, extra: Partial<Case> = {}, size = 1): Case {
  const { dtype, kvHeads, headDim, blockTokens, slots, valuesAreKeys = false } = shape;
  const name = `kvWrite ${dtype} ${label}`;
  const pool = 5;
  return {
    name,
    op: 'kvWrite',
    ...extra,
    make() {
      const sketch = new Sketch(name, [], { rows: slots.length, pool });
      const stateShape = { dtype, pool, kvHeads, blockTokens, headDim, valuesAreKeys };
      const before = makeState(stateShape, 'junk', [], name);
      const state = sketch.state(
        'kv',
        ['pool', valuesAreKeys ? 1 : 2, kvHeads, blockTokens, headDim],
        before,
      );
      const fill = (random: { normal(): number }): number => random.normal() * size;
      const key = sketch.input('key', ['rows', kvHeads, headDim], fill);
      const value = valuesAreKeys ? undefined : sketch.input('value', ['rows', kvHeads, headDim], fill);
      sketch.builder.kvWrite(state, key, value, sketch.given('slots', 'i32', ['rows'], slots));
      return sketch.problem();
    },
  };
}

function writeCases({ dtypes }: DeviceInfo): Case[] {
  return dtypes.kv.flatMap((dtype) => {
    const shape = { dtype, kvHeads: 3, headDim: headDims(dtype).small, blockTokens: 4 };
    return [
      writeCase('scattered slots', { ...shape, slots: [19, 4, 11, 6] }),
      writeCase('one slot', { ...shape, kvHeads: 1, headDim: headDims(dtype).large, slots: [5] }),
      writeCase('nothing', { ...shape, slots: [] }),
      writeCase('zeros', { ...shape, slots: [7, 8] }, {}, 0),
      writeCase('small numbers', { ...shape, slots: [7, 8] }, {}, 1e-6),
      writeCase('keys alone', { ...shape, slots: [19, 4, 11, 6], valuesAreKeys: true }),
      writeCase('a slot past the pool', { ...shape, slots: [4, 20] }, { rejects: 'usage/slot' }),
      writeCase('a negative slot', { ...shape, slots: [-1] }, { rejects: 'usage/slot' }),
    ];
  });
}

const benchmarkShape = { heads: 16, kvHeads: 4, headDim: 128, blockTokens: 16 };

export const kvWriteSuite: OpSuite = {
  bound: kvWriteBound,
  cases: writeCases,
  benchmarks: () => [],
};

export const attentionSuite: OpSuite = {
  bound: attentionBound,
  storing: ({ inputs, format }) => storingNoise({ activations: format.activations }, inputs.query!),
  cases: attentionCases,
  benchmarks: ({ dtypes }) =>
    dtypes.kv.flatMap((dtype) => [
      attentionCase('decode at 2048', { ...benchmarkShape, dtype, sequences: [{ past: 2047, rows: 1 }] }),
      attentionCase('prefill of 128', { ...benchmarkShape, dtype, sequences: [{ past: 0, rows: 128 }] }),
    ]),
};
