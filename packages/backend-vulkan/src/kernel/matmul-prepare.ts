/**
 * Activations on their way into products: which forms of them a call wants, where in its scratch they lie, and the dispatch
 * that makes each. The twin of `shaders/matmul-prepare.comp`.
 */
import { chainArgument, chained } from '../dispatch/chain.js';
import {
  early,
  f32,
  read,
  u32,
  write,
  type Argument,
  type DeviceTraits,
  type Dispatch,
  type Place,
} from '../dispatch/dispatch.js';
import { foldedGroups, product as elementCount } from './grid.js';
import { isAligned, isWide, matrixOf, type Matrix } from './matrix.js';
import type { MatmulCall } from './matmul-call.js';
import { pinnedSubgroup, type Form } from './matmul-product.js';
import type { MatmulTiler } from './tiler.js';
import type { Operand } from './operand.js';

/** Activations as a form takes them; f16 in the order in which weights in planes, or others, are decoded. */
export type Prepared = 'float' | 'int8' | 'f16' | 'f16 swapped';

const formOf = { float: 'float', int8: 'int8', f16: 'f16', 'f16 swapped': 'f16' } as const;

/** Numbers of `FORM_*` in `shaders/matmul-prepare.comp`. */
const formCodes: Readonly<Record<Form | 'none', number>> = { float: 0, int8: 1, f16: 2, none: 3 };

/** Octets of f32 that fit the registers of an invocation with room for their neighbours. */
const mostHeld = 4;

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
  readonly tiler: MatmulTiler;
}

export interface Context extends Planning {
  /** The dispatch that must run before the products, and the activations that it makes. */
  readonly preparing: Map<Prepared, Dispatch>;
}

export function rowsOf(x: Operand): Rows {
  return { tokens: elementCount(x.shape.slice(0, -1)), columns: x.shape.at(-1) ?? 1 };
}

const align = (value: number, to: number): number => Math.ceil(value / to) * to;

function paddedColumns(columns: number): number {
  return align(columns, paddedTo);
}

