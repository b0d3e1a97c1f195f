/**
 * What guessing ahead is worth on this machine: answers with adaptive drafts against the same answers without.
 *
 *   node packages/api/tools/speculation-ratio.mjs [--model nano] [--backend cpu] [--threads 1] [--sequences 1]
 *     [--drafts half,ngram] [--texts greedy] [--fixed 4] [--tokens 128] [--seconds 15] [--log pairs.jsonl]
 *   node packages/api/tools/speculation-ratio.mjs --report pairs.jsonl
 *
 * A pair is some requests on one scheduler and the same with drafts on another, over one device and one set of weights.
 * The two take turns every sixteen tokens, at a gate before a submission, and each one's clock stands still while the
 * other runs: what disturbs the machine for longer than that disturbs both. A pair's ratio is the first one's time over
 * the second one's, from the call to the last token, prompts already in the prefix cache. Every answer is compared with
 * the plain one, token by token.
 *
 * It prints a Markdown table: medians of the pairs' ratios, and the interval that holds the true median with 95 %
 * whatever the distribution (order statistics). With `--log` the pairs are appended to a file too, so that `--report` can
 * judge short runs of many settings together. `--fixed` drafts so many tokens each time, whether that pays or not. The
 * draft `none` compares plain with plain: what such a measurement is worth.
 *
 * All cases share one scheduler, so its policy never meets one kind of text only: what it learned from a text that
 * repeats itself is wrong about the noise that comes next. Needs built packages (`npm run build`).
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { openModel, resolveSize } from '@unicorn-exec/models';
import { Scheduler } from '@unicorn-exec/scheduler';
import { locateModel, openDevice } from '../dist/index.js';

const { values: flags } = parseArgs({
  options: {
    model: { type: 'string', default: 'nano' },
    backend: { type: 'string', default: 'cpu' },
    threads: { type: 'string', default: '1' },
    sequences: { type: 'string', default: '1' },
    drafts: { type: 'string', default: 'half,ngram' },
    texts: { type: 'string', default: '' },
    fixed: { type: 'string' },
    tokens: { type: 'string', default: '128' },
    seconds: { type: 'string', default: '15' },
    log: { type: 'string' },
    report: { type: 'string' },
  },
});

/** Tokens of one sequence between turns: some 10 ms of a small model, less than most disturbances last. */
const turnTokens = 16;

const stories = ['fox who finds a golden key', 'girl and her red boat', 'cat who is afraid', 'very old tree'];
const phrases = [
  'The cat sat on the mat. ',
  'one two three four five six ',
  'a b c d e f g ',
  'Tick, tock. ',
];
const story = (n) => ({ chat: `Tell me a story about a ${stories[n % 4]}.` });

/** What is asked, by a number that changes with each pair. Greedy cases repeat after four, drawn ones never. */
const cases = {
  'story, greedy': (n) => ({ ...story(n), sampling: { temperature: 0 } }),
  'story, temperature 0.8': (n) => ({ ...story(n), sampling: { temperature: 0.8, seed: n } }),
  'text that repeats itself, greedy': (n) => ({
    text: phrases[n % 4].repeat(12),
    sampling: { temperature: 0 },
  }),
  // Ids without order: nothing to look up, and little that two sizes of a model agree on.
  'random ids, temperature 1.5': (n) => ({
    tokens: Array.from(
      { length: 48 },
      (_, i) => 1000 + ((Math.imul(n * 48 + i + 1, 0x9e3779b1) >>> 8) % 5000),
    ),
    sampling: { temperature: 1.5, seed: n },
  }),
  // Nearly even odds among a few words, again and again: something to look up at every step, mostly wrong.
  'dice: temperature 50, best 12': (n) => ({
    text: phrases[n % 4].repeat(2),
    sampling: { temperature: 50, topK: 12, seed: n },
  }),
};

/** Wall time, and what all threads of this process computed. */
function now() {
  const { user, system } = process.cpuUsage();
  return { ms: performance.now(), processorMs: (user + system) / 1000 };
}

/** One of the two that take turns. Its clock counts only its own turns. */
class Side {
  other;
  budget = 0;
  finished = true;
  /** Of wall and processor time: what passed while parked, and when that began. */
  #parked = { ms: 0, processorMs: 0 };
  #since;
  #resume;

