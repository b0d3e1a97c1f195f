/**
 * From a plan to dispatches, once the dims are known: gives each operand its place and shape and calls the step's kernel.
 * Pure: the same dims give the same dispatches.
 */
import { isStoredMatrix, type AttentionStep, type MatmulStep, type Product } from '@unicorn-exec/lowering';
import type { FusedNorm as PlannedNorm, PlannedValue, SampleStep } from '@unicorn-exec/lowering';
import { dtypeLayout, elementCount, invariant, resolveShape, rowBytes } from '@unicorn-exec/tensor';
import type { ActivationKind, DimValues } from '@unicorn-exec/tensor';
import { withChains } from '../chain.js';
import { maximumGroups, type DeviceTraits, type Dispatch, type Place, type Storage } from '../dispatch.js';
import type {
  AttentionCall,
  Faults,
  FusedNorm,
  HeadPart,
  HeadsCall,
  Kernels,
  MatmulCall,
  Operand,
  Post,
  ProductCall,
  SampleCall,
  WeightOperand,
} from '../kernel/operand.js';
import { withPrefetches } from '../prefetch.js';
import { weightLayout } from '../weight-layout.js';
import type {
  HeadsStep,
  OpKernel,
  OpStep,
  Plan,
  PlannedHandoff,
  PlannedHeads,
  PlannedIntake,
  Step,
  StepMemory,
} from './plan.js';
import type { KernelMemory, Target } from './kernel-table.js';
import type { WeightTable } from './weight.js';

/** One dispatch and the step that it is a part of. */
export interface StepDispatch extends Dispatch {
  readonly step: number;
}

export interface ConcreteOptions {
  readonly dims: DimValues;
  /** Upper bound of the keys that the step's queries see, from positions that the host knows. */
  keysOf?(step: AttentionStep): number | undefined;
  /** Where the gathered rows of an embed step begin among the inputs: by step. */
  gatheredAt?(step: number): number | undefined;
  /** False where each dispatch is to be timed by itself. */
  readonly chains?: boolean;
}

/** How steps are done together at given dims. */
interface Agreed {
  readonly handed: readonly PlannedHandoff[];
  readonly taken: readonly PlannedIntake[];
}

const faults: Faults = { storage: { kind: 'inputs' }, byteOffset: 0, byteLength: 8 };

/** What the kernel of one step is called with. */
export class Concrete {
  constructor(
    private readonly plan: Pick<Plan, 'values' | 'constantOffsets' | 'precision'>,
    private readonly weights: WeightTable,
    private readonly target: Target,
    private readonly options: ConcreteOptions,
  ) {}

