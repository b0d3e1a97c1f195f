/**
 * From a graph to a plan: fused steps in order, every value with a place. Pure: the same graph, dims and packed weights
 * give the same plan, so plans are snapshot-tested text.
 */
import { dtypeLayout, elementCount, resolveShape, tensorBytes } from '@unicorn-exec/tensor';
import type { Dim, Graph, Node, Signature } from '@unicorn-exec/tensor';
import { planArena } from './arena.js';
import { findFusions, type ProductGroup } from './fuse.js';
import type {
  ArenaSlot,
  MatmulStep,
  Plan,
  PlannedValue,
  Product,
  RowLink,
  RowsStep,
  Step,
  Storage,
} from './plan.js';
import { inPlaceOperands, operandName, rowLink } from './row-link.js';
import { countKey, isView, placeValues } from './storage.js';

export interface LoweringOptions {
  readonly signature: Signature;
  readonly precision: 'f32' | 'fast';
  readonly maximumDims: Readonly<Record<string, number>>;
  /** Whether the device holds the weight of that name packed. */
  isPacked(name: string): boolean;
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
  readonly #bindings = new Map<string, number>();
  /** Tables of sines and cosines by positions, frequencies and magnitude. */
  readonly #ropeTables = new Map<string, PlannedValue>();

  constructor(graph: Graph, options: LoweringOptions) {
    this.#graph = graph;
    this.#options = options;
    const { inputs, outputs, state } = options.signature;
    for (const [role, specs] of Object.entries({ input: inputs, output: outputs, state })) {
      for (const name of Object.keys(specs)) this.#bindings.set(`${role}:${name}`, this.#bindings.size);
    }
    this.#values = placeValues(graph, this.#bindings);
  }

  plan(): Plan {
    const copies = this.#bindOutputs();
    this.#order();
    for (const { from, to } of copies) this.#copy(from, to);
    const { slots, bytes } = this.#placeInArena();
    return {
      name: this.#graph.name,
      precision: this.#options.precision,
      values: this.#values,
      steps: this.#steps,
      slots,
      arenaBytes: bytes,
      bindingCount: this.#bindings.size,
      symbols: this.#options.signature.dims,
      maximumDims: this.#options.maximumDims,
    };
  }

  /** Lets each output's producer write the bound buffer itself; what cannot is copied at the end. */
  #bindOutputs(): { from: number; to: Storage }[] {
    const copies: { from: number; to: Storage }[] = [];
    for (const [name, id] of Object.entries(this.#graph.outputs)) {
      const to: Storage = { kind: 'binding', index: this.#bindings.get(`output:${name}`)! };
      const value = this.#values[id]!;
      const root = this.#values[value.root]!;
      const whole = value.offset.length === 0 && countKey(value.shape) === countKey(root.shape);
      if (root.storage.kind === 'arena' && whole) {
        for (const other of this.#values) if (other.root === root.id) other.storage = to;
      } else {
        copies.push({ from: id, to });
      }
    }
    return copies;
  }

  // ---------------------------------------------------------------- order of steps

  #order(): void {
    const { nodes } = this.#graph;
    const { products, covered } = findFusions({
      graph: this.#graph,
      values: this.#values,
      quantized: (node) => this.#isQuantized(node),
      aligned: (weight) => (weight.view?.rowStart ?? 0) % groupRows === 0,
    });
    /** Values computed so far. */
    const ready = new Set(
      this.#graph.values.filter(({ source }) => source.kind !== 'node').map(({ id }) => id),
    );
    const emitted = new Set<ProductGroup>();
    for (const node of nodes) {
      const product = products.get(node.id);
      if (product && !emitted.has(product)) {
        const group = [...products.values()].filter(
          (other) => other === product || (!emitted.has(other) && this.#joins(product, other, ready)),
        );
        this.#emitMatmul(group);
        for (const one of group) {
          emitted.add(one);
          ready.add(one.product.out);
        }
      }
      if (!covered.has(node.id)) this.#emitNode(node);
      // What fusion hides was not computed: only a product's result is there to be read.
      if (!covered.has(node.id)) for (const id of node.outputs) ready.add(id);
    }
  }

  /** Whether another product may be computed together with `first`, now. */
  #joins(first: ProductGroup, other: ProductGroup, ready: ReadonlySet<number>): boolean {
    return (
      other.x === first.x &&
      other.quantized === first.quantized &&
      other.norm?.node === first.norm?.node &&
      other.needs.every((id) => ready.has(id))
    );
  }

  #emitMatmul(group: readonly ProductGroup[]): void {
    const [first] = group;
    const { x, quantized, norm } = first!;
    const step: MatmulStep = {
      kind: 'matmul',
      x,
      quantized,
      ...(norm ? { norm } : {}),
      products: group.map(({ product }) => product),
    };
    this.#steps.push(step);
  }

