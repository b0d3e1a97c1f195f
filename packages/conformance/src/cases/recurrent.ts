/** causalConv, gatedDelta, copySlots: states of one slot for each sequence, ragged steps, snapshots. */
import { HostTensor, type Value } from '@unicorn-exec/tensor';
import { normal, Sketch, type Case, type Fill } from '../case.js';
import { Random } from '../random.js';
import { boundEach, errorAt, type Errors } from '../bound.js';
import { functionUnits, gamma, unit, type BoundContext } from '../tolerance.js';
import type { OpSuite } from './suite.js';

/**
 * The cases read slots that no sequence writes, so the state that a bound sees still holds what the op began with: slot
 * 0 is zeros. A sum of `width` products is off by gamma(width + 1) of their magnitudes and by what operands are off.
 */
function convBound({ inputs, outputs }: BoundContext): Errors[] {
  const x = inputs.x!;
  const state = inputs.state!.tensor.floats;
  const { columns: channels, rows } = x.tensor;
  const width = inputs.weight!.tensor.columns;
  const weight = inputs.weight!.tensor.toFloats();
  const starts = inputs.starts!.tensor.integers;
  const slots = inputs.slots!.tensor.integers;
  const kept = outputs[1]!;
  const stateErrors = x.errors ? new Float64Array(kept.elements).fill(Infinity) : undefined;
  const sequenceOf = (row: number): number => starts.findLastIndex((start) => start <= row);
  const y = boundEach(outputs[0]!, (index) => {
    const [row, channel] = [Math.floor(index / channels), index % channels];
    const sequence = sequenceOf(row);
    let [size, carried] = [0, 0];
    for (let i = 0; i < width; i++) {
      const from = row - width + 1 + i;
      const w = Math.abs(weight[channel * width + i]!);
      if (from >= starts[sequence]!) {
        size += w * Math.abs(x.tensor.floats[from * channels + channel]!);
        carried += w * errorAt(x.errors, from * channels + channel);
      } else if (slots[2 * sequence]! > 0) {
        const line = slots[2 * sequence]! * (width - 1) + (from - starts[sequence]! + width - 1);
        size += w * Math.abs(state[line * channels + channel]!);
      }
    }
    return carried + gamma(width + 1) * (size + carried);
  });
  return rows === 0 ? [y, undefined] : [y, stateErrors];
}

/**
 * Errors are carried token by token, element by element of S, with f = exp(decay), off by functionUnits units and the
 * error of decay. With S' = f S, r = S'^T k and c = beta (v - r): E' = f E + ef |S|, and the error of r is
 * sum (E' |k|) + gamma(keyDim + 2) sum |S'| |k|, that of c is beta times that and 3 units of beta (|v| + |r|). Then
 * S'' = S' + k c is off by E' + |k| ec + 3 units of its parts, and y = S''^T q by sum E'' |q| + gamma(keyDim + 2)
 * sum |S''| |q|.
 */
