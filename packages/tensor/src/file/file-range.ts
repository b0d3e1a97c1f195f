/** Reading the range of a file that a tensor lies in. */
import { UnicornError } from '../error.js';
import { fileError } from './file-error.js';
import { openRegularFile } from './regular-file.js';

/**
 * Bytes that one call may ask of the operating system: Linux serves at most 2^31 - 4096 at once, and Node refuses lengths
 * beyond 2^31 - 1.
 */
const bytesOfOneRead = 2 ** 30;

/**
 * Fills `target` from byte `offset` of a regular file on.
 *
 * @param tensor the name of what lies there, for the error
 * @throws UnicornError as {@link openRegularFile}; `format/truncated` when the file ends before the target is full
 */
export async function readFileRange(
  path: string,
  target: Uint8Array,
  offset: number,
  tensor: string,
): Promise<void> {
  const file = await openRegularFile(path);
  try {
    for (let filled = 0; filled < target.byteLength;) {
      const length = Math.min(bytesOfOneRead, target.byteLength - filled);
      const { bytesRead } = await file.read(target, filled, length, offset + filled);
      if (bytesRead === 0) {
        throw new UnicornError('format/truncated', `${path} ends inside the tensor "${tensor}".`, {
          fields: { file: path, field: tensor, offset: offset + filled, needed: offset + target.byteLength },
          fix: 'Download the file again.',
        });
      }
      filled += bytesRead;
    }
  } catch (error) {
    throw fileError(error, path, 'read');
  } finally {
    await file.close();
  }
}
