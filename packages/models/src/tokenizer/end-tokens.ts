/**
 * Special tokens that end a turn or a text, by their spelling. Files name one end token; models are trained to write
 * several (Gemma's `<eos>` and `<end_of_turn>`), and an answer must stop at each.
 */
import type { AddedToken } from './added-tokens.js';

const endSpellings: ReadonlySet<string> = new Set([
  '<eos>', // Gemma: end of text
  '<end_of_turn>', // Gemma: end of turn
  '<turn|>', // Gemma 4: end of turn
  '</s>', // Llama 1 and 2, Mistral
  '<|endoftext|>', // GPT-2, Qwen base, SmolLM
  '<|end_of_text|>', // Llama 3, Granite
  '<|eot_id|>', // Llama 3: end of turn
  '<|eom_id|>', // Llama 3: end of a message that calls a tool
  '<|im_end|>', // ChatML: Qwen, SmolLM
  '<|end|>', // Phi
  '<EOT>', // Code Llama and its like
  '<end_of_utterance>', // SmolVLM
  '<\uff5cend\u2581of\u2581sentence\uff5c>', // DeepSeek
]);

/**
 * Whether a token of this spelling ends a turn or a text in every model that has it. Files of some converters call it a
 * word: an answer would never end, and a user could type it. llama.cpp corrects the same at load.
 */
export function isEndSpelling(spelling: string): boolean {
  return endSpellings.has(spelling) && !ordinaryEndSpellings.has(spelling);
}

/** Words that a text may hold in models where they end nothing. */
const ordinaryEndSpellings: ReadonlySet<string> = new Set(['<eos>', '</s>']);

/** The declared end tokens first, then those that are known by their spelling; each once. */
export function endIds(declared: readonly (number | undefined)[], added: readonly AddedToken[]): number[] {
  const known = added.filter((token) => token.special && endSpellings.has(token.content));
  const ids = [...declared, ...known.map((token) => token.id)];
  return [...new Set(ids.filter((id) => id !== undefined))];
}
