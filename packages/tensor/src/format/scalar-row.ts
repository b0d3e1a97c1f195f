/**
 * Rows of scalar types to f32. All stored numbers are little endian, as are the hosts that Node is built for.
 * Sources may lie at any byte (safetensors promises no alignment), so nothing here views them as wider elements.
 */
import type { ScalarDType } from '../dtype.js';
import { halfTable } from './half-float.js';
import type { RowDecoder } from './row-decoder.js';

/** A byte copy: keeps every bit, NaN payloads included. */
const f32: RowDecoder = (bytes, from, count, out, to) => {
  new Uint8Array(out.buffer, out.byteOffset + 4 * to, 4 * count).set(bytes.subarray(from, from + 4 * count));
};

const f16: RowDecoder = (bytes, from, count, out, to) => {
  const half = halfTable();
  for (let i = 0; i < count; i++) {
    out[to + i] = half[bytes[from + 2 * i]! | (bytes[from + 2 * i + 1]! << 8)]!;
  }
};

const bf16: RowDecoder = (bytes, from, count, out, to) => {
  const bits = new Uint32Array(out.buffer, out.byteOffset + 4 * to, count);
  for (let i = 0; i < count; i++) {
    bits[i] = (bytes[from + 2 * i]! << 16) | (bytes[from + 2 * i + 1]! << 24);
  }
};

const f64: RowDecoder = (bytes, from, count, out, to) => {
  const view = viewOf(bytes, from);
  for (let i = 0; i < count; i++) out[to + i] = view.getFloat64(8 * i, true);
};

const i8: RowDecoder = (bytes, from, count, out, to) => {
  for (let i = 0; i < count; i++) out[to + i] = (bytes[from + i]! << 24) >> 24;
};

const u8: RowDecoder = (bytes, from, count, out, to) => {
  for (let i = 0; i < count; i++) out[to + i] = bytes[from + i]!;
};

const bool: RowDecoder = (bytes, from, count, out, to) => {
  for (let i = 0; i < count; i++) out[to + i] = bytes[from + i] === 0 ? 0 : 1;
};

const i16: RowDecoder = (bytes, from, count, out, to) => {
  const view = viewOf(bytes, from);
  for (let i = 0; i < count; i++) out[to + i] = view.getInt16(2 * i, true);
};

const u16: RowDecoder = (bytes, from, count, out, to) => {
  const view = viewOf(bytes, from);
  for (let i = 0; i < count; i++) out[to + i] = view.getUint16(2 * i, true);
};

const i32: RowDecoder = (bytes, from, count, out, to) => {
  const view = viewOf(bytes, from);
  for (let i = 0; i < count; i++) out[to + i] = view.getInt32(4 * i, true);
};

const u32: RowDecoder = (bytes, from, count, out, to) => {
  const view = viewOf(bytes, from);
  for (let i = 0; i < count; i++) out[to + i] = view.getUint32(4 * i, true);
};

const i64: RowDecoder = (bytes, from, count, out, to) => {
  const view = viewOf(bytes, from);
  for (let i = 0; i < count; i++) {
    out[to + i] = joinWords(view.getInt32(8 * i + 4, true), view.getUint32(8 * i, true));
  }
};

const u64: RowDecoder = (bytes, from, count, out, to) => {
  const view = viewOf(bytes, from);
  for (let i = 0; i < count; i++) {
    out[to + i] = joinWords(view.getUint32(8 * i + 4, true), view.getUint32(8 * i, true));
  }
};

/**
 * `high * 2^32 + low` such that rounding the result to f32 rounds once. From 2^53 on the sum itself would round
 * first; there f32 steps are at least 2^30, so the low 12 bits only matter as "not a tie": they are replaced by
 * half their range when any is set (round to odd), which the double holds exactly.
 */
function joinWords(high: number, low: number): number {
  if (high >= -0x20_0000 && high < 0x20_0000) return high * 0x1_0000_0000 + low;
  const sticky = (low & 0xfff) === 0 ? 0 : 0x800;
  return high * 0x1_0000_0000 + ((low & ~0xfff) >>> 0) + sticky;
}

function viewOf(bytes: Uint8Array, from: number): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset + from, bytes.byteLength - from);
}

export const scalarRowDecoders: Record<ScalarDType, RowDecoder> = {
  f64,
  f32,
  f16,
  bf16,
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  bool,
};
