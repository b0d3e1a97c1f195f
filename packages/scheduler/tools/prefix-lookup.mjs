/**
 * Measures what one admission spends on looking for a prefix: a prompt of 131,072 tokens beside 2,700 ended sequences that
 * begin as it does. Build the package first, then `node packages/scheduler/tools/prefix-lookup.mjs`.
 */
import { planKv } from '@unicorn-exec/tensor';
import { KvCache } from '../dist/index.js';

const contextLength = 131072;
const idle = 2700;
const shared = 4096;

const group = { name: 'full', layers: [0], kvHeads: 1, headDim: 32 };
const kvTokens = 40 * contextLength;
const cache = new KvCache(
  planKv({ groups: [group], contextLength, kvDType: 'f32', maxSequences: 4, kvTokens }),
);
const prompt = Array.from({ length: contextLength - 1 }, (_, index) => (index * 7919) % 50021);
const options = { size: 'full', reuse: 'exact' };

/** Longer than a block, so that a later sequence does not take over the whole of an earlier one. */
function tail(id) {
  return Array.from({ length: 40 }, () => id);
}

function run(tokens) {
  const begin = performance.now();
  const sequence = cache.open(tokens, options);
  const ms = performance.now() - begin;
  const { reused } = sequence;
  cache.extend(sequence, tokens.length);
  cache.advance(sequence, tokens.length);
  cache.close(sequence, true);
  return { ms, reused };
}

run(prompt);
for (let index = 0; index < idle; index++) run([...prompt.slice(0, shared), ...tail(60000 + index)]);
const times = [];
let reused = 0;
for (let repetition = 0; repetition < 15; repetition++) {
  const own = run([...prompt.slice(0, contextLength - 200 - 32 * repetition), ...tail(70000 + repetition)]);
  times.push(own.ms);
  reused = own.reused;
}
times.sort((a, b) => a - b);
console.log(
  `${times[7].toFixed(2)} ms for each admission (median), ${reused} tokens reused, ${cache.stats().idle} idle`,
);
