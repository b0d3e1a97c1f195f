/**
 * Makes a plan of a graph: fused steps in order, every value with a place. The same graph, dims and forms of weights give the
 * same plan, which tests compare as text.
 */
import {
  attentionStep,
  bindingIndices,
  bindOutputs,
  countKey,
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
  type PlannedValue,
  type Storage,
} from '@unicorn-exec/lowering';
import type { Dim, Graph, Node, Signature } from '@unicorn-exec/tensor';
import type { Plan, RowLink, RowsStep, Step } from './plan.js';
import { inPlaceOperands, operandName, rowLink } from './row-link.js';

export interface LoweringOptions {
  readonly signature: Signature;
  readonly precision: 'f32' | 'fast';
  readonly maximumDims: Readonly<Record<string, number>>;
  /** Whether products with the weight of that name take int8 activations: it is packed, or packed in passing. */
  takesInt8(name: string): boolean;
}

/** Rows of a packed group (`groupRows` of kernels.h). */
const groupRows = 16;

export function lower(graph: Graph, options: LoweringOptions): Plan {
  return new Lowering(graph, options).plan();
}

/** How the elements of an operand fall into rows: equal keys mean that a row of one is a row of the other. */
function rowLayout(value: PlannedValue, axis: number | undefined): string | undefined {
  if (axis === undefined) return undefined;
  return `${value.shape[axis]}/${countKey(value.shape.slice(axis + 1))}`;
}

class Lowering {
  readonly #graph: Graph;
  readonly #options: LoweringOptions;
  readonly #values: PlannedValue[];
  readonly #steps: Step[] = [];
  readonly #bindings: ReadonlyMap<string, number>;
  /** Tables of sines and cosines by positions, frequencies and magnitude. */
  readonly #ropeTables = new Map<string, PlannedValue>();

  constructor(graph: Graph, options: LoweringOptions) {
    this.#graph = graph;
    this.#options = options;
    this.#bindings = bindingIndices(options.signature);
    this.#values = placeValues(graph, this.#bindings);
  }

