/**
 * The largest relative error of a row: the length of the difference over the length of what was expected.
 *
 * @param rows both are `[rows, width]`
 * @returns Infinity where a value is not a finite number, or lengths differ
 */
export function largestRowError(got: Float32Array, expected: Float32Array, rows: number): number {
  if (got.length !== expected.length) return Number.POSITIVE_INFINITY;
  const width = got.length / rows;
  let largest = 0;
  for (let row = 0; row < rows; row++) {
    let difference = 0;
    let length = 0;
    for (let at = row * width; at < (row + 1) * width; at++) {
      difference += (got[at]! - expected[at]!) ** 2;
      length += expected[at]! ** 2;
    }
    const error = Math.sqrt(difference / length);
    if (!Number.isFinite(error)) return Number.POSITIVE_INFINITY;
    largest = Math.max(largest, error);
  }
  return largest;
}
