/**
 * The files in which Linux describes a machine (`/proc`, `/sys`, `/dev`, `/etc`), below a root that a test may choose. A
 * file that cannot be read is undefined, a folder that cannot be listed is empty: containers hide any of them.
 */
import { accessSync, constants, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Who a file belongs to. */
export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
  /** Permission bits, 0o666 for example. */
  readonly mode: number;
}

export interface SystemTreeOptions {
  /** The folder that stands for `/`. Default `/`: this machine. */
  readonly root?: string;
  /** Owners of files by their path below the root, where those of the files themselves do not count. */
  readonly owners?: Readonly<Record<string, FileOwner>>;
}

export class SystemTree {
  readonly #root: string;
  readonly #owners: Readonly<Record<string, FileOwner>>;

  constructor({ root = '/', owners = {} }: SystemTreeOptions = {}) {
    this.#root = root;
    this.#owners = owners;
  }

  /** True for the machine that this process runs on: what Node says of it then counts too. */
  get isThisMachine(): boolean {
    return this.#root === '/';
  }

  /** The text of a small file without blanks at its ends. */
  read(path: string): string | undefined {
    try {
      return readFileSync(join(this.#root, path), 'utf8').trim();
    } catch {
      return undefined;
    }
  }

  /** A number that a file holds, decimal or with `0x`. */
  readNumber(path: string): number | undefined {
    const text = this.read(path);
    if (text === undefined || text === '') return undefined;
    const value = Number(text);
    return Number.isFinite(value) ? value : undefined;
  }

  /** The names in a folder that begin with `prefix`, by number where they end in one. */
  list(path: string, prefix = ''): string[] {
    try {
      return readdirSync(join(this.#root, path))
        .filter((name) => name.startsWith(prefix))
        .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
    } catch {
      return [];
    }
  }

  exists(path: string): boolean {
    return existsSync(join(this.#root, path));
  }

  owner(path: string): FileOwner | undefined {
    const known = this.#owners[path];
    if (known) return known;
    try {
      const { uid, gid, mode } = statSync(join(this.#root, path));
      return { uid, gid, mode: mode & 0o777 };
    } catch {
      return undefined;
    }
  }

  /** Whether this process may read and write a file, lists of access included: of this machine only. */
  mayOpen(path: string): boolean {
    try {
      accessSync(join(this.#root, path), constants.R_OK | constants.W_OK);
      return true;
    } catch {
      return false;
    }
  }
}
