/**
 * Writes one ragged step as the inputs that a program binds: ids, positions, where each sequence starts, where keys and
 * values go, which rows are sampled and how. The arrays are reused from step to step; a device copies host inputs
 * before `submit` returns.
 */
import {
  poolDim,
  sampleControls,
  sampleNames,
  sampleParameters,
  stateName,
  stateSlotsDim,
  type Binding,
  type Bindings,
  type DeviceBuffer,
  type KvPlan,
} from '@unicorn-exec/tensor';
import type { KvSequence } from '../kv/kv-sequence.js';
import type { StateSlots } from '../kv/sequence-slots.js';
import { stepNames, type Program, type SampledBuffers, type StepStates } from './program.js';
import type { PromptSpan } from '../prompt-span.js';
import type { SamplingRow } from '../sampling-parameters.js';

/** The portion of a step that belongs to one sequence. */
export interface StepPortion {
  readonly kv: KvSequence;
  /** Position of the first token: the first that is not computed, or one behind it for a draft. */
  readonly begin: number;
  /** Tokens from there on. */
  readonly count: number;
  /** Guessed tokens behind the known ones; what a portion counts may reach into them. */
  readonly draft: readonly number[];
  /** Spans of the sequence's prompt. What a portion counts holds all of a span or none of it. */
  readonly spans: readonly PromptSpan[];
  /** The slots of sequence states that it goes on from and leaves; absent where the model has none. */
  readonly stateSlots?: StateSlots | undefined;
  /** Absent: no token is sampled after these. */
  readonly sample?: SampleRequest | undefined;
  /** The one token is what the step before samples: only the device knows its id when this is submitted. */
  readonly follows?: boolean;
}

/** Where a submission leaves what it samples, and from where it takes those of its tokens when it follows. */
export interface StepIds {
  readonly sampled?: SampledBuffers | undefined;
  /** What the step before left, of the same sequences in the same order; undefined: the host knows all ids. */
  readonly from?: DeviceBuffer | undefined;
}

/** The portion of the next step that computes what this one samples. */
export function follower(portion: StepPortion): StepPortion {
  return { ...portion, begin: portion.begin + portion.count, count: 1, follows: true };
}

export interface SampleRequest {
  readonly row: SamplingRow;
  /** Row of the history state. */
  readonly historyRow: number;
  readonly promptLength: number;
  /** The last so many tokens of the portion are each followed by a sample: one, or one more than were guessed. */
  readonly count: number;
  /** For each sample: bit `id % 32` of word `id / 32` is 1 where allowed; undefined: all are. */
  readonly masks: readonly (Int32Array | undefined)[];
}

const positionColumn = sampleControls.indexOf('position');
const historyRowColumn = sampleControls.indexOf('historyRow');
const lengthColumn = sampleControls.indexOf('historyLength');
const promptColumn = sampleControls.indexOf('promptLength');

/** Block tables are as wide as these many positions need, or twice, four times, ... as many. */
const leastTablePositions = 256;

interface ProgramBindings {
  readonly dims: Record<string, number>;
  readonly buffers: Record<string, Binding>;
}

export class StepBatch {
  readonly #bindings = new WeakMap<Program, ProgramBindings>();
  readonly #integers = new Map<string, Int32Array>();
  readonly #floats = new Map<string, Float32Array>();

  constructor(
    private readonly plan: KvPlan,
    private readonly states: StepStates,
  ) {}

