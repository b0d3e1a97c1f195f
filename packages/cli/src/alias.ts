/**
 * Spellings that users of llama.cpp, ollama and other tools type, as this command spells them. They are replaced before
 * the arguments are read, since no parser of options knows `-ngl`.
 */
import type { Command, Option } from 'commander';
import { refuseForeignFlag } from './hint.js';

/** Other spellings of a flag. One holds where the command has that flag and does not itself use the spelling. */
const aliases: Readonly<Record<string, readonly string[]>> = {
  '--temperature': ['--temp'],
  '--max-tokens': [
    '--n-predict',
    '--predict',
    '--num-predict',
    '--max-new-tokens',
    '--max-completion-tokens',
  ],
  '--context': ['--ctx-size', '--ctx', '--n-ctx', '--num-ctx', '--context-length', '--context-size'],
  '--gpu-layers': ['-ngl', '--n-gpu-layers', '--num-gpu', '--gpulayers'],
  '--threads': ['--num-thread', '--num-threads', '--n-threads'],
  '--kv-type': ['-ctk', '-ctv', '--cache-type-k', '--cache-type-v', '--cache-type'],
  '--device': ['-dev'],
  '--system': ['-sys', '--system-prompt'],
  '--seed': ['-s'],
  '--stop': ['-r', '--reverse-prompt'],
  '--typical': ['--typical-p'],
  '--repeat-penalty': ['--repetition-penalty'],
  '--hide-thinking': ['--hidethinking'],
  '--raw': ['-no-cnv', '--no-conversation', '--no-chat-template'],
  '--generate': ['--n-gen'],
};

/** What stands for a question about the version. */
const versionWords: readonly (string | undefined)[] = ['version', '-v', '-version'];

/**
 * The arguments in the spelling of the program. A value is never changed, also when it looks like a flag.
 *
 * @param args as the shell gave them
 * @throws UnicornError `usage/flag` for a flag of another tool that there is no counterpart of
 */
export function canonicalArguments(program: Command, args: readonly string[]): string[] {
  const [name] = args;
  if (versionWords.includes(name)) return ['--version'];
  const command = program.commands.find((one) => one.name() === name);
  if (!command) return [...args];
  const canonical: string[] = [name!];
  for (let index = 1; index < args.length; index++) {
    const given = args[index]!;
    if (given === '--') return [...canonical, ...args.slice(index)];
    const { flag, value } = canonicalFlag(command, given);
    if (!flagOf(command, flag)) refuseForeignFlag(flag);
    canonical.push(value === undefined ? flag : `${flag}=${value}`);
    const takesNext = value === undefined && flagOf(command, flag)?.required === true;
    if (takesNext && index + 1 < args.length) canonical.push(args[++index]!);
  }
  return canonical;
}

function canonicalFlag(command: Command, given: string): { flag: string; value?: string } {
  const equals = given.startsWith('--') ? given.indexOf('=') : -1;
  const word = equals < 0 ? given : given.slice(0, equals);
  const rest = equals < 0 ? {} : { value: given.slice(equals + 1) };
  for (const [flag, spellings] of Object.entries(aliases)) {
    if (spellings.includes(word) && canStandFor(command, word, flag)) return { flag, ...rest };
  }
  const dashed = word.startsWith('--') ? word.replaceAll('_', '-') : word;
  return { flag: flagOf(command, dashed) ? dashed : word, ...rest };
}

function canStandFor(command: Command, spelling: string, flag: string): boolean {
  return flagOf(command, flag) !== undefined && flagOf(command, spelling) === undefined;
}

function flagOf(command: Command, flag: string): Option | undefined {
  return command.options.find((option) => option.long === flag || option.short === flag);
}
