/**
 * Makes a plan of a graph: fused steps in order, every value with a place. The same graph, dims, weights and traits give the
 * same plan, which tests compare as text.
 */
import {
  bindingIndices,
  bindOutputs,
  findFusions,
  isStoredMatrix,
  isView,
  orderSteps,
  placeInArena,
  placeValues,
} from '@unicorn-exec/lowering';
import type { PlannedValue } from '@unicorn-exec/lowering';
import type { Graph, Node, Signature } from '@unicorn-exec/tensor';
import type { Fusion } from '../fusion/fusion.js';
import { findInlinedPreparing } from '../fusion/inlined-preparing.js';
import { fuseHeads } from '../fusion/heads.js';
import { findInlinedHeads } from '../fusion/inlined-heads.js';
import { fuseNormSums } from '../fusion/norm-sum.js';
import { kernelOf, type KernelTable } from '../kernel/kernels.js';
import { emitMatmul } from '../kernel/matmul-step.js';
import { PlacedOperands } from './placed-operands.js';
import type { HeadsStep, InlinedHeads, Plan, Step, StepMemory } from './plan.js';
import { StepEmitter } from './step-emitter.js';
import type { Target } from './target.js';
import type { WeightTable } from '../weights/weight-table.js';

export interface LoweringOptions {
  readonly signature: Signature;
  readonly precision: 'f32' | 'fast';
  readonly maximumDims: Readonly<Record<string, number>>;
  readonly weights: WeightTable;
  readonly target: Target;
}

/** Start of a constant, and of a step's counters: cache lines, so that steps do not share any. */
const constantAlignment = 64;

const alignUp = (bytes: number): number => Math.ceil(bytes / constantAlignment) * constantAlignment;

/** @throws UnicornError `unsupported/op` for a weight in host memory that is not looked up by ids of the host */
export function lower(graph: Graph, options: LoweringOptions): Plan {
  const { signature, precision, maximumDims, weights, target } = options;
  const { table } = target;
  const bindings = bindingIndices(signature);
  const values = placeValues(graph, bindings);
  const heads = fuseHeads(graph, values);
  const copies = bindOutputs(graph, values, bindings);
  const products = findFusions({
    graph,
    values,
    quantized: ({ inputs }) => precision === 'fast' && isStoredWeight(values[inputs.weight!]!),
    joins: true,
    aligned: () => true,
  });
  const sums = fuseNormSums(graph, values, ({ id }) => products.covered.has(id) || heads.covered.has(id));
  const emitter = new StepEmitter(graph, values, weights, maximumDims);
  orderSteps(graph, products, {
    matmul: (group) => emitMatmul(group, emitter),
    node: (node) => emitNode(node, emitter, [heads, sums], table),
  });
  for (const { from, to } of copies) emitter.copy(from, to);
  const { steps, gathers } = emitter;
  const { constants, constantOffsets } = placeConstants(values);
  const { memory, counterBytes } = stepMemory(steps, { values, constantOffsets }, options);
  const reads = steps.map((step) => kernelOf(step, table).reads(step));
  const inlinedHeads = findInlinedHeads(steps, reads, values);
  const accesses = steps.map((step, index) => {
    const kernel = kernelOf(step, table);
    return {
      reads: [...reads[index]!, ...readInstead(index, inlinedHeads, steps, table)],
      writes: kernel.writes(step),
      overwritable: (root: PlannedValue) => kernel.overwritable?.(step, root, values) ?? [],
      scratchBytes: memory[index]!.scratchBytes,
    };
  });
  // Before values get the offsets of their places.
  const inlinedPreparing = findInlinedPreparing(steps, accesses, values);
  const { places, bytes, scratchOffsets } = placeInArena(values, accesses, maximumDims);
  return {
    name: graph.name,
    precision,
    graph,
    signature,
    values,
    steps,
    memory: memory.map((one, index) => ({ ...one, scratchOffset: scratchOffsets[index]! })),
    gathers,
    inlinedPreparing,
    inlinedHeads,
    places,
    arenaBytes: bytes,
    counterBytes,
    constants,
    constantOffsets,
    bindings,
    maximumDims,
  };
}

