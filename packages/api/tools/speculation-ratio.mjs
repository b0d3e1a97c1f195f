/**
 * What guessing ahead is worth on this machine: for several prompts, each way of drafting against plain decoding, in
 * turns. Prints a Markdown table of whole requests, from the call to the end: the ratio of the medians of the time that
 * passed and of the processor time of this process, which a busy neighbour disturbs less.
 *
 *   node packages/api/tools/speculation-ratio.mjs [model] [backend] [threads] [repetitions]
 *
 * Needs built packages (`npm run build`).
 */
import { Engine } from '../dist/index.js';

const [model = 'nano', backend = 'auto', threads = '1', repetitions = '7'] = process.argv.slice(2);

const prompts = [
  'Tell me a short story about a brave fox who finds a golden key.',
  'Why is the sky blue?',
  'Tell me a story about a girl named Lily and her little red boat.',
];
const samplings = [
  ['greedy', { temperature: 0 }],
  ['temperature 0.8', { temperature: 0.8, seed: 11 }],
];
const speculations = [
  { draft: 'half' },
  { draft: 'quarter' },
  { draft: 'ngram' },
  { draft: 'half', maxTokens: 4, adaptive: false },
  { draft: 'quarter', maxTokens: 4, adaptive: false },
  { draft: 'ngram', maxTokens: 4, adaptive: false },
];

const engine = await Engine.load({
  ...{ model, backend, threads: Number(threads) },
  ...{ context: 1024, maxSequences: 1 },
});

async function measure(request) {
  const begin = performance.now();
  const used = process.cpuUsage();
  const tokens = [];
  let speculation;
  for await (const chunk of engine.generate(request)) {
    tokens.push(...chunk.tokens);
    speculation = chunk.speculation;
  }
  const { user, system } = process.cpuUsage(used);
  const ms = performance.now() - begin;
  return { ms, processorMs: (user + system) / 1000, tokens, speculation };
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const mean = (values) => Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
const percent = (value) => (Number.isFinite(value) ? `${(100 * value).toFixed(0)} %` : '-');
const times = (ratios) => `${mean(ratios).toFixed(2)}x (${Math.min(...ratios).toFixed(2)}x)`;
const row = (cells) => console.log(`| ${cells.join(' | ')} |`);

console.log(
  `${engine.model.name} on ${engine.backend.device}, ${prompts.length} prompts, ${repetitions} runs\n`,
);
row([
  'draft',
  'sampling',
  'right guesses',
  'tokens per speculating step',
  'steps that speculate',
  'speed (least)',
  'by processor time (least)',
]);
row(Array(7).fill('---'));
for (const speculation of speculations) {
  const name = `${speculation.draft}, ${speculation.adaptive === false ? `always ${speculation.maxTokens}` : 'adaptive'}`;
  for (const [how, sampling] of samplings) {
    const [wall, processor] = [[], []];
    let [drafted, accepted, steps, tokens] = [0, 0, 0, 0];
    for (const content of prompts) {
      const request = { messages: [{ role: 'user', content }], sampling, maxTokens: 200, ignoreEnd: true };
      const runs = [];
      for (let run = 0; run <= Number(repetitions); run++) {
        const plain = await measure(request);
        const guessed = await measure({ ...request, speculation });
        if (plain.tokens.join() !== guessed.tokens.join())
          throw new Error(`${name}: other tokens than plain`);
        // The first run compiles.
        if (run === 0) continue;
        runs.push([plain, guessed]);
        drafted += guessed.speculation.draftedTokens;
        accepted += guessed.speculation.acceptedTokens;
        steps += guessed.speculation.speculationSteps;
        tokens += guessed.tokens.length;
      }
      const ratio = (of) =>
        median(runs.map(([plain]) => of(plain))) / median(runs.map(([, guessed]) => of(guessed)));
      wall.push(ratio(({ ms }) => ms));
      processor.push(ratio(({ processorMs }) => processorMs));
    }
    const perStep = steps > 0 ? ((accepted + steps) / steps).toFixed(2) : '-';
    const share = percent(steps / (tokens - accepted));
    row([name, how, percent(accepted / drafted), perStep, share, times(wall), times(processor)]);
  }
}
await engine.close();
