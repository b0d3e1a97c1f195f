/**
 * Which of its three forms attention takes for a call, and how each is cut over a device. Two forms give the same bits,
 * `row` for few rows (sections of the keys side by side, then merged) and `tile` for many (tiles of rows, all keys one after
 * the other). The third, `matrix`, takes the place of tiles where the device has matrices of f16 and precision is `fast`: a
 * row's bits are then one of two, depending on whether its step has more than 16 rows (and more than two for each
 * sequence), as they are for products; within a form they depend neither on the batch nor on how a prompt was cut.
 */
import { rowBytes, type DType } from '@unicorn-exec/tensor';
import type { DeviceTraits } from '../dispatch/dispatch.js';
import type { AttentionCall } from './attention-call.js';
import { product } from './grid.js';
import type { Operand } from './operand.js';

/** Keys of a section, which begin at multiples of it: `sectionKeys` of the shaders. */
export const sectionKeys = 128;

/**
 * Query heads that a workgroup of the row form takes at most: their sums stay in registers, and their queries, scores and
 * what invocations and sections exchange fit 32 KiB of shared memory (8 heads of 256, or 4 of 512).
 */
const maximumHeads = (headDim: number, keyLanes: number): number => Math.min(keyLanes, headDim > 256 ? 4 : 8);

/** Lines that a workgroup of the tile form takes. A line is one head of one row. */
const tileLines = 16;

/** The most rows whose sections go side by side in any case. */
const fewRows = 16;

/** The most sections that the workgroup which ends last merges: `mergedHere` of the shader. More get a dispatch of their own. */
const mergedHere = 128;

/** Rows that have counters for that. */
const countedRows = 64;

/** The most bytes that the results of sections may occupy. Beyond it rows are taken in tiles, which need none. */
const largestScratchBytes = 128 * 2 ** 20;

/** The most keys that the tile form takes on drivers that drop loop passes (llvmpipe, see DeviceTraits). */
const softwareTileKeys = 4096;

/** The widest heads whose queries and sums fit the matrix form's registers, and whose tiles fit 48 KiB of shared memory. */
const matrixHeadDim = 256;

/** Keys of a tile of the matrix form. */
const matrixKeys = 64;

/** Whether 8 subgroups of 32 can run it, with the device's own matrices. */
function takesMatrices({ fast, state, query }: AttentionCall, traits: DeviceTraits): boolean {
  return (
    fast === true &&
    query.place.byteOffset % 16 === 0 &&
    (state.dtype === 'q8_0' || (state.dtype === 'f16' && readsVectors(state))) &&
    query.shape[2]! <= matrixHeadDim &&
    traits.float16 &&
    traits.minSubgroupSize <= 32 &&
    traits.maxSubgroupSize >= 32 &&
    traits.cooperativeMatrix.some(
      ({ m, n, k, a, result, scope }) =>
        m === 16 && n === 16 && k === 16 && a === 'f16' && result === 'f32' && scope === 'subgroup',
    ) &&
    matrixBytes(query.shape[2]!, 32) <= traits.sharedMemoryBytes
  );
}

/** Elements of a head in the matrix form: 16 for each of the subgroups that share 16 of its lines. */
function matrixDim(headDim: number, lines: number): number {
  const step = (16 * 128) / lines;
  return Math.ceil(headDim / step) * step;
}

/** Shared memory of the matrix form: rows of a tile, scores and weights, each padded; what it keeps of lines and keys. */
function matrixBytes(headDim: number, lines: number): number {
  const dim = matrixDim(headDim, lines);
  return matrixKeys * (2 * dim + 16) + lines * (4 * 64 + 16 + 2 * 64 + 16 + 12) + 8 * matrixKeys + 64;
}

/** Lines of its workgroups: 64, or 32 where that would leave compute units without work. Bits do not depend on it. */
function matrixLines(
  call: AttentionCall,
  { rows, queryHeads, headDim }: Shape,
  traits: DeviceTraits,
): 32 | 64 {
  const workgroups = Math.ceil((rows * queryHeads) / call.state.shape[2]! / 64) * call.state.shape[2]!;
  const fits = matrixBytes(headDim, 64) <= traits.sharedMemoryBytes && headDim <= matrixHeadDim / 2;
  return fits && workgroups >= traits.computeUnits ? 64 : 32;
}

/** The widest head that the shader can hold: 64 lanes of 8 elements. */
export const maximumHeadDim = 512;

export interface Shape {
  readonly rows: number;
  readonly queryHeads: number;
  readonly headDim: number;
  /** In the row form's grid. */
  readonly sections: number;
}

export function shapeOf({ query, keys, window, reach }: AttentionCall): Shape {
  const [rows, queryHeads, headDim] = query.shape as [number, number, number];
  const all = Math.ceil(keys / sectionKeys);
  // A window that begins anywhere in a section reaches into so many, unless queries see beyond themselves.
  const inWindow = window === undefined || reach ? all : Math.ceil((window - 1) / sectionKeys) + 1;
  return { rows, queryHeads, headDim, sections: Math.max(1, Math.min(all, inWindow)) };
}

export function partialBytes({ rows, queryHeads, headDim, sections }: Shape): number {
  return sections === 1 ? 0 : 4 * rows * queryHeads * sections * (headDim + 2);
}

/**
 * What the row form leaves for the merge, in steps of up to the call's rows, sequences and keys, as far as it is chosen.
 * @param form for tests, as of `attention.dispatch`
 */
