/** Runs of positions that belong together, as those of an image or a sound: pure arithmetic over where they may be cut. */

/** Positions from `begin` to `end` (exclusive) that one submission computes, or none. */
export interface TokenSpan {
  readonly begin: number;
  readonly end: number;
}

/** The last position up to `position` at which a sequence may be cut: `position` itself, or the begin of its span. */
export function cutBefore(spans: readonly TokenSpan[], position: number): number {
  for (const { begin, end } of spans) if (begin < position && position < end) return begin;
  return position;
}

/**
 * How many of the tokens from `begin` on one submission takes, at most `room` of them: all of a span or none of it. 0 when
 * not even the span at `begin` fits.
 */
export function uncutCount(spans: readonly TokenSpan[], begin: number, room: number): number {
  return Math.max(0, cutBefore(spans, begin + room) - begin);
}

/** Tokens that must be computed together from `begin` on: the span that begins there, or one token. */
export function leastCount(spans: readonly TokenSpan[], begin: number): number {
  const span = spans.find((one) => one.begin <= begin && begin < one.end);
  return span ? span.end - begin : 1;
}
