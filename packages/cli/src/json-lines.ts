/** The `--jsonl` mode: one JSON input per line, one JSON result per line; a bad line gives `{error}` and the rest goes on. */
import { isUnicornError, UnicornError } from '@unicorn-exec/api/error';
import { decodeUtf8, inputLines, parseJson } from './input.js';
import type { Terminal } from './terminal.js';

export async function mapJsonLines(
  terminal: Terminal,
  convert: (value: unknown, line: string) => unknown,
): Promise<void> {
  let number = 0;
  for await (const bytes of inputLines('line')) {
    number++;
    try {
      const line = decodeUtf8(bytes, `line ${number}`);
      if (line.trim() === '') continue;
      terminal.writeJson(await convert(parseJson(line, `line ${number}`), line), { lines: true });
    } catch (error) {
      const known = isUnicornError(error)
        ? error
        : new UnicornError('internal/unexpected', error instanceof Error ? error.message : String(error));
      terminal.writeJson({ error: known.toJSON() }, { lines: true });
    }
  }
}
