/**
 * The splitting patterns of published byte-level vocabularies, and the names that GGUF files give them
 * (`tokenizer.ggml.pre`). The patterns are the models' own, as in their tokenizer.json.
 */

const gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const digit = '\\p{N}';
const digits = '\\p{N}+';
/** Llama 3 and Qwen differ in how many digits stay together. */
const cl100k = (numbers: string) =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${numbers}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const llama3 = cl100k('\\p{N}{1,3}');
const qwen2 = cl100k('\\p{N}');
/** Mistral's Tekken: words may change from upper to lower case once. */
const tekken =
  '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|' +
  '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|' +
  '\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';

export const patterns = { gpt2, digit, digits, llama3, qwen2, tekken } as const;

/** Known to take linear time, or nearly, on any text. */
export const knownPatterns: ReadonlySet<string> = new Set(Object.values(patterns));

export interface PreTokenizer {
  /** Applied one after another; every match and every gap is a piece. */
  patterns: readonly string[];
  normalizer?: 'NFC';
  /** A word that is a token is not taken apart and merged again. */
  ignoreMerges?: boolean;
  /** Whether raw text begins with BOS when the file does not say. */
  addBos?: boolean;
}

const split = (...list: string[]): PreTokenizer => ({ patterns: list });
const singleDigits = split(digit, gpt2);
const llamaBpe: PreTokenizer = { ...split(llama3), ignoreMerges: true, addBos: true };
/** Qwen's tokenizer.json normalizes; its GGUF has no key for that, so the name stands for it. */
const qwen: PreTokenizer = { ...split(qwen2), normalizer: 'NFC' };

/**
 * By the value of `tokenizer.ggml.pre`. A file without the key, or with `default`, is read with GPT-2's pattern: it is
 * what byte-level BPE began with, and what such files were made from. nano.gguf carries `smollm`: each digit by itself,
 * then GPT-2's pattern, exactly its tokenizer.json.
 */
export const preTokenizers: ReadonlyMap<string, PreTokenizer> = new Map([
  ['gpt-2', split(gpt2)],
  ['default', split(gpt2)],
  ['gpt2', split(gpt2)],
  ['smollm', singleDigits],
  ['starcoder', singleDigits],
  ['refact', singleDigits],
  ['command-r', singleDigits],
  ['llama-bpe', llamaBpe],
  ['llama3', llamaBpe],
  ['llama-v3', llamaBpe],
  ['falcon3', llamaBpe],
  ['pixtral', llamaBpe],
  ['smaug-bpe', split(llama3)],
  ['dbrx', split(llama3)],
  ['tekken', { ...split(tekken), ignoreMerges: true, addBos: true }],
  ['qwen2', qwen],
  ['deepseek-r1-qwen', qwen],
  ['stablelm2', split(qwen2)],
  ['olmo', split(gpt2)],
  ['phi-2', split(gpt2)],
]);
