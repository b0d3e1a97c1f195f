/** Small vocabularies for tests: every byte, and some texts. */
import { Vocabulary } from '../src/index.js';

const encoder = new TextEncoder();

export interface TestVocabulary {
  readonly vocabulary: Vocabulary;
  readonly tokens: readonly (Uint8Array | undefined)[];
  /** The token that ends a text. */
  readonly end: number;
}

/** Ids 0 to 255 are the bytes, then the texts, then two special tokens, of which the last ends a text. */
export function vocabularyOf(texts: readonly string[]): TestVocabulary {
  const tokens: (Uint8Array | undefined)[] = [
    ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
    ...texts.map((text) => encoder.encode(text)),
    undefined,
    undefined,
  ];
  const end = tokens.length - 1;
  const vocabulary = new Vocabulary({ size: tokens.length, bytes: (id) => tokens[id], endIds: [end] });
  return { vocabulary, tokens, end };
}

/** Ids that a mask allows. */
export function allowed(mask: Int32Array, size: number): number[] {
  return Array.from({ length: size }, (_, id) => id).filter((id) => (mask[id >> 5]! >> (id & 31)) & 1);
}
