/** GGUF metadata for tests: written to a file and read back, as in life. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openGguf, writeGguf, type Metadata, type MetadataEntry } from '@unicorn-exec/checkpoint';
import type { GgufTokenizerMetadata } from '../../src/tokenizer/index.js';

/** The same, but each string has to be asked for. */
export function unpacked(metadata: Metadata): GgufTokenizerMetadata {
  return {
    has: (key) => metadata.has(key),
    string: (key) => metadata.string(key),
    number: (key) => metadata.number(key),
    boolean: (key) => metadata.boolean(key),
    strings: (key) => metadata.strings(key),
    numbers: (key) => metadata.numbers(key),
  };
}

interface SentencePieceJson {
  model: { vocab: Record<string, number>; merges: [string, string][] };
  added_tokens: { id: number; content: string; special: boolean }[];
}

/**
 * A SentencePiece-style `tokenizer.json` (Gemma's) as GGUF files carry it: a score for each token in place of merges.
 * What a token scores is the place of the first merge that makes it, so that both orders are one.
 */
export function sentencePieceEntries(tokenizerJson: unknown): [string, MetadataEntry][] {
  const { model, added_tokens: added } = tokenizerJson as SentencePieceJson;
  const pieces: string[] = [];
  for (const [piece, id] of Object.entries(model.vocab)) pieces[id] = piece;
  for (const { id, content } of added) pieces[id] = content;
  const scores = new Float32Array(pieces.length);
  model.merges.forEach(([left, right], rank) => (scores[model.vocab[left + right]!] ||= -1 - rank));
  const types = pieces.map((piece): number => (/^<0x[0-9A-F]{2}>$/.test(piece) ? 6 : 1));
  for (const { id, special } of added) types[id] = special ? 3 : 4;
  const idOf = (piece: string) => ({ type: 'u32', value: model.vocab[piece]! }) as const;
  return [
    ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
    ['tokenizer.ggml.tokens', { type: 'array', elementType: 'string', values: pieces }],
    ['tokenizer.ggml.scores', { type: 'array', elementType: 'f32', values: scores }],
    ['tokenizer.ggml.token_type', { type: 'array', elementType: 'i32', values: types }],
    ['tokenizer.ggml.bos_token_id', idOf('<bos>')],
    ['tokenizer.ggml.eos_token_id', idOf('<eos>')],
    ['tokenizer.ggml.unknown_token_id', idOf('<unk>')],
    ['tokenizer.ggml.add_space_prefix', { type: 'bool', value: false }],
  ];
}

export async function metadataOf(entries: Iterable<readonly [string, MetadataEntry]>): Promise<Metadata> {
  const folder = mkdtempSync(join(tmpdir(), 'unicorn-tokenizer-'));
  try {
    const path = join(folder, 'tokenizer.gguf');
    await writeGguf(path, { metadata: entries, tensors: [] });
    const file = await openGguf(path);
    await file.close();
    return file.metadata;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
