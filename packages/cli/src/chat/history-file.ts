/**
 * The lines that a person typed in conversations, for the arrow keys of later ones: one JSON string a line, readable by its
 * owner alone. Whatever goes wrong with it costs the history, never the conversation.
 */
import { constants, type Stats } from 'node:fs';
import { mkdir, open, rename, type FileHandle } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';

/** What the arrow keys reach. */
const maxEntries = 1000;
/** A longer entry is a document rather than something to type again. */
const maxEntryCharacters = 10_000;
/** A file beyond it is put aside as `chat-history.old`, in the place of the one before. */
const maxBytes = 2 ** 20;

export class HistoryFile {
  #entries: string[] = [];

  constructor(readonly path: string = historyPath()) {}

  /** Newest first. */
  get entries(): readonly string[] {
    return this.#entries;
  }

  async load(): Promise<void> {
    try {
      await this.#withFile(constants.O_RDONLY, async (file, { size }) => {
        const bytes = Buffer.alloc(Math.min(size, maxBytes));
        await file.read(bytes, 0, bytes.length, size - bytes.length);
        const lines = bytes.toString('utf8').split('\n');
        this.#entries = lines.flatMap(entryOf).slice(-maxEntries).reverse();
      });
    } catch {
      // There is none yet, or none that may be read.
    }
  }

  /** A line that begins with a blank is not kept, as shells have it; nor is one that is the same as the last. */
  async add(entry: string): Promise<void> {
    if (/^\s|^$/.test(entry) || entry === this.#entries[0] || entry.length > maxEntryCharacters) return;
    this.#entries = [entry, ...this.#entries].slice(0, maxEntries);
    try {
      await makeFolder(dirname(this.path));
      const { O_WRONLY, O_APPEND, O_CREAT } = constants;
      const isFull = await this.#withFile(O_WRONLY | O_APPEND | O_CREAT, async (file, { mode, size }) => {
        if ((mode & 0o077) !== 0) await file.chmod(0o600);
        await file.write(`${JSON.stringify(entry)}\n`);
        return size > maxBytes;
      });
      if (isFull) await rename(this.path, `${this.path}.old`);
    } catch {
      // A home that cannot be written to keeps no history.
    }
  }

  async #withFile<T>(
    flags: number,
    work: (file: FileHandle, stats: Stats) => Promise<T>,
  ): Promise<T | undefined> {
    // Neither another file through a link, nor a pipe that would be waited for.
    const file = await open(this.path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o600);
    try {
      const stats = await file.stat();
      return stats.isFile() ? await work(file, stats) : undefined;
    } finally {
      await file.close();
    }
  }
}

/** Node.js's own way to make the folders above tries for ever where the system says that there are none, as in /proc. */
async function makeFolder(path: string, above = 4): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT' || above === 0) throw error;
    await makeFolder(dirname(path), above - 1);
    await mkdir(path, { mode: 0o700 });
  }
}

/** By the XDG rules, which say that a relative path counts as none. */
function historyPath(): string {
  const state = process.env.XDG_STATE_HOME ?? '';
  return join(isAbsolute(state) ? state : join(homedir(), '.local', 'state'), 'unicorn', 'chat-history');
}

function entryOf(line: string): string[] {
  try {
    const entry: unknown = JSON.parse(line);
    return typeof entry === 'string' ? [entry] : [];
  } catch {
    return [];
  }
}
