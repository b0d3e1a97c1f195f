/**
 * Writing a file so that its name never shows a half: into a temporary file in the same directory, flushed to the
 * disk, then renamed. A failed or interrupted write leaves the old file as it was.
 */
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileError } from './file-error.js';

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

export interface WriteOptions {
  /** Makes the directory, and those above it, where they are missing. Default: false */
  readonly makeDirectory?: boolean;
}

/**
 * The one way to write a file: `content` goes into a temporary file beside `path`, which is then put in its place. Others
 * may read or write `path` meanwhile. When anything fails the temporary file is removed.
 *
 * @param content all of it, text as UTF-8; or what writes it piece by piece, whose errors are passed on
 * @throws UnicornError `usage/file` (no such directory, no permission), `resource/disk`, as `fileError`
 */
export async function writeAtomically(
  path: string,
  content: string | Uint8Array | ((file: AtomicFile) => Promise<void>),
  { makeDirectory = false }: WriteOptions = {},
): Promise<void> {
  const directory = dirname(path);
  if (makeDirectory) await explained(directory, mkdir(directory, { recursive: true }));
  const unique = crypto.randomUUID();
  const temporary = join(directory, `.${basename(path)}.${unique}.tmp`);
  const handle = await explained(path, open(temporary, 'wx'));
  try {
    try {
      const file = new AtomicFile(handle, path);
      if (typeof content === 'function') await content(file);
      else await file.write(typeof content === 'string' ? new TextEncoder().encode(content) : content);
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