  #emitNode(node: Node): void {
    const id = (name: string): number => node.inputs[name]!;
    if (isView(node, this.#values)) return;
    if (node.op === 'attention') {
      const { scale, window, softcap } = node.attributes as {
        scale: number;
        window?: number;
        softcap?: number;
      };
      this.#steps.push({
        kind: 'attention',
        node: node.id,
        query: id('query'),
        state: id('state'),
        positions: id('positions'),
        starts: id('starts'),
        blocks: id('blocks'),
        reach: node.inputs.reach,
        out: node.outputs[0]!,
        scale,
        window,
        softcap,
      });
    } else if (node.op === 'sample') {
      const names = ['logits', 'parameters', 'controls', 'biasIds', 'biasValues', 'history', 'mask'];
      const operands = names.map((name) => node.inputs[name]);
      const [ids, , probabilities] = node.outputs;
      this.#steps.push({ kind: 'sample', node: node.id, operands, ids: ids!, probabilities });
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
      this.#options.isPacked(weight.storage.name)
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

  #placeInArena(): { slots: ArenaSlot[]; bytes: number } {
    const building = new Map<number, { roots: number[]; bytes: number; first: number; last: number }>();
    const lastRead = new Map<number, number>();
    this.#steps.forEach((step, index) => {
      for (const id of readValues(step)) lastRead.set(this.#values[id]!.root, index);
    });
    this.#steps.forEach((step, index) => {
      for (const id of writtenValues(step)) {
        const root = this.#values[this.#values[id]!.root]!;
        if (root.storage.kind !== 'arena' || building.has(root.id)) continue;
        const last = Math.max(index, lastRead.get(root.id) ?? index);
        const over = this.#overwritten(step, index, root, building, lastRead);
        if (over === undefined) {
          building.set(root.id, { roots: [root.id], bytes: this.#bytes(root), first: index, last });
        } else {
          const slot = building.get(over)!;
          slot.roots.push(root.id);
          slot.last = Math.max(slot.last, last);
          building.set(root.id, slot);
        }
      }
    });
    const distinct = [...new Set(building.values())];
    const { offsets, bytes } = planArena(distinct);
    const slots = distinct.map((slot, index) => ({ ...slot, offset: offsets[index]! }));
    for (const slot of slots) {
      for (const value of this.#values) {
        if (!slot.roots.includes(value.root)) continue;
        value.offset = [{ bytes: slot.offset, symbols: [] }, ...value.offset];
      }
    }
    return { slots, bytes };
  }

  /** The root that a new one may take the place of: it dies here, and each element is read before it is overwritten. */
  #overwritten(
    step: Step,
    index: number,
    root: PlannedValue,
    building: ReadonlyMap<number, { readonly roots: readonly number[]; readonly last: number }>,
    lastRead: ReadonlyMap<number, number>,
  ): number | undefined {
    const found = this.#overwritable(step, root).find((id) => {
      const value = this.#values[id]!;
      const candidate = this.#values[value.root]!;
      const slot = building.get(candidate.id);
      return (
        slot !== undefined &&
        slot.roots.at(-1) === candidate.id &&
        slot.last === index &&
        lastRead.get(candidate.id) === index &&
        value.offset.length === 0 &&
        candidate.dtype === root.dtype &&
        countKey(candidate.shape) === countKey(root.shape) &&
        countKey(value.shape) === countKey(root.shape)
      );
    });
    return found === undefined ? undefined : this.#values[found]!.root;
  }

  /** Operands of a step that the kernel which writes `root` could write over. */
  #overwritable(step: Step, root: PlannedValue): number[] {
    if (step.kind === 'matmul') {
      const product = step.products.find(({ out }) => this.#values[out]!.root === root.id)!;
      const others = (id: number): number =>
        readValues(step).filter((other) => this.#values[other]!.root === this.#values[id]!.root).length;
      // Not the other half of a gate: the product is stored before it is multiplied.
      return definedIds([product.residual]).filter((id) => others(id) === 1);
    }
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
      // Whoever else reads it in this chain must do so before, in the same rows, and this kernel only once.
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

  #bytes(value: PlannedValue): number {
    const shape = resolveShape(value.shape, this.#options.maximumDims);
    if (dtypeLayout(value.dtype).blockSize === 1) {
      return elementCount(shape) * dtypeLayout(value.dtype).blockBytes;
    }
    return tensorBytes(value.dtype, shape);
  }
}

/** Whether a value is a weight as matmul and embed read it: rows of it with whole or leading columns. */
export function isStoredMatrix(value: PlannedValue): boolean {
  return value.view !== undefined && value.shape.length === 2 && value.shape[1] === value.view.columns;
}

function definedIds(ids: readonly (number | undefined)[]): number[] {
  return ids.filter((id) => id !== undefined);
}

function productReads(product: Product): number[] {
  const posts = product.posts.map((post) => (post.kind === 'glu' ? post.other : undefined));
  return definedIds([product.weight, product.gated?.up, product.bias, product.residual, ...posts]);
}

/** Value ids that a step reads, states included. */
export function readValues(step: Step): number[] {
  switch (step.kind) {
    case 'rows':
      return step.links.flatMap(({ operands }) =>
        definedIds(operands.filter(({ written }) => !written).map(({ value }) => value)),
      );
    case 'matmul':
      return [...definedIds([step.x, step.norm?.weight]), ...step.products.flatMap(productReads)];
    case 'attention': {
      const { query, state, positions, starts, blocks, reach } = step;
      return definedIds([query, state, positions, starts, blocks, reach]);
    }
    case 'sample':
      return definedIds(step.operands);
  }
}

/** Value ids that a step writes. */
export function writtenValues(step: Step): number[] {
  switch (step.kind) {
    case 'rows':
      return step.links.flatMap(({ operands }) =>
        definedIds(operands.filter(({ written }) => written).map(({ value }) => value)),
      );
    case 'matmul':
      return step.products.map(({ out }) => out);
    case 'attention':
      return [step.out];
    case 'sample':
      return definedIds([step.ids, step.probabilities]);
  }
}
