/**
 * What it is worth to submit decode steps before the tokens of those before them are known, and what the host spends on a
 * step.
 *
 *   node packages/api/tools/steps-ahead.mjs [--model nano] [--backend vulkan] [--prompt 16] [--tokens 300]
 *     [--sequences 1] [--rounds 3] [--everywhere]
 *
 * It decodes the same with 0, 1 and 2 steps ahead, in turns, each after a run that compiles and records, and prints a
 * Markdown table: medians over the rounds of a step's time, of the time that the JavaScript thread spends in one
 * submission, and of the event loop's busy time a step. Ids must be the same everywhere, else it fails. A device that does not
 * run ahead, or not with this model (tables in host memory), is the same in all rows; `--everywhere` takes every device for
 * one that does, which only costs time where it is not true. Needs built packages (`npm run build`).
 */
import { parseArgs } from 'node:util';
import { openModel } from '@unicorn-exec/models';
import { Scheduler } from '@unicorn-exec/scheduler';
import { locateModel, openDevice } from '../dist/index.js';

const { values: flags } = parseArgs({
  options: {
    model: { type: 'string', default: 'nano' },
    backend: { type: 'string', default: 'vulkan' },
    prompt: { type: 'string', default: '16' },
    tokens: { type: 'string', default: '300' },
    sequences: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '3' },
    everywhere: { type: 'boolean', default: false },
  },
});
const [prompt, tokens, sequences, rounds] = ['prompt', 'tokens', 'sequences', 'rounds'].map((name) => {
  const number = Number(flags[name]);
  if (Number.isInteger(number) && number > 0) return number;
  console.error(`--${name} is a whole number from 1, not ${flags[name]}.`);
  process.exit(2);
});

const model = await openModel(await locateModel(flags.model));
const { device } = await openDevice(flags.backend, {});
const weights = await device.load(model.weights());

/** Of the submissions since it was emptied. */
const submitMs = [];
const compile = device.compile.bind(device);
device.compile = async (...given) => {
  const executable = await compile(...given);
  const submit = executable.submit.bind(executable);
  executable.submit = (...submission) => {
    const began = performance.now();
    const completion = submit(...submission);
    submitMs.push(performance.now() - began);
    return completion;
  };
  if (flags.everywhere) Object.defineProperty(executable, 'runsAhead', { value: true });
  return executable;
};

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** Ids of each sequence, and milliseconds from the first token to the last. */
async function decode(scheduler, count) {
  const one = async (sequence) => {
    const ids = [];
    let decodeMs = 0;
    const request = {
      tokens: Array.from(
        { length: prompt },
        (_, i) => ((i + 1) * 7919 + sequence * 104729) % model.vocabularySize,
      ),
      maxTokens: count,
      sampling: { temperature: 0 },
      reuse: 'none',
    };
    for await (const event of scheduler.generate(request)) {
      if (event.kind === 'token') ids.push(event.token);
      else ({ decodeMs } = event.timings);
    }
    return { ids, decodeMs };
  };
  return Promise.all(Array.from({ length: sequences }, (_, sequence) => one(sequence)));
}

const results = [0, 1, 2].map((stepsAhead) => ({ stepsAhead, stepMs: [], submitMs: [], busyMs: [] }));
let expected;
for (let round = 0; round < rounds; round++) {
  for (const result of results) {
    const scheduler = await Scheduler.create({
      device,
      weights,
      model,
      contextLength: Math.min(model.contextLength, prompt + tokens),
      maxSequences: sequences,
      kvTokens: sequences * Math.min(model.contextLength, prompt + tokens),
      stepsAhead: result.stepsAhead,
    });
    await decode(scheduler, tokens);
    submitMs.length = 0;
    const began = performance.now();
    const before = performance.eventLoopUtilization();
    const answers = await decode(scheduler, tokens);
    const { utilization } = performance.eventLoopUtilization(before);
    result.busyMs.push(((performance.now() - began) * utilization) / tokens);
    result.stepMs.push(answers[0].decodeMs / Math.max(1, answers[0].ids.length - 1));
    result.submitMs.push(median(submitMs));
    await scheduler.close();
    const ids = JSON.stringify(answers.map((answer) => answer.ids));
    expected ??= ids;
    if (ids !== expected) throw new Error(`${result.stepsAhead} steps ahead gave other ids.`);
  }
}
weights.dispose();
await device.close();
await model.close();

const plain = median(results[0].stepMs);
const us = (values) => `${(1000 * median(values)).toFixed(0)} us`;
console.log(`${model.name} on ${device.info.name}, ${sequences} x ${tokens} tokens\n`);
console.log('| steps ahead | steps a second | speed | a submission | event loop busy, a step |');
console.log('| --- | --- | --- | --- | --- |');
for (const result of results) {
  const ms = median(result.stepMs);
  console.log(
    `| ${result.stepsAhead} | ${(1000 / ms).toFixed(1)} | ${(plain / ms).toFixed(2)}x | ${us(result.submitMs)} | ${us(result.busyMs)} |`,
  );
}
