/**
 * From a graph to a plan: fused steps in order, every value with a place. Pure: the same graph, dims, weights and traits
 * give the same plan, so plans are snapshot-tested text.
 */
import {
  attentionStep,
  bindingIndices,
  bindOutputs,
  definedIds,
  findFusions,
  isStoredMatrix,
  isView,
  matmulStep,
  orderSteps,
  overwritableByMatmul,
  placeInArena,
  placeValues,
  sampleStep,
  stepReads,
  stepWrites,
} from '@unicorn-exec/lowering';
import type {
  FusedNorm,
  MatmulStep,
  PlannedValue,
  Product,
  ProductGroup,
  Storage,
} from '@unicorn-exec/lowering';
import { dtypeLayout, isBlockDType, resolveShape, UnicornError } from '@unicorn-exec/tensor';
import type { Dim, DType, Graph, Node, Signature } from '@unicorn-exec/tensor';
import { weightLayout } from '../weight-layout.js';
import { Concrete } from './concrete.js';
import { findHandoffs } from './handoff.js';
import { findHeads, headNodes, type HeadGroup, type HeadGroups, type HeadPart } from './heads.js';
import { findIntakes } from './intake.js';
import type { Target } from './kernel-table.js';
import { findNormSums, type NormSum } from './norm-sum.js';
import type {
  HeadsStep,
  OpKernel,
  Plan,
  PlannedGather,
  PlannedHeads,
  PlannedIntake,
  Step,
  StepMemory,
} from './plan.js';
import type { WeightTable } from './weight.js';

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

/** Kernels that move elements of any type. */
const movers = new Set(['copy', 'slice', 'concat', 'takeRows']);

/** Ops whose kernel may write over the named operands: it reads an element before it writes it, and no other later. */
const inPlaceOperands: Readonly<Partial<Record<OpKernel, readonly string[]>>> = {
  rmsNorm: ['x', 'first', 'second'],
  matchRms: ['x'],
  gaussianTopK: ['x'],
  rope: ['x'],
  activation: ['x'],
  glu: ['gate', 'up'],
  softcap: ['x'],
  scale: ['x'],
  add: ['a', 'b'],
  multiply: ['a', 'b'],
  altUpInject: ['streams'],
};

/** @throws UnicornError `unsupported/op` for a weight in host memory that is not looked up by ids of the host */
export function lower(graph: Graph, options: LoweringOptions): Plan {
  return new Lowering(graph, options).plan();
}

class Lowering {
  readonly #graph: Graph;
  readonly #options: LoweringOptions;
  readonly #values: PlannedValue[];
  readonly #steps: Step[] = [];
  readonly #gathers: PlannedGather[] = [];
  readonly #bindings: ReadonlyMap<string, number>;
  readonly #heads: HeadGroups;
  #normSums: ReadonlyMap<number, NormSum> = new Map();
  /** Nodes of norms and sums that a later node computes. */
  #summed: ReadonlySet<number> = new Set();
  /** Tables of cosines and sines by positions, frequencies and magnitude. */
  readonly #ropeTables = new Map<string, number>();
  /** What weights became that plain kernels cannot read as they lie: by value and use. */
  readonly #prepared = new Map<string, number>();

  constructor(graph: Graph, options: LoweringOptions) {
    this.#graph = graph;
    this.#options = options;
    this.#bindings = bindingIndices(options.signature);
    this.#values = placeValues(graph, this.#bindings);
    this.#heads = findHeads(graph, this.#values);
  }

