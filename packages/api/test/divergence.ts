/** How far two sets of logits [tokens, vocabulary] are apart, as the distributions that they stand for. */

/** KL(softmax(of) || softmax(from)) in nats, on average over the positions. */
export function meanDivergence(of: Float32Array, from: Float32Array, vocabulary: number): number {
  const others = rowsOf(from, vocabulary);
  const divergences = rowsOf(of, vocabulary).map((row, position) => {
    const [p, q] = [logProbabilities(row), logProbabilities(others[position]!)];
    return p.reduce((sum, value, id) => sum + Math.exp(value) * (value - q[id]!), 0);
  });
  return meanOf(divergences);
}

/** Variance of the logits of a position, on average over the positions. */
export function meanVariance(logits: Float32Array, vocabulary: number): number {
  return meanOf(rowsOf(logits, vocabulary).map((row) => varianceOf([...row])));
}

export function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Of the values themselves, not of what they are a sample of. */
export function varianceOf(values: readonly number[]): number {
  const mean = meanOf(values);
  return meanOf(values.map((value) => (value - mean) ** 2));
}

function rowsOf(values: Float32Array, width: number): Float32Array[] {
  return Array.from({ length: values.length / width }, (_, row) =>
    values.subarray(row * width, (row + 1) * width),
  );
}

function logProbabilities(logits: Float32Array): Float64Array {
  const top = logits.reduce((most, value) => Math.max(most, value));
  const sum = logits.reduce((total, value) => total + Math.exp(value - top), 0);
  return Float64Array.from(logits, (value) => value - top - Math.log(sum));
}
