/**
 * The entry of the `unicorn` command: arguments in, exit code out. 0 done, 1 failed, 2 wrong usage, 130 interrupted.
 * It knows no command's work; each is imported when it is called, so that `--version` stays instant.
 */
import { CommanderError } from 'commander';
import { isUnicornError } from '@unicorn-exec/api/error';
import { canonicalArguments } from './alias.js';
import { flagError } from './hint.js';
import { createProgram } from './program.js';
import { interruptedExitCode, Terminal } from './terminal.js';

export async function main(given: readonly string[], terminal = new Terminal()): Promise<number> {
  terminal.json = given.includes('--json');
  const program = createProgram(terminal);
  try {
    const args = canonicalArguments(program, given);
    try {
      await program.parseAsync(args, { from: 'user' });
    } catch (error) {
      if (!(error instanceof CommanderError)) throw error;
      if (error.exitCode === 0) return 0;
      throw flagError(error, program, args);
    }
    return terminal.interrupted ? interruptedExitCode : terminal.exitCode;
  } catch (error) {
    if (terminal.interrupted && isUnicornError(error) && error.code === 'usage/cancelled')
      return interruptedExitCode;
    terminal.fail(error, terminal.json);
    return isUnicornError(error) && error.family === 'usage' ? 2 : 1;
  } finally {
    terminal.dispose();
  }
}
