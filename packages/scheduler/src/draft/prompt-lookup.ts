/**
 * Prompt lookup (Saxena 2023, "prompt lookup decoding"): what followed the last time that the text ended as it does now
 * is a guess at what follows. It reads token ids and nothing else.
 */

/** Ids of the longest suffix that is looked for: three ids rarely meet by chance, a fourth would only cost matches. */
const longestMatch = 3;

export interface LookedUp {
  /** The guess, never empty. */
  readonly tokens: readonly number[];
  /** Length of the suffix that was found again, 1 to 3: the longer, the better the guess. */
  readonly matched: number;
}

/**
 * The `count` tokens behind the latest earlier occurrence of the longest suffix (3 ids, else 2, else 1), or undefined
 * when not even the last id was there before. An occurrence that overlaps the end is a period, which is continued.
 */
export function lookUp(tokens: readonly number[], count: number): LookedUp | undefined {
  const end = tokens.length;
  let matched = 0;
  let from = 0;
  for (let next = end - 1; next > 0 && matched < longestMatch; next--) {
    let length = 0;
    while (length < longestMatch && length < next && tokens[next - 1 - length] === tokens[end - 1 - length]) {
      length++;
    }
    if (length > matched) [matched, from] = [length, next];
  }
  if (matched === 0 || count < 1) return undefined;
  const period = end - from;
  return { tokens: Array.from({ length: count }, (_, i) => tokens[from + (i % period)]!), matched };
}