function deltaBound({ inputs, outputs }: BoundContext): Errors[] {
  const state = inputs.state!.tensor;
  const [, heads, keyDim, valueDim] = state.shape as [number, number, number, number];
  const keyHeads = inputs.key!.tensor.shape[1]!;
  const [q, k, v] = [inputs.query!, inputs.key!, inputs.value!].map(({ tensor }) => tensor.floats);
  const rows = inputs.value!.tensor.shape[0]!;
  const starts = inputs.starts!.tensor.integers;
  const slots = inputs.slots!.tensor.integers;
  const size = heads * keyDim * valueDim;
  const y = new Float64Array(outputs[0]!.elements);
  const after = new Float64Array(state.elements);
  starts.forEach((begin, sequence) => {
    const [from, to] = [slots[2 * sequence]!, slots[2 * sequence + 1]!];
    const held =
      from === 0
        ? new Float64Array(size)
        : Float64Array.from(state.floats.subarray(from * size, (from + 1) * size));
    const off = new Float64Array(size);
    for (let row = begin; row < (starts[sequence + 1] ?? rows); row++) {
      for (let head = 0; head < heads; head++) {
        const gate = row * heads + head;
        const factor = Math.exp(inputs.decay!.tensor.floats[gate]!);
        const factorOff = factor * functionUnits * unit;
        const beta = inputs.beta!.tensor.floats[gate]!;
        const keyAt = (row * keyHeads + Math.floor((head * keyHeads) / heads)) * keyDim;
        for (let j = 0; j < valueDim; j++) {
          const at = (i: number): number => (head * keyDim + i) * valueDim + j;
          let [recalled, magnitude, carried] = [0, 0, 0];
          for (let i = 0; i < keyDim; i++) {
            const key = Math.abs(k![keyAt + i]!);
            off[at(i)] = factor * off[at(i)]! + (factorOff + 2 * unit * factor) * Math.abs(held[at(i)]!);
            held[at(i)]! *= factor;
            recalled += held[at(i)]! * k![keyAt + i]!;
            magnitude += Math.abs(held[at(i)]!) * key;
            carried += off[at(i)]! * key;
          }
          const value = v![gate * valueDim + j]!;
          const recalledOff = carried + gamma(keyDim + 2) * (magnitude + carried);
          const correction = beta * (value - recalled);
          const correctionOff =
            Math.abs(beta) * (recalledOff + 3 * unit * (Math.abs(value) + Math.abs(recalled) + recalledOff));
          let [read, readOff] = [0, 0];
          for (let i = 0; i < keyDim; i++) {
            const key = Math.abs(k![keyAt + i]!);
            const parts = Math.abs(held[at(i)]!) + key * (Math.abs(correction) + correctionOff);
            off[at(i)]! += key * correctionOff + 3 * unit * parts;
            held[at(i)]! += k![keyAt + i]! * correction;
            read += Math.abs(held[at(i)]! * q![keyAt + i]!);
            readOff += off[at(i)]! * Math.abs(q![keyAt + i]!);
          }
          y[gate * valueDim + j] = readOff + gamma(keyDim + 2) * (read + readOff);
        }
      }
    }
    if (to > 0) after.set(off, to * size);
  });
  return [y, after];
}

interface Sequences {
  readonly starts: readonly number[];
  /** Read and written slot of each. */
  readonly slots: readonly (readonly [number, number])[];
  readonly rows: number;
}

const ragged: Sequences = {
  rows: 11,
  starts: [0, 5, 6, 6],
  slots: [
    [0, 3],
    [1, 4],
    [2, 5],
    [6, 0],
  ],
};
const fromZero: Sequences = { rows: 7, starts: [0], slots: [[0, 2]] };
const going: Sequences = { rows: 1, starts: [0], slots: [[6, 1]] };
const slotCount = 7;

function stateOf(sketch: Sketch, name: string, inner: readonly number[]): Value {
  const random = new Random(`state ${name}`);
  const shape = [slotCount, ...inner];
  const count = shape.reduce((a, b) => a * b, 1);
  const values = Float32Array.from({ length: count }, () => random.normal());
  return sketch.state('state', ['slots', ...inner], HostTensor.f32(shape, values));
}

function sequenceInputs(sketch: Sketch, { starts, slots }: Sequences): { starts: Value; slots: Value } {
  return {
    starts: sketch.given('starts', 'i32', ['sequences'], starts),
    slots: sketch.given('pairs', 'i32', ['sequences', 2], slots.flat()),
  };
}

