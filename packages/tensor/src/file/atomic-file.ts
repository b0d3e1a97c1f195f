/**
 * Writing a file so that its name never shows a half: into a temporary file in the same directory, flushed to the
 * disk, then renamed. A failed or interrupted write leaves the old file as it was. What is not a regular file (a device, a
 * pipe) is written to in place: renaming a file over it would take its name away from all its users.
 */
import type { Stats } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readlink, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileError } from './file-error.js';

/** An append-only file that knows where it is. */
export class AtomicFile {
  #position = 0;

  /** @param isStream whether it takes bytes in their order alone, as pipes and devices do */
  constructor(
    private readonly handle: FileHandle,
    private readonly path: string,
    private readonly isStream = false,
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
        this.handle.write(bytes, written, length, this.isStream ? null : this.#position),
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
 * may read or write `path` meanwhile. When anything fails the temporary file is removed. A symbolic link stays, and what it
 * points to is written; a file that was there keeps its mode, and its owner where that is allowed.
 *
 * @param content all of it, text as UTF-8; or what writes it piece by piece, whose errors are passed on
 * @throws UnicornError `usage/file` (no such directory, no permission), `resource/disk`, as `fileError`
 */
export async function writeAtomically(
  path: string,
  content: FileContent,
  { makeDirectory = false }: WriteOptions = {},
): Promise<void> {
  const directory = dirname(path);
  if (makeDirectory) await explained(directory, mkdir(directory, { recursive: true }));
  const old = await explained(path, statOf(path));
  // Asked of the path itself: the links of /dev/stdout lead to names that only the system understands.
  if (old && !old.isFile()) return writeThrough(path, content);
  const target = await explained(path, linkTarget(path));
  const folder = dirname(target);
  const temporary = join(folder, `.${basename(target)}.${crypto.randomUUID()}.tmp`);
  const handle = await explained(path, open(temporary, 'wx'));
  try {
    try {
      if (old) await keepOwnership(handle, old);
      await writeAll(new AtomicFile(handle, path), content);
      await explained(path, handle.sync());
    } finally {
      await handle.close();
    }
    await explained(path, rename(temporary, target));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await explained(path, syncDirectory(folder));
}

/** Text in UTF-8, bytes, or what writes them piece by piece. */
export type FileContent = string | Uint8Array | ((file: AtomicFile) => Promise<void>);

async function writeAll(file: AtomicFile, content: FileContent): Promise<void> {
  if (typeof content === 'function') await content(file);
  else await file.write(typeof content === 'string' ? new TextEncoder().encode(content) : content);
}

/** Writes straight into a device or a pipe; a directory is refused as it is opened. */
async function writeThrough(path: string, content: FileContent): Promise<void> {
  const handle = await explained(path, open(path, 'w'));
  try {
    await writeAll(new AtomicFile(handle, path, true), content);
  } finally {
    await handle.close();
  }
}

/** The number of symbolic links that Linux follows. */
const maxLinks = 40;

/** Where a path leads, though there may be nothing yet. */
async function linkTarget(path: string): Promise<string> {
  let target = path;
  for (let links = 0; links < maxLinks; links++) {
    const found = await statOf(target, lstat);
    if (!found?.isSymbolicLink()) return target;
    target = resolve(dirname(target), await readlink(target));
  }
  throw Object.assign(new Error('too many symbolic links'), { code: 'ELOOP' });
}

async function statOf(
  path: string,
  ask: (path: string) => Promise<Stats> = stat,
): Promise<Stats | undefined> {
  try {
    return await ask(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Only root may give files away; anybody else's file becomes the writer's, as with any editor. */
async function keepOwnership(handle: FileHandle, { uid, gid, mode }: Stats): Promise<void> {
  await handle.chown(uid, gid).catch(() => {});
  await handle.chmod(mode & 0o7777).catch(() => {});
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

/** Puts the file system's own failures in words; errors of the function that makes the data pass unchanged. */
async function explained<T>(path: string, operation: Promise<T>): Promise<T> {
  try {
    return await operation;
  } catch (error) {
    throw fileError(error, path, 'write');
  }
}
