/** Positioned reads of one file. Nothing is mapped and nothing is read that was not asked for. */
import { resolve } from 'node:path';
import { fileError, openRegularFile, UnicornError } from '@unicorn-exec/tensor';
import { formatError } from './format-error.js';

/** Something that can be read at any position: a file, bytes in memory, or what a caller brings. */
export interface RandomAccessSource {
  /** The name that messages call it by. */
  readonly name: string;
  /** Path under which others (devices) can open the same bytes; the name when there is none. */
  readonly path: string;
  readonly byteLength: number;
  /**
   * Fills the start of `target` from byte `position` on; resolves to the number of bytes, 0 only at the end.
   *
   * @throws UnicornError `format/truncated` or `format/changed` for a file that was cut short or written to since it was opened
   */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Idempotent. */
  close(): Promise<void>;
}

/**
 * Bytes that one read call may ask of the operating system: Linux serves at most 2^31 - 4096 at once, and Node refuses
 * lengths beyond 2^31 - 1.
 */
const READ_BYTES_MAX = 2 ** 30;

/**
 * @throws UnicornError `usage/file`, at once, when there is no such file, or one that may not be read, or a directory, a
 *   pipe, a socket or a device
 */
export async function openFileSource(path: string): Promise<RandomAccessSource> {
  const handle = await openRegularFile(path);
  try {
    const opened = await handle.stat({ bigint: true });
    let closed = false;
    return {
      name: path,
      path: resolve(path),
      byteLength: Number(opened.size),
      async read(target, position) {
        if (closed) {
          throw new UnicornError('usage/closed', `${path} was closed already.`, {
            fields: { file: path },
            fix: 'Open it again, or close it later.',
          });
        }
        try {
          const length = Math.min(target.byteLength, READ_BYTES_MAX);
          const { bytesRead } = await handle.read(target, 0, length, position);
          const now = await handle.stat({ bigint: true });
          if (now.size < opened.size) {
            throw new UnicornError('format/truncated', `${path} was cut short while it was open.`, {
              fields: { file: path, offset: Number(now.size), needed: Number(opened.size) },
              fix: 'Download the file again.',
            });
          }
          if (now.size > opened.size || now.mtimeNs !== opened.mtimeNs) {
            throw new UnicornError('format/changed', `${path} was written to while it was open.`, {
              fields: { file: path },
              fix: 'Open it again. Replace files of models by renaming others over them.',
            });
          }
          return bytesRead;
        } catch (error) {
          throw fileError(error, path, 'read');
        }
      },
      async close() {
        if (closed) return;
        closed = true;
        await handle.close();
      },
    };
  } catch (error) {
    await handle.close();
    throw fileError(error, path, 'read');
  }
}

/** A source over bytes in memory. They are not copied. */
export function bytesSource(bytes: Uint8Array, name = 'bytes'): RandomAccessSource {
  return {
    name,
    path: name,
    byteLength: bytes.byteLength,
    read(target, position) {
      const part = bytes.subarray(position, position + target.byteLength);
      target.set(part);
      return Promise.resolve(part.byteLength);
    },
    close: () => Promise.resolve(),
  };
}

/**
 * Fills `target` completely from byte `position` on.
 *
 * @throws UnicornError `format/truncated` when the source ends first (a file that shrank since it was opened).
 */
export async function readFully(
  source: RandomAccessSource,
  target: Uint8Array,
  position: number,
  field: string,
): Promise<void> {
  for (let filled = 0; filled < target.byteLength;) {
    const count = await source.read(target.subarray(filled), position + filled);
    if (count === 0) {
      throw formatError(
        'truncated',
        { file: source.name, field, offset: position + filled },
        `the file ended ${target.byteLength - filled} bytes too soon; was it changed while it was open?`,
      );
    }
    filled += count;
  }
}

/**
 * A zero-filled buffer of that many bytes.
 *
 * @param purpose what the bytes are for, as the error says it: `tensor "a" as f32`
 * @throws UnicornError `resource/memory` when there is not that much memory
 */
export function allocateBytes(byteLength: number, purpose: string): Uint8Array {
  try {
    return new Uint8Array(byteLength);
  } catch (cause) {
    throw new UnicornError('resource/memory', `There is no memory for ${purpose} (${byteLength} bytes).`, {
      fields: { byteLength },
      cause,
    });
  }
}