const isStoredWeight = (value: PlannedValue): boolean =>
  value.storage.kind === 'weight' && isStoredMatrix(value);

/** What fusions compute at a node, then the node itself, unless it is a part of them or takes no step. */
function emitNode(node: Node, emitter: StepEmitter, fusions: readonly Fusion[], table: KernelTable): void {
  for (const { steps } of fusions) for (const emit of steps.get(node.id) ?? []) emit(emitter);
  if (isView(node, emitter.values) || fusions.some(({ covered }) => covered.has(node.id))) return;
  // Every other op has a kernel of its name: `supportOf` has refused the rest.
  const { emit, operands = 'numbers' } = table[node.op]!;
  if (emit) return emit(node, emitter);
  const { id, outputs, attributes } = node;
  const inputs = Object.fromEntries(
    Object.entries(node.inputs).map(([name, value]) => [name, emitter[operands](value)]),
  );
  const [out, ...others] = outputs;
  const results = { out: out!, ...(others.length > 0 ? { others } : {}) };
  emitter.pushOp({ kernel: node.op, node: id, inputs, ...results, attributes });
}

function placeConstants(values: readonly PlannedValue[]): {
  constants: Uint8Array;
  constantOffsets: Map<number, number>;
} {
  const constantOffsets = new Map<number, number>();
  const parts: { at: number; bytes: Uint8Array }[] = [];
  let at = 0;
  for (const { id, root, storage } of values) {
    if (storage.kind !== 'constant' || root !== id) continue;
    const { buffer, byteOffset, byteLength } = storage.data;
    parts.push({ at, bytes: new Uint8Array(buffer, byteOffset, byteLength) });
    constantOffsets.set(id, at);
    at += alignUp(byteLength);
  }
  const constants = new Uint8Array(at);
  for (const part of parts) constants.set(part.bytes, part.at);
  return { constants, constantOffsets };
}

/** What each step itself needs, asked of its kernel with the largest shapes and places that mean nothing yet. */
function stepMemory(
  steps: readonly Step[],
  placed: Pick<Plan, 'values' | 'constantOffsets'>,
  { weights, target: { table, traits }, maximumDims, precision }: LoweringOptions,
): { memory: StepMemory[]; counterBytes: number } {
  const placing = { ...placed, precision, weights, dims: maximumDims };
  let total = 0;
  const memory = steps.map((step, index): StepMemory => {
    const kernel = kernelOf(step, table);
    const { scratchBytes, counterBytes } = kernel;
    // Calls are made only for kernels that ask: the others' operands have no place yet.
    if (!scratchBytes && !counterBytes) return { ...nowhere, countersOffset: total };
    const call = kernel.call(step, new PlacedOperands(placing, index, nowhere));
    const own = counterBytes?.(call, traits) ?? 0;
    const countersOffset = total;
    total += alignUp(own);
    const scratch = scratchBytes?.(call, traits) ?? 0;
    return { scratchOffset: 0, scratchBytes: scratch, countersOffset, counterBytes: own };
  });
  return { memory, counterBytes: total };
}

const nowhere: StepMemory = { scratchOffset: 0, scratchBytes: 0, countersOffset: 0, counterBytes: 0 };

/** The operands that attention reads when it does the heads before it, all but the queries, which are its own already. */
function readInstead(
  index: number,
  inlinedHeads: readonly InlinedHeads[],
  steps: readonly Step[],
  table: KernelTable,
): number[] {
  const inlined = inlinedHeads.find(({ attention }) => attention === index);
  if (!inlined) return [];
  const heads = steps[inlined.heads] as HeadsStep;
  return table.heads.reads(heads).filter((id) => id !== heads.query?.x);
}
