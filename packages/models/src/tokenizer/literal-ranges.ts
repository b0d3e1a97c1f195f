/** The parts of a text in which special tokens are ordinary text, whatever they spell: what users typed into a prompt. */
import { UnicornError } from '@unicorn-exec/tensor';

/** From a start up to, not including, an end, in UTF-16 units. */
export type TextRange = readonly [start: number, end: number];

/** Characters to normalize again so that ranges can follow a normalization, at most: some ten milliseconds of work. */
const maxNormalized = 2 ** 22;

export class LiteralRanges {
  /** Sorted, neither empty nor touching. */
  readonly #ranges: readonly TextRange[];

  private constructor(ranges: readonly TextRange[]) {
    this.#ranges = ranges;
  }

  /**
   * @param ranges sorted; they may touch, and be empty
   * @throws UnicornError `usage/literal-ranges` when they are not sorted, overlap, or leave the text
   */
  static of(ranges: readonly TextRange[], text: string): LiteralRanges {
    if (!Array.isArray(ranges)) throw wrong('they are not a list', {});
    const joined: [number, number][] = [];
    let last = 0;
    for (const [index, range] of (ranges as readonly TextRange[]).entries()) {
      const [start, end] = Array.isArray(range) ? (range as TextRange) : [NaN, NaN];
      const fields = { index, start, end, length: text.length };
      if (!Number.isInteger(start) || !Number.isInteger(end)) {
        throw wrong(`range ${index} is not two integers`, fields);
      }
      if (start < last || end < start || end > text.length) {
        const where = 'not behind the one before it and within the text';
        throw wrong(`range ${index}, from ${start} up to ${end}, is ${where}`, fields);
      }
      last = end;
      const before = joined.at(-1);
      if (before?.[1] === start) before[1] = end;
      else if (start < end) joined.push([start, end]);
    }
    return new LiteralRanges(joined);
  }

  /** Whether any character of `[start, end)` is in a range. */
  overlaps(start: number, end: number): boolean {
    const range = this.#ranges[this.#firstEndingAfter(start)];
    return range !== undefined && range[0] < end;
  }

  /** Whether all of them are. */
  covers(start: number, end: number): boolean {
    const range = this.#ranges[this.#firstEndingAfter(start)];
    return range !== undefined && range[0] <= start && end <= range[1];
  }

  /** What is of them in `[start, end)`, counted from its start. */
  within(start: number, end: number): LiteralRanges {
    const ranges: TextRange[] = [];
    for (let i = this.#firstEndingAfter(start); i < this.#ranges.length; i++) {
      const [from, to] = this.#ranges[i]!;
      if (from >= end) break;
      ranges.push([Math.max(from, start) - start, Math.min(to, end) - start]);
    }
    return new LiteralRanges(ranges);
  }

  /**
   * The ranges after `text` became `normalized`. What stays outside is what the text before a range and the text behind it
   * give by themselves, so a range rather grows than loses what came of it. Very many ranges of a long text become one.
   */
  through(normalize: (text: string) => string, text: string, normalized: string): LiteralRanges {
    if (text === normalized || this.#ranges.length === 0) return this;
    const hull = this.#ranges.length * text.length > maxNormalized;
    const ranges = hull ? [[this.#ranges[0]![0], this.#ranges.at(-1)![1]] as const] : this.#ranges;
    const carried: [number, number][] = [];
    for (const [start, end] of ranges) {
      const from = commonStart(normalized, normalize(text.slice(0, start)));
      const to = normalized.length - commonEnd(normalized, normalize(text.slice(end)));
      const before = carried.at(-1);
      if (before !== undefined && from <= before[1]) before[1] = Math.max(before[1], to);
      else if (from < to) carried.push([from, to]);
    }
    return new LiteralRanges(carried);
  }

  /** Index of the first range that ends behind `at`; the number of ranges where none does. */
  #firstEndingAfter(at: number): number {
    let from = 0;
    let to = this.#ranges.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.#ranges[middle]![1] <= at) from = middle + 1;
      else to = middle;
    }
    return from;
  }
}

function commonStart(a: string, b: string): number {
  const limit = Math.min(a.length, b.length);
  let length = 0;
  while (length < limit && a.charCodeAt(length) === b.charCodeAt(length)) length++;
  return length;
}

function commonEnd(a: string, b: string): number {
  const limit = Math.min(a.length, b.length);
  let length = 0;
  while (length < limit && a.charCodeAt(a.length - 1 - length) === b.charCodeAt(b.length - 1 - length))
    length++;
  return length;
}

function wrong(what: string, fields: Record<string, unknown>): UnicornError {
  return new UnicornError('usage/literal-ranges', `The literal ranges of the text cannot be used: ${what}.`, {
    fields,
  });
}
