/**
 * Plain JavaScript callers: every option of every public call, misspelt and of a wrong type. A table without an entry for
 * an option of its call does not compile.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Conversation } from '@unicorn-exec/models';
import {
  buildNative,
  Chat,
  describeWeights,
  Engine,
  locateModel,
  openDevice,
  openText,
  StopText,
  type ChatOptions,
  type GenerateRequest,
  type LoadOptions,
  type OpenDeviceOptions,
  type SamplingParameters,
  type Speculation,
} from '../src/index.js';
import {
  benchmark,
  describeMachine,
  evaluate,
  measureRates,
  perplexity,
  profileKernels,
  tuneModel,
  writeEvaluation,
  type BenchmarkOptions,
  type KernelProfileOptions,
  type MeasureRatesOptions,
  type PerplexityOptions,
  type TuneModelOptions,
  type WriteEvaluationOptions,
} from '../src/measure/index.js';
import { nearestName } from '../src/nearest-name.js';

type KeysOf<T> = T extends unknown ? keyof T & string : never;
/** A value of a wrong type for each option. */
type Wrong<T> = Record<KeysOf<T>, unknown>;

const signal = 'soon';
const sampling: Wrong<SamplingParameters> = {
  temperature: '1',
  topK: '40',
  topP: null,
  minP: [],
  typicalP: true,
  repetitionPenalty: '1.1',
  presencePenalty: '0',
  frequencyPenalty: {},
  logitBias: [1],
  seed: '7',
};
const speculation: Wrong<Speculation> = { draft: false, maxTokens: '4', adaptive: 'yes' };
const draft = { draft: 'ngram' };
/** The options of `table` that are objects themselves, one wrong entry in each. */
const nested = (): [string, unknown][] => [
  ...Object.entries(sampling).map(([name, value]): [string, unknown] => [
    `sampling.${name}`,
    { sampling: { [name]: value } },
  ]),
  ...Object.entries(speculation).map(([name, value]): [string, unknown] => [
    `speculation.${name}`,
    { speculation: { ...draft, [name]: value } },
  ]),
];
const generate: Wrong<GenerateRequest> = {
  messages: 'Hi',
  logProbabilities: 'all',
  tools: {},
  templateOptions: 'thinking',
  prompt: 7,
  tokens: ['a'],
  elastic: { feedForward: 'wide' },
  sampling: 'greedy',
  maxTokens: '12',
  overflow: 'forget',
  ignoreEnd: 1,
  reuse: 'any',
  speculation: 'ngram',
  stop: 7,
  cache: 'some',
  priority: 'high',
  deadline: '1000',
  signal,
};
const chat: Wrong<ChatOptions> = {
  system: 7,
  elastic: true,
  speculation: [],
  sampling: 0,
  maxTokens: '8',
  stop: [7],
  overflow: true,
};
const load: Wrong<LoadOptions> = {
  model: 7,
  backend: 7,
  device: 0,
  threads: '2',
  gpuLayers: 'most',
  context: '512',
  kvType: 'f8',
  precision: 'f64',
  maxSequences: '4',
  kvTokens: '4096',
  maxQueued: 0,
  prefillChunk: 1.5,
  profile: 'yes',
  deviceLoss: 'stay',
  signal,
  onProgress: true,
};
const open: Wrong<OpenDeviceOptions> = { device: 0, threads: 'all' };
const benchmarked: Wrong<BenchmarkOptions> = {
  promptTokens: -1,
  generateTokens: 1.5,
  depth: [0, -1],
  repetitions: 0,
  elastic: null,
  speculation: 'ngram',
  signal,
  onProgress: 'bar',
};
const profiled: Wrong<KernelProfileOptions> = {
  promptTokens: '1',
  generateTokens: NaN,
  repetitions: 0,
  signal,
};
const scored: Wrong<PerplexityOptions> = { against: 'nano', elastic: null, signal, onProgress: 1 };
const written: Wrong<WriteEvaluationOptions> = { output: 7, layers: 'all', elastic: null, signal };
const tuned: Wrong<TuneModelOptions> = {
  model: 7,
  backend: 7,
  device: 7,
  budgetMs: '1',
  signal,
  onProgress: 1,
  tokens: ['1'],
};
const forward: Wrong<Parameters<Engine['forward']>[1]> = {
  logits: 'some',
  hidden: 'all',
  size: 'half',
  spans: 'none',
  reuse: 'never',
  onRows: {},
  signal,
};