  clock = () => (this.#since ?? now()).ms - this.#parked.ms;
  processorClock = () => (this.#since ?? now()).processorMs - this.#parked.processorMs;

  /** A device whose submissions wait for this side's turn. */
  gate(device) {
    return overriding(device, {
      compile: async (...args) => {
        const executable = await device.compile(...args);
        return overriding(executable, {
          submit: (...bindings) =>
            this.budget > 0
              ? executable.submit(...bindings)
              : { done: this.turn().then(() => executable.submit(...bindings).done) },
        });
      },
    });
  }

  /** Lets the other go on, unless that one has ended, and waits until it has had its turn. */
  async turn() {
    if (this.other.finished) {
      this.budget = Infinity;
      return;
    }
    const mine = this.park();
    this.other.go();
    await mine;
  }

  park() {
    this.#since = now();
    return new Promise((resolve) => (this.#resume = resolve));
  }

  go() {
    this.budget = this.other.finished ? Infinity : this.grain;
    const { ms, processorMs } = now();
    this.#parked.ms += ms - this.#since.ms;
    this.#parked.processorMs += processorMs - this.#since.processorMs;
    this.#since = undefined;
    this.#resume();
  }

  /** Milliseconds of this side's turns until all requests were answered, and the answers. */
  async run(requests) {
    this.finished = false;
    this.grain = turnTokens * requests.length;
    this.budget = 0;
    await this.park();
    const [begin, processorBegin] = [this.clock(), this.processorClock()];
    const answers = await Promise.all(requests.map((request) => this.#answer(request)));
    const [ms, processorMs] = [this.clock() - begin, this.processorClock() - processorBegin];
    this.finished = true;
    if (!this.other.finished) this.other.go();
    return { ms, processorMs, answers };
  }

  async #answer(request) {
    const tokens = [];
    for await (const event of this.scheduler.generate(request)) {
      if (event.kind === 'end')
        return { tokens, ...(event.speculation && { speculation: event.speculation }) };
      tokens.push(event.token);
      this.budget--;
    }
  }
}

function overriding(target, methods) {
  return new Proxy(target, {
    get: (_, name) => {
      const value = methods[name] ?? target[name];
      return typeof value === 'function' && !(name in methods) ? value.bind(target) : value;
    },
  });
}

async function measurePair([plain, guessing], requests, speculation) {
  const drafting = requests.map((request) => (speculation ? { ...request, speculation } : request));
  const warm = requests.map((request) => ({ ...request, maxTokens: 1 }));
  const pair = async (first, second, order) => {
    const both = [plain.run(first), guessing.run(second)];
    [plain, guessing][order].go();
    return Promise.all(both);
  };
  await pair(warm, warm, 0);
  const [without, withDrafts] = await pair(requests, drafting, pairs++ % 2);
  const nothing = { draftedTokens: 0, acceptedTokens: 0, speculationSteps: 0 };
  const sum = (of) =>
    withDrafts.answers.reduce((total, answer) => total + of({ speculation: nothing, ...answer }), 0);
  withDrafts.answers.forEach(({ tokens }, i) => {
    if (tokens.join() !== without.answers[i].tokens.join()) throw new Error('Drafts changed an answer.');
  });
  return {
    ratio: without.ms / withDrafts.ms,
    processorRatio: without.processorMs / withDrafts.processorMs,
    tokensPerSecond: (1000 * sum(({ tokens }) => tokens.length)) / without.ms,
    tokens: sum(({ tokens }) => tokens.length),
    drafted: sum(({ speculation: { draftedTokens } }) => draftedTokens),
    accepted: sum(({ speculation: { acceptedTokens } }) => acceptedTokens),
    steps: sum(({ speculation: { speculationSteps } }) => speculationSteps),
  };
}
let pairs = 0;

async function measure() {
  const model = await openModel(await locateModel(flags.model));
  const [tokenizer, template] = [await model.tokenizer(), await model.chatTemplate()];
  const threads = Number(flags.threads);
  const { device } = await openDevice(flags.backend, { threads });
  const weights = await device.load(model.weights());
  const sequences = Number(flags.sequences);
  const sides = [new Side(), new Side()];
  [sides[0].other, sides[1].other] = [sides[1], sides[0]];
  for (const side of sides) {
    const { clock } = side;
    const options = { contextLength: 1024, maxSequences: sequences, clock };
    side.scheduler = await Scheduler.create({ device: side.gate(device), weights, model, ...options });
  }
  console.log(`${model.name} on ${device.info.name}\n`);

  const tokensOf = ({ tokens, text, chat }) => {
    if (tokens) return tokens;
    const { text: all, literal } = chat
      ? template.renderParts({ messages: [{ role: 'user', content: chat }] }, tokenizer)
      : { text, literal: [] };
    const ids = tokenizer.encode(all, { special: true, literal });
    return tokenizer.addBos && ids[0] !== tokenizer.bosId ? [tokenizer.bosId, ...ids] : ids;
  };
  const requestsOf = (name, number) =>
    Array.from({ length: sequences }, (_, i) => {
      const { sampling, ...prompt } = cases[name](number * sequences + i);
      return { tokens: tokensOf(prompt), sampling, maxTokens: Number(flags.tokens) };
    });

  const texts = Object.keys(cases).filter((name) => name.includes(flags.texts));
  const measured = [];
  const end = performance.now() + 1000 * Number(flags.seconds);
  // The first round compiles, graphs and JavaScript, and is not counted. Seeds differ from run to run.
  const seed = Date.now() % 1e6;
  for (let round = 0; round < 2 || performance.now() < end; round++) {
    for (const draft of flags.drafts.split(',')) {
      const speculation = draft !== 'none' && {
        draft: draft === 'ngram' ? draft : resolveSize(model, draft),
        ...(flags.fixed ? { adaptive: false, maxTokens: Number(flags.fixed) } : {}),
      };
      for (const name of texts) {
        if (round > 1 && performance.now() >= end) break;
        const pair = await measurePair(sides, requestsOf(name, seed + round), speculation);
        const { backend } = flags;
        if (round > 0) measured.push({ backend, threads, sequences, draft, name, ...pair });
      }
    }
  }
  for (const { scheduler } of sides) await scheduler.close();
  weights.dispose();
  await device.close();
  await model.close();
  if (flags.log) appendFileSync(flags.log, measured.map((pair) => `${JSON.stringify(pair)}\n`).join(''));
  report(measured);
}

/** Median, and the order statistics that hold the true one with 95 %: ranks n/2 -+ 0.98 sqrt(n). */
function spread(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const n = sorted.length;
  const at = (rank) => sorted[Math.min(n - 1, Math.max(0, rank))];
  const half = 0.98 * Math.sqrt(n);
  const median = (at((n - 1) >> 1) + at(n >> 1)) / 2;
  return { median, low: at(Math.floor(n / 2 - half) - 1), high: at(Math.ceil(n / 2 + half)) };
}

function groupBy(items, key) {
  const groups = new Map();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return groups;
}

function report(measured) {
  const row = (cells) => console.log(`| ${cells.join(' | ')} |`);
  const setting = ({ backend, threads, sequences }) =>
    `${backend}, threads: ${threads}, at once: ${sequences}`;
  for (const [machine, those] of groupBy(measured, setting)) {
    console.log(`\n${machine}\n`);
    row([
      'draft',
      'text',
      'tokens a checking step',
      'steps that check',
      'speed over plain',
      '95 %',
      'by processor time',
      '95 %',
      'pairs',
    ]);
    row(Array(9).fill('---'));
    for (const [, same] of groupBy(those, ({ draft, name }) => `${draft} ${name}`)) {
      const sum = (of) => same.reduce((total, pair) => total + pair[of], 0);
      const ratios = ['ratio', 'processorRatio'].flatMap((of) => {
        const { median, low, high } = spread(same.map((pair) => pair[of]));
        return [`${median.toFixed(3)}x`, `${low.toFixed(3)} to ${high.toFixed(3)}`];
      });
      const checking = sum('steps') / (sum('tokens') - sum('accepted'));
      row([
        same[0].draft,
        same[0].name,
        sum('steps') > 0 ? (1 + sum('accepted') / sum('steps')).toFixed(2) : '-',
        `${(100 * checking).toFixed(1)} %`,
        ...ratios,
        same.length,
      ]);
    }
  }
}

if (flags.report) {
  const lines = readFileSync(flags.report, 'utf8').trimEnd().split('\n');
  report(lines.map((line) => JSON.parse(line)));
} else {
  await measure();
}
