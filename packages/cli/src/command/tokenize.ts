/** `unicorn tokenize` and `unicorn detokenize`: the text side alone, no weights are read. */
import { openText, type ModelText } from '@unicorn-exec/api';
import { UnicornError } from '@unicorn-exec/api/error';
import { decodeUtf8, parseJson, readStandardInput } from '../input.js';
import { mapJsonLines } from '../json-lines.js';
import type { ModelFlags } from '../option.js';
import type { Terminal } from '../terminal.js';

interface TokenizeFlags extends ModelFlags {
  readonly special?: boolean;
  readonly jsonl?: boolean;
}

export async function tokenize(
  terminal: Terminal,
  text: string | undefined,
  flags: TokenizeFlags,
): Promise<void> {
  const model = await openText(flags.model);
  const convert = (input: string): { ids: number[]; pieces: string[] } => {
    const ids = model.tokenizer.encode(input, { special: flags.special ?? false });
    return { ids, pieces: ids.map((id) => model.tokenizer.piece(id)) };
  };
  if (flags.jsonl) {
    await mapJsonLines(terminal, (value) => {
      if (typeof value !== 'string') throw new UnicornError('usage/json', 'The line is not a JSON string.');
      return convert(value);
    });
    return;
  }
  const result = convert(text ?? decodeUtf8(await readStandardInput('text'), 'text'));
  if (flags.json) terminal.writeJson(result);
  else
    for (const [index, id] of result.ids.entries())
      terminal.write(`${id}\t${JSON.stringify(result.pieces[index])}\n`);
}

export async function detokenize(
  terminal: Terminal,
  words: readonly string[],
  flags: TokenizeFlags,
): Promise<void> {
  const model = await openText(flags.model);
  if (flags.jsonl) {
    await mapJsonLines(terminal, (value) => textOf(model, idList(value)));
    return;
  }
  const input = words.length > 0 ? words.join(' ') : decodeUtf8(await readStandardInput('ids'), 'ids');
  const result = textOf(model, parseIds(input));
  if (flags.json) terminal.writeJson(result);
  else terminal.write(`${result.text}\n`);
}

/** The text, and what a stream may show after each id. */
function textOf({ tokenizer }: ModelText, ids: readonly number[]): { text: string; chunks: string[] } {
  const stream = tokenizer.detokenizer();
  const chunks = ids.map((id) => stream.push(id));
  const rest = stream.end();
  if (rest !== '' && chunks.length > 0) chunks[chunks.length - 1] += rest;
  return { text: tokenizer.decode(ids), chunks };
}

/** A JSON array, or ids between spaces and commas. */
function parseIds(text: string): number[] {
  const trimmed = text.trim();
  if (trimmed.startsWith('[')) return idList(parseJson(trimmed, 'list of ids'));
  return trimmed === '' ? [] : idList(trimmed.split(/[\s,]+/).map(Number));
}

function idList(value: unknown): number[] {
  if (!Array.isArray(value) || !value.every((id) => Number.isSafeInteger(id) && (id as number) >= 0)) {
    throw new UnicornError('usage/token-id', 'Token ids are whole numbers, 0 or more.', {
      fix: 'Give ids such as 504 3575 282, or a JSON array of them.',
    });
  }
  return value as number[];
}
