/**
 * The declaration of a kernel: the call that a step of a plan becomes, its dispatches, the memory that it needs beside its
 * operands, the operands that it may write over. It answers every question that lowering has about a kernel, so that an op
 * takes a declaration in this folder and a shader; `kernels.ts` lists them all.
 *
 * Most kernels compute one op of the graph and are declared by {@link opKernel}. The others (products, heads, attention,
 * sampling) have steps of their own kind and declare a {@link StepKernel} in full.
 *
 * `dispatch` and the two sizes are pure functions of concrete shapes; they know no graph, and no device but its traits.
 */
import { definedIds, stepName, stepNodes, stepReads, stepWrites } from '@unicorn-exec/lowering';
import type { AttentionStep, MatmulStep, PlannedValue, SampleStep, StepText } from '@unicorn-exec/lowering';
import type { Dim, DType, Graph, Node } from '@unicorn-exec/tensor';
import type { DeviceTraits, Dispatch, Place } from '../dispatch/dispatch.js';
import type { HeadsStep, OpStep, Step } from '../lowering/plan.js';
import type { LoadedWeight } from '../weights/weight-table.js';
import type { Faults, Operand, WeightOperand } from './operand.js';

/** The functions of a kernel over its calls. */
export interface Kernel<Call> {
  /** The dispatches of a call, in order; none where there is nothing to compute. */
  dispatch(call: Call, traits: DeviceTraits): Dispatch[];
  /**
   * Bytes of the arena that the call needs at `scratch` while its step runs; none when absent. Lowering asks with the
   * largest shapes and with places that mean nothing. It must not fall when a dim grows.
   */
  scratchBytes?(call: Call, traits: DeviceTraits): number;
  /** Bytes that the call needs at `counters`, by the same rules. They are zero before the first use and left at zero. */
  counterBytes?(call: Call, traits: DeviceTraits): number;
}

/** What two kernels do for each other in one submission (`fusion/inlined-preparing.ts`, `fusion/inlined-heads.ts`). */
export interface Agreed {
  /** True: attention leaves its result in the form that the products after it take. */
  readonly quantizes?: true;
  /** True: products find their activations prepared. */
  readonly prepared?: true;
  /** Attention does the heads before it. */
  readonly heads?: HeadsStep;
}

/** The operands of one step where they lie, in concrete shapes. Ids are those of the plan's values. */
export interface StepOperands {
  /** The operand for a value that is dense where it lies. */
  operand(id: number): Operand;
  optional(id: number | undefined): Operand | undefined;
  /** As stored, a vector's own dtype included: what is moved and not computed with. */
  stored(id: number): { readonly operand: Operand; readonly rowStrideBytes?: number };
  /** A matrix of a product or a lookup. */
  matrix(id: number): WeightOperand | Operand;
  /** A stored weight, whatever the shape of its value. */
  weight(id: number): WeightOperand;
  /** Rows that the submission brings along for this step, as a weight of so many rows; undefined where it brings none. */
  gathered(id: number, rows: number): WeightOperand | undefined;
  /** Upper bound of the keys that the step's queries see, from positions that the host knows. */
  keysOf(step: AttentionStep): number | undefined;
  readonly scratch: Place;
  readonly counters: Place;
  readonly faults: Faults;
  readonly precision: 'f32' | 'fast';
  readonly agreed: Agreed;
}

/** What lowering offers to declarations and fusions that emit steps. */
export interface Emitter {
  readonly graph: Graph;
  value(id: number): PlannedValue;
  /** The weight that a value is a part of; undefined for any other value. */
  weightOf(id: number): LoadedWeight | undefined;
  push(step: Step): void;
  /** Adds the step of a kernel that is declared by {@link opKernel}. */
  pushOp(step: Pick<OpStep, 'kernel' | 'inputs' | 'out'> & Partial<OpStep>): void;
  /** A new value in the arena. */
  add(dtype: DType, shape: readonly Dim[]): number;
  /** The value that `make` gave under this key before, or gives now: for values that several steps share. */
  once(key: string, make: () => number): number;
  /**
   * A value as dense numbers: integers as they are, everything else as f32. A weight that is not is decoded first.
   *
   * @throws UnicornError `unsupported/op` for a weight in host memory, as the two below
   */
  numbers(id: number): number;
  optionalNumbers(id: number | undefined): number | undefined;
  /** A value as dense elements of its own dtype. */
  stored(id: number): number;
  /** A value as products and lookups read it: stored weights as they are. */
  matrix(id: number): number;
  /**
   * Has the rows of a weight in host memory brought along by each submission, for the step that is pushed next.
   *
   * @throws UnicornError `unsupported/op` for ids that are computed, and for a part of the weight
   */
  gather(node: Node, weight: LoadedWeight): void;
}

