/**
 * What it costs to switch sizes in a conversation and keep the KV cache: answers scored under one size behind a context
 * whose keys and values another size computed, against the same answers behind the size's own context.
 *
 *   node packages/api/tools/switch-quality.mjs [--model nano] [--backend cpu] [--sizes full,half,quarter] [--kv f16]
 *     [--text packages/api/tools/switch-quality.jsonl]
 *
 * `turn`: the size changes between two turns, as `/elastic` does; the first size computed all earlier turns and answers,
 * the second the last question, and scored is the last answer. `mid-answer`: it changes in the middle of the last answer,
 * whose second half is scored: every key nearby is the other size's.
 *
 * It prints a Markdown table. Perplexity is over the scored tokens; "own" is the second size alone, "kept" the second size
 * behind the first one's cache. KL is KL(own || kept) per token, in thousandths of a nat: its mean, and
 * what one token in a hundred exceeds.
 * Agreement is how often both have the same best token. To compare with: what the sizes differ by on the same tokens, each
 * with a cache of its own, as KL(first || second) and agreement of their best tokens.
 *
 * The text is a file of JSON lines `{"turns": [[question, answer], ...]}`. The one beside this tool is from the grammars
 * that the bundled model was trained on, exchanges that were held out of the training. Needs built packages
 * (`npm run build`).
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openModel, resolveSize } from '@unicorn-exec/models';
import { Scheduler } from '@unicorn-exec/scheduler';
import { locateModel, openDevice } from '../dist/index.js';

const { values: flags } = parseArgs({
  options: {
    model: { type: 'string', default: 'nano' },
    backend: { type: 'string', default: 'cpu' },
    sizes: { type: 'string', default: 'full,half,quarter' },
    kv: { type: 'string', default: 'f16' },
    text: { type: 'string', default: fileURLToPath(new URL('switch-quality.jsonl', import.meta.url)) },
  },
});

const model = await openModel(await locateModel(flags.model));
const [tokenizer, template] = [await model.tokenizer(), await model.chatTemplate()];
const { device } = await openDevice(flags.backend, {});
const weights = await device.load(model.weights());
const scheduler = await Scheduler.create({
  device,
  weights,
  model,
  kvDType: flags.kv,
  contextLength: 1024,
  maxSequences: 1,
});

/** Token ids of a conversation up to the beginning of the answer to its last question. */
function encodeTurns(turns, question) {
  const messages = turns.flatMap(([user, assistant]) => [
    { role: 'user', content: user },
    { role: 'assistant', content: assistant },
  ]);
  const { text, literal } = template.renderParts(
    { messages: [...messages, { role: 'user', content: question }] },
    tokenizer,
  );
  const ids = tokenizer.encode(text, { special: true, literal });
  return tokenizer.addBos && ids[0] !== tokenizer.bosId ? [tokenizer.bosId, ...ids] : ids;
}

/** A conversation as ids: the first size computes `context`, rows from `scored` on predict what is judged. */
function cutDocument({ turns }, where) {
  const earlier = turns.slice(0, -1);
  const [question, answer] = turns.at(-1);
  const prompt = encodeTurns(earlier, question);
  const last = tokenizer.encode(answer);
  const tokens = [...prompt, ...last];
  if (where === 'mid-answer') {
    const middle = prompt.length + (last.length >> 1);
    return { tokens, context: tokens.slice(0, middle), scored: middle };
  }
  const [asked, answered] = earlier.at(-1);
  const context = [...encodeTurns(earlier.slice(0, -1), asked), ...tokenizer.encode(answered)];
  return { tokens, context, scored: prompt.length - 1 };
}

/** Log probabilities behind each row, f64 [vocabulary], of the rows that are scored and have a next token. */
async function score({ tokens, context, scored }, size, contextSize) {
  scheduler.clearPrefixCache();
  if (contextSize) {
    await scheduler.forward([context], { logits: 'none', size: contextSize, reuse: 'anySize' });
  }
  const rows = [];
  const [{ reusedTokens = 0 }] = await scheduler.forward([tokens], {
    logits: 'all',
    size,
    reuse: contextSize ? 'anySize' : 'none',
    onRows({ position, count, logits }) {
      for (let row = 0; row < count; row++) {
        const at = position + row;
        const width = model.vocabularySize;
        if (at >= scored && at + 1 < tokens.length)
          rows.push(logSoftmax(logits.subarray(row * width, (row + 1) * width)));
      }
    },
  });
  // Where the template writes an answer otherwise than the model does, a chat would reuse less too.
  reused += contextSize ? reusedTokens / context.length : 0;
  return rows;
}
let reused = 0;

