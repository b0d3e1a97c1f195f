export type { DecodeOptions, Detokenizer, EncodeOptions, Tokenizer } from './tokenizer.js';
export type { TextRange } from './literal-ranges.js';
export { tokenizerFromJson } from './from-json.js';
export { tokenizerFromGguf, type GgufTokenizerMetadata } from './from-gguf.js';
export { tokenizerToGguf } from './to-gguf.js';
