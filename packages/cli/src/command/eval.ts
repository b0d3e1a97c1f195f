/** `unicorn eval`: token ids in, logits out, as a safetensors file. */
import { writeEvaluation } from '@unicorn-exec/api/measure';
import { UnicornError } from '@unicorn-exec/api/error';
import { elasticFrom, measuringOptions, withEngine } from '../engine-session.js';
import { readJsonFile } from '../input.js';
import type { EngineFlags } from '../option.js';
import type { Terminal } from '../terminal.js';

interface EvalFlags extends EngineFlags {
  readonly tokens: string;
  readonly output: string;
  readonly layers?: boolean;
  readonly fast?: boolean;
}

export async function evaluate(terminal: Terminal, flags: EvalFlags): Promise<void> {
  const sequences = tokenSequences(await readJsonFile(flags.tokens), flags.tokens);
  const options = {
    ...measuringOptions(flags, terminal),
    precision: flags.fast ? ('fast' as const) : ('f32' as const),
    kvType: flags.kvType ?? ('f32' as const),
    maxSequences: Math.max(1, sequences.length),
  };
  await withEngine(terminal, options, async ({ engine }) => {
    const written = await writeEvaluation(engine, sequences, {
      // As many tools name standard output.
      output: flags.output === '-' ? '/dev/stdout' : flags.output,
      layers: flags.layers ?? false,
      elastic: elasticFrom(engine, flags),
      signal: terminal.signal,
    });
    if (flags.json)
      terminal.writeJson({ output: flags.output, backend: engine.backend.name, tensors: written });
    else
      terminal.note(`${written.length} tensor${written.length === 1 ? '' : 's'} written to ${flags.output}`);
  });
}

/** An array of ids, or an array of such arrays. */
function tokenSequences(value: unknown, file: string): number[][] {
  const isIds = (entry: unknown): entry is number[] =>
    Array.isArray(entry) && entry.length > 0 && entry.every((id) => Number.isSafeInteger(id));
  if (isIds(value)) return [value];
  if (Array.isArray(value) && value.length > 0 && value.every(isIds)) return value;
  throw new UnicornError('usage/token-id', `${file} holds no token ids.`, {
    fields: { file },
    fix: 'Give a JSON array of ids such as [1, 2, 3], or an array of such arrays, none of them empty.',
  });
}