  #place(storage: Storage, byteOffset: number, byteLength: number): Place {
    return { storage, byteOffset, byteLength };
  }

  #shape(value: PlannedValue): number[] {
    return resolveShape(value.shape, this.options.dims);
  }

  /** Of a value that is dense where it lies. */
  operand(id: number): Operand {
    const value = this.plan.values[id]!;
    const { dtype, storage } = value;
    const shape = this.#shape(value);
    if (storage.kind === 'weight') return this.#denseWeight(value, shape);
    const offset = value.offset.reduce(
      (sum, { bytes, symbols }) =>
        sum + symbols.reduce((product, symbol) => product * this.options.dims[symbol]!, bytes),
      0,
    );
    const byteLength = elementCount(shape.slice(0, -1)) * rowBytes(dtype, shape.at(-1) ?? 1);
    switch (storage.kind) {
      case 'arena':
        return { place: this.#place({ kind: 'arena' }, offset, byteLength), dtype, shape };
      case 'binding':
        return {
          place: this.#place({ kind: 'binding', index: storage.index }, offset, byteLength),
          dtype,
          shape,
        };
      case 'constant': {
        const start = this.plan.constantOffsets.get(value.root)!;
        return { place: this.#place({ kind: 'constants' }, start + offset, byteLength), dtype, shape };
      }
    }
  }

  optional(id: number | undefined): Operand | undefined {
    return id === undefined ? undefined : this.operand(id);
  }

  /** A weight that a plain kernel reads: lowering saw to it that it is dense, or a vector with its f32 twin. */
  #denseWeight(value: PlannedValue, shape: number[]): Operand {
    const { name } = value.storage as { name: string };
    const view = value.view!;
    const weight = this.weights.loaded(name);
    const at = (index: number, byteOffset: number, dtype: Operand['dtype'], bytes: number): Operand => ({
      place: this.#place({ kind: 'weight', index }, byteOffset, bytes * elementCount(shape)),
      dtype,
      shape,
    });
    if (weight.floats !== undefined) return at(weight.floats, 4 * view.columnStart, 'f32', 4);
    const [plane] = weight.layout.planes;
    const { blockBytes } = dtypeLayout(weight.layout.dtype);
    const byteOffset = view.rowStart * plane!.rowBytes + view.columnStart * blockBytes;
    return at(weight.index, byteOffset, weight.layout.dtype, blockBytes);
  }

  /** As stored, a vector's own dtype included: what movers read. */
  stored(id: number): { readonly operand: Operand; readonly rowStrideBytes?: number } {
    const value = this.plan.values[id]!;
    if (value.storage.kind !== 'weight') return { operand: this.operand(id) };
    const weight = this.weights.loaded(value.storage.name);
    const [plane] = weight.layout.planes;
    const { blockBytes } = dtypeLayout(value.dtype);
    const { rowStart, rows, columnStart, columns } = value.view!;
    const place = this.#place(
      { kind: 'weight', index: weight.index },
      rowStart * plane!.rowBytes + columnStart * blockBytes,
      (rows - 1) * plane!.rowBytes + columns * blockBytes,
    );
    const operand = { place, dtype: value.dtype, shape: [rows, columns] };
    return { operand, rowStrideBytes: plane!.rowBytes };
  }

  /** A matrix of a product or a lookup. */
  matrix(id: number): WeightOperand | Operand {
    const value = this.plan.values[id]!;
    return value.storage.kind === 'weight' && isStoredMatrix(value) ? this.weight(id) : this.operand(id);
  }

  /** A stored weight, whatever the shape of its value. */
  weight(id: number): WeightOperand {
    const { storage, view } = this.plan.values[id]!;
    const { index, layout, dtype, rows, columns } = this.weights.loaded((storage as { name: string }).name);
    const place = this.#place({ kind: 'weight', index }, 0, layout.byteLength);
    return { place, layout, dtype, rows, columns, view: view! };
  }

  /** Rows that the submission brings along for a step, as a weight of so many rows; undefined where it brings none. */
  gathered(id: number, step: number, rows: number): WeightOperand | undefined {
    const byteOffset = this.options.gatheredAt?.(step);
    if (byteOffset === undefined) return undefined;
    const { storage, view } = this.plan.values[id]!;
    const { dtype, columns } = this.weights.loaded((storage as { name: string }).name);
    const layout = weightLayout(dtype, rows, columns);
    const place = this.#place({ kind: 'inputs' }, byteOffset, layout.byteLength);
    return { place, layout, dtype, rows, columns, view: { ...view!, rowStart: 0, rows } };
  }

  matmul(step: MatmulStep, memory: StepMemory): MatmulCall {
    const { join, norm } = step;
    return {
      x: this.operand(step.x),
      ...(join
        ? {
            join: {
              residual: this.operand(join.residual),
              ...(join.norm ? { norm: this.#norm(join.norm) } : {}),
              out: this.operand(join.out),
            },
          }
        : {}),
      fast: step.quantized,
      ...(norm ? { norm: this.#norm(norm) } : {}),
      products: step.products.map((product) => this.#product(product)),
      ...this.#memory(memory),
    };
  }

  #norm({ weight, epsilon, weightOffset }: PlannedNorm): FusedNorm {
    return { ...(weight === undefined ? {} : { weight: this.operand(weight) }), epsilon, weightOffset };
  }

  #product({ weight, gated, out, bias, residual, posts }: Product): ProductCall {
    return {
      weight: this.matrix(weight),
      ...(gated ? { gated: { up: this.matrix(gated.up), activation: gated.activation } } : {}),
      out: this.operand(out),
      ...(bias === undefined ? {} : { bias: this.operand(bias) }),
      ...(residual === undefined ? {} : { residual: this.operand(residual) }),
      posts: posts.map((post): Post => {
        if (post.kind !== 'glu') return post;
        return { kind: 'glu', activation: post.activation, other: this.operand(post.other) };
      }),
    };
  }

  heads({ query, stored, epsilon, weightOffset, rope }: HeadsStep): HeadsCall {
    return {
      ...(query ? { query: { ...this.#headPart(query), out: this.operand(query.out) } } : {}),
      ...(stored
        ? {
            stored: {
              key: this.#headPart(stored.key),
              value: this.#headPart(stored.value),
              state: this.operand(stored.state),
              slots: this.operand(stored.slots),
            },
          }
        : {}),
      epsilon,
      weightOffset,
      ...(rope ? { rope: { table: this.operand(rope.table), layout: rope.layout } } : {}),
      faults,
    };
  }

  #headPart({ x, normed, weight, turned }: PlannedHeads): HeadPart {
    return {
      x: this.operand(x),
      normed,
      ...(weight === undefined ? {} : { weight: this.operand(weight) }),
      turned,
    };
  }

  attention(step: AttentionStep, memory: StepMemory): AttentionCall {
    const state = this.operand(step.state);
    const blocks = this.operand(step.blocks);
    const table = blocks.shape[1]! * state.shape[3]!;
    const reach = this.optional(step.reach);
    return {
      query: this.operand(step.query),
      state,
      positions: this.operand(step.positions),
      starts: this.operand(step.starts),
      blocks,
      ...(reach ? { reach } : {}),
      out: this.operand(step.out),
      scale: step.scale,
      ...(step.window === undefined ? {} : { window: step.window }),
      ...(step.softcap === undefined ? {} : { softcap: step.softcap }),
      fast: this.plan.precision === 'fast',
      keys: Math.min(table, this.options.keysOf?.(step) ?? table),
      ...this.#memory(memory),
      faults,
    };
  }

  sample(step: SampleStep, memory: StepMemory): SampleCall {
    const [logits, parameters, controls, biasIds, biasValues, history, mask] = step.operands.map((id) =>
      this.optional(id),
    );
    const probabilities = this.optional(step.probabilities);
    return {
      logits: logits!,
      parameters: parameters!,
      controls: controls!,
      biasIds: biasIds!,
      biasValues: biasValues!,
      history: history!,
      ...(mask ? { mask } : {}),
      ids: this.operand(step.ids),
      ...(probabilities ? { probabilities } : {}),
      ...this.#memory(memory),
      faults,
    };
  }

  #memory({ scratchOffset, scratchBytes, countersOffset, counterBytes }: StepMemory) {
    return {
      scratch: this.#place({ kind: 'arena' }, scratchOffset, scratchBytes),
      counters: this.#place({ kind: 'counters' }, countersOffset, counterBytes),
    };
  }

  op(step: OpStep, index: number): Dispatch[] {
    const { table, traits } = this.target;
    return opCalls[step.kernel](this, table.kernels, step, traits, index);
  }

  /** @param agreed what the kernels agreed to */
  dispatches(plan: Plan, index: number, { handed, taken }: Agreed): Dispatch[] {
    const { traits, table } = this.target;
    const [step, memory] = [plan.steps[index]!, plan.memory[index]!];
    switch (step.kind) {
      case 'matmul': {
        const call = this.matmul(step, memory);
        const isPrepared = handed.some(({ to }) => to === index);
        return table.kernels.matmul({ ...call, ...(isPrepared ? { prepared: true } : {}) }, traits);
      }
      case 'heads':
        if (taken.some(({ heads }) => heads === index)) return [];
        return table.kernels.heads(this.heads(step), traits);
      case 'attention': {
        const call = this.attention(step, memory);
        const isHanded = handed.some(({ from }) => from === index);
        const intake = taken.find(({ attention }) => attention === index);
        return table.kernels.attention(
          {
            ...call,
            ...(isHanded ? { quantizes: true } : {}),
            ...(intake ? { heads: this.heads(plan.steps[intake.heads] as HeadsStep) } : {}),
          },
          traits,
        );
      }
      case 'sample':
        return table.kernels.sample(this.sample(step, memory), traits);
      case 'op':
        return this.op(step, index);
    }
  }

  /** Whether both kernels agree to a handoff at these dims. */
  isHanded({ from, to }: PlannedHandoff, { steps, memory }: Plan): boolean {
    const { traits, table } = this.target;
    const [maker, reader] = [steps[from]!, steps[to]!];
    if (!table.handoff || maker.kind !== 'attention' || reader.kind !== 'matmul') return false;
    if (!table.handoff.accepts(this.matmul(reader, memory[to]!), traits)) return false;
    return table.handoff.fromAttention(this.attention(maker, memory[from]!), traits);
  }

  /** Whether attention does the heads at these dims. */
  isTaken({ heads, attention }: PlannedIntake, { steps, memory }: Plan): boolean {
    const { traits, table } = this.target;
    const [first, second] = [steps[heads]!, steps[attention]!];
    if (!table.attentionTakesHeads || first.kind !== 'heads' || second.kind !== 'attention') return false;
    return table.attentionTakesHeads(this.attention(second, memory[attention]!), this.heads(first), traits);
  }

  /** What a step needs beside its operands. Asked at the largest dims, before anything has a place in the arena. */
  needs(step: Step): Pick<StepMemory, 'scratchBytes' | 'counterBytes'> {
    const { memory } = this.target.table;
    switch (step.kind) {
      case 'matmul':
        return this.#needs(memory.matmul, this.matmul(step, nowhere));
      case 'attention':
        return this.#needs(memory.attention, this.attention(step, nowhere));
      case 'sample':
        return this.#needs(memory.sample, this.sample(step, nowhere));
      case 'heads':
      case 'op':
        return { scratchBytes: 0, counterBytes: 0 };
    }
  }

  #needs<Call>({ scratchBytes, counterBytes }: KernelMemory<Call>, call: Call) {
    const { traits } = this.target;
    return {
      scratchBytes: scratchBytes?.(call, traits) ?? 0,
      counterBytes: counterBytes?.(call, traits) ?? 0,
    };
  }
}

const nowhere: StepMemory = { scratchOffset: 0, scratchBytes: 0, countersOffset: 0, counterBytes: 0 };

/** How an op's operands and attributes become its kernel's call. */
type OpCaller = (
  concrete: Concrete,
  kernels: Kernels,
  step: OpStep,
  traits: DeviceTraits,
  index: number,
) => Dispatch[];

const attribute = <T>(step: OpStep, name: string): T => step.attributes[name] as T;
const number = (step: OpStep, name: string): number => attribute<number>(step, name);
const kindOf = (step: OpStep): ActivationKind => attribute(step, 'kind');

const opCalls: Readonly<Record<OpKernel, OpCaller>> = {
  embed(c, kernels, step, traits, index) {
    const out = c.operand(step.out);
    const { ids, table } = step.inputs as { ids?: number; table: number };
    const scale = (step.attributes.scale as number | undefined) ?? 1;
    const beyond = (step.attributes.beyond as 'error' | 'firstRow' | undefined) ?? 'error';
    if (ids === undefined) {
      // Decodes a weight, whose rows and columns may be shaped otherwise as a value.
      const weight = c.weight(table);
      const rows = { ...out, shape: [weight.view.rows, weight.view.columns] };
      return kernels.embed({ table: weight, out: rows, scale, beyond, faults }, traits);
    }
    const gathered = c.gathered(table, index, out.shape[0]!);
    // Gathered rows lie in the order of their ids.
    const rows = gathered ? { table: gathered } : { table: c.matrix(table), ids: c.operand(ids) };
    return kernels.embed({ ...rows, out, scale, beyond, faults }, traits);
  },
  rmsNorm(c, kernels, step, traits) {
    const weight = c.optional(step.inputs.weight);
    return kernels.rmsNorm(
      {
        x: c.operand(step.inputs.x!),
        ...(weight ? { weight } : {}),
        addends: [step.inputs.first, step.inputs.second].flatMap((id) => c.optional(id) ?? []),
        scale: (step.attributes.scale as number | undefined) ?? 1,
        out: c.operand(step.out),
        epsilon: number(step, 'epsilon'),
        weightOffset: number(step, 'weightOffset'),
      },
      traits,
    );
  },
  matchRms: (c, kernels, step, traits) =>
    kernels.matchRms(
      {
        x: c.operand(step.inputs.x!),
        reference: c.operand(step.inputs.reference!),
        out: c.operand(step.out),
        floor: number(step, 'floor'),
      },
      traits,
    ),
  ropeTable: (c, kernels, step, traits) =>
    kernels.ropeTable(
      {
        positions: c.operand(step.inputs.positions!),
        frequencies: c.operand(step.inputs.frequencies!),
        out: c.operand(step.out),
        magnitude: number(step, 'magnitude'),
      },
      traits,
    ),
  rope: (c, kernels, step, traits) =>
    kernels.rope(
      {
        x: c.operand(step.inputs.x!),
        table: c.operand(step.inputs.table!),
        out: c.operand(step.out),
        layout: attribute(step, 'layout'),
      },
      traits,
    ),
  kvWrite: (c, kernels, step, traits) =>
    kernels.kvWrite(
      {
        state: c.operand(step.inputs.state!),
        key: c.operand(step.inputs.key!),
        value: c.operand(step.inputs.value!),
        slots: c.operand(step.inputs.slots!),
        faults,
      },
      traits,
    ),
  activation: (c, kernels, step, traits) =>
    kernels.activation(
      { x: c.operand(step.inputs.x!), out: c.operand(step.out), activation: kindOf(step) },
      traits,
    ),
  glu: (c, kernels, step, traits) =>
    kernels.glu(
      {
        gate: c.operand(step.inputs.gate!),
        up: c.operand(step.inputs.up!),
        out: c.operand(step.out),
        activation: kindOf(step),
      },
      traits,
    ),
  softcap: (c, kernels, step, traits) =>
    kernels.softcap(
      { x: c.operand(step.inputs.x!), out: c.operand(step.out), cap: number(step, 'cap') },
      traits,
    ),
  gaussianTopK: (c, kernels, step, traits) =>
    kernels.gaussianTopK(
      { x: c.operand(step.inputs.x!), out: c.operand(step.out), deviations: number(step, 'deviations') },
      traits,
    ),
  add: (c, kernels, step, traits) =>
    kernels.add(
      { a: c.operand(step.inputs.a!), b: c.operand(step.inputs.b!), out: c.operand(step.out) },
      traits,
    ),
  multiply: (c, kernels, step, traits) =>
    kernels.multiply(
      { a: c.operand(step.inputs.a!), b: c.operand(step.inputs.b!), out: c.operand(step.out) },
      traits,
    ),
  scale: (c, kernels, step, traits) =>
    kernels.scale(
      { x: c.operand(step.inputs.x!), out: c.operand(step.out), factor: number(step, 'factor') },
      traits,
    ),
  mean: (c, kernels, step, traits) =>
    kernels.mean({ x: c.operand(step.inputs.x!), out: c.operand(step.out) }, traits),
  altUpPredict: (c, kernels, step, traits) =>
    kernels.altUpPredict(
      {
        streams: c.operand(step.inputs.streams!),
        coefficients: c.operand(step.inputs.coefficients!),
        out: c.operand(step.out),
      },
      traits,
    ),
  altUpCorrect: (c, kernels, step, traits) =>
    kernels.altUpCorrect(
      {
        predictions: c.operand(step.inputs.predictions!),
        activated: c.operand(step.inputs.activated!),
        coefficients: c.operand(step.inputs.coefficients!),
        out: c.operand(step.out),
        active: number(step, 'active'),
      },
      traits,
    ),
  altUpInject: (c, kernels, step, traits) =>
    kernels.altUpInject(
      {
        streams: c.operand(step.inputs.streams!),
        value: c.operand(step.inputs.value!),
        out: c.operand(step.out),
        active: number(step, 'active'),
      },
      traits,
    ),
  slice: (c, kernels, step, traits) =>
    kernels.slice(
      {
        x: c.operand(step.inputs.x!),
        out: c.operand(step.out),
        axis: number(step, 'axis'),
        start: number(step, 'start'),
      },
      traits,
    ),
  concat: (c, kernels, step, traits) =>
    kernels.concat(
      {
        parts: Object.values(step.inputs).map((id) => c.operand(id)),
        out: c.operand(step.out),
        axis: number(step, 'axis'),
      },
      traits,
    ),
  takeRows: (c, kernels, step, traits) =>
    kernels.takeRows(
      {
        x: c.operand(step.inputs.x!),
        rows: c.operand(step.inputs.rows!),
        out: c.operand(step.out),
        axis: number(step, 'axis'),
        faults,
      },
      traits,
    ),
  copy(c, kernels, step, traits) {
    const { operand, rowStrideBytes } = c.stored(step.inputs.x!);
    const out = c.operand(step.out);
    // A part of a weight is rows and columns, whatever the shape of its value.
    const call = { x: operand, out: { ...out, shape: operand.shape } };
    return kernels.copy({ ...call, ...(rowStrideBytes === undefined ? {} : { rowStrideBytes }) }, traits);
  },
};

/** All dispatches of a plan, in order. */
export function dispatchesOf(
  plan: Plan,
  weights: WeightTable,
  target: Target,
  options: ConcreteOptions,
): StepDispatch[] {
  const concrete = new Concrete(plan, weights, target, options);
  const agreed: Agreed = {
    handed: plan.handoffs.filter((handoff) => concrete.isHanded(handoff, plan)),
    taken: plan.intakes.filter((intake) => concrete.isTaken(intake, plan)),
  };
  const dispatches = plan.steps.flatMap((_, index) =>
    concrete.dispatches(plan, index, agreed).map((dispatch) => {
      const { groups, name } = dispatch;
      invariant(
        groups.every((count) => Number.isInteger(count) && count > 0 && count <= maximumGroups),
        `The grid of ${name} is ${groups.join(' x ')}`,
      );
      return { ...dispatch, step: index };
    }),
  );
  const { prefetch, traits } = target;
  const isLarge = prefetch !== undefined && weights.byteLength >= prefetch.leastWeightBytes;
  const chains = target.chains === true && options.chains !== false;
  const bytes = isLarge ? prefetch[chains ? 'chainedBytes' : 'bytes'] : 0;
  const all = withPrefetches(dispatches, bytes, traits.computeUnits);
  return chains ? withChains(all) : all;
}
