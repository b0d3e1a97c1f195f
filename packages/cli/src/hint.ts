/** What to do about arguments that the program does not understand: words of other tools, models in the prompt's place. */
import { existsSync } from 'node:fs';
import type { Command, CommanderError } from 'commander';
import { downloadAdvice, hubName, nearestName, UnicornError } from '@unicorn-exec/api/error';
import { quoted } from './shell-word.js';

/** What commander refused, as one of our errors with a fix. */
export function flagError(error: CommanderError, program: Command, args: readonly string[]): UnicornError {
  const sentence = error.message.replace(/^error: /, '').replace(/\n\((.*)\)$/, ' ($1)');
  const message = sentence.charAt(0).toUpperCase() + sentence.slice(1);
  const word = args[0] ?? '';
  const command = program.commands.find((one) => one.name() === word);
  if (error.code === 'commander.help' && word === 'help' && args.length > 1) {
    const nearest = nearestName(
      args[1]!,
      program.commands.map((one) => one.name()),
    );
    return new UnicornError('usage/flag', `Unknown command '${args[1]}'.`, {
      fix:
        nearest === undefined ? '`unicorn --help` lists them.' : `Did you mean \`unicorn help ${nearest}\`?`,
    });
  }
  if (error.code === 'commander.help') {
    return new UnicornError('usage/flag', 'No command was given.', { fix: '`unicorn --help` lists them.' });
  }
  return new UnicornError('usage/flag', message.endsWith('.') ? message : `${message}.`, {
    fix: fixOf(error, command, args),
  });
}

function fixOf(error: CommanderError, command: Command | undefined, args: readonly string[]): string {
  if (!command) return args[0]!.startsWith('-') ? commandFirst(args) : unknownCommand(args);
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

const commandFirst = (args: readonly string[]): string =>
  `A command comes first: \`unicorn run ${args.map(quoted).join(' ')}\`. \`unicorn --help\` lists them.`;

const noDownloads = (name?: string): string =>
  `This release does not download models. ${downloadAdvice(name)} \`unicorn run -m PATH\` answers with it.`;

/** Words for fetching a model, which names it next. */
const fetchingWords: ReadonlySet<string> = new Set(['pull', 'download', 'install', 'search', 'get', 'fetch']);

/** Words that other tools have for something, and what there is here. */
const otherWords: Readonly<Record<string, string>> = {
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
  if (fetchingWords.has(word)) return noDownloads(args.slice(1).find((name) => !name.startsWith('-')));
  if (Object.hasOwn(otherWords, word)) return otherWords[word]!;
  if (isModelName(word)) return `A model is named with -m: \`unicorn run -m ${quoted(word)} "PROMPT"\`.`;
  if (/\s/.test(word)) return `A prompt follows a command: \`unicorn run ${quoted(word)}\`.`;
  // A question without its quotes.
  if (args.length > 2 && args.every((one) => !one.startsWith('-'))) {
    return `A prompt follows a command, in quotes: \`unicorn run ${quoted(args.join(' '))}\`.`;
  }
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
  if (/\.(gguf|safetensors)$/i.test(word)) return !/\s/.test(word) || existsSync(word);
  if (/\s/.test(word) || word === '') return false;
  return word === 'nano' || hubName(word) !== undefined || (word.includes('/') && existsSync(word));
}

/** What to tell who gave a model's name as the prompt; undefined for a prompt that is one. */
export function promptWarning(prompt: string | undefined, model: string | undefined): string | undefined {
  if (prompt === undefined || model !== undefined || !isModelName(prompt)) return undefined;
  const name = quoted(prompt);
  return `${name} is taken as the prompt. A model is named with -m: \`unicorn run -m ${name} "PROMPT"\`, \`unicorn chat -m ${name}\`.`;
}

/** Flags of llama.cpp, and what there is here. */
const foreignFlags: Readonly<Record<string, string>> = Object.fromEntries([
  ...['-fa', '--flash-attn', '--mlock', '--no-mmap', '--jinja', '-kvu', '--no-warmup', '-b', '-ub'].map(
    (flag) => [flag, `Leave ${flag} out: nothing here needs it.`] as const,
  ),
  ...['-cnv', '--conversation', '-i', '--interactive'].map(
    (flag) => [flag, '`unicorn chat` is a conversation.'] as const,
  ),
  ...['-hf', '-hfr', '--hf-repo', '-mu', '--model-url'].map((flag) => [flag, noDownloads()] as const),
]);
