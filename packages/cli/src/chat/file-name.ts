/** File names in the commands of a conversation, where no shell expands them. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { UnicornError } from '@unicorn-exec/api/error';

/** `~/x` as the path in the home directory that it means. */
export function expandHome(name: string): string {
  return name === '~' || name.startsWith('~/') ? join(homedir(), name.slice(1)) : name;
}

/** @throws UnicornError `usage/file` where there is none */
export function fileName(argument: string): string {
  if (argument === '') throw new UnicornError('usage/file', 'The command needs a file name.');
  return expandHome(argument);
}
