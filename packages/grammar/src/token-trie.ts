/** A vocabulary as a trie over bytes, in arrays, in the order in which a walk visits it. */
import { UnicornError } from '@unicorn-exec/tensor';

/**
 * Nodes are in preorder: the children of a node follow it, and a subtree is a range. The root is not a node. A token longer
 * than {@link longestToken} bytes is in no mask: it would be a node for each of its bytes.
 */
export interface TokenTrie {
  readonly vocabularySize: number;
  /** Of each node: the byte that leads to it. */
  readonly bytes: Uint8Array;
  /** Of each node: how many bytes lead to it, at least 1. */
  readonly depths: Uint16Array;
  /** Of each node: the node behind its subtree. */
  readonly ends: Int32Array;
  /** Of each node, and one more: where its tokens begin in {@link tokens}. Several tokens may be spelled alike. */
  readonly starts: Int32Array;
  /** Ids of tokens, in the order of their nodes. */
  readonly tokens: Int32Array;
}

/** Bytes of the longest token that a grammar may choose. The longest of a vocabulary in use are runs of 128 spaces or so. */
export const longestToken = 1024;

/**
 * @param spelling the bytes of a token; undefined or empty for tokens that a grammar never chooses, as special ones
 * @throws UnicornError `usage/option` for a size that is none
 */
export function buildTokenTrie(
  vocabularySize: number,
  spelling: (id: number) => Uint8Array | undefined,
): TokenTrie {
  if (!Number.isSafeInteger(vocabularySize) || vocabularySize < 1 || vocabularySize > 2 ** 24) {
    throw new UnicornError('usage/option', `There is no vocabulary of ${String(vocabularySize)} tokens.`, {
      fields: { option: 'vocabularySize' },
      fix: 'Give the number of ids, at most 2^24.',
    });
  }
  const spelled: { id: number; bytes: Uint8Array }[] = [];
  for (let id = 0; id < vocabularySize; id++) {
    const bytes = spelling(id);
    if (bytes && bytes.length > 0 && bytes.length <= longestToken) spelled.push({ id, bytes });
  }
  spelled.sort((a, b) => Buffer.compare(a.bytes, b.bytes) || a.id - b.id);
  let count = 0;
  let previous: Uint8Array = new Uint8Array(0);
  const shared = spelled.map(({ bytes }) => {
    const common = commonLength(previous, bytes);
    previous = bytes;
    count += bytes.length - common;
    return common;
  });
  const trie = {
    vocabularySize,
    bytes: new Uint8Array(count),
    depths: new Uint16Array(count),
    ends: new Int32Array(count),
    starts: new Int32Array(count + 1),
    tokens: Int32Array.from(spelled, ({ id }) => id),
  };
  /** Nodes on the way to the last token. */
  const path: number[] = [];
  let node = 0;
  spelled.forEach(({ bytes }, index) => {
    while (path.length > shared[index]!) trie.ends[path.pop()!] = node;
    for (let depth = path.length; depth < bytes.length; depth++) {
      trie.bytes[node] = bytes[depth]!;
      trie.depths[node] = depth + 1;
      trie.starts[node] = index;
      path.push(node++);
    }
  });
  while (path.length > 0) trie.ends[path.pop()!] = node;
  trie.starts[count] = spelled.length;
  return trie;
}

function commonLength(a: Uint8Array, b: Uint8Array): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a[length] === b[length]) length++;
  return length;
}
