/**
 * Speed of this engine on one model, as one line of JSON; a process of its own for each model, so that nothing is left
 * over from the last. See run.mjs, which starts it.
 *
 *     node measure.mjs MODEL.gguf [--backend vulkan] [--prompt 512] [--short-prompt 128] [--generate 128]
 *                      [--repetitions 5] [--sequences 0] [--speculate e2b] [--tune SECONDS] [--kernels] [--load-only]
 *
 * --tune       tunes for the model first, and keeps what was found for later processes too
 * --kernels    also where the time goes, step by step
 * --load-only  the times of loading, and no more
 */
import { parseArgs } from 'node:util';
import { Engine } from '@unicorn-exec/api';
import { profileKernels, tuneModel } from '@unicorn-exec/api/measure';

const { positionals, values: flags } = parseArgs({
  allowPositionals: true,
  options: {
    backend: { type: 'string', default: 'vulkan' },
    prompt: { type: 'string', default: '512' },
    'short-prompt': { type: 'string', default: '128' },
    generate: { type: 'string', default: '128' },
    repetitions: { type: 'string', default: '5' },
    sequences: { type: 'string', default: '0' },
    speculate: { type: 'string' },
    tune: { type: 'string', default: '0' },
    kernels: { type: 'boolean', default: false },
    'load-only': { type: 'boolean', default: false },
  },
});
const [model] = positionals;
const prompt = Number(flags.prompt);
const shortPrompt = Number(flags['short-prompt']);
const generate = Number(flags.generate);
const repetitions = Number(flags.repetitions);
const sequences = Number(flags.sequences);

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Never the same twice, or the KV cache would answer for the prefill. 7919 is prime: ids spread evenly. */
let prompts = 0;
function promptOf(length, vocabularySize) {
  const seed = ++prompts * 104_729;
  return Array.from({ length }, (_, index) => ((index + 1) * 7919 + seed) % vocabularySize);
}

/** An engine that could answer at once, and what that took: opening the device, weights, programs. */
async function load(maxSequences, profile = false) {
  const started = performance.now();
  const engine = await Engine.load({
    model,
    backend: flags.backend,
    // Room for all sequences: they share it.
    context: Math.max(prompt, 16 * maxSequences) + maxSequences * (generate + 16),
    maxSequences,
    profile,
  });
  const loaded = performance.now();
  await engine.prepare();
  const ready = performance.now();
  return {
    engine,
    load: { ...engine.loadTimes, compileMs: ready - loaded, allMs: ready - started },
  };
}

/** One request; when its tokens came, and what the engine says of it. */
async function request(engine, promptTokens, maxTokens, options = {}) {
  const tokens = promptOf(promptTokens, engine.model.vocabularySize);
  const times = [];
  const asked = { tokens, maxTokens, sampling: { temperature: 0 }, ignoreEnd: true, ...options };
  for await (const chunk of engine.generate(asked)) {
    for (let i = 0; i < chunk.tokens.length; i++) times.push(performance.now());
    if (chunk.timings) return { times, timings: chunk.timings, speculation: chunk.speculation };
  }
  throw new Error('The answer had no end.');
}

/** Medians over the repetitions, after one warm-up: clocks of GPUs rise slowly. */
async function repeated(run) {
  const values = [];
  for (let i = 0; i <= repetitions; i++) {
    const value = await run();
    if (i > 0) values.push(value);
  }
  return Object.fromEntries(
    Object.keys(values[0]).map((key) => [key, median(values.map((value) => value[key]))]),
  );
}

async function one(engine) {
  return repeated(async () => {
    const { timings } = await request(engine, prompt, generate + 1);
    const short = await request(engine, shortPrompt, 1);
    return {
      prefill: (prompt / timings.ttftMs) * 1000,
      decode: timings.decodeTokensPerSecond,
      ttftMs: timings.ttftMs,
      shortTtftMs: short.timings.ttftMs,
    };
  });
}

/** Tokens per second of all sequences together, while all of them decode. */
async function together(engine) {
  return repeated(async () => {
    const all = await Promise.all(Array.from({ length: sequences }, () => request(engine, 16, generate + 1)));
    const begin = Math.max(...all.map(({ times }) => times[0]));
    const end = Math.min(...all.map(({ times }) => times.at(-1)));
    const tokens = all.flatMap(({ times }) => times).filter((time) => time > begin && time <= end).length;
    return { batchDecode: (tokens / (end - begin)) * 1000 };
  });
}

/** What guessing costs where no guess is right (weights are random): plain decode is 1. */
async function speculated(engine, plain) {
  const speculation = { draft: flags.speculate };
  const { decode } = await repeated(async () => {
    const { timings } = await request(engine, 16, generate + 1, { speculation });
    return { decode: timings.decodeTokensPerSecond };
  });
  return { speculativeRatio: decode / plain };
}

/** What the device does in a step: times on it alone, launches, and the shares of its bandwidth. */
async function kernels() {
  const { engine } = await load(1, true);
  const { speed, phases } = await profileKernels(engine, {
    promptTokens: prompt,
    generateTokens: 32,
    repetitions: 2,
  });
  await engine.close();
  return { speed, phases };
}

let tuning;
if (Number(flags.tune) > 0) {
  const report = await tuneModel({ model, backend: flags.backend, budgetMs: 1000 * Number(flags.tune) });
  const improved = report.products.filter(({ defaultUs, bestUs }) => bestUs < defaultUs);
  tuning = { products: report.products.length, complete: report.complete, improved };
}
const first = await load(1);
const { model: loaded, backend } = first.engine;
const result = {
  device: backend.device,
  bytesPerToken: loaded.bytesPerToken,
  loadMs: first.load.allMs,
  load: first.load,
  ...(tuning === undefined ? {} : { tuning }),
};
if (flags['load-only']) {
  await first.engine.close();
  console.log(JSON.stringify(result));
  process.exit(0);
}
Object.assign(result, await one(first.engine));
if (flags.speculate !== undefined) Object.assign(result, await speculated(first.engine, result.decode));
await first.engine.close();
if (sequences > 0) {
  const second = await load(sequences);
  Object.assign(result, { loadAgainMs: second.load.allMs, ...(await together(second.engine)) });
  await second.engine.close();
}
if (flags.kernels) result.kernels = await kernels();
console.log(JSON.stringify(result));
