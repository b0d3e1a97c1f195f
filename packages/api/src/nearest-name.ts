/** The name that somebody probably meant: what an error suggests. */

/** The name in `names` that `wrong` was probably meant to be; undefined where none is near. */
export function nearestName(wrong: string, names: readonly string[]): string | undefined {
  let nearest: string | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const name of names) {
    const distance = nameDistance(plain(wrong), plain(name));
    if (distance < least) [nearest, least] = [name, distance];
  }
  return nearest;
}

/** Spellings that differ in case and separators alone are one: `max_tokens` means `maxTokens`. */
const plain = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');

/** Names further apart than this are two names. */
const farthest = (a: string, b: string): number => Math.ceil(Math.max(a.length, b.length) / 3);

/** Edits that make one name the other; 1 where one begins or ends with the other; infinite where they are too many. */
function nameDistance(a: string, b: string): number {
  if (a === '' || b === '') return Number.POSITIVE_INFINITY;
  const edits = editDistance(a, b);
  if (edits <= farthest(a, b)) return edits;
  const [short, long] = a.length < b.length ? [a, b] : [b, a];
  const isPart = short.length > 2 && (long.startsWith(short) || long.endsWith(short));
  return isPart ? farthest(a, b) : Number.POSITIVE_INFINITY;
}

/** Levenshtein's distance: characters inserted, left out or replaced. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
