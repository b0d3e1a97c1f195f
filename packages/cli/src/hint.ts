/** What to do about arguments that the program does not understand: words of other tools, models in the prompt's place. */
import { existsSync } from 'node:fs';
import type { Command, CommanderError } from 'commander';
import { UnicornError } from '@unicorn-exec/api/error';

/** What commander refused, as one of our errors with a fix. */
export function flagError(error: CommanderError, program: Command, args: readonly string[]): UnicornError {
  const sentence = error.message.replace(/^error: /, '').replace(/\n\((.*)\)$/, ' ($1)');
  const message = sentence.charAt(0).toUpperCase() + sentence.slice(1);
  const word = args[0] ?? '';
  const command = program.commands.find((one) => one.name() === word);
  if (error.code === 'commander.help') {
    return new UnicornError('usage/flag', 'No command was given.', { fix: '`unicorn --help` lists them.' });
  }
  return new UnicornError('usage/flag', message.endsWith('.') ? message : `${message}.`, {
    fix: fixOf(error, command, args),
  });
}

function fixOf(error: CommanderError, command: Command | undefined, args: readonly string[]): string {
  if (!command) return args[0]!.startsWith('-') ? flagBeforeCommand : unknownCommand(args);
  const usage = `\`unicorn ${command.name()} --help\` shows what it takes.`;
  if (error.code === 'commander.excessArguments') return excessWords(command, args) ?? usage;
  return usage;
}

/**
 * Says what becomes of a flag of another tool that this one does not have. It is asked before the arguments are parsed,
 * since a parser takes `-fa` for `-f a`.
 *
 * @throws UnicornError `usage/flag`
 */
export function refuseForeignFlag(flag: string): void {
  if (!Object.hasOwn(foreignFlags, flag)) return;
  throw new UnicornError('usage/flag', `Unknown option '${flag}'.`, { fix: foreignFlags[flag]! });
}

const flagBeforeCommand =
  'A command comes first: `unicorn run`, `unicorn chat`. `unicorn --help` lists them.';

const noDownloads =
  'This release does not download models. Download the .gguf file or the directory yourself, for example with `hf download USER/REPO --local-dir DIR`, and give its path: `unicorn run -m PATH`.';

/** Words that other tools have for something, and what there is here. */
const otherWords: Readonly<Record<string, string>> = {
  pull: noDownloads,
  download: noDownloads,
  install: noDownloads,
  search: noDownloads,
  serve:
    'This release has no HTTP server. `unicorn run --json` and `unicorn chat --json` speak with scripts, `@unicorn-exec/api` with programs.',
  server:
    'This release has no HTTP server; `unicorn run --json` and `unicorn chat --json` speak with scripts.',
  list: 'Models are files: `unicorn show PATH` describes one.',
  ls: 'Models are files: `unicorn show PATH` describes one.',
  rm: 'Models are files: remove the file itself.',
  ps: 'Nothing runs in the background: each command loads its model and ends with it.',
  stop: 'Nothing runs in the background: each command loads its model and ends with it.',
  generate: '`unicorn run "PROMPT"` answers one prompt.',
  complete: '`unicorn run --raw "TEXT"` continues a text.',
  ask: '`unicorn run "PROMPT"` answers one prompt.',
  interactive: '`unicorn chat` is a conversation.',
  benchmark: '`unicorn bench` measures speed.',
  info: '`unicorn show PATH` describes a model.',
  inspect: '`unicorn show PATH` describes a model.',
  devices: '`unicorn doctor` lists the devices.',
};

function unknownCommand(args: readonly string[]): string {
  const word = args[0]!;
  if (Object.hasOwn(otherWords, word)) return otherWords[word]!;
  if (isModelName(word)) return `A model is named with -m: \`unicorn run -m ${quoted(word)} "PROMPT"\`.`;
  if (/\s/.test(word)) return `A prompt follows a command: \`unicorn run ${quoted(word)}\`.`;
  return '`unicorn --help` lists the commands.';
}

/** What more words than the command takes may have meant. */
function excessWords(command: Command, args: readonly string[]): string | undefined {
  const words = args.slice(1).filter((word) => !word.startsWith('-'));
  const model = words.find(isModelName);
  const name = command.name();
  if (model !== undefined) {
    const rest = words.filter((word) => word !== model).join(' ');
    const text = name === 'run' && rest !== '' ? ` ${quoted(rest)}` : '';
    return `A model is named with -m: \`unicorn ${name} -m ${quoted(model)}${text}\`.`;
  }
  if (name === 'run') return 'A prompt of several words is quoted: `unicorn run "Why is the sky blue?"`.';
  return undefined;
}

/** Whether a word in the prompt's place reads as a model: a file or directory that is there, or a name as hubs have them. */
export function isModelName(word: string): boolean {
  if (/\s/.test(word) || word === '') return false;
  if (/\.(gguf|safetensors)$/i.test(word) || /^(hf:|https?:\/\/)/.test(word) || word === 'nano') return true;
  if (/^[\w.-]+(\/[\w.-]+)?:[\w.-]+$/.test(word)) return true;
  return /^[\w.-]+\/[\w.-]+$/.test(word) || (word.includes('/') && existsSync(word));
}

/** As a shell takes it for one word. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** Flags of llama.cpp, and what there is here. */
const foreignFlags: Readonly<Record<string, string>> = Object.fromEntries([
  ...['-fa', '--flash-attn', '--mlock', '--no-mmap', '--jinja', '-kvu', '--no-warmup', '-b', '-ub'].map(
    (flag) => [flag, `Leave ${flag} out: nothing here needs it.`] as const,
  ),
  ...['-cnv', '--conversation', '-i', '--interactive'].map(
    (flag) => [flag, '`unicorn chat` is a conversation.'] as const,
  ),
  ...['-hf', '-hfr', '--hf-repo', '-mu', '--model-url'].map((flag) => [flag, noDownloads] as const),
]);
