/**
 * Activations on their way into products: which forms of them a call wants, where in its scratch they lie, and the dispatch
 * that makes each. The twin of `shaders/matmul-prepare.comp`.
 */
import { f32, read, u32, write, type DeviceTraits, type Dispatch, type Place } from '../dispatch.js';
import { foldedGroups, product as elementCount } from './grid.js';
import { isWide, matrixOf, type Matrix } from './matrix.js';
import { pinnedSubgroup } from './matmul-product.js';
import type { MatmulTuner } from './matmul-tile.js';
import type { MatmulCall, Operand } from './operand.js';

export type Form = 'float' | 'int8' | 'f16';

/** Activations as a form takes them; f16 in the order in which weights in planes, or others, are decoded. */
export type Prepared = 'float' | 'int8' | 'f16' | 'f16 swapped';

const formOf = { float: 'float', int8: 'int8', f16: 'f16', 'f16 swapped': 'f16' } as const;

/** Numbers of `FORM_*` in `shaders/matmul-prepare.comp`. */
const formCodes: Readonly<Record<Form, number>> = { float: 0, int8: 1, f16: 2 };

/** Columns of f16 activations are padded to a multiple of what a step of any tile may take. */
const paddedTo = 64;

export interface Rows {
  readonly tokens: number;
  readonly columns: number;
}

export interface Planning {
  readonly call: MatmulCall;
  readonly rows: Rows;
  readonly traits: DeviceTraits;
  readonly tuner: MatmulTuner;
}

export interface Context extends Planning {
  /** What must run before the products. */
  readonly preparing: Map<Prepared, Dispatch>;
}

export function rowsOf(x: Operand): Rows {
  return { tokens: elementCount(x.shape.slice(0, -1)), columns: x.shape.at(-1) ?? 1 };
}

const align16 = (bytes: number): number => Math.ceil(bytes / 16) * 16;

function paddedColumns(columns: number): number {
  return Math.ceil(columns / paddedTo) * paddedTo;
}

export function preparedBytes(form: Form, { tokens, columns }: Rows): number {
  switch (form) {
    case 'float':
      return align16(4 * tokens * columns);
    case 'int8': {
      // For each block two vectors of quants and half a one of factors.
      const blocks = columns / 32;
      return tokens * 16 * (2 * blocks + Math.ceil(blocks / 2));
    }
    case 'f16':
      return align16(tokens * (2 * paddedColumns(columns) + 4));
  }
}

/** Whether the f16 form can read a weight: by vectors of eight columns. */
export function isWhole({ planes, wideColumns, columns, columnStart }: Matrix): boolean {
  return planes || (wideColumns > 0 && columns % 8 === 0 && columnStart % 8 === 0);
}

interface ScratchPlan {
  readonly at: ReadonlyMap<Prepared, number>;
  readonly byteLength: number;
}

/** Where the forms that these products may take lie, one behind the other. Fewer rows may take another form than more. */
export function scratchPlan({ call, rows, traits }: Planning): ScratchPlan {
  const hasMatrices = traits.cooperativeMatrix.length > 0;
  const kinds = new Set<Prepared>();
  for (const product of call.products) {
    const weight = matrixOf(product.weight);
    if (call.fast && isWhole(weight) && hasMatrices) kinds.add(weight.planes ? 'f16 swapped' : 'f16');
    // f32 activations are read where they are, unless they are to be normed.
    if (call.fast && weight.planes) kinds.add('int8');
    else if (call.norm) kinds.add('float');
  }
  const at = new Map<Prepared, number>();
  let byteLength = 0;
  for (const kind of kinds) {
    at.set(kind, byteLength);
    byteLength += preparedBytes(formOf[kind], rows);
  }
  return { at, byteLength };
}

/** Where activations of a kind are; the dispatch that makes them goes before the products, once. */
export function preparedPlace(context: Context, kind: Prepared): Place {
  const { call, rows, traits, preparing } = context;
  const { x, norm, scratch } = call;
  const offset = scratchPlan(context).at.get(kind);
  if (offset === undefined) return x.place;
  const form = formOf[kind];
  const byteLength = preparedBytes(form, rows);
  const place: Place = { storage: scratch.storage, byteOffset: scratch.byteOffset + offset, byteLength };
  if (preparing.has(kind)) return place;
  const { tokens, columns } = rows;
  const most = 2 ** Math.floor(Math.log2(traits.maxInvocations));
  const workgroup = Math.min(traits.software ? 4 * traits.subgroupSize : 256, most);
  preparing.set(kind, {
    kernel: {
      shader: 'matmul-prepare',
      constants: [
        Math.max(traits.subgroupSize, workgroup),
        formCodes[form],
        norm ? 1 : 0,
        norm?.weight ? 1 : 0,
        isWide(x.place, columns) ? 1 : 0,
        kind === 'f16 swapped' ? 1 : 0,
      ],
      ...pinnedSubgroup(traits),
    },
    arguments: [
      read(x.place),
      norm?.weight ? read(norm.weight.place) : { kind: 'null' },
      write(place),
      u32(tokens),
      u32(columns),
      u32(paddedColumns(columns)),
      f32(norm?.epsilon ?? 0),
      f32(norm?.weightOffset ?? 0),
    ],
    groups: foldedGroups(tokens),
    name: `${norm ? 'rmsNorm+' : ''}prepare ${form}`,
  });
  return place;
}
