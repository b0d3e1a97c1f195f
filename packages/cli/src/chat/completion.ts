/** What the tab key completes in a conversation: commands, settings, sizes, file names. */
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CompleterResult } from 'node:readline';
import { expandHome } from './file-name.js';

export interface CompletionWords {
  /** Without their slashes. */
  readonly commands: readonly string[];
  readonly settings: readonly string[];
  readonly sizes: readonly string[];
}

/** Completes the last word of a command; a message is not completed. */
export function completeLine(line: string, words: CompletionWords): CompleterResult {
  const [, command, argument] = /^\/(\S*)(?:\s+(.*))?$/.exec(line) ?? [];
  if (command === undefined) return [[], line];
  if (argument === undefined) {
    const commands = words.commands.map((name) => `/${name} `);
    return [commands.filter((name) => name.startsWith(line)), line];
  }
  return [candidates(command, words, argument).filter((word) => word.startsWith(argument)), argument];
}

function candidates(command: string, words: CompletionWords, argument: string): readonly string[] {
  switch (command) {
    case 'set':
      return words.settings.map((name) => `${name} `);
    case 'elastic':
      return words.sizes;
    case 'save':
    case 'load':
      return fileNames(argument);
    default:
      return [];
  }
}

/** Names of files in the directory that the text so far names. */
function fileNames(text: string): string[] {
  const directory = text.endsWith('/') ? text : dirname(text);
  const prefix = text.includes('/') ? (directory.endsWith('/') ? directory : `${directory}/`) : '';
  try {
    return readdirSync(expandHome(join(directory, '.')), { withFileTypes: true }).map(
      (entry) => prefix + entry.name + (entry.isDirectory() ? '/' : ''),
    );
  } catch {
    return [];
  }
}