function convCase(
  label: string,
  channels: number,
  width: number,
  sequences: Sequences,
  extra: Partial<Case> = {},
): Case {
  const name = `causalConv ${label}`;
  return {
    name,
    op: 'causalConv',
    ...extra,
    make() {
      const dims = { rows: sequences.rows, sequences: sequences.starts.length, slots: slotCount };
      const sketch = new Sketch(name, [], dims);
      const state = stateOf(sketch, name, [width - 1, channels]);
      const x = sketch.input('x', ['rows', channels]);
      const weight = sketch.input('weight', [channels, width]);
      const { starts, slots } = sequenceInputs(sketch, sequences);
      sketch.output('y', sketch.builder.causalConv({ state, x, weight, starts, slots }).y);
      return sketch.problem();
    },
  };
}

interface DeltaShape {
  readonly heads: number;
  readonly keyHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
}

function deltaCase(label: string, shape: DeltaShape, sequences: Sequences, extra: Partial<Case> = {}): Case {
  const { heads, keyHeads, keyDim, valueDim } = shape;
  const name = `gatedDelta ${label}`;
  const unitNorm: Fill = (random) => normal(random) / Math.sqrt(keyDim);
  return {
    name,
    op: 'gatedDelta',
    ...extra,
    make() {
      const dims = { rows: sequences.rows, sequences: sequences.starts.length, slots: slotCount };
      const sketch = new Sketch(name, [], dims);
      const state = stateOf(sketch, name, [heads, keyDim, valueDim]);
      const query = sketch.input('query', ['rows', keyHeads, keyDim], unitNorm);
      const key = sketch.input('key', ['rows', keyHeads, keyDim], unitNorm);
      const value = sketch.input('value', ['rows', heads, valueDim]);
      const decay = sketch.input('decay', ['rows', heads], (random) => -random.uniform());
      const beta = sketch.input('beta', ['rows', heads], (random) => random.uniform());
      const inputs = { state, query, key, value, decay, beta, ...sequenceInputs(sketch, sequences) };
      sketch.output('y', sketch.builder.gatedDelta(inputs).y);
      return sketch.problem();
    },
  };
}

function copyCase(label: string, pairs: readonly number[], extra: Partial<Case> = {}): Case {
  const name = `copySlots ${label}`;
  return {
    name,
    op: 'copySlots',
    ...extra,
    make() {
      const sketch = new Sketch(name, [], { count: pairs.length / 2, slots: slotCount });
      const state = stateOf(sketch, name, [3, 5]);
      sketch.builder.copySlots(state, sketch.given('pairs', 'i32', ['count', 2], pairs));
      return sketch.problem();
    },
  };
}

const strange: Sequences = { rows: 2, starts: [0], slots: [[slotCount, 1]] };
const small: DeltaShape = { heads: 3, keyHeads: 3, keyDim: 5, valueDim: 7 };

export const causalConvSuite: OpSuite = {
  bound: convBound,
  cases: () => [
    convCase('of a beginning', 13, 4, fromZero),
    convCase('of one token', 31, 4, going),
    convCase('ragged', 37, 3, ragged, { promise: 'A slot that is read and not written is a snapshot.' }),
    convCase('of a slot past the state', 5, 4, strange, { rejects: 'usage/slot' }),
  ],
  benchmarks: () => [],
};

export const gatedDeltaSuite: OpSuite = {
  bound: deltaBound,
  cases: () => [
    deltaCase('of a beginning', small, fromZero),
    deltaCase('of one token', { ...small, keyDim: 16 }, going),
    deltaCase('ragged, two heads for each key', { ...small, heads: 4, keyHeads: 2 }, ragged),
    deltaCase('of a slot past the state', small, strange, { rejects: 'usage/slot' }),
  ],
  benchmarks: () => [],
};

export const copySlotsSuite: OpSuite = {
  bound: ({ inputs }) => [inputs.state!.errors],
  cases: () => [
    copyCase('of two', [1, 4, 3, 6]),
    copyCase('of one to two', [2, 1, 2, 5]),
    copyCase('of none', []),
    copyCase('past the state', [1, slotCount], { rejects: 'usage/slot' }),
  ],
  benchmarks: () => [],
};
