/**
 * The row form of attention that also does the heads of its single row (`include/attention-heads.glsl`): the calls for which
 * it can, its arguments and its constants. Its plain twin is `heads` before `attention`.
 */
import {
  early,
  optional,
  read,
  readWrite,
  u32,
  write,
  type Argument,
  type DeviceTraits,
  type Place,
} from '../dispatch/dispatch.js';
import type { AttentionCall } from './attention-call.js';
import { product } from './grid.js';
import { formOf, type HeadsCall } from './heads.js';
import { workgroupFor } from './norm.js';

/** Variants of KEY_VECTORS 1, 2 and 4, and `MOST_ROUNDS` of the shader: heads of up to 256 have 64 invocations or fewer. */
const largestHeadDim = 256;
const mostLineInvocations = 64;

/** Heads with all their parts, as products leave them for one layer. */
export type WholeHeads = HeadsCall & Required<Pick<HeadsCall, 'query' | 'stored'>>;

function isWhole(heads: HeadsCall): heads is WholeHeads {
  return heads.query !== undefined && heads.stored !== undefined;
}

const indexOf = ({ storage }: Place): number => ('index' in storage ? storage.index : 0);

/** Whether a workgroup might write what another has yet to read. */
function overlaps(a: Place, b: Place): boolean {
  return (
    a.storage.kind === b.storage.kind &&
    indexOf(a) === indexOf(b) &&
    a.byteOffset < b.byteOffset + b.byteLength &&
    b.byteOffset < a.byteOffset + a.byteLength
  );
}

/**
 * Whether attention in row form can do the heads before it with the same bits. It can for one row, whose own key and value
 * are all that the state lacks. It cannot for a softcap, nor for heads whose width is not a power of two: there a division
 * by a constant might be compiled to a product with its inverse, which has other bits. It cannot for heads of 8, whose
 * padding (`paddedDim`) would have to be filled.
 */
export function takesHeads(call: AttentionCall, heads: HeadsCall, traits: DeviceTraits): boolean {
  const { query, state, starts, blocks, reach, softcap, out, scratch } = call;
  const [rows, , headDim] = query.shape as [number, number, number];
  if (!isWhole(heads) || rows !== 1 || product(starts.shape) !== 1 || blocks.shape[1] === 0) return false;
  const { key, value } = heads.stored;
  const operands = [heads.query.x, key.x, value.x, heads.rope?.table].flatMap((one) =>
    one ? [one.place] : [],
  );
  return (
    state.dtype === 'f16' &&
    state.shape[0]! > 0 &&
    reach === undefined &&
    softcap === undefined &&
    value.weight === undefined &&
    !value.turned &&
    headDim <= largestHeadDim &&
    (headDim & (headDim - 1)) === 0 &&
    headDim >= 16 &&
    workgroupFor(headDim, traits) <= mostLineInvocations &&
    [out.place, scratch].every((place) => operands.every((other) => !overlaps(place, other)))
  );
}

/** The places of partials and counters, if there are any. */
interface Merged {
  readonly partials: Place | undefined;
  readonly counters: Place | undefined;
}

/** In the order of `Arguments` in `include/attention-state.glsl`. */
export function headsArguments(
  call: AttentionCall,
  { query, stored, rope }: WholeHeads,
  { partials, counters }: Merged,
): Argument[] {
  return [
    read(query.x.place),
    early(readWrite(call.state.place)),
    early(read(call.positions.place)),
    early(read(call.starts.place)),
    early(read(call.blocks.place)),
    early(read(stored.slots.place)),
    write(call.out.place),
    partials ? readWrite(partials) : { kind: 'null' },
    counters ? readWrite(counters) : { kind: 'null' },
    read(call.faults),
    read(stored.key.x.place),
    read(stored.value.x.place),
    early(optional(rope?.table.place)),
    early(optional(query.weight?.place)),
    early(optional(stored.key.weight?.place)),
    u32(call.blocks.shape[1]!),
  ];
}

const float = new Float32Array(1);
const floatBits = new Uint32Array(float.buffer);

function bitsOf(value: number): number {
  float[0] = value;
  return floatBits[0]!;
}

/** Constants 11 and up. */
export function headsConstants(call: AttentionCall, heads: WholeHeads, traits: DeviceTraits): number[] {
  const [poolBlocks, , kvHeads, blockTokens] = call.state.shape as [number, number, number, number];
  const [, queryHeads, headDim] = call.query.shape as [number, number, number];
  const { rope, epsilon, weightOffset } = heads;
  return [
    ...[queryHeads, kvHeads, blockTokens, poolBlocks, call.window ?? 0, bitsOf(call.scale)],
    ...[formOf(heads), Number(rope?.layout === 'interleaved'), rope?.table.shape.at(-1) ?? 0],
    ...[workgroupFor(headDim, traits), bitsOf(epsilon), bitsOf(weightOffset)],
  ];
}
