/**
 * Speed of llama.cpp through node-llama-cpp on one model, as one line of JSON: the same prompts and counts as measure.mjs.
 *
 *     node measure-peer.mjs MODEL.gguf --modules FOLDER [--gpu vulkan|false] [--prompt 512] [--short-prompt 128]
 *                           [--generate 128] [--repetitions 5] [--threads 2]
 *
 * --modules  the folder whose node_modules holds node-llama-cpp
 */
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const { positionals, values: flags } = parseArgs({
  allowPositionals: true,
  options: {
    modules: { type: 'string', default: '.' },
    gpu: { type: 'string', default: 'vulkan' },
    prompt: { type: 'string', default: '512' },
    'short-prompt': { type: 'string', default: '128' },
    generate: { type: 'string', default: '128' },
    repetitions: { type: 'string', default: '5' },
    threads: { type: 'string', default: '2' },
  },
});
const prompt = Number(flags.prompt);
const shortPrompt = Number(flags['short-prompt']);
const generate = Number(flags.generate);
const entry = createRequire(resolve(flags.modules, 'package.json')).resolve('node-llama-cpp');
const { getLlama } = await import(pathToFileURL(entry).href);

const gpu = flags.gpu === 'false' ? false : flags.gpu;
const llama = await getLlama({ gpu, build: 'never', skipDownload: true, logLevel: 'error' });
const started = performance.now();
const model = await llama.loadModel({ modelPath: resolve(positionals[0]), gpuLayers: gpu ? 'max' : 0 });
const loadMs = performance.now() - started;
const context = await model.createContext({
  contextSize: prompt + generate + 16,
  batchSize: 512,
  flashAttention: true,
  // Of the CPU; its own choice spins for ever on a busy machine of few cores. A GPU needs no more.
  threads: Number(flags.threads),
});
const sequence = context.getSequence();

let prompts = 0;
/** When the first token came, and the rate of those after it. */
async function request(promptTokens, count) {
  await sequence.clearHistory();
  const seed = ++prompts * 104_729;
  const tokens = Array.from({ length: promptTokens }, (_, index) => ((index + 1) * 7919 + seed) % 40_000);
  const begin = performance.now();
  const answer = sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true });
  await answer.next();
  const first = performance.now();
  let done = 0;
  while (done < count && !(await answer.next()).done) done++;
  return { ttftMs: first - begin, decode: (done / (performance.now() - first)) * 1000 };
}

const runs = [];
for (let i = 0; i <= Number(flags.repetitions); i++) {
  const long = await request(prompt, generate);
  const short = await request(shortPrompt, 0);
  if (i === 0) continue;
  runs.push({ prefill: (prompt / long.ttftMs) * 1000, ...long, shortTtftMs: short.ttftMs });
}
const median = (key) => runs.map((run) => run[key]).sort((a, b) => a - b)[runs.length >> 1];
const keys = ['prefill', 'decode', 'ttftMs', 'shortTtftMs'];
console.log(
  JSON.stringify({ gpu: llama.gpu, loadMs, ...Object.fromEntries(keys.map((key) => [key, median(key)])) }),
);
// The addon keeps threads.
process.exit(0);
