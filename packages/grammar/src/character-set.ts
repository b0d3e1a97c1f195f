/** Sets of Unicode characters as sorted ranges, and the bytes of UTF-8 that they are written in. */

/** Inclusive ranges of code points, flat: `[first, last, first, last, ...]`, sorted, apart from each other. */
export type CharacterSet = readonly number[];

/** A sequence of bytes, each of an inclusive range. */
export type ByteSequence = readonly (readonly [first: number, last: number])[];

const lastCodePoint = 0x10ffff;

/** Surrogates are not characters: UTF-8 cannot write them. */
const surrogates: CharacterSet = [0xd800, 0xdfff];

/** Every character. */
export const anyCharacter: CharacterSet = [0, 0xd7ff, 0xe000, lastCodePoint];

export function unionOf(...sets: readonly CharacterSet[]): CharacterSet {
  const ranges = sets.flatMap(rangesOf).sort(([a], [b]) => a - b);
  const merged: number[] = [];
  for (const [first, last] of ranges) {
    if (merged.length > 0 && first <= merged.at(-1)! + 1) {
      merged[merged.length - 1] = Math.max(merged.at(-1)!, last);
    } else merged.push(first, last);
  }
  return merged;
}

/** The characters that are not in the set. */
export function complementOf(set: CharacterSet): CharacterSet {
  const gaps: number[] = [];
  let next = 0;
  for (const [first, last] of rangesOf(unionOf(set, surrogates))) {
    if (first > next) gaps.push(next, first - 1);
    next = last + 1;
  }
  if (next <= lastCodePoint) gaps.push(next, lastCodePoint);
  return gaps;
}

export function intersectionOf(a: CharacterSet, b: CharacterSet): CharacterSet {
  return complementOf(unionOf(complementOf(a), complementOf(b)));
}

export function without(set: CharacterSet, removed: CharacterSet): CharacterSet {
  return intersectionOf(set, complementOf(removed));
}

export function rangesOf(set: CharacterSet): [first: number, last: number][] {
  return Array.from({ length: set.length / 2 }, (_, i) => [set[2 * i]!, set[2 * i + 1]!]);
}

/** Largest code point that takes so many bytes. */
const lastOfLength = [0x7f, 0x7ff, 0xffff, lastCodePoint];

/**
 * The set in UTF-8: sequences of byte ranges that together spell each character once (the splitting of ranges that RE2 and
 * Rust's `utf8-ranges` use).
 */
export function utf8Of(set: CharacterSet): ByteSequence[] {
  return rangesOf(without(set, surrogates)).flatMap(([first, last]) => sequencesOf(first, last));
}

function sequencesOf(first: number, last: number): ByteSequence[] {
  for (const limit of lastOfLength) {
    if (first <= limit && last > limit)
      return [...sequencesOf(first, limit), ...sequencesOf(limit + 1, last)];
  }
  if (last <= 0x7f) return [[[first, last]]];
  // Apart from a common head, ranges of continuation bytes must be whole.
  for (const bits of [6, 12, 18]) {
    const low = (1 << bits) - 1;
    if (first >> bits === last >> bits) continue;
    if ((first & low) !== 0) {
      return [...sequencesOf(first, first | low), ...sequencesOf((first | low) + 1, last)];
    }
    if ((last & low) !== low) {
      return [...sequencesOf(first, (last & ~low) - 1), ...sequencesOf(last & ~low, last)];
    }
  }
  const [a, b] = [utf8Bytes(first), utf8Bytes(last)];
  return [Array.from(a, (byte, i) => [byte, b[i]!] as const)];
}

function utf8Bytes(codePoint: number): Uint8Array {
  return new TextEncoder().encode(String.fromCodePoint(codePoint));
}