/** The answers that lowering asks for about the nodes of an op. */
export interface OpLowering {
  /** How the kernel reads operands that are weights. Default `numbers`: as {@link Emitter.numbers} gives them. */
  readonly operands?: 'numbers' | 'stored';
  /** The operand that is read as a matrix in its stored form, if any. */
  readonly matrix?: string;
  /** The operand whose elements, or some of them, are the result as they are. */
  readonly handsOn?: string;
  /** Why a node cannot be computed; undefined when it can. Called for nodes that are otherwise supported. */
  refuses?(node: Node, graph: Graph): string | undefined;
  /** Adds the steps of a node. By default one, of the kernel with the op's name. */
  emit?(node: Node, emitter: Emitter): void;
}

/** A kernel in a plan: all that lowering needs to know of its steps. */
export interface StepKernel<S extends Step, Call> extends Kernel<Call>, OpLowering {
  call(step: S, at: StepOperands): Call;
  /** Value ids, states included. */
  reads(step: S): number[];
  writes(step: S): number[];
  /** Values read that the kernel which writes `root` may write over: it reads an element before it writes it, and not later. */
  overwritable?(step: S, root: PlannedValue, values: readonly PlannedValue[]): number[];
  /** Graph nodes that it computes. */
  nodes(step: S): readonly number[];
  /** The step's name for a profile: the ops in it, `rmsNorm+matmul+glu`. */
  title(step: S): string;
  /** Lines for people. */
  describe(step: S, text: StepText): string[];
}

/** What the declarations share whose steps all backends have. */
export const sharedStep = {
  reads: stepReads,
  writes: stepWrites,
  nodes: stepNodes,
  title: stepName,
  describe: (step: MatmulStep | AttentionStep | SampleStep, text: StepText): string[] => [
    text.heading(step),
    ...text.lines(step),
  ],
};

/** The operands of a step that computes one op, by their names. */
export class OpOperands {
  /** @param at everything else that a step may ask for */
  constructor(
    readonly step: OpStep,
    readonly at: StepOperands,
  ) {}

  get out(): Operand {
    return this.at.operand(this.step.out);
  }

  /** The results behind the first. */
  get others(): Operand[] {
    return (this.step.others ?? []).map((id) => this.at.operand(id));
  }

  input(name: string): Operand {
    return this.at.operand(this.step.inputs[name]!);
  }

  optionalInput(name: string): Operand | undefined {
    return this.at.optional(this.step.inputs[name]);
  }

  attribute<T>(name: string): T {
    return this.step.attributes[name] as T;
  }
}

/** The declaration of a kernel that computes one op. */
export interface OpDeclaration<Call> extends Kernel<Call>, OpLowering {
  call(op: OpOperands): Call;
  /**
   * Operands in whose place the result may lie: the kernel reads an element before it writes it, and not later. None for a
   * kernel with several results.
   */
  readonly inPlace?: readonly string[];
  /** By default the kernel's name. */
  title?(step: OpStep): string;
}

/** A kernel whose steps have named operands, attributes and results. */
export function opKernel<Call>(declaration: OpDeclaration<Call>): StepKernel<OpStep, Call> {
  const { call, inPlace = [], title, ...rest } = declaration;
  const reads = ({ inputs }: OpStep): number[] => definedIds(Object.values(inputs));
  return {
    ...rest,
    call: (step, at) => call(new OpOperands(step, at)),
    reads,
    writes: ({ out, others = [] }) => [out, ...others],
    overwritable: (step, _, values) =>
      readOnce(
        inPlace.map((name) => step.inputs[name]),
        reads(step),
        values,
      ),
    nodes: ({ node, also = [] }) => (node === undefined ? [] : [node, ...also]),
    title: (step) => title?.(step) ?? step.kernel,
    describe({ kernel, inputs, out, others = [], attributes }, text) {
      const operands = Object.values(inputs).map((id) => text.value(id));
      const numbers = Object.entries(attributes).map(([name, value]) => `${name} ${String(value)}`);
      const constants = numbers.length > 0 ? ` {${numbers.join(', ')}}` : '';
      const results = [out, ...others].map((id) => text.spec(id)).join(', ');
      return [`${results} = ${kernel}(${operands.join(', ')})${constants}`];
    },
  };
}

/**
 * Those of `ids` whose storage nothing else of a step reads.
 *
 * @param reads all ids that the step reads
 */
export function readOnce(
  ids: readonly (number | undefined)[],
  reads: readonly number[],
  values: readonly PlannedValue[],
): number[] {
  const roots = reads.map((id) => values[id]!.root);
  return definedIds(ids).filter((id) => roots.filter((other) => other === values[id]!.root).length === 1);
}