export function preparedBytes(form: Form, { tokens, columns }: Rows): number {
  switch (form) {
    case 'float':
      return align(4 * tokens * columns, 16);
    case 'int8': {
      // For each block two vectors of quants and half a one of factors.
      const blocks = columns / 32;
      return tokens * 16 * (2 * blocks + Math.ceil(blocks / 2));
    }
    case 'f16':
      return align(tokens * (2 * paddedColumns(columns) + 4), 16);
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

/** The places of all forms that these products may take, one behind the other. Fewer rows may take another form than more. */
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

/** The rows that products, or their preparation, begin with: the sum where there is a join. */
function joinedX({ call: { x, join } }: Context): Operand {
  return join ? join.out : x;
}

/** The place of activations of a kind; the dispatch that makes them goes before the products, once. */
export function preparedPlace(context: Context, kind: Prepared): Place {
  const { call, rows, preparing } = context;
  const offset = scratchPlan(context).at.get(kind);
  if (offset === undefined) return joinedX(context).place;
  const byteLength = preparedBytes(formOf[kind], rows);
  // Shorter than the f32 that x would be.
  if (call.prepared) return { ...call.x.place, byteLength };
  const { storage, byteOffset } = call.scratch;
  const place: Place = { storage, byteOffset: byteOffset + offset, byteLength };
  if (!preparing.has(kind)) preparing.set(kind, prepareDispatch(context, kind, place));
  return place;
}

/** For products that prepare nothing, the sum with the residual is dispatched alone. */
export function joinAlone(context: Context): Dispatch[] {
  const { call, preparing } = context;
  return call.join && preparing.size === 0 ? [prepareDispatch(context, 'none', undefined)] : [];
}

function prepareDispatch(context: Context, kind: Prepared | 'none', place: Place | undefined): Dispatch {
  const { call, rows, traits, preparing } = context;
  const { tokens, columns } = rows;
  // The first that prepares anything joins; the others begin with what it wrote.
  const join = preparing.size === 0 ? call.join : undefined;
  const x = join ? call.x : joinedX(context);
  const norm = kind === 'none' ? undefined : call.norm;
  const form = kind === 'none' ? 'none' : formOf[kind];
  const dense = [x, join?.residual, join?.out].flatMap((operand) => (operand ? [operand.place] : []));
  const weights = [norm?.weight, join?.norm?.weight].flatMap((weight) => (weight ? [weight.place] : []));
  const wide = columns % 8 === 0 && dense.every((one) => isWide(one, columns));
  const wideWeights = columns % 8 === 0 && weights.every(isAligned);
  // Where no sum over the row is needed, several workgroups share it: small ones begin sooner, and read side by side.
  const isShared = form !== 'f16' && !norm && !join?.norm;
  const all = form === 'f16' ? paddedColumns(columns) : columns;
  const { workgroup, held, parts } = isShared
    ? sharedCut(rows, traits)
    : { ...prepareCut(all, traits), parts: 1 };
  const [x0, y0] = foldedGroups(tokens);
  const flag = (value: unknown): number => (value ? 1 : 0);
  const address = (operand: Operand | undefined): Argument =>
    operand ? read(operand.place) : { kind: 'null' };
  const names = [
    ...(join ? [join.norm ? 'rmsNorm+add' : 'add'] : []),
    ...(norm ? ['rmsNorm'] : []),
    ...(form === 'none' ? [] : [`prepare ${form}`]),
  ];
  const dispatch: Dispatch = {
    pipeline: {
      shader: 'matmul-prepare',
      constants: [
        ...[workgroup, formCodes[form], flag(norm), flag(norm?.weight), flag(kind === 'f16 swapped')],
        ...[flag(join), flag(join?.norm), flag(join?.norm?.weight), flag(wide), flag(wideWeights), held],
        flag(8 * held * workgroup * parts < all),
      ],
      ...pinnedSubgroup(traits),
    },
    arguments: [
      read(x.place),
      early(address(norm?.weight)),
      place ? write(place) : { kind: 'null' },
      address(join?.residual),
      join ? write(join.out.place) : { kind: 'null' },
      early(address(join?.norm?.weight)),
      ...[tokens, columns, paddedColumns(columns)].map(u32),
      ...[norm?.epsilon ?? 0, norm?.weightOffset ?? 0].map(f32),
      ...[join?.norm?.epsilon ?? 0, join?.norm?.weightOffset ?? 0].map(f32),
    ],
    groups: [x0, y0, parts],
    name: names.join('+'),
  };
  const given = dispatch.arguments;
  const addresses = given.findIndex(({ kind }) => kind !== 'address' && kind !== 'null');
  return {
    ...dispatch,
    chained: chained(dispatch, [
      ...[...given.slice(0, addresses), chainArgument],
      ...[...given.slice(addresses), { kind: 'before' as const }],
    ]),
  };
}

/** Workgroups of few invocations for a row, while there are compute units for more. */
function sharedCut(
  { tokens, columns }: Rows,
  traits: DeviceTraits,
): ReturnType<typeof prepareCut> & { parts: number } {
  const { subgroupSize, computeUnits, software } = traits;
  const octets = Math.max(1, Math.ceil(columns / 8));
  const most = software ? 2 : Math.max(1, Math.floor(computeUnits / tokens));
  const parts = Math.max(1, Math.min(most, Math.floor(octets / Math.max(128, subgroupSize))));
  return { ...prepareCut(8 * Math.ceil(octets / parts), traits), parts };
}

/** A workgroup for a row, its invocations with at most `mostHeld` octets each where the device has as many invocations. */
function prepareCut(columns: number, traits: DeviceTraits): { workgroup: number; held: number } {
  const { subgroupSize, maxInvocations, software } = traits;
  const octets = Math.max(1, Math.ceil(columns / 8));
  const limit = software ? 4 * subgroupSize : 1024;
  const most = subgroupSize * Math.max(1, Math.floor(Math.min(limit, maxInvocations) / subgroupSize));
  const held = Math.min(mostHeld, Math.ceil(octets / most));
  // One size, where compiling costs more than idle invocations do.
  const workgroup = software ? most : Math.min(most, align(Math.ceil(octets / held), subgroupSize));
  return { workgroup, held };
}
