/**
 * Writing a file so that its name never shows a half: into a temporary file in the same directory, flushed to the
 * disk, then renamed. A failed or interrupted write leaves the old file as it was.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileError } from './format-error.js';

/** An append-only file that knows where it is. */
export class AtomicFile {
  #position = 0;

  constructor(
    private readonly handle: FileHandle,
    private readonly path: string,
  ) {}

  /** Bytes written so far. */
  get position(): number {
    return this.#position;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let written = 0; written < bytes.byteLength;) {
      const length = bytes.byteLength - written;
      const { bytesWritten } = await explained(
        this.path,
        this.handle.write(bytes, written, length, this.#position),
      );
      written += bytesWritten;
      this.#position += bytesWritten;
    }
  }

  /** Zeros up to the next multiple of `alignment`. */
  async align(alignment: number): Promise<void> {
    const end = Math.ceil(this.#position / alignment) * alignment;
    if (end > this.#position) await this.write(new Uint8Array(end - this.#position));
  }
}

/**
 * Runs `write` on a temporary file beside `path`, then puts it in place. When `write` fails the temporary file is
 * removed and its error passed on.
 *
 * @throws UnicornError `usage/file` (no such directory, no permission), `resource/disk`.
 */
export async function writeAtomically(
  path: string,
  write: (file: AtomicFile) => Promise<void>,
): Promise<void> {
  const directory = dirname(path);
  const temporary = join(directory, `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  const handle = await explained(path, open(temporary, 'wx'));
  try {
    try {
      await write(new AtomicFile(handle, path));
      await explained(path, handle.sync());
    } finally {
      await handle.close();
    }
    await explained(path, rename(temporary, path));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await explained(path, syncDirectory(directory));
}

/** The rename itself must reach the disk too. Windows cannot open directories, and journals the rename anyway. */
async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Only the file system's own failures are put in words; those of whoever makes the data pass unchanged. */
async function explained<T>(path: string, operation: Promise<T>): Promise<T> {
  try {
    return await operation;
  } catch (error) {
    throw fileError(error, path, 'write');
  }
}
