/** `unicorn config`: the options that hold without flags, and where each comes from. */
import type { Command } from 'commander';
import {
  applyConfiguration,
  configurationPath,
  readConfiguration,
  settingVariable,
  type Setting,
} from '../configuration.js';
import type { Terminal } from '../terminal.js';

interface CommandSetting extends Setting {
  /** The command that it holds for; absent where it holds for all that have the option. */
  readonly command?: string;
}

export async function config(terminal: Terminal, program: Command, flags: { json?: boolean }): Promise<void> {
  const file = await readConfiguration(program);
  const settings = settingsOf(
    program.commands.map((command) => [command.name(), applyConfiguration(command, file)]),
  );
  if (flags.json) {
    const document = { file: configurationPath(), exists: file !== undefined, settings };
    terminal.write(
      `${JSON.stringify(document, (_, value) => (typeof value === 'bigint' ? String(value) : value), 2)}\n`,
    );
    return;
  }
  terminal.write(`file  ${configurationPath()}${file ? '' : ' (there is none)'}\n\n`);
  for (const { name, command, value, origin, where } of settings) {
    const shown =
      value === undefined ? '-' : String(typeof value === 'object' ? JSON.stringify(value) : value);
    const from = origin === 'default' ? `default; ${settingVariable(name)}` : `${origin}: ${where}`;
    const title = command === undefined ? name : `${command}.${name}`;
    terminal.write(`${title.padEnd(24)} ${shown.padEnd(16)} ${from}\n`);
  }
}

/** One setting for all commands where it is the same for all that have it. */
function settingsOf(byCommand: readonly (readonly [string, readonly Setting[]])[]): CommandSetting[] {
  const names = [...new Set(byCommand.flatMap(([, settings]) => settings.map(({ name }) => name)))].sort();
  return names.flatMap((name) => {
    const held = byCommand.flatMap(([command, settings]) =>
      settings.filter((setting) => setting.name === name).map((setting) => ({ command, ...setting })),
    );
    const isShared =
      new Set(held.map(({ value, where }) => JSON.stringify([String(value), where]))).size === 1;
    if (!isShared) return held;
    const { command: _command, ...setting } = held[0]!;
    return [setting];
  });
}
