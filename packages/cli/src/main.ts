/**
 * The entry of the `unicorn` command: arguments in, exit code out. 0 done, 1 failed, 2 wrong usage, 130 interrupted.
 * It knows no command's work; each is imported when it is called, so that `--version` stays instant.
 */
import { CommanderError } from 'commander';
import { isUnicornError, UnicornError } from '@unicorn-exec/api/error';
import { createProgram } from './program.js';
import { interruptedExitCode, Terminal } from './terminal.js';

export async function main(args: readonly string[], terminal = new Terminal()): Promise<number> {
  try {
    await createProgram(terminal).parseAsync([...args], { from: 'user' });
    return terminal.interrupted ? interruptedExitCode : 0;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0;
      // Commander has told people on stderr; scripts read stdout.
      if (args.includes('--json')) terminal.fail(flagError(error), true);
      return 2;
    }
    if (terminal.interrupted && isUnicornError(error) && error.code === 'usage/cancelled')
      return interruptedExitCode;
    terminal.fail(error, args.includes('--json'));
    return isUnicornError(error) && error.family === 'usage' ? 2 : 1;
  } finally {
    terminal.dispose();
  }
}

/** What commander refused, as one of our errors. */
function flagError(error: CommanderError): UnicornError {
  return new UnicornError('usage/flag', error.message.replace(/^error: /, ''), {
    fix: 'The command with --help shows its flags and what they take.',
  });
}
