/**
 * Options that are not on the command line: from the environment (`UNICORN_TOP_K` for `--top-k`), else from the configuration
 * file, else as the command has them. The rule is one for all options but those that say what a single call does.
 */
import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { InvalidArgumentError, type Command, type Option } from 'commander';
import { irregularFile, nearestName, UnicornError } from '@unicorn-exec/api/error';
import { repeatableParsers } from './option.js';

/** Options of a single call: what it reads and writes, and what it is to do. */
const perCall: ReadonlySet<string> = new Set(
  [
    [
      'help',
      'version',
      'json',
      'file',
      'prompt',
      'raw',
      'stream',
      'tokens',
      'output',
      'layers',
      'fast',
      'compare',
    ],
    [
      'against',
      'special',
      'jsonl',
      'tools',
      'option',
      'tensors',
      'build',
      'machine',
      'kernels',
      'tune',
      'all',
    ],
  ].flat(),
);

/** Where a value comes from. */
export type SettingOrigin = 'command line' | 'environment' | 'file' | 'default';

/** An option of a command that has a value. */
export interface Setting {
  readonly name: string;
  readonly value: unknown;
  readonly origin: SettingOrigin;
  /** The variable, or the file with its line. */
  readonly where?: string;
}

interface FileEntry {
  readonly value: unknown;
  readonly line: number | undefined;
}

/** What a configuration file says. */
export interface ConfigurationFile {
  readonly path: string;
  /** For every command that has the option. */
  readonly shared: ReadonlyMap<string, FileEntry>;
  /** For one command, by its name; goes before what is shared. */
  readonly commands: ReadonlyMap<string, ReadonlyMap<string, FileEntry>>;
}

/** The name of an option in the file: the flag without its dashes, and without the `no-` of a switch that is on. */
export function settingName(option: Option): string {
  return (option.long ?? '').replace(/^--(no-)?/, '');
}

export const settingVariable = (name: string): string => `UNICORN_${name.toUpperCase().replaceAll('-', '_')}`;

/** The options of a command that the environment and the file may set, a switch and its opposite as one. */
export function settableOptions(command: Command): Option[] {
  const byName = new Map<string, Option>();
  for (const option of command.options) {
    const name = settingName(option);
    if (!perCall.has(name) && !byName.has(name)) byName.set(name, option);
  }
  return [...byName.values()];
}

/** The file's path: `UNICORN_CONFIG`, else by the XDG rules, which say that a relative path counts as none. */
export function configurationPath(environment: Readonly<NodeJS.ProcessEnv> = process.env): string {
  if (environment.UNICORN_CONFIG) return environment.UNICORN_CONFIG;
  const home = environment.XDG_CONFIG_HOME ?? '';
  return join(isAbsolute(home) ? home : join(homedir(), '.config'), 'unicorn', 'config.toml');
}

/**
 * Reads the configuration file.
 *
 * @returns undefined where there is none
 * @throws UnicornError `usage/config` naming the file, the line and the key
 */
export async function readConfiguration(program: Command): Promise<ConfigurationFile | undefined> {
  const path = configurationPath();
  let text: string;
  try {
    // To open a pipe would wait for its other end. The null device is how to say that there is no file.
    const refusal = path === '/dev/null' ? undefined : irregularFile(statSync(path), path);
    if (refusal) throw refusal;
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const isAbsent = code === 'ENOENT' || code === 'ENOTDIR' || code === 'EACCES';
    if (isAbsent && !process.env.UNICORN_CONFIG) return undefined;
    throw configError(
      path,
      undefined,
      undefined,
      `it cannot be read: ${message}`,
      'Check the path and its permissions.',
    );
  }
  const { parse, TomlError } = await import('smol-toml');
  let parsed: Readonly<Record<string, unknown>>;
  try {
    parsed = parse(text, { integersAsBigInt: 'asNeeded' });
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    const [problem = 'it is not TOML'] = cause.message.split('\n');
    throw configError(path, cause.line, undefined, problem, 'Write lines such as `temperature = 0.5`.');
  }
  return checked(program, path, text, parsed);
}

function checked(
  program: Command,
  path: string,
  text: string,
  parsed: Readonly<Record<string, unknown>>,
): ConfigurationFile {
  const commandNames = program.commands.map((command) => command.name());
  const known = [...new Set(program.commands.flatMap((one) => settableOptions(one).map(settingName)))];
  const shared = new Map<string, FileEntry>();
  const commands = new Map<string, ReadonlyMap<string, FileEntry>>();
  const entry = (
    table: string | undefined,
    key: string,
    value: unknown,
    names: readonly string[],
  ): FileEntry => {
    const line = lineOf(text, table, key);
    if (names.includes(key)) return { value, line };
    const nearest = nearestName(key, names);
    const where = table === undefined ? '' : ` of \`unicorn ${table}\``;
    const hint = nearest === undefined ? '`unicorn config` lists them.' : `Did you mean "${nearest}"?`;
    throw configError(path, line, key, `"${key}" is not an option${where}`, hint);
  };
  for (const [key, value] of Object.entries(parsed)) {
    const command = program.commands.find((one) => one.name() === key);
    if (command && isTable(value)) {
      const names = settableOptions(command).map(settingName);
      const entries = Object.entries(value).map(
        ([name, one]) => [name, entry(key, name, one, names)] as const,
      );
      commands.set(key, new Map(entries));
    } else shared.set(key, entry(undefined, key, value, isTable(value) ? commandNames : known));
  }
  return { path, shared, commands };
}

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

