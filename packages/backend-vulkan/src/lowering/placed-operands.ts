/** The operands of a plan's steps, with their places, when the dims are known. */
import { isStoredMatrix, type AttentionStep, type PlannedValue } from '@unicorn-exec/lowering';
import { dtypeLayout, elementCount, resolveShape, rowBytes, type DimValues } from '@unicorn-exec/tensor';
import type { Place, Storage } from '../dispatch/dispatch.js';
import type { Agreed, StepOperands } from '../kernel/declaration.js';
import type { Faults, Operand, WeightOperand } from '../kernel/operand.js';
import { weightLayout } from '../weights/weight-layout.js';
import type { Plan, StepMemory } from './plan.js';
import type { WeightTable } from '../weights/weight-table.js';

/** The inputs of placement that are the same for all steps. */
export interface Placing extends Pick<Plan, 'values' | 'constantOffsets' | 'precision'> {
  readonly weights: WeightTable;
  readonly dims: DimValues;
  /** Upper bound of the keys that the step's queries see, from positions that the host knows. */
  keysOf?(step: AttentionStep): number | undefined;
  /** Where the gathered rows of an embed step begin among the inputs: by step. */
  gatheredAt?(step: number): number | undefined;
}

function placeOf(storage: Storage, byteOffset: number, byteLength: number): Place {
  return { storage, byteOffset, byteLength };
}

/** The operands of one step. */
export class PlacedOperands implements StepOperands {
  readonly #placing: Placing;
  readonly precision: 'f32' | 'fast';
  readonly scratch: Place;
  readonly counters: Place;
  readonly faults: Faults = { storage: { kind: 'inputs' }, byteOffset: 0, byteLength: 8 };

  /** @param step its index in the plan */
  constructor(
    placing: Placing,
    private readonly step: number,
    { scratchOffset, scratchBytes, countersOffset, counterBytes }: StepMemory,
    readonly agreed: Agreed = {},
  ) {
    this.#placing = placing;
    this.precision = placing.precision;
    this.scratch = placeOf({ kind: 'arena' }, scratchOffset, scratchBytes);
    this.counters = placeOf({ kind: 'counters' }, countersOffset, counterBytes);
  }

  keysOf(step: AttentionStep): number | undefined {
    return this.#placing.keysOf?.(step);
  }

  #shape(value: PlannedValue): number[] {
    return resolveShape(value.shape, this.#placing.dims);
  }

  operand(id: number): Operand {
    const value = this.#placing.values[id]!;
    const { dtype, storage } = value;
    const shape = this.#shape(value);
    if (storage.kind === 'weight') return this.#denseWeight(value, shape);
    const offset = value.offset.reduce(
      (sum, { bytes, symbols }) =>
        sum + symbols.reduce((product, symbol) => product * this.#placing.dims[symbol]!, bytes),
      0,
    );
    const byteLength = elementCount(shape.slice(0, -1)) * rowBytes(dtype, shape.at(-1) ?? 1);
    switch (storage.kind) {
      case 'arena':
        return { place: placeOf({ kind: 'arena' }, offset, byteLength), dtype, shape };
      case 'binding':
        return {
          place: placeOf({ kind: 'binding', index: storage.index }, offset, byteLength),
          dtype,
          shape,
        };
      case 'constant': {
        const start = this.#placing.constantOffsets.get(value.root)!;
        return { place: placeOf({ kind: 'constants' }, start + offset, byteLength), dtype, shape };
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
    const weight = this.#placing.weights.loaded(name);
    const at = (index: number, byteOffset: number, dtype: Operand['dtype'], bytes: number): Operand => ({
      place: placeOf({ kind: 'weight', index }, byteOffset, bytes * elementCount(shape)),
      dtype,
      shape,
    });
    if (weight.floats !== undefined) return at(weight.floats, 4 * view.columnStart, 'f32', 4);
    const [plane] = weight.layout.planes;
    const { blockBytes } = dtypeLayout(weight.layout.dtype);
    const byteOffset = view.rowStart * plane!.rowBytes + view.columnStart * blockBytes;
    return at(weight.index, byteOffset, weight.layout.dtype, blockBytes);
  }

  stored(id: number): { readonly operand: Operand; readonly rowStrideBytes?: number } {
    const value = this.#placing.values[id]!;
    if (value.storage.kind !== 'weight') return { operand: this.operand(id) };
    const weight = this.#placing.weights.loaded(value.storage.name);
    const [plane] = weight.layout.planes;
    const { blockBytes } = dtypeLayout(value.dtype);
    const { rowStart, rows, columnStart, columns } = value.view!;
    const place = placeOf(
      { kind: 'weight', index: weight.index },
      rowStart * plane!.rowBytes + columnStart * blockBytes,
      (rows - 1) * plane!.rowBytes + columns * blockBytes,
    );
    const operand = { place, dtype: value.dtype, shape: [rows, columns] };
    return { operand, rowStrideBytes: plane!.rowBytes };
  }

  matrix(id: number): WeightOperand | Operand {
    const value = this.#placing.values[id]!;
    return value.storage.kind === 'weight' && isStoredMatrix(value) ? this.weight(id) : this.operand(id);
  }

  weight(id: number): WeightOperand {
    const { storage, view } = this.#placing.values[id]!;
    const { index, layout, dtype, rows, columns } = this.#placing.weights.loaded(
      (storage as { name: string }).name,
    );
    const place = placeOf({ kind: 'weight', index }, 0, layout.byteLength);
    return { place, layout, dtype, rows, columns, view: view! };
  }

  gathered(id: number, rows: number): WeightOperand | undefined {
    const byteOffset = this.#placing.gatheredAt?.(this.step);
    if (byteOffset === undefined) return undefined;
    const { storage, view } = this.#placing.values[id]!;
    const { dtype, columns } = this.#placing.weights.loaded((storage as { name: string }).name);
    const layout = weightLayout(dtype, rows, columns);
    const place = placeOf({ kind: 'inputs' }, byteOffset, layout.byteLength);
    return { place, layout, dtype, rows, columns, view: { ...view!, rowStart: 0, rows } };
  }
}