const rates: Wrong<MeasureRatesOptions> = { backend: 'vulcan', onStart: 'bar' };

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load({ backend: 'reference', context: 256 });
});
afterAll(() => engine.close());

/** Every call that takes options: how to call it, and what is wrong for each option. */
const calls: { call: string; invoke: (options: never) => unknown; wrong: [string, unknown][] }[] = [
  entry('Engine.load', load, (options) => Engine.load(options)),
  entry('Engine.generate', generate, (options) => engine.generate(options).next(), nested()),
  entry('Engine.promptTokens', generate, (options) => engine.promptTokens(options), nested()),
  entry('Engine.encodePrompt', { text: 7, literal: 'all' }, (options) => engine.encodePrompt(options)),
  entry('Engine.tokenize', { special: 'yes', literal: {} }, (options) => engine.tokenize('Hi', options)),
  entry('Engine.forward', forward, (options) => engine.forward([[2, 4]], options)),
  entry('new Chat', chat, (options) => new Chat(engine, options), nested()),
  entry('Chat.change', chat, (options) => new Chat(engine).change(options), nested()),
  entry('Chat.ask', { signal }, (options) => new Chat(engine).ask('Hi', options).next()),
  entry('openDevice', open, (options) => openDevice('reference', options)),
  entry('benchmark', benchmarked, (options) => benchmark(engine, options)),
  entry('profileKernels', profiled, (options) => profileKernels(engine, options)),
  entry('perplexity', scored, (options) => perplexity(engine, 'Hi there', options)),
  entry('writeEvaluation', written, (options) => writeEvaluation(engine, [[2]], options)),
  entry('evaluate', { layers: 'all', elastic: null, signal }, (options) => evaluate(engine, [[2]], options)),
  entry('measureRates', rates, (options) => measureRates(options)),
  entry('tuneModel', tuned, (options) => tuneModel(options)),
];

function entry(
  call: string,
  wrong: Record<string, unknown>,
  invoke: (options: never) => unknown,
  more: [string, unknown][] = [],
): (typeof calls)[number] {
  const plain = Object.entries(wrong).map(([name, value]): [string, unknown] => [name, { [name]: value }]);
  return { call, invoke, wrong: [...plain, ...more] };
}

/** What a call throws, at once or later. */
async function failure(work: () => unknown): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe.each(calls)('$call', ({ call, invoke, wrong }) => {
  /** Forward needs `logits`, writeEvaluation `output`, encodePrompt both: what is not under test is right. */
  const right: Record<string, object> = {
    'Engine.forward': { logits: 'none' },
    'Engine.encodePrompt': { text: 'Hi', literal: [] },
    writeEvaluation: { output: '/no/such/folder/file' },
  };
  const withRight = (options: unknown): never => ({ ...right[call], ...(options as object) }) as never;

  it.each(wrong)('%s of a wrong type', async (option, options) => {
    const error = await failure(() => invoke(withRight(options)));
    expect(error).toMatchObject({ code: 'usage/option', fields: { call, option } });
    expect((error as Error).message).toContain(`"${option}" of ${call} `);
    expect(error).toHaveProperty('fix');
  });

  it.each(wrong)('%s misspelt', async (option) => {
    const [parent, name] = option.includes('.') ? option.split('.') : [undefined, option];
    const misspelt = `${name.slice(0, 1).toUpperCase()}${name.slice(1)}s`;
    const value = parent === 'speculation' ? { ...draft, [misspelt]: 1 } : { [misspelt]: 1 };
    const error = await failure(() => invoke(withRight(parent ? { [parent]: value } : value)));
    const path = parent ? `${parent}.` : '';
    expect(error).toMatchObject({ code: 'usage/option', fields: { call, option: path + misspelt } });
    const { fix, fields } = error as { fix: string; fields: { options: string[] } };
    expect(fix).toContain(`Did you mean "${option}"?`);
    expect(fields.options).toContain(option);
  });

  it.each([['a string'], [7], [null], [[]]])('%j instead of options', async (given) => {
    expect(await failure(() => invoke(given as never))).toMatchObject({ code: 'usage/option' });
  });
});

