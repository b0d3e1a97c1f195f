/**
 * Random weights, packed as a block format has them, without packing: quants are random bits, and the scales of every
 * block are set so that the weights have a mean of zero and the deviation that trained matrices have. Nobody needs to
 * decode them to know it: the tests do.
 */
import { dtypeLayout, floatToHalf, rowBytes } from '@unicorn-exec/tensor';

/** About what trained matrices have; activations then stay within what norms and int8 rounding are used to. */
const deviation = 0.02;
/** Deviation of n equally likely steps. */
const ofSteps = (n) => Math.sqrt((n ** 2 - 1) / 12);

/** Bytes of one piece. Large enough that the system call is nothing, small enough to stay in the cache while patched. */
const pieceBytes = 2 ** 20;

/** Sets what is not random in the block at byte `at`; `scale` is one for a weight deviation of one. */
const blocks = {
  q4_0: { unit: 1 / ofSteps(16), patch: (out, at, scale) => putHalf(out, at, scale) },
  q8_0: { unit: 1 / ofSteps(256), patch: (out, at, scale) => putHalf(out, at, scale) },
  // Scales and minimums of all groups are 32: the top bit of six, in the layout that `k-block.ts` of tensor tells.
  q4_k: {
    unit: 1 / (32 * ofSteps(16)),
    patch: (out, at, scale) => {
      putHalf(out, at, scale);
      putHalf(out, at + 2, 7.5 * scale);
      out.fill(32 | (2 << 6), at + 4, at + 12);
      out.fill(0, at + 12, at + 16);
    },
  },
  q6_k: {
    unit: 1 / (64 * ofSteps(64)),
    patch: (out, at, scale) => {
      out.fill(64, at + 192, at + 208);
      putHalf(out, at + 208, scale);
    },
  },
};

export const randomTypes = Object.keys(blocks);

/** Marsaglia's xorshift32: a word in a nanosecond, which is all that is asked of it. */
export class Random {
  #state;

  constructor(seed) {
    this.#state = (seed * 0x9e3779b9) | 1;
  }

  fill(words) {
    let x = this.#state;
    for (let i = 0; i < words.length; i++) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      words[i] = x;
    }
    this.#state = x;
  }

  /** In [0, 1). */
  next() {
    const word = new Uint32Array(1);
    this.fill(word);
    return word[0] / 2 ** 32;
  }

  /** By Box and Muller. */
  normal() {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
  }
}

/** A matrix in pieces; each is used up before the next one is made. */
export function* randomBlocks(dtype, elements, random) {
  const { blockBytes } = dtypeLayout(dtype);
  const { unit, patch } = blocks[dtype];
  const total = rowBytes(dtype, elements);
  const words = new Uint32Array(Math.ceil((Math.floor(pieceBytes / blockBytes) * blockBytes) / 4));
  const bytes = new Uint8Array(words.buffer);
  const whole = Math.floor(bytes.length / blockBytes) * blockBytes;
  for (let done = 0; done < total; done += whole) {
    const length = Math.min(whole, total - done);
    random.fill(words);
    // One scale a piece, a tenth up or down: blocks of one tensor differ, as they do in real files.
    const scale = unit * deviation * (0.9 + 0.2 * random.next());
    for (let at = 0; at < length; at += blockBytes) patch(bytes, at, scale);
    yield bytes.subarray(0, length);
  }
}

/** f32 values around `mean`. */
export function randomFloats(elements, mean, random) {
  const values = Float32Array.from({ length: elements }, () => mean + deviation * random.normal());
  return new Uint8Array(values.buffer);
}

function putHalf(out, at, value) {
  const bits = floatToHalf(value);
  out[at] = bits;
  out[at + 1] = bits >> 8;
}