/** The line where a key of a table stands, from 1; undefined where it is spelled in another way than the usual ones. */
function lineOf(text: string, table: string | undefined, key: string): number | undefined {
  let current: string | undefined;
  for (const [index, line] of text.split('\n').entries()) {
    const header = /^\s*\[\s*["']?([^"'\]]+?)["']?\s*\]/.exec(line)?.[1];
    if (header !== undefined) current = header;
    if (table === undefined && header === key) return index + 1;
    const name = /^\s*["']?([^"'=]+?)["']?\s*=/.exec(line)?.[1];
    if (header === undefined && current === table && name === key) return index + 1;
  }
  return undefined;
}

/**
 * Gives the options of a command that the command line left out their values.
 *
 * @returns all of its settable options that have a value
 * @throws UnicornError `usage/environment`, `usage/config`
 */
export function applyConfiguration(command: Command, file: ConfigurationFile | undefined): Setting[] {
  const settings: Setting[] = [];
  for (const option of settableOptions(command)) {
    const name = settingName(option);
    const attribute = option.attributeName();
    const source = command.getOptionValueSource(attribute);
    const variable = settingVariable(name);
    const text = process.env[variable];
    const entry = file?.commands.get(command.name())?.get(name) ?? file?.shared.get(name);
    if (source === 'cli') {
      settings.push({ name, value: command.getOptionValue(attribute), origin: 'command line' });
    } else if (text !== undefined && text !== '') {
      const value = fromEnvironment(option, variable, text);
      command.setOptionValueWithSource(attribute, value, 'env');
      settings.push({ name, value, origin: 'environment', where: variable });
    } else if (file && entry) {
      const value = fromFile(option, file.path, name, entry);
      command.setOptionValueWithSource(attribute, value, 'config');
      const where = entry.line === undefined ? file.path : `${file.path}:${entry.line}`;
      settings.push({ name, value, origin: 'file', where });
    } else settings.push({ name, value: command.getOptionValue(attribute), origin: 'default' });
  }
  return settings;
}

const switches: Readonly<Record<string, boolean>> = {
  ...{ 1: true, true: true, yes: true, on: true },
  ...{ 0: false, false: false, no: false, off: false },
};

const isSwitch = (option: Option): boolean => !option.required && !option.optional;

function fromEnvironment(option: Option, variable: string, text: string): unknown {
  const refuse = (problem: string): never => {
    throw new UnicornError(
      'usage/environment',
      `The environment variable ${variable} is "${text}". ${problem}`,
      {
        fields: { variable, value: text },
        fix: `Unset ${variable}, or give it another value.`,
      },
    );
  };
  if (!isSwitch(option)) return parsedText(option, text, undefined, refuse);
  const value = switches[text.toLowerCase()];
  return value ?? refuse('It must be 1 or 0.');
}

function fromFile(option: Option, path: string, key: string, { value, line }: FileEntry): unknown {
  const refuse = (problem: string): never => {
    const example = isSwitch(option) ? `${key} = true` : `${key} = ...`;
    throw configError(path, line, key, `${key}: ${problem}`, `Write \`${example}\` with such a value.`);
  };
  if (isSwitch(option)) return typeof value === 'boolean' ? value : refuse('It must be true or false.');
  const isText = (one: unknown): one is string | number | bigint =>
    typeof one === 'string' || typeof one === 'number' || typeof one === 'bigint';
  if (isText(value)) return parsedText(option, String(value), undefined, refuse);
  const isRepeatable = option.parseArg !== undefined && repeatableParsers.has(option.parseArg);
  if (!isRepeatable || !Array.isArray(value) || !value.every(isText)) {
    return refuse(
      isRepeatable ? 'It must be a text or an array of texts.' : 'It must be a text or a number.',
    );
  }
  return value.reduce<unknown>((earlier, one) => parsedText(option, String(one), earlier, refuse), undefined);
}

/** A text as the flag takes it. */
function parsedText(
  option: Option,
  text: string,
  earlier: unknown,
  refuse: (problem: string) => never,
): unknown {
  if (!option.parseArg) return text;
  try {
    return option.parseArg(text, earlier);
  } catch (error) {
    if (error instanceof InvalidArgumentError) return refuse(error.message);
    throw error;
  }
}

function configError(
  file: string,
  line: number | undefined,
  key: string | undefined,
  problem: string,
  fix: string,
): UnicornError {
  const where = line === undefined ? file : `${file}, line ${line}`;
  return new UnicornError('usage/config', `${where}: ${problem.replace(/\.$/, '')}.`, {
    fields: { file, ...(line === undefined ? {} : { line }), ...(key === undefined ? {} : { key }) },
    fix,
  });
}
