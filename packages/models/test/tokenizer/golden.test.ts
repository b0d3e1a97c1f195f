import { existsSync, readFileSync } from 'node:fs';
import { openGguf } from '@unicorn-exec/checkpoint';
import { describe, expect, it } from 'vitest';
import {
  tokenizerFromGguf,
  tokenizerFromJson,
  tokenizerToGguf,
  type Tokenizer,
} from '../../src/tokenizer/index.js';
import { jsonTables } from '../../src/tokenizer/json-tables.js';
import { expectGolden, publishedTokenizer, readJson, shared } from './golden.js';
import { metadataOf, sentencePieceEntries, unpacked } from './metadata.js';

const smollm2 = `${shared}models/SmolLM2-135M-Instruct.Q4_1.gguf`;

describe.skipIf(!existsSync(smollm2))('SmolLM2, from its GGUF file', () => {
  it('equals the reference in every id, decode and chunk', async () => {
    const file = await openGguf(smollm2);
    const tokenizer = tokenizerFromGguf(file.metadata);
    await file.close();
    expect(tokenizer.bosId).toBe(1);
    expect(tokenizer.eosIds).toEqual([2, 0]);
    expect(tokenizer.addBos).toBe(false);
    expectGolden(tokenizer, 'smollm2');
  });
});

for (const [name, facts] of [
  ['gemma3', { bosId: 2, eosIds: [106, 1], addBos: true }],
  ['qwen2_5', { bosId: undefined, eosIds: [151645, 151643], addBos: false }],
  ['qwen3', { bosId: undefined, eosIds: [151645, 151643], addBos: false }],
] as const) {
  const folder = publishedTokenizer(name);
  describe.skipIf(folder === undefined || !existsSync(`${shared}goldens`))(
    `${name}, from its package`,
    () => {
      // A skipped suite is still collected.
      const config = folder === undefined ? {} : readJson(`${folder}/tokenizer_config.json`);
      const check = (tokenizer: Tokenizer) => {
        expect({ bosId: tokenizer.bosId, eosIds: tokenizer.eosIds, addBos: tokenizer.addBos }).toEqual(facts);
        expectGolden(tokenizer, name);
      };

      it('equals the reference in every id, decode and chunk, from its bytes', () => {
        const bytes = readFileSync(`${folder}/tokenizer.json`);
        expect(jsonTables(bytes)).toBeDefined(); // the fast way, not its slow twin
        check(tokenizerFromJson(bytes, config));
      });

      it('equals the reference, from its parsed value', () => {
        check(tokenizerFromJson(readJson(`${folder}/tokenizer.json`), config));
      });

      it('equals the reference, from GGUF metadata, packed or not', async () => {
        const json = readJson(`${folder}/tokenizer.json`);
        const entries = name === 'gemma3' ? sentencePieceEntries(json) : tokenizerToGguf(json, config);
        const metadata = await metadataOf(entries);
        expectGolden(tokenizerFromGguf(metadata), name);
        expectGolden(tokenizerFromGguf(unpacked(metadata)), name);
      });
    },
  );
}
