/**
 * Opening what must be a regular file. To open a pipe waits for its other end, in a thread that no signal and no exit of the
 * process reaches; a device may never end. So both are refused before, by name.
 */
import { constants, type Stats } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { UnicornError } from '../error.js';
import { fileError } from './file-error.js';

/**
 * The refusal of what is not a regular file; undefined for one.
 *
 * @returns UnicornError `usage/file` that says what it is
 */
export function irregularFile(stats: Stats, path: string): UnicornError | undefined {
  if (stats.isFile()) return undefined;
  if (stats.isDirectory()) {
    return new UnicornError('usage/file', `${path} is a directory, not a file.`, {
      fields: { file: path, reason: 'EISDIR' },
      fix: 'Name a file in it.',
    });
  }
  const kind = stats.isFIFO() ? 'pipe' : stats.isSocket() ? 'socket' : 'device';
  return new UnicornError('usage/file', `${path} is a ${kind}, not a regular file.`, {
    fields: { file: path, kind },
    fix: 'Copy its content into a regular file, and name that.',
  });
}

/** @throws UnicornError `usage/file`, at once, for what is not there, may not be read or is not a regular file; as `fileError` */
export async function openRegularFile(path: string): Promise<FileHandle> {
  try {
    expectRegular(await stat(path), path);
    // It may have become another file meanwhile.
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      expectRegular(await handle.stat(), path);
      return handle;
    } catch (error) {
      await handle.close();
      throw error;
    }
  } catch (error) {
    throw fileError(error, path, 'read');
  }
}

/**
 * All of a regular file.
 *
 * @param maxBytes Default: no limit
 * @throws UnicornError as {@link openRegularFile}; `format/too-large`
 */
export async function readRegularFile(path: string, maxBytes = Infinity): Promise<Buffer> {
  const handle = await openRegularFile(path);
  try {
    const { size } = await handle.stat();
    if (size > maxBytes) {
      throw new UnicornError('format/too-large', `${path} has ${size} bytes; at most ${maxBytes} are read.`, {
        fields: { file: path, byteLength: size },
      });
    }
    return await handle.readFile();
  } catch (error) {
    throw fileError(error, path, 'read');
  } finally {
    await handle.close();
  }
}

function expectRegular(stats: Stats, path: string): void {
  const refusal = irregularFile(stats, path);
  if (refusal) throw refusal;
}
