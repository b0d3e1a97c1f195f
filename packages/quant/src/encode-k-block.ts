/**
 * f32 to Q4_K and Q6_K by rounding to the nearest step. The layouts are told in the decoders (`k-block.ts` of tensor).
 *
 * ggml searches for the scales that lose least; this does not, so its bytes differ and its error is a little larger.
 * Instead it keeps a simple bound: scales are rounded up and the quants are chosen for the scales as stored, so that no
 * value is off by more than half a step of its group (Q6_K: a whole one at the far end of the group's signed range).
 */
import { type DType, floatToHalf, halfToFloat } from '@unicorn-exec/tensor';
import { beyond, put16 } from './block-scale.js';

const { abs, ceil, max, min, round, sign } = Math;

const superBlock = 256;

/** The smallest half that is not below a scale. @throws UnicornError `usage/not-encodable` when there is none */
function halfAbove(dtype: DType, scale: number, index: number): number {
  const nearest = floatToHalf(scale);
  const bits = halfToFloat(nearest) < scale ? nearest + 1 : nearest;
  if ((bits & 0x7c00) === 0x7c00) throw beyond(dtype, scale, index);
  return bits;
}

/** Integer multiples of one step that are not below the values; nothing but rounding of the division exceeds `top`. */
function multiplesAbove(values: readonly number[], step: number, top: number): number[] {
  return values.map((value) => (step === 0 ? 0 : min(top, ceil(value / step))));
}

function quantOf(value: number, step: number, top: number): number {
  return step === 0 ? 0 : max(0, min(top, round(value / step)));
}

/** Eight groups of 32: `d * scale * q - dmin * min` with six bits of scale and min, four of q. */
export function encodeQ4K(values: Float32Array, blocks: number, out: Uint8Array, to: number): void {
  const groupSize = 32;
  for (let block = 0; block < blocks; block++, to += 144) {
    const at = superBlock * block;
    const groups = Array.from({ length: 8 }, (_, group) =>
      values.subarray(at + groupSize * group, at + groupSize * (group + 1)),
    );
    // Offsets are subtracted and have no sign: a group of positive values begins at zero.
    const lows = groups.map((x) => max(0, -x.reduce((least, value) => min(least, value))));
    const dminBits = halfAbove('q4_k', max(...lows) / 63, at);
    const dmin = halfToFloat(dminBits);
    const mins = multiplesAbove(lows, dmin, 63);
    const offsets = mins.map((count) => dmin * count);
    const steps = groups.map(
      (x, group) => max(0, x.reduce((most, value) => max(most, value)) + offsets[group]!) / 15,
    );
    const dBits = halfAbove('q4_k', max(...steps) / 63, at);
    const d = halfToFloat(dBits);
    const scales = multiplesAbove(steps, d, 63);
    put16(out, to, dBits);
    put16(out, to + 2, dminBits);
    putSixBits(scales, mins, out, to + 4);
    for (let group = 0; group < 8; group += 2) {
      const quant = (side: number, i: number): number =>
        quantOf(groups[group + side]![i]! + offsets[group + side]!, d * scales[group + side]!, 15);
      for (let i = 0; i < groupSize; i++) out[to + 16 + 16 * group + i] = quant(0, i) | (quant(1, i) << 4);
    }
  }
}

function putSixBits(scales: readonly number[], mins: readonly number[], out: Uint8Array, to: number): void {
  for (let group = 0; group < 4; group++) {
    const later = group + 4;
    out[to + group] = scales[group]! | ((scales[later]! >> 4) << 6);
    out[to + 4 + group] = mins[group]! | ((mins[later]! >> 4) << 6);
    out[to + 8 + group] = (scales[later]! & 15) | ((mins[later]! & 15) << 4);
  }
}

/** Sixteen groups of 16: `d * scale * (q - 32)` with eight signed bits of scale, six of q. */
export function encodeQ6K(values: Float32Array, blocks: number, out: Uint8Array, to: number): void {
  const groupSize = 16;
  const quants = new Uint8Array(superBlock);
  for (let block = 0; block < blocks; block++, to += 210) {
    const at = superBlock * block;
    // The largest element goes to -32, the end of the range that has one step more: its sign is the scale's, reversed.
    const extremes = Array.from({ length: 16 }, (_, group) =>
      values
        .subarray(at + groupSize * group, at + groupSize * (group + 1))
        .reduce((most, value) => (abs(value) > abs(most) ? value : most)),
    );
    const steps = extremes.map((extreme) => abs(extreme) / 32);
    const dBits = halfAbove('q6_k', max(...steps) / 127, at);
    const d = halfToFloat(dBits);
    const scales = multiplesAbove(steps, d, 127).map((scale, group) => -sign(extremes[group]!) * scale);
    for (let i = 0; i < superBlock; i++) {
      const step = d * scales[i >> 4]!;
      quants[i] = step === 0 ? 32 : max(0, min(63, 32 + round(values[at + i]! / step)));
    }
    for (let part = 0; part < 2; part++) {
      const q = quants.subarray(128 * part, 128 * part + 128);
      for (let i = 0; i < 32; i++) {
        const [a, b, c, e] = [q[i]!, q[32 + i]!, q[64 + i]!, q[96 + i]!];
        out[to + 64 * part + i] = (a & 15) | ((c & 15) << 4);
        out[to + 64 * part + 32 + i] = (b & 15) | ((e & 15) << 4);
        out[to + 128 + 32 * part + i] = (a >> 4) | ((b >> 4) << 2) | ((c >> 4) << 4) | ((e >> 4) << 6);
      }
    }
    scales.forEach((scale, group) => (out[to + 192 + group] = scale));
    put16(out, to + 208, dBits);
  }
}
