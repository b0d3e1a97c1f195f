/** The content of a tensor as the writers take it: bytes, or a function that makes them when their turn comes. */
import { type AtomicFile, UnicornError } from '@unicorn-exec/tensor';
import { quote } from './file/format-error.js';

/**
 * Packed bytes, or a function that makes them when they are due, whole or piece by piece: a model larger than memory
 * can be written tensor by tensor.
 */
export type TensorData =
  Uint8Array | (() => Uint8Array | Promise<Uint8Array> | AsyncIterable<Uint8Array> | Iterable<Uint8Array>);

/** @throws UnicornError `usage/tensor-data` when the number of bytes is not what dtype and shape take. */
export async function writeTensorData(
  file: AtomicFile,
  name: string,
  byteLength: number,
  data: TensorData,
): Promise<void> {
  const start = file.position;
  const mismatch = (given: string) =>
    new UnicornError(
      'usage/tensor-data',
      `Tensor ${quote(name)} takes ${byteLength} bytes, ${given} were given.`,
      {
        fields: { tensor: name, byteLength },
        fix: 'Give the bytes that dtype and shape take.',
      },
    );
  const pieces = typeof data === 'function' ? await data() : data;
  for await (const piece of pieces instanceof Uint8Array ? [pieces] : pieces) {
    if (file.position - start + piece.byteLength > byteLength) throw mismatch('more');
    await file.write(piece);
  }
  if (file.position - start !== byteLength) throw mismatch(String(file.position - start));
}
