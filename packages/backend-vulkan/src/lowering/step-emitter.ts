/**
 * Collects the steps of a plan, which declarations and fusions add. It brings operands into the form that kernels read:
 * weights that a plain kernel cannot read as they lie are decoded or copied by steps of their own, once.
 */
import { definedIds, isStoredMatrix, type PlannedValue, type Storage } from '@unicorn-exec/lowering';
import { dtypeLayout, isBlockDType, resolveShape, UnicornError } from '@unicorn-exec/tensor';
import type { Dim, DType, Graph, Node } from '@unicorn-exec/tensor';
import type { Emitter } from '../kernel/declaration.js';
import { weightLayout } from '../weights/weight-layout.js';
import type { OpStep, PlannedGather, Step } from './plan.js';
import type { LoadedWeight, WeightTable } from '../weights/weight-table.js';

export class StepEmitter implements Emitter {
  readonly steps: Step[] = [];
  readonly gathers: PlannedGather[] = [];
  readonly #made = new Map<string, number>();

  /** @param values of the graph; those that lowering adds are added behind them */
  constructor(
    readonly graph: Graph,
    readonly values: PlannedValue[],
    private readonly weights: WeightTable,
    private readonly maximumDims: Readonly<Record<string, number>>,
  ) {}

  value(id: number): PlannedValue {
    return this.values[id]!;
  }

  weightOf(id: number): LoadedWeight | undefined {
    const { storage } = this.value(id);
    return storage.kind === 'weight' ? this.weights.loaded(storage.name) : undefined;
  }

  push(step: Step): void {
    this.steps.push(step);
  }

  pushOp(step: Pick<OpStep, 'kernel' | 'inputs' | 'out'> & Partial<OpStep>): void {
    this.steps.push({ kind: 'op', node: undefined, attributes: {}, ...step });
  }

  add(dtype: DType, shape: readonly Dim[], storage: Storage = { kind: 'arena' }): number {
    const id = this.values.length;
    this.values.push({ id, dtype, shape, root: id, offset: [], storage });
    return id;
  }

  once(key: string, make: () => number): number {
    const known = this.#made.get(key);
    if (known !== undefined) return known;
    const made = make();
    this.#made.set(key, made);
    return made;
  }

  /** @throws UnicornError `unsupported/op` for a packed weight */
  copy(from: number, to: Storage): void {
    const { dtype, shape, storage } = this.value(from);
    if (storage.kind === 'weight' && isBlockDType(dtype)) {
      throw new UnicornError('unsupported/op', 'The Vulkan backend does not return packed weights.', {
        fields: { weight: storage.name, dtype },
        fix: 'Decode the weight in the graph, or output it on another device.',
      });
    }
    this.#pushCopy(from, this.add(dtype, shape, to));
  }

  #pushCopy(from: number, out: number): void {
    this.pushOp({ kernel: 'copy', inputs: { x: from }, out });
  }

  matrix(id: number): number {
    const weight = this.weightOf(id);
    if (weight && isStoredMatrix(this.value(id))) {
      this.#expectOnDevice(id, weight);
      return id;
    }
    return this.numbers(id);
  }

  optionalNumbers(id: number | undefined): number | undefined {
    return id === undefined ? undefined : this.numbers(id);
  }

  numbers(id: number): number {
    const value = this.value(id);
    const weight = this.weightOf(id);
    if (!weight) return id;
    this.#expectOnDevice(id, weight);
    const isDense = isDensePart(value, weight);
    if (weight.floats !== undefined || (value.dtype === 'i32' && isDense)) return id;
    if (value.dtype === 'i32') return this.stored(id);
    if (value.dtype === 'f32' && isDense) return id;
    return this.once(`numbers ${id}`, () => {
      const out = this.add('f32', value.shape);
      this.pushOp({ kernel: 'embed', inputs: { table: id }, out });
      return out;
    });
  }

  stored(id: number): number {
    const value = this.value(id);
    const weight = this.weightOf(id);
    if (!weight) return id;
    this.#expectOnDevice(id, weight);
    // A plain kernel that names a vector gets its f32 twin, so another dtype is copied.
    const isOwn = weight.floats === undefined || weight.floats === weight.index;
    if (isOwn && isDensePart(value, weight)) return id;
    return this.once(`stored ${id}`, () => {
      const out = this.add(value.dtype, value.shape);
      this.#pushCopy(id, out);
      return out;
    });
  }

  gather(node: Node, { dtype, columns }: LoadedWeight): void {
    const { ids, table } = node.inputs as { ids: number; table: number };
    const value = this.value(table);
    const { source } = this.graph.values[ids]!;
    const { name } = value.storage as { name: string };
    if (source.kind !== 'input' || !isStoredMatrix(value) || value.view!.rowStart !== 0) {
      throw hostWeightError(name, node, 'by ids that are computed, or in parts');
    }
    const [tokens] = resolveShape(this.value(ids).shape, this.maximumDims);
    this.gathers.push({
      step: this.steps.length,
      weight: name,
      ids,
      beyond: node.attributes.beyond === 'firstRow' ? 'firstRow' : 'error',
      byteLength: weightLayout(dtype, tokens!, columns).byteLength,
    });
  }

  #expectOnDevice(id: number, { host }: LoadedWeight): void {
    if (!host) return;
    const { name } = this.value(id).storage as { name: string };
    const node = this.graph.nodes.find(({ inputs }) => definedIds(Object.values(inputs)).includes(id));
    throw hostWeightError(name, node, 'by anything but a lookup of rows');
  }
}

/** Whether the elements of a part of a weight lie back to back. */
function isDensePart({ view }: PlannedValue, { layout }: LoadedWeight): boolean {
  const { rows, columns } = view!;
  if (layout.kind === 1) return false;
  return rows <= 1 || layout.planes[0]!.rowBytes === columns * dtypeLayout(layout.dtype).blockBytes;
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
