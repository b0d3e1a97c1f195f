/**
 * Which tokens may follow a configuration. Most of the answer depends on the rule on top alone, not on what called it: that
 * part is computed once for each place in a rule. What is left are tokens that end the rule and go on behind it (the split
 * of XGrammar, arXiv:2411.15100, here by subtrees of the vocabulary's trie).
 */
import type { Configuration, Pushdown, Stack } from './pushdown.js';
import { longestToken, type TokenTrie } from './token-trie.js';

/** What a place in a rule allows, whatever called the rule. */
interface LocalMask {
  readonly words: Int32Array;
  /** Nodes of the trie at which the rule may have ended, and below which tokens go on. */
  readonly exits: readonly number[];
}

/** Bytes of all masks that are remembered. */
const mostMaskBytes = 32 * 2 ** 20;

export class TokenMasks {
  readonly #pushdown: Pushdown;
  readonly #trie: TokenTrie;
  readonly #wordCount: number;
  readonly #mostMasks: number;
  #local = new Map<string, LocalMask>();
  #masks = new Map<number, Int32Array>();
  /** Configurations on the way to a node of a walk, by depth. */
  readonly #path: Configuration[] = new Array<Configuration>(longestToken + 1);

  constructor(pushdown: Pushdown, trie: TokenTrie) {
    this.#pushdown = pushdown;
    this.#trie = trie;
    this.#wordCount = Math.ceil(trie.vocabularySize / 32);
    this.#mostMasks = Math.max(16, Math.floor(mostMaskBytes / 2 / (4 * this.#wordCount)));
  }

  /**
   * Bit `id & 31` of word `id >> 5` is set for each token that may follow. Do not change it.
   *
   * @throws UnicornError `resource/grammar` when the grammar can read a token in too many ways
   */
  of(configuration: Configuration): Int32Array {
    const known = this.#masks.get(configuration.id);
    if (known) return known;
    const words = new Int32Array(this.#wordCount);
    const byStack = new Map<Stack | undefined, number[]>();
    for (const { state, stack } of configuration.places) {
      const states = byStack.get(stack);
      if (states) states.push(state);
      else byStack.set(stack, [state]);
    }
    for (const [stack, states] of byStack) {
      const local = this.#localMask(states);
      local.words.forEach((word, i) => (words[i]! |= word));
      if (!stack) continue;
      const outer = this.#pushdown.behind(stack);
      for (const node of local.exits) this.#walk(outer, node + 1, this.#trie.ends[node]!, words);
    }
    if (this.#masks.size >= this.#mostMasks) this.#masks.clear();
    this.#masks.set(configuration.id, words);
    return words;
  }

  #localMask(states: number[]): LocalMask {
    const key = states.sort((a, b) => a - b).join();
    const known = this.#local.get(key);
    if (known) return known;
    const words = new Int32Array(this.#wordCount);
    const exits: number[] = [];
    this.#walk(this.#pushdown.local(states), 0, this.#trie.bytes.length, words, exits);
    const local = { words, exits };
    if (this.#local.size >= this.#mostMasks) this.#local.clear();
    this.#local.set(key, local);
    return local;
  }

  /** Sets the tokens between two nodes of one level that may follow; collects where a walk without a stack leaves its rule. */
  #walk(from: Configuration, begin: number, end: number, words: Int32Array, exits?: number[]): void {
    const { bytes, depths, ends, starts, tokens } = this.#trie;
    const path = this.#path;
    if (begin === end) return;
    const top = depths[begin]! - 1;
    path[top] = from;
    for (let node = begin; node < end;) {
      const depth = depths[node]!;
      const before = path[depth - 1]!;
      const byte = bytes[node]!;
      const after = before.next[byte] ?? this.#pushdown.step(before, byte);
      if (after === null) {
        node = ends[node]!;
        continue;
      }
      path[depth] = after;
      for (let i = starts[node]!; i < starts[node + 1]!; i++)
        words[tokens[i]! >> 5]! |= 1 << (tokens[i]! & 31);
      if (exits && after.isComplete && ends[node]! > node + 1) exits.push(node);
      node++;
    }
  }
}