  plan(): Plan {
    const copies = bindOutputs(this.#graph, this.#values, this.#bindings);
    this.#order();
    for (const { from, to } of copies) this.#copy(from, to);
    const accesses = this.#steps.map((step) => ({
      reads: readValues(step),
      writes: writtenValues(step),
      overwritable: (root: PlannedValue) => this.#overwritable(step, root),
    }));
    const { places, bytes } = placeInArena(this.#values, accesses, this.#options.maximumDims);
    return {
      name: this.#graph.name,
      precision: this.#options.precision,
      values: this.#values,
      steps: this.#steps,
      places,
      arenaBytes: bytes,
      bindingCount: this.#bindings.size,
      symbols: this.#options.signature.dims,
      maximumDims: this.#options.maximumDims,
    };
  }

  // ---------------------------------------------------------------- order of steps

  #order(): void {
    const fusions = findFusions({
      graph: this.#graph,
      values: this.#values,
      quantized: (node) => this.#isQuantized(node),
      aligned: (weight) => (weight.view?.rowStart ?? 0) % groupRows === 0,
    });
    orderSteps(this.#graph, fusions, {
      matmul: (group) => this.#steps.push(matmulStep(group)),
      node: (node) => this.#emitNode(node),
    });
  }

  #emitNode(node: Node): void {
    if (isView(node, this.#values)) return;
    if (node.op === 'attention') {
      this.#steps.push(attentionStep(node));
    } else if (node.op === 'sample') {
      this.#steps.push(sampleStep(node));
    } else {
      const table = node.op === 'rope' ? this.#ropeTable(node) : undefined;
      const { link, dim } = rowLink(node, this.#values, table);
      this.#emitLink(link, dim);
    }
  }

  #isQuantized(node: Node): boolean {
    const weight = this.#values[node.inputs.weight!]!;
    return (
      this.#options.precision === 'fast' &&
      weight.storage.kind === 'weight' &&
      isStoredMatrix(weight) &&
      this.#options.takesInt8(weight.storage.name)
    );
  }

  // ---------------------------------------------------------------- chains of rows

  /** Appends to the chain that is being built, or begins a new one. */
  #emitLink(link: RowLink, dim: Dim): void {
    const last = this.#steps.at(-1);
    if (last?.kind === 'rows' && last.dim === dim && this.#mayFollow(last, link)) {
      last.links.push(link);
    } else {
      this.#steps.push({ kind: 'rows', dim, links: [link] });
    }
  }

  /** True when the link needs nothing from other rows of what the chain computes, and disturbs nothing that it reads. */
  #mayFollow(step: RowsStep, link: RowLink): boolean {
    for (const operand of link.operands) {
      if (operand.value === undefined) continue;
      const value = this.#values[operand.value]!;
      const layout = rowLayout(value, operand.axis);
      for (const earlier of step.links.flatMap(({ operands }) => operands)) {
        if (earlier.value === undefined || !(earlier.written || operand.written)) continue;
        const other = this.#values[earlier.value]!;
        if (other.root !== value.root) continue;
        if (layout === undefined || rowLayout(other, earlier.axis) !== layout) return false;
      }
    }
    return true;
  }

  #add(dtype: PlannedValue['dtype'], shape: readonly Dim[], storage: Storage): PlannedValue {
    const id = this.#values.length;
    const value: PlannedValue = { id, dtype, shape, root: id, offset: [], storage };
    this.#values.push(value);
    return value;
  }

  /** The table of a rope, computed once for all that turn by the same angles. */
  #ropeTable(node: Node): PlannedValue {
    const { positions, frequencies } = node.inputs as { positions: number; frequencies: number };
    const magnitude = node.attributes.magnitude as number;
    const key = `${positions} ${frequencies} ${magnitude}`;
    const known = this.#ropeTables.get(key);
    if (known) return known;
    const [tokens] = this.#values[positions]!.shape;
    const [pairs] = this.#values[frequencies]!.shape;
    const table = this.#add('f32', [tokens!, 2, pairs!], { kind: 'arena' });
    this.#ropeTables.set(key, table);
    const operands = [
      { value: positions, axis: 0 },
      { value: frequencies, axis: undefined },
      { value: table.id, axis: 0, written: true },
    ];
    this.#emitLink({ kernel: 'ropeTable', operands, numbers: [magnitude], node: undefined }, tokens!);
    return table;
  }

  #copy(from: number, to: Storage): void {
    const { dtype, shape } = this.#values[from]!;
    const out = this.#add(dtype, shape, to);
    const axis = shape.length > 1 ? 0 : undefined;
    const operands = [
      { value: from, axis },
      { value: out.id, axis, written: true },
    ];
    this.#emitLink({ kernel: 'copy', operands, numbers: [], node: undefined }, axis === 0 ? shape[0]! : 1);
  }

  // ---------------------------------------------------------------- memory

  /** Operands of a step that the kernel which writes `root` could write over. */
  #overwritable(step: Step, root: PlannedValue): number[] {
    if (step.kind === 'matmul') return overwritableByMatmul(step, root, this.#values);
    if (step.kind !== 'rows') return [];
    const at = step.links.findIndex(({ operands }) =>
      operands.some(({ value, written }) => written && this.#values[value!]!.root === root.id),
    );
    const link = step.links[at]!;
    const out = link.operands.find(({ written }) => written)!;
    const layout = rowLayout(this.#values[out.value!]!, out.axis);
    const names = inPlaceOperands[link.kernel] ?? [];
    return link.operands.flatMap(({ value, written }, index) => {
      const name = operandName(link.kernel, index);
      if (written || value === undefined || name === undefined || !names.includes(name)) return [];
      const candidate = this.#values[value]!.root;
      // Other readers in this chain must come before, in the same rows, and this kernel may read it only once.
      const safe = step.links.every((other, position) =>
        other.operands.every((operand, i) => {
          if (operand.value === undefined || this.#values[operand.value]!.root !== candidate) return true;
          if (position > at || (position === at && i !== index)) return false;
          if (layout === undefined) return step.dim === 1;
          return rowLayout(this.#values[operand.value]!, operand.axis) === layout;
        }),
      );
      return safe ? [value] : [];
    });
  }
}

function linkValues(step: RowsStep, written: boolean): number[] {
  return step.links.flatMap(({ operands }) =>
    definedIds(
      operands.filter((operand) => (operand.written ?? false) === written).map(({ value }) => value),
    ),
  );
}

/** Value ids that a step reads, states included. */
export function readValues(step: Step): number[] {
  return step.kind === 'rows' ? linkValues(step, false) : stepReads(step);
}

/** Value ids that a step writes. */
export function writtenValues(step: Step): number[] {
  return step.kind === 'rows' ? linkValues(step, true) : stepWrites(step);
}
