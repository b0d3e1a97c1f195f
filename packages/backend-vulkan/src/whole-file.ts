/** Writing a file whole or not at all: another process may read or write it at the same time. */
import { mkdirSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Makes the folder where it is missing. @throws Error of the file system; no part is left behind then */
export function writeWholeFile(path: string, data: string | Uint8Array): void {
  const part = `${path}.${process.pid}`;
  mkdirSync(dirname(path), { recursive: true });
  try {
    writeFileSync(part, data);
    renameSync(part, path);
  } catch (error) {
    try {
      unlinkSync(part);
    } catch {
      // It was never made.
    }
    throw error;
  }
}
