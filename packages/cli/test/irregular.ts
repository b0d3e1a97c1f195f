/** Paths at which a regular file is expected and something else lies. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

/** What opening them would do: wait, never end, fail, or lead round in circles. */
export const irregularKinds = ['pipe', 'link to a pipe', 'device', 'directory', 'link loop'] as const;

/** Puts such a thing at a path whose directory exists. */
export function makeIrregular(kind: (typeof irregularKinds)[number], path: string): void {
  const beside = `${path}.other`;
  switch (kind) {
    case 'pipe':
      execFileSync('mkfifo', [path]);
      break;
    case 'link to a pipe':
      execFileSync('mkfifo', [beside]);
      symlinkSync(beside, path);
      break;
    case 'device':
      symlinkSync('/dev/zero', path);
      break;
    case 'directory':
      mkdirSync(join(path, 'within'), { recursive: true });
      break;
    case 'link loop':
      symlinkSync(beside, path);
      symlinkSync(path, beside);
      break;
  }
}
