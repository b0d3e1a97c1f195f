/** Side files of Hugging Face directories, against what transformers reads of them (`tools/directory-goldens.py`). */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { isUnicornError } from '@unicorn-exec/tensor';
import { openTextSide } from '../../src/index.js';

interface DirectoryGoldens {
  readonly texts: readonly string[];
  readonly tokenizer: Readonly<Record<string, unknown>>;
  readonly cases: readonly {
    readonly name: string;
    readonly added_tokens: readonly unknown[];
    readonly files: Readonly<Record<string, unknown>>;
    readonly read: {
      readonly bos: number | null;
      readonly eos: number | null;
      readonly ids: readonly (readonly number[])[];
      readonly shown: readonly string[];
      readonly plain: unknown;
      readonly tools: unknown;
    };
  }[];
}

const path = new URL('../goldens/directories.json', import.meta.url);
const { texts, tokenizer, cases } = JSON.parse(readFileSync(path, 'utf8')) as DirectoryGoldens;
const root = mkdtempSync(join(tmpdir(), 'unicorn-directory-'));
afterAll(() => rmSync(root, { recursive: true }));

function directoryOf({ files, added_tokens }: DirectoryGoldens['cases'][number]): string {
  const folder = mkdtempSync(join(root, 'model-'));
  const all = { ...files, 'tokenizer.json': { ...tokenizer, added_tokens } };
  for (const [name, content] of Object.entries(all)) {
    const file = join(folder, name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  }
  return folder;
}

const refused = { refused: 'ValueError' };

function outcome(work: () => string | undefined): unknown {
  try {
    return work() ?? refused;
  } catch (error) {
    if (isUnicornError(error) && error.code === 'usage/chat-template') return refused;
    throw error;
  }
}

describe('a directory with', () => {
  it.each(cases)('$name', async (one) => {
    const side = await openTextSide(directoryOf(one));
    const ids = texts.map((text) => side.tokenizer.encode(text, { special: true }));
    const messages = [{ role: 'user', content: 'Hi' }];
    const tools = [{ type: 'function', function: { name: 'f', description: '', parameters: {} } }];
    expect({
      bos: side.tokenizer.bosId ?? null,
      ids,
      shown: ids.map((list) => side.tokenizer.decode(list, { skipSpecial: true })),
      plain: outcome(() => side.chatTemplate?.render({ messages })),
      tools: outcome(() => side.chatTemplate?.render({ messages, tools })),
    }).toEqual({
      bos: one.read.bos,
      ids: one.read.ids,
      shown: one.read.shown,
      plain: one.read.plain,
      tools: one.read.tools,
    });
    // Others are known by their spelling.
    if (one.read.eos !== null) expect(side.tokenizer.eosIds[0]).toBe(one.read.eos);
    expect(side.tokenizer.eosIds).toContain(258);
  });
});