export function scratchBytes(call: AttentionCall, traits: DeviceTraits, form?: AttentionForm): number {
  const shape = shapeOf(call);
  const all = partialBytes(shape);
  if (form === 'row' || (traits.software && call.keys > softwareTileKeys)) return all;
  const rows = Math.min(shape.rows, mostRows(call));
  return Math.min(partialBytes({ ...shape, rows }), largestScratchBytes);
}

/** Rows that are not taken in tiles. */
const mostRows = ({ starts }: AttentionCall): number => Math.max(fewRows, 2 * product(starts.shape));

/** Invocations that share a row of keys in the row form: 8, where a subgroup has so many. */
const keyLanesOf = ({ subgroupSize }: DeviceTraits): number =>
  subgroupSize >= 8 ? 8 : subgroupSize >= 4 ? 4 : 1;

/** Vectors of 8 elements of a key that each of its lanes has. */
export const keyVectors = (headDim: number, traits: DeviceTraits): number =>
  Math.ceil(rowLanes(headDim) / keyLanesOf(traits));

/** Whether the row form has a shader: for 1, 2, 4 and 8 such vectors, and rows of the state that are whole vectors. */
function takesRows(call: AttentionCall, { headDim }: Shape, traits: DeviceTraits): boolean {
  return keyVectors(headDim, traits) <= 8 && (call.state.dtype === 'q8_0' || readsVectors(call.state));
}

/**
 * Workgroups side by side for the heads of a row. Heads of one KV head share a workgroup, which reads each key once for all
 * of them; where that would leave compute units without work they go apart, and what is read again comes from a cache.
 */
function headGroups(
  { query, state }: AttentionCall,
  { rows, headDim, sections }: Shape,
  traits: DeviceTraits,
) {
  const kvHeads = state.shape[2]!;
  const group = query.shape[1]! / kvHeads;
  const sharing = Math.ceil(group / maximumHeads(headDim, keyLanesOf(traits)));
  const filling = Math.ceil(traits.computeUnits / (rows * sections * kvHeads));
  // A driver that compiles for the CPU compiles one head much faster than eight.
  const chunks = traits.software ? group : Math.max(sharing, Math.min(group, filling));
  const heads = Math.ceil(group / chunks);
  return { heads, groups: kvHeads * Math.ceil(group / heads) };
}

/** For each row and head, how many sections are done: as many as there are if each head has a workgroup of its own. */
export function counterBytes({ query }: AttentionCall): number {
  return 4 * Math.min(query.shape[0]!, countedRows) * query.shape[1]!;
}

function takesTiles(call: AttentionCall, shape: Shape, traits: DeviceTraits): boolean {
  if (!takesRows(call, shape, traits)) return true;
  if (traits.software && call.keys > softwareTileKeys) return false;
  return shape.rows > mostRows(call) || shape.rows > 65_535 || partialBytes(shape) > largestScratchBytes;
}

/** Rows of the state are whole vectors of 16 bytes, and it begins at one. */
export function readsVectors({ dtype, shape, place }: Operand): boolean {
  return dtype !== 'q8_0' && rowBytes(dtype, shape.at(-1)!) % 16 === 0 && place.byteOffset % 16 === 0;
}

/** Lanes of 8 elements that hold a head: a power of two, so that they divide a workgroup; at least two (`strandKeys`). */
export function rowLanes(headDim: number): number {
  let lanes = 2;
  while (8 * lanes < headDim) lanes *= 2;
  return lanes;
}

/** KV dtypes that the shader has variants for. */
export const attentionDTypes: readonly DType[] = ['f32', 'f16', 'bf16', 'q8_0'];

/** The KV dtypes that users choose: only they have chained variants. */
export const chainedDTypes: readonly DType[] = ['f16', 'q8_0'];

export type AttentionForm = 'row' | 'tile' | 'matrix';

export function formOf(call: AttentionCall, shape: Shape, traits: DeviceTraits): AttentionForm {
  if (!takesTiles(call, shape, traits)) return 'row';
  return takesMatrices(call, traits) ? 'matrix' : 'tile';
}

/** Whether the row form needs no dispatch after it. */
function mergesItself({ sections, rows }: Shape): boolean {
  return sections === 1 || (sections <= mergedHere && rows <= countedRows);
}

/** Whether the row form computes a call, with no dispatch after it. */
export function isOneRowDispatch(call: AttentionCall, traits: DeviceTraits): boolean {
  const shape = shapeOf(call);
  return mergesItself(shape) && formOf(call, shape, traits) === 'row';
}

/** The constants and the grid of a form. */
export function formOptions(form: AttentionForm, call: AttentionCall, shape: Shape, traits: DeviceTraits) {
  const { rows, queryHeads, headDim, sections } = shape;
  const kvHeads = call.state.shape[2]!;
  const keyLanes = keyLanesOf(traits);
  if (form === 'row') {
    const { heads, groups } = headGroups(call, shape, traits);
    const counted = mergesItself(shape) && sections > 1;
    const quantizes = Number(call.quantizes === true);
    const constants = [keyLanes, heads, Number(counted), quantizes];
    return { constants, groups: [sections, groups, rows] as const, counted };
  }
  const lines = form === 'tile' ? tileLines : matrixLines(call, shape, traits);
  const constants = form === 'tile' ? [keyLanes] : [lines, matrixDim(headDim, lines)];
  const groups = [Math.ceil((rows * queryHeads) / kvHeads / lines), kvHeads, 1] as const;
  return { constants, groups, counted: false };
}
