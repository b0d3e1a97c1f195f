/**
 * Heads that the configuration calls tied to the embedding table, though the file has a matrix of each. As transformers 5
 * does it: they are tied where the two are the same, and two matrices where they are not.
 */
import type { TensorInfo, Weights } from '@unicorn-exec/checkpoint';
import { readFileRange } from '@unicorn-exec/tensor';

/** Compared at a time. */
const chunkBytes = 4 * 2 ** 20;

/** Whether the file has a head that is not the embedding table. */
export async function hasHeadOfItsOwn(weights: Weights): Promise<boolean> {
  const ending = (name: string): TensorInfo | undefined =>
    weights.tensors.find((tensor) => tensor.name === name || tensor.name.endsWith(`.${name}`));
  const [head, table] = [ending('lm_head.weight'), ending('embed_tokens.weight')];
  if (!head || !table) return false;
  const isLike = head.dtype === table.dtype && head.shape.every((dim, axis) => dim === table.shape[axis]);
  return !isLike || !(await haveSameBytes(head, table));
}

async function haveSameBytes(a: TensorInfo, b: TensorInfo): Promise<boolean> {
  const [first, second] = [new Uint8Array(chunkBytes), new Uint8Array(chunkBytes)];
  for (let done = 0; done < a.byteLength; done += chunkBytes) {
    const length = Math.min(chunkBytes, a.byteLength - done);
    await readFileRange(a.path, first.subarray(0, length), a.offset + done, a.name);
    await readFileRange(b.path, second.subarray(0, length), b.offset + done, b.name);
    if (Buffer.compare(first.subarray(0, length), second.subarray(0, length)) !== 0) return false;
  }
  return true;
}