describe('arguments', () => {
  it.each<[string, () => unknown]>([
    ['new Chat', () => new Chat({} as never)],
    ['Chat.ask', () => new Chat(engine).ask(['Hi'] as never).next()],
    ['Chat.save', () => new Chat(engine).save(7 as never)],
    ['Engine.tokenize', () => engine.tokenize(undefined as never)],
    ['Engine.detokenize', () => engine.detokenize('504' as never)],
    ['Engine.generate', () => engine.generate(undefined as never).next()],
    ['Engine.promptTokens', () => engine.promptTokens(undefined as never)],
    ['Engine.forward', () => engine.forward([2, 3] as never, { logits: 'all' })],
    ['describeWeights', () => describeWeights(7 as never)],
    ['openText', () => openText({} as never)],
    ['locateModel', () => locateModel([] as never)],
    ['openDevice', () => openDevice(7 as never)],
    ['buildNative', () => buildNative('all' as never)],
    ['describeMachine', () => describeMachine(0)],
    ['benchmark', () => benchmark({} as never)],
    ['profileKernels', () => profileKernels(null as never)],
    ['perplexity', () => perplexity(engine, 7 as never)],
    ['evaluate', () => evaluate(engine, [['2']] as never)],
    ['new StopText', () => new StopText('END' as never)],
  ])('of %s: a wrong type', async (call, invoke) => {
    const error = await failure(invoke);
    expect(error).toMatchObject({ code: 'usage/option', fields: { call } });
  });

  it('a conversation that is none', async () => {
    for (const conversation of [undefined, 'Hi', { messages: 'Hi' }, { messages: [{ content: 'Hi' }] }]) {
      const error = await failure(() => engine.renderParts(conversation as unknown as Conversation));
      expect(error).toMatchObject({ family: 'usage' });
    }
  });

  it('a request without a prompt', async () => {
    for (const request of [{}, { messages: undefined }, { maxTokens: 3 }]) {
      expect(await failure(() => engine.generate(request as never).next())).toMatchObject({
        code: 'usage/option',
        fix: 'Give messages, prompt or tokens.',
      });
    }
  });
});

it('a choice names its values, and the nearest', async () => {
  await expect(Engine.load({ kvType: 'q8' as never })).rejects.toMatchObject({
    message: 'The option "kvType" of Engine.load is the string "q8". It must be one of "f32", "f16", "q8_0".',
    fix: 'Did you mean "q8_0"? Give one of "f32", "f16", "q8_0".',
  });
  await expect(Engine.load({ backend: 'vulcan' as never })).rejects.toMatchObject({
    code: 'unsupported/backend',
    fix: 'Did you mean "vulkan"? The backends are auto, cpu, vulkan, reference.',
  });
});

it('options that are undefined are not given', async () => {
  const nothing = Object.fromEntries(Object.keys(generate).map((name) => [name, undefined]));
  const { value } = await engine.generate({ ...nothing, prompt: 'Hi', maxTokens: 1 }).next();
  expect(value).toHaveProperty('text');
});

it.each([
  ['max_tokens', 'maxTokens'],
  ['TopK', 'topK'],
  ['contextLength', 'context'],
  ['tempreature', 'temperature'],
  ['n', undefined],
  ['xyzzy', undefined],
])('the name nearest to %s is %s', (wrong, nearest) => {
  expect(nearestName(wrong, ['maxTokens', 'topK', 'topP', 'context', 'temperature'])).toBe(nearest);
});