  plan(): Plan {
    const { signature, precision, maximumDims } = this.#options;
    const copies = bindOutputs(this.#graph, this.#values, this.#bindings);
    const fusions = findFusions({
      graph: this.#graph,
      values: this.#values,
      quantized: (node) => this.#isFast(node),
      joins: true,
      aligned: () => true,
    });
    const { covered } = this.#heads;
    this.#normSums = findNormSums(
      this.#graph,
      this.#values,
      ({ id }) => fusions.covered.has(id) || covered.has(id),
    );
    this.#summed = new Set([...this.#normSums.values()].flatMap(({ nodes }) => nodes.map(({ id }) => id)));
    orderSteps(this.#graph, fusions, {
      matmul: (group) => this.#emitMatmul(group),
      node: (node) => this.#emitNode(node),
    });
    for (const { from, to } of copies) this.#emitCopy(from, to);
    const { constants, constantOffsets } = this.#placeConstants();
    const { memory, counterBytes } = this.#stepMemory(constantOffsets);
    const reads = this.#steps.map(readValues);
    const intakes = findIntakes(this.#steps, reads, this.#values);
    const accesses = this.#steps.map((step, index) => ({
      reads: [...reads[index]!, ...this.#takenIn(index, intakes)],
      writes: writtenValues(step),
      overwritable: (root: PlannedValue) => this.#overwritable(step, root),
      scratchBytes: memory[index]!.scratchBytes,
    }));
    // Before values get the offsets of their slots.
    const handoffs = findHandoffs(this.#steps, accesses, this.#values);
    const { slots, bytes, scratchOffsets } = placeInArena(this.#values, accesses, maximumDims);
    return {
      name: this.#graph.name,
      precision,
      graph: this.#graph,
      signature,
      values: this.#values,
      steps: this.#steps,
      memory: memory.map((one, index) => ({ ...one, scratchOffset: scratchOffsets[index]! })),
      gathers: this.#gathers,
      handoffs,
      intakes,
      slots,
      arenaBytes: bytes,
      counterBytes,
      constants,
      constantOffsets,
      bindings: this.#bindings,
      maximumDims,
    };
  }

  // ---------------------------------------------------------------- steps

  #isFast(node: Node): boolean {
    const weight = this.#values[node.inputs.weight!]!;
    return this.#options.precision === 'fast' && weight.storage.kind === 'weight' && isStoredMatrix(weight);
  }

  #emitMatmul(group: readonly [ProductGroup, ...ProductGroup[]]): void {
    const step = matmulStep(group);
    const { join, norm } = step;
    const prepared: MatmulStep = {
      ...step,
      x: this.#floats(step.x),
      ...(join ? { join: { ...join, ...(join.norm ? { norm: this.#norm(join.norm) } : {}) } } : {}),
      ...(norm ? { norm: this.#norm(norm) } : {}),
      products: step.products.map((product) => this.#prepareProduct(product)),
    };
    this.#steps.push(prepared);
  }

  #norm(norm: FusedNorm): FusedNorm {
    return { ...norm, weight: this.#optionalFloats(norm.weight) };
  }

  #prepareProduct(product: Product): Product {
    const { weight, gated, bias } = product;
    return {
      ...product,
      weight: this.#matrix(weight),
      ...(gated ? { gated: { ...gated, up: this.#matrix(gated.up) } } : {}),
      ...(bias === undefined ? {} : { bias: this.#floats(bias) }),
    };
  }

  #emitNode(node: Node): void {
    for (const group of this.#heads.groups.get(node.id) ?? []) this.#emitHeads(group);
    if (isView(node, this.#values) || this.#heads.covered.has(node.id)) return;
    const sum = this.#normSums.get(node.id);
    if (sum) this.#emitNormSum(sum);
    if (this.#summed.has(node.id)) return;
    if (node.op === 'attention') {
      this.#steps.push(attentionStep(node));
    } else if (node.op === 'sample') {
      const step = sampleStep(node);
      this.#steps.push({ ...step, operands: step.operands.map((id) => this.#optionalFloats(id)) });
    } else if (node.op === 'rope') {
      const inputs = { x: this.#floats(node.inputs.x!), table: this.#ropeTable(node) };
      this.#emitOp('rope', inputs, node);
    } else if (node.op === 'embed') {
      this.#emitEmbed(node);
    } else {
      const prepare = movers.has(node.op) ? this.#stored : this.#floats;
      const inputs = Object.fromEntries(
        Object.entries(node.inputs).map(([name, id]) => [name, prepare.call(this, id)]),
      );
      // Every op that is left has a kernel of its name: `supports` refused all others.
      this.#emitOp(node.op as OpKernel, inputs, node);
    }
  }

  #emitHeads(group: HeadGroup): void {
    const { query, stored } = group;
    const nodes = headNodes(group);
    const rope = [query?.rope, stored?.key.rope].find((node) => node !== undefined);
    const norms = nodes.filter(({ op }) => op === 'rmsNorm');
    // Without a weight there is nothing that the offset would be added to.
    const [weighted] = norms.filter(({ inputs }) => inputs.weight !== undefined);
    const step: HeadsStep = {
      kind: 'heads',
      nodes: nodes.map(({ id }) => id),
      ...(query ? { query: { ...this.#headPart(query), out: query.out } } : {}),
      ...(stored
        ? {
            stored: {
              key: this.#headPart(stored.key),
              value: this.#headPart(stored.value),
              state: stored.write.inputs.state!,
              slots: this.#floats(stored.write.inputs.slots!),
              out: stored.write.outputs[0]!,
            },
          }
        : {}),
      epsilon: (norms[0]?.attributes.epsilon as number | undefined) ?? 0,
      weightOffset: (weighted?.attributes.weightOffset as number | undefined) ?? 0,
      ...(rope
        ? { rope: { table: this.#ropeTable(rope), layout: rope.attributes.layout as 'half' | 'interleaved' } }
        : {}),
    };
    this.#steps.push(step);
  }

  #headPart({ x, norm, rope }: HeadPart): PlannedHeads {
    return {
      x: this.#floats(x),
      normed: norm !== undefined,
      weight: this.#optionalFloats(norm?.inputs.weight),
      turned: rope !== undefined,
    };
  }

  #emitNormSum({ norm, addends, scale, out, nodes }: NormSum): void {
    const { x, weight } = norm.inputs as { x: number; weight?: number };
    const [first, second] = addends;
    const inputs = {
      x: this.#floats(x),
      ...(weight === undefined ? {} : { weight: this.#floats(weight) }),
      ...(first === undefined ? {} : { first }),
      ...(second === undefined ? {} : { second }),
    };
    const attributes = { ...norm.attributes, scale };
    this.#steps.push({
      kind: 'op',
      kernel: 'rmsNorm',
      node: norm.id,
      also: nodes.slice(1).map(({ id }) => id),
      inputs,
      out,
      attributes,
    });
  }

  #emitOp(kernel: OpKernel, inputs: Readonly<Record<string, number>>, node: Node): void {
    const { id, attributes, outputs } = node;
    this.#steps.push({ kind: 'op', kernel, node: id, inputs, out: outputs[0]!, attributes });
  }

  #emitEmbed(node: Node): void {
    const { ids, table } = node.inputs as { ids: number; table: number };
    const { storage } = this.#values[table]!;
    const weight = storage.kind === 'weight' ? this.#options.weights.loaded(storage.name) : undefined;
    if (weight?.host) this.#gather(node, weight);
    const readable = weight?.host ? table : this.#matrix(table);
    this.#emitOp('embed', { ids, table: readable }, node);
  }

  #gather(node: Node, { dtype, columns }: { dtype: DType; columns: number }): void {
    const { ids, table } = node.inputs as { ids: number; table: number };
    const value = this.#values[table]!;
    const { source } = this.#graph.values[ids]!;
    const { name } = value.storage as { name: string };
    if (source.kind !== 'input' || !isStoredMatrix(value) || value.view!.rowStart !== 0) {
      throw hostWeightError(name, node, 'by ids that are computed, or in parts');
    }
    const [tokens] = resolveShape(this.#values[ids]!.shape, this.#options.maximumDims);
    this.#gathers.push({
      step: this.#steps.length,
      weight: name,
      ids,
      beyond: node.attributes.beyond === 'firstRow' ? 'firstRow' : 'error',
      byteLength: weightLayout(dtype, tokens!, columns).byteLength,
    });
  }

  /** The table of a rope, computed once for all that turn by the same angles. */
  #ropeTable(node: Node): number {
    const positions = node.inputs.positions!;
    const frequencies = this.#floats(node.inputs.frequencies!);
    const magnitude = node.attributes.magnitude as number;
    const key = `${positions} ${frequencies} ${magnitude}`;
    const known = this.#ropeTables.get(key);
    if (known !== undefined) return known;
    const [tokens] = this.#values[positions]!.shape;
    const [pairs] = this.#values[frequencies]!.shape;
    const out = this.#add('f32', [tokens!, 2, pairs!], { kind: 'arena' });
    this.#ropeTables.set(key, out);
    this.#steps.push({
      kind: 'op',
      kernel: 'ropeTable',
      node: undefined,
      inputs: { positions, frequencies },
      out,
      attributes: { magnitude },
    });
    return out;
  }

  #emitCopy(from: number, to: Storage): void {
    const { dtype, shape, storage } = this.#values[from]!;
    if (storage.kind === 'weight' && isBlockDType(dtype)) {
      throw new UnicornError('unsupported/op', 'The Vulkan backend does not return packed weights.', {
        fields: { weight: storage.name, dtype },
      });
    }
    this.#pushCopy(from, this.#add(dtype, shape, to));
  }

  #pushCopy(from: number, out: number): void {
    this.#steps.push({
      kind: 'op',
      kernel: 'copy',
      node: undefined,
      inputs: { x: from },
      out,
      attributes: {},
    });
  }

  #add(dtype: DType, shape: readonly Dim[], storage: Storage): number {
    const id = this.#values.length;
    this.#values.push({ id, dtype, shape, root: id, offset: [], storage });
    return id;
  }

  // ---------------------------------------------------------------- weights as plain operands

  /** A value as products and lookups read it: stored weights as they are. */
  #matrix(id: number): number {
    const value = this.#values[id]!;
    if (value.storage.kind === 'weight' && isStoredMatrix(value)) {
      this.#expectOnDevice(value);
      return id;
    }
    return this.#floats(id);
  }

  #optionalFloats(id: number | undefined): number | undefined {
    return id === undefined ? undefined : this.#floats(id);
  }

  /** A value as dense numbers: integers as they are, everything else as f32. Weights that are not are decoded first. */
  #floats(id: number): number {
    const value = this.#values[id]!;
    if (value.storage.kind !== 'weight') return id;
    this.#expectOnDevice(value);
    const weight = this.#options.weights.loaded(value.storage.name);
    if (weight.floats !== undefined || (value.dtype === 'i32' && this.#isDense(value))) return id;
    if (value.dtype === 'i32') return this.#stored(id);
    if (value.dtype === 'f32' && this.#isDense(value)) return id;
    return this.#prepare(`floats ${id}`, () => {
      const out = this.#add('f32', value.shape, { kind: 'arena' });
      const inputs = { table: id };
      this.#steps.push({ kind: 'op', kernel: 'embed', node: undefined, inputs, out, attributes: {} });
      return out;
    });
  }

  /** A value as dense elements of its own dtype. */
  #stored(id: number): number {
    const value = this.#values[id]!;
    if (value.storage.kind !== 'weight') return id;
    this.#expectOnDevice(value);
    const weight = this.#options.weights.loaded(value.storage.name);
    // A plain kernel that names a vector gets its f32 twin, so another dtype is copied.
    const isOwn = weight.floats === undefined || weight.floats === weight.index;
    if (isOwn && this.#isDense(value)) return id;
    return this.#prepare(`stored ${id}`, () => {
      const out = this.#add(value.dtype, value.shape, { kind: 'arena' });
      this.#pushCopy(id, out);
      return out;
    });
  }

  #prepare(key: string, make: () => number): number {
    const known = this.#prepared.get(key);
    if (known !== undefined) return known;
    const made = make();
    this.#prepared.set(key, made);
    return made;
  }

  /** Whether the elements of a part of a weight lie back to back. */
  #isDense(value: PlannedValue): boolean {
    const { rows, columns } = value.view!;
    const weight = this.#options.weights.loaded((value.storage as { name: string }).name);
    const { kind, planes } = weight.layout;
    if (kind === 1) return false;
    return rows <= 1 || planes[0]!.rowBytes === columns * dtypeLayout(weight.layout.dtype).blockBytes;
  }

  #expectOnDevice(value: PlannedValue): void {
    const { name } = value.storage as { name: string };
    if (!this.#options.weights.loaded(name).host) return;
    const node = this.#graph.nodes.find(({ inputs }) => Object.values(inputs).includes(value.id));
    throw hostWeightError(name, node, 'by anything but a lookup of rows');
  }

  // ---------------------------------------------------------------- memory

  #placeConstants(): { constants: Uint8Array; constantOffsets: Map<number, number> } {
    const constantOffsets = new Map<number, number>();
    const parts: { at: number; bytes: Uint8Array }[] = [];
    let at = 0;
    for (const { id, root, storage } of this.#values) {
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
  #stepMemory(constantOffsets: ReadonlyMap<number, number>): {
    memory: StepMemory[];
    counterBytes: number;
  } {
    const { weights, target, maximumDims, precision } = this.#options;
    const planned = { values: this.#values, constantOffsets, precision };
    const concrete = new Concrete(planned, weights, target, { dims: maximumDims });
    let counterBytes = 0;
    const memory = this.#steps.map((step) => {
      const needs = concrete.needs(step);
      const one = {
        scratchOffset: 0,
        scratchBytes: needs.scratchBytes,
        countersOffset: counterBytes,
        counterBytes: needs.counterBytes,
      };
      counterBytes += alignUp(needs.counterBytes);
      return one;
    });
    return { memory, counterBytes };
  }

  /** What attention reads in place of the heads before it. Not the queries: they become its own in their place. */
  #takenIn(index: number, intakes: readonly PlannedIntake[]): number[] {
    const intake = intakes.find(({ attention }) => attention === index);
    if (!intake) return [];
    const heads = this.#steps[intake.heads] as HeadsStep;
    return headReads(heads).filter((id) => id !== heads.query?.x);
  }

  /** Operands of a step that the kernel which writes `root` could write over. */
  #overwritable(step: Step, root: PlannedValue): number[] {
    if (step.kind === 'matmul') return overwritableByMatmul(step, root, this.#values);
    if (step.kind === 'attention' || step.kind === 'sample') return [];
    const reads = readValues(step).map((id) => this.#values[id]!.root);
    const operands =
      step.kind === 'heads'
        ? [step.query?.x]
        : (inPlaceOperands[step.kernel] ?? []).map((name) => step.inputs[name]);
    return operands.flatMap((id) => {
      if (id === undefined) return [];
      const candidate = this.#values[id]!.root;
      return reads.filter((other) => other === candidate).length === 1 ? [id] : [];
    });
  }
}

function hostWeightError(name: string, node: Node | undefined, how: string): UnicornError {
  return new UnicornError(
    'unsupported/op',
    `The weight "${name}" stays in host memory; the Vulkan backend does not read it ${how}.`,
    {
      fields: { weight: name, node: node?.id, op: node?.op },
      fix: 'Load the weight into device memory.',
    },
  );
}

/** Value ids that a step reads, states included. */
export function readValues(step: Step): number[] {
  if (step.kind === 'heads') return headReads(step);
  return step.kind === 'op' ? definedIds(Object.values(step.inputs)) : stepReads(step);
}

/** Value ids that a step writes. */
export function writtenValues(step: Step): number[] {
  if (step.kind === 'heads') return definedIds([step.query?.out, step.stored?.out]);
  return step.kind === 'op' ? [step.out] : stepWrites(step);
}

function headReads({ query, stored, rope }: HeadsStep): number[] {
  const parts = [query, stored?.key, stored?.value].flatMap((part) => [part?.x, part?.weight]);
  return definedIds([...parts, stored?.state, stored?.slots, rope?.table]);
}