function logSoftmax(logits) {
  const top = logits.reduce((a, b) => Math.max(a, b));
  const shift = top + Math.log(logits.reduce((total, logit) => total + Math.exp(logit - top), 0));
  return Float64Array.from(logits, (logit) => logit - shift);
}

const best = (row) => row.indexOf(row.reduce((a, b) => Math.max(a, b)));

/** Sums over the tokens of all documents. */
class Comparison {
  divergences = [];
  agreeing = 0;

  add(reference, rows) {
    rows.forEach((row, i) => {
      const p = reference[i];
      let kl = 0;
      for (let id = 0; id < row.length; id++) kl += Math.exp(p[id]) * (p[id] - row[id]);
      this.divergences.push(Math.max(0, kl));
      if (best(p) === best(row)) this.agreeing++;
    });
  }

  get cells() {
    const sorted = [...this.divergences].sort((a, b) => a - b);
    const mean = sorted.reduce((a, b) => a + b, 0) / sorted.length;
    const high = sorted[Math.floor(0.99 * sorted.length)];
    return {
      kl: [mean, high].map((nats) => (1000 * nats).toPrecision(2)).join(', '),
      agreement: percent(this.agreeing / sorted.length),
    };
  }
}

class Likelihood {
  tokens = 0;
  nats = 0;

  /** Rows that predict the last of `tokens`. */
  add(rows, tokens) {
    const first = tokens.length - rows.length;
    rows.forEach((row, i) => (this.nats -= row[tokens[first + i]]));
    this.tokens += rows.length;
  }

  get perplexity() {
    return Math.exp(this.nats / this.tokens);
  }
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

const documents = readFileSync(flags.text, 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line));
const sizes = flags.sizes.split(',');
const pairs = sizes.flatMap((from) => sizes.filter((to) => to !== from).map((to) => ({ from, to })));
const row = (cells) => console.log(`| ${cells.join(' | ')} |`);
console.log(`${model.name} on ${device.info.name}, ${documents.length} conversations, KV ${flags.kv}\n`);
row([
  'switch',
  'where',
  'tokens',
  'perplexity: first, own',
  'second, own',
  'second, kept',
  'KL(own, kept), 10^-3: mean, 99 %',
  'same best token',
  'KL(first, second), each own, 10^-3',
  'same best token',
]);
row(Array(10).fill('---'));
let scores = 0;
for (const where of ['turn', 'mid-answer']) {
  const own = Object.fromEntries(sizes.map((size) => [size, new Likelihood()]));
  const results = pairs.map((pair) => ({
    ...pair,
    kept: new Likelihood(),
    change: new Comparison(),
    apart: new Comparison(),
  }));
  for (const document of documents) {
    const cut = cutDocument(document, where);
    const alone = {};
    for (const name of sizes) {
      alone[name] = await score(cut, resolveSize(model, name));
      own[name].add(alone[name], cut.tokens);
    }
    for (const { from, to, kept, change, apart } of results) {
      const rows = await score(cut, resolveSize(model, to), resolveSize(model, from));
      scores++;
      kept.add(rows, cut.tokens);
      change.add(alone[to], rows);
      apart.add(alone[from], alone[to]);
    }
  }
  for (const { from, to, kept, change, apart } of results) {
    row([
      `${from} to ${to}`,
      where,
      kept.tokens,
      ...[own[from], own[to], kept].map(({ perplexity }) => perplexity.toFixed(4)),
      ...Object.values(change.cells),
      ...Object.values(apart.cells),
    ]);
  }
}
console.log(`\n${percent(reused / scores)} of the contexts were continued from.`);
await scheduler.close();
weights.dispose();
await device.close();
await model.close();