  /** The bindings of one submission. They are overwritten by the next call. */
  bind(program: Program, portions: readonly StepPortion[], { sampled: into, from }: StepIds = {}): Bindings {
    const sampled = portions.filter(({ sample }) => sample);
    const outputs = sampled.reduce((sum, { sample }) => sum + sample!.count, 0);
    const tokens = portions.reduce((sum, { count }) => sum + count, 0);
    const columns = this.#columns(
      portions.reduce((most, { begin, count }) => Math.max(most, begin + count), 0),
    );
    const biases = sampled.reduce((most, { sample }) => Math.max(most, sample!.row.biasIds.length), 1);
    const { dims, buffers } = this.#bindingsOf(program);
    dims.tokens = tokens;
    dims.sequences = portions.length;
    dims.outputs = outputs;
    dims.blocks = columns;
    dims.biases = biases;
    const inputs: Record<string, Int32Array | Float32Array> = {
      ...this.#ragged(portions, tokens, outputs),
      ...this.#tables(portions, tokens, columns),
      ...(this.plan.stateSlots > 0 ? { stateSlots: this.#stateSlots(portions) } : {}),
      ...(program.kind.given ? this.#given(portions, dims) : {}),
      ...(program.kind.reach ? { reach: this.#reach(portions, tokens) } : {}),
      ...(program.kind.result === 'sample' && !program.kind.late
        ? this.#sampling(program, sampled, outputs, biases)
        : {}),
    };
    for (const name of Object.keys(program.executable.signature.inputs)) {
      const input = inputs[name];
      if (input) buffers[name] = input;
    }
    if (from) buffers[stepNames.ids] = from;
    if (into) Object.assign(buffers, into);
    return { dims, buffers };
  }

  /** The bindings of a sampler, for the last token of a portion. */
  bindSampler(program: Program, portion: StepPortion, logits: DeviceBuffer, into: SampledBuffers): Bindings {
    const biases = Math.max(1, portion.sample!.row.biasIds.length);
    const sampling = this.#sampling(program, [portion], 1, biases);
    const history = { [sampleNames.history]: this.states.history };
    return {
      dims: { outputs: 1, biases },
      buffers: { ...sampling, ...history, ...into, [sampleNames.logits]: logits },
    };
  }

  /** Columns of the block tables: few different numbers, since a device may prepare what it does for each of them. */
  #columns(positions: number): number {
    const { blockTokens, tableColumns } = this.plan;
    let covered = leastTablePositions;
    while (covered < positions) covered *= 2;
    return Math.min(tableColumns, Math.ceil(covered / blockTokens));
  }

  /** What stays the same from step to step is written once: outputs, states, the sizes of the pools. */
  #bindingsOf(program: Program): ProgramBindings {
    const known = this.#bindings.get(program);
    if (known) return known;
    const dims: Record<string, number> = {};
    for (const { group, blocks } of this.plan.groups) dims[poolDim(group)] = blocks;
    const buffers: Record<string, Binding> = { ...program.outputs };
    const { state } = program.executable.signature;
    for (const [layer, buffer] of this.states.kv) {
      if (stateName(layer) in state) buffers[stateName(layer)] = buffer;
    }
    for (const [name, buffer] of this.states.sequence) {
      if (Object.hasOwn(state, name)) buffers[name] = buffer;
    }
    if (this.plan.stateSlots > 0) dims[stateSlotsDim] = this.plan.stateSlots;
    if (sampleNames.history in state) buffers[sampleNames.history] = this.states.history;
    const made = { dims, buffers };
    this.#bindings.set(program, made);
    return made;
  }

  #ragged(portions: readonly StepPortion[], tokens: number, outputs: number): Record<string, Int32Array> {
    const ids = this.#int32('ids', tokens);
    const positions = this.#int32('positions', tokens);
    const starts = this.#int32('starts', portions.length);
    const rows = this.#int32('rows', outputs);
    const rowStarts = this.#int32('rowStarts', portions.length);
    let row = 0;
    let output = 0;
    portions.forEach(({ kv, begin, count, draft, sample, follows }, sequence) => {
      starts[sequence] = row;
      rowStarts[sequence] = output;
      for (let position = begin; position < begin + count; position++, row++) {
        ids[row] = follows ? 0 : (kv.tokens[position] ?? draft[position - kv.tokens.length]!);
        positions[row] = position;
      }
      for (let left = sample?.count ?? 0; left > 0; left--) rows[output++] = row - left;
    });
    return { [stepNames.ids]: ids, positions, starts, rows, rowStarts };
  }

  /** Rows that are given instead of embedded, and which rows of the step they are; sets how many. */
  #given(
    portions: readonly StepPortion[],
    dims: Record<string, number>,
  ): Record<string, Int32Array | Float32Array> {
    const given: { readonly row: number; readonly values: Float32Array; readonly count: number }[] = [];
    let first = 0;
    for (const { spans, begin, count } of portions) {
      for (const { begin: from, end, rows: values } of spans) {
        if (!values || from < begin || end > begin + count) continue;
        given.push({ row: first + from - begin, values, count: end - from });
      }
      first += count;
    }
    const total = given.reduce((sum, { count }) => sum + count, 0);
    const rows = this.#int32('givenRows', total);
    const values = this.#float32(
      'given',
      given.reduce((sum, one) => sum + one.values.length, 0),
    );
    let next = 0;
    let offset = 0;
    for (const one of given) {
      for (let row = 0; row < one.count; row++) rows[next++] = one.row + row;
      values.set(one.values, offset);
      offset += one.values.length;
    }
    dims.given = total;
    return { given: values, givenRows: rows };
  }

  /** The last position that each token sees: its own, or its span's last. */
  #reach(portions: readonly StepPortion[], tokens: number): Int32Array {
    const reach = this.#int32('reach', tokens);
    let first = 0;
    for (const { spans, begin, count } of portions) {
      for (let index = 0; index < count; index++) reach[first + index] = begin + index;
      for (const { begin: from, end, twoWay } of spans) {
        if (twoWay && from >= begin && end <= begin + count)
          reach.fill(end - 1, first + from - begin, first + end - begin);
      }
      first += count;
    }
    return reach;
  }

  #stateSlots(portions: readonly StepPortion[]): Int32Array {
    const pairs = this.#int32('stateSlots', 2 * portions.length);
    portions.forEach(({ stateSlots }, sequence) => pairs.set(stateSlots!, 2 * sequence));
    return pairs;
  }

  #tables(portions: readonly StepPortion[], tokens: number, columns: number): Record<string, Int32Array> {
    const { groups, blockTokens } = this.plan;
    const inputs: Record<string, Int32Array> = {};
    groups.forEach(({ group: { name } }, index) => {
      const slots = this.#int32(`slots.${name}`, tokens);
      const blocks = this.#int32(`blocks.${name}`, portions.length * columns);
      let row = 0;
      portions.forEach(({ kv, begin, count }, sequence) => {
        const table = kv.tables[index]!;
        for (let position = begin; position < begin + count; position++) {
          slots[row++] = table[Math.floor(position / blockTokens)]! * blockTokens + (position % blockTokens);
        }
        blocks.set(table.subarray(0, columns), sequence * columns);
      });
      inputs[`slots.${name}`] = slots;
      inputs[`blocks.${name}`] = blocks;
    });
    return inputs;
  }

  #sampling(
    program: Program,
    portions: readonly StepPortion[],
    rows: number,
    biases: number,
  ): Record<string, Int32Array | Float32Array> {
    const words = Math.ceil(program.sampledIds / 32);
    const parameters = this.#float32(sampleNames.parameters, rows * sampleParameters.length);
    const controls = this.#int32(sampleNames.controls, rows * sampleControls.length);
    const biasIds = this.#int32(sampleNames.biasIds, rows * biases).fill(0);
    const biasValues = this.#float32(sampleNames.biasValues, rows * biases).fill(0);
    const mask = program.kind.masked ? this.#int32(sampleNames.mask, rows * words).fill(-1) : undefined;
    let row = 0;
    for (const { begin, count, sample } of portions) {
      const { historyRow, promptLength, row: packed } = sample!;
      for (let i = 0; i < sample!.count; i++, row++) {
        // Behind a guess the history ends with the guess: the row before this one has written it there, or another
        // token, and then this row is not wanted.
        const length = begin + count - (sample!.count - 1 - i);
        parameters.set(packed.parameters, row * sampleParameters.length);
        const at = row * sampleControls.length;
        controls.set(packed.controls, at);
        controls[at + positionColumn] = length;
        controls[at + historyRowColumn] = historyRow;
        controls[at + lengthColumn] = length;
        controls[at + promptColumn] = promptLength;
        packed.biasIds.forEach((id, index) => {
          // An id that no token has is not sampled anyway.
          if (id >= program.sampledIds) return;
          biasIds[row * biases + index] = id;
          biasValues[row * biases + index] = packed.biasValues[index]!;
        });
        const allowed = sample!.masks[i];
        if (mask && allowed) mask.set(allowed.subarray(0, words), row * words);
      }
    }
    return {
      [sampleNames.parameters]: parameters,
      [sampleNames.controls]: controls,
      [sampleNames.biasIds]: biasIds,
      [sampleNames.biasValues]: biasValues,
      ...(mask ? { [sampleNames.mask]: mask } : {}),
    };
  }

  #int32(name: string, length: number): Int32Array {
    let array = this.#integers.get(name);
    if (!array || array.length < length) {
      this.#integers.set(name, (array = new Int32Array(Math.max(length, 2 * (array?.length ?? 0)))));
    }
    return array.subarray(0, length);
  }

  #float32(name: string, length: number): Float32Array {
    let array = this.#floats.get(name);
    if (!array || array.length < length) {
      this.#floats.set(name, (array = new Float32Array(Math.max(length, 2 * (array?.length ?? 0)))));
    }
    return array.subarray(0, length);
  }
}
