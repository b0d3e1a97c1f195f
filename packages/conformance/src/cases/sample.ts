/** sample: greedy, every filter, penalties, bias, mask, history; the same token as the reference, row by row. */
import {
  findOp,
  HostTensor,
  sampleControls,
  sampleParameters,
  uniformAt,
  type SampleParameters,
} from '@unicorn-exec/tensor';
import { Sketch, type Case } from '../case.js';
import { Random } from '../random.js';
import { boundEach, errorAt, type Errors } from '../bound.js';
import { functionUnits, gamma, unit, type BoundContext } from '../tolerance.js';
import type { OpSuite } from './suite.js';

/**
 * Ids and history are exact: the data keeps draws away from the edges of the distribution (see `drawMargin`), and a
 * greedy row is promised only where the best logit leads by more than both errors. A probability is exp(s - top) over
 * a sum: scores are off by their operands' errors and a few units of their size after bias, penalties and temperature,
 * so by a factor within exp(+-2D), and the sum by gamma(vocabulary).
 */
function bound({ inputs, outputs }: BoundContext): Errors[] {
  const { tensor: logits, errors } = inputs.logits!;
  const [rows, vocabulary] = logits.shape as [number, number];
  const values = logits.floats;
  const parameters = inputs.parameters!.tensor.floats;
  const temperatureOf = (row: number): number => parameters[row * sampleParameters.length]!;
  const repetitionOf = (row: number): number =>
    parameters[row * sampleParameters.length + sampleParameters.indexOf('repetitionPenalty')]!;
  const ids = errors && new Float64Array(rows);
  if (ids) {
    for (let row = 0; row < rows; row++) {
      const order = Array.from({ length: vocabulary }, (_, id) => row * vocabulary + id).sort(
        (a, b) => values[b]! - values[a]!,
      );
      const [best, second] = [order[0]!, order[1] ?? order[0]!];
      const lead = values[best]! - values[second]!;
      const clear = temperatureOf(row) <= 0 && lead > errorAt(errors, best) + errorAt(errors, second);
      ids[row] = clear ? 0 : Infinity;
    }
  }
  const history = ids?.some((error) => error > 0) ? boundEach(outputs[1]!, () => Infinity) : undefined;
  if (!outputs[2]) return [ids, history];
  const probabilities = outputs[2].floats;
  const biases = inputs.biasValues!.tensor.floats;
  const largestBias = biases.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const distribution = boundEach(outputs[2], (i) => {
    const row = Math.floor(i / vocabulary);
    let top = 0;
    for (const value of values.subarray(row * vocabulary, (row + 1) * vocabulary)) {
      if (Number.isFinite(value)) top = Math.max(top, Math.abs(value));
    }
    const temperature = temperatureOf(row) > 0 ? temperatureOf(row) : 1;
    const repetition = Math.max(repetitionOf(row), 1 / repetitionOf(row));
    const size = ((top + largestBias) * repetition) / temperature;
    const drift = functionUnits * unit * (size + 1) + errorAt(errors, i) / temperature;
    return probabilities[i]! * (Math.expm1(2 * drift) + gamma(vocabulary + 2));
  });
  return [ids, history, distribution];
}

const neutral: SampleParameters = {
  temperature: 1,
  topP: 1,
  minP: 0,
  typicalP: 1,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
};

interface Row {
  readonly parameters: Partial<SampleParameters>;
  readonly topK?: number;
  readonly promptLength?: number;
  readonly history?: readonly number[];
  readonly biases?: readonly (readonly [id: number, value: number])[];
}

interface SampleShape {
  readonly vocabulary: number;
  readonly rows: readonly Row[];
  readonly masked?: boolean;
  readonly logits?: (logits: Float32Array, row: number) => void;
}

const capacity = 13;

/** Positions are tried until the draw is further than this from every edge: f32 sums of 1,000 terms are off by 6e-5. */
const drawMargin = 1e-4;

function sampleCase(label: string, shape: SampleShape, extra: Partial<Case> = {}): Case {
  const name = `sample ${label}`;
  const { vocabulary, rows } = shape;
  const make = (positions: readonly number[]): ReturnType<Sketch['problem']> => {
    const sketch = new Sketch(name, [], { rows: rows.length, historyRows: rows.length + 1 });
    const biases = Math.max(0, ...rows.map((row) => row.biases?.length ?? 0));
    const column = <T>(pick: (row: Row) => readonly T[], width: number, padding: T): T[] =>
      rows.flatMap((row) => Array.from({ length: width }, (_, i) => pick(row)[i] ?? padding));
    const logits = sketch.input('logits', ['rows', vocabulary], (random) => 3 * random.normal());
    const parameters = sketch.given(
      'parameters',
      'f32',
      ['rows', sampleParameters.length],
      rows.flatMap((row) =>
        sampleParameters.map((parameter) => row.parameters[parameter] ?? neutral[parameter]),
      ),
    );
    const controls = sketch.given(
      'controls',
      'i32',
      ['rows', sampleControls.length],
      rows.flatMap((row, index) => {
        const control: Record<(typeof sampleControls)[number], number> = {
          topK: row.topK ?? 0,
          seedLow: 0x9e3779b9 | 0,
          seedHigh: index - 1,
          position: positions[index]!,
          // Rows of the history in reverse, and the last one unused.
          historyRow: rows.length - index - 1,
          historyLength: row.history?.length ?? 0,
          promptLength: row.promptLength ?? 0,
        };
        return sampleControls.map((key) => control[key]);
      }),
    );
    const history = HostTensor.zeros('i32', [rows.length + 1, capacity]);
    history.integers.fill(7);
    rows.forEach((row, index) =>
      history.integers.set(row.history ?? [], (rows.length - index - 1) * capacity),
    );
    const words = Math.ceil(vocabulary / 32);
    const random = new Random(`mask ${name}`);
    const inputs = {
      logits,
      parameters,
      controls,
      biasIds: sketch.given(
        'biasIds',
        'i32',
        ['rows', biases],
        column((row) => (row.biases ?? []).map(([id]) => id), biases, 0),
      ),
      biasValues: sketch.given(
        'biasValues',
        'f32',
        ['rows', biases],
        column((row) => (row.biases ?? []).map(([, value]) => value), biases, 0),
      ),
      history: sketch.state('history', ['historyRows', capacity], history),
      ...(shape.masked
        ? {
            mask: sketch.given(
              'mask',
              'i32',
              ['rows', words],
              Array.from({ length: rows.length * words }, () => random.bits() | 0),
            ),
          }
        : {}),
    };
    const [ids, , probabilities] = sketch.builder.apply('sample', inputs, { probabilities: true });
    sketch.output('ids', ids!);
    sketch.output('probabilities', probabilities!);
    const problem = sketch.problem();
    for (let row = 0; row < rows.length; row++) {
      shape.logits?.(problem.tensors.logits!.floats.subarray(row * vocabulary, (row + 1) * vocabulary), row);
    }
    return problem;
  };
  return {
    name,
    op: 'sample',
    ...extra,
    make: () => (extra.rejects ? make(rows.map(() => 1)) : make(clearPositions(rows.length, make))),
  };
}

/** For each row the first position whose draw is no closer than drawMargin to an edge of the row's distribution. */
function clearPositions(
  rows: number,
  make: (positions: number[]) => ReturnType<Sketch['problem']>,
): number[] {
  const distribution = probabilitiesOf(make(Array.from({ length: rows }, () => 0)));
  const vocabulary = distribution.length / rows;
  return Array.from({ length: rows }, (_, row) => {
    const edges: number[] = [];
    let cumulative = 0;
    for (let id = 0; id < vocabulary; id++) edges.push((cumulative += distribution[row * vocabulary + id]!));
    for (let position = 1; ; position++) {
      const draw = uniformAt(0x9e3779b9, row - 1, position);
      if (edges.every((edge) => Math.abs(edge - draw) > drawMargin || edge > 1 - 1e-9)) return position;
      // 1,000 edges exclude at most a fifth of [0, 1): this ends soon.
    }
  });
}

function probabilitiesOf({ graph, tensors }: ReturnType<Sketch['problem']>): Float32Array {
  const node = graph.nodes[0]!;
  const inputs = Object.fromEntries(
    Object.entries(node.inputs).map(([name]) => {
      const tensor = tensors[name]!;
      return [name, name === 'history' ? HostTensor.i32(tensor.shape, tensor.integers) : tensor];
    }),
  );
  const rows = inputs.logits!.shape[0]!;
  const outputs = [
    HostTensor.zeros('i32', [rows]),
    inputs.history!,
    HostTensor.zeros('f32', inputs.logits!.shape),
  ];
  findOp('sample').evaluate({ inputs, attributes: node.attributes, outputs });
  return outputs[2]!.floats;
}

const greedy: Row = { parameters: { temperature: 0 } };
const historyRow: readonly number[] = [3, 5, 3, 8, 96, 3, 5];

/** Every filter by itself, at two strengths. */
const filters: readonly Row[] = [
  { parameters: {} },
  { parameters: { temperature: 0.5 } },
  { parameters: { temperature: 1.7 } },
  { parameters: {}, topK: 1 },
  { parameters: {}, topK: 7 },
  { parameters: {}, topK: 1_000_000 },
  { parameters: { topP: 0.9 } },
  { parameters: { topP: 0.3 } },
  { parameters: { topP: 0 } },
  { parameters: { minP: 0.05 } },
  { parameters: { minP: 1 } },
  { parameters: { typicalP: 0.9 } },
  { parameters: { typicalP: 0.2 } },
];

const penalties: readonly Row[] = [
  { parameters: { repetitionPenalty: 1.3 }, history: historyRow },
  { parameters: { repetitionPenalty: 0.7 }, history: historyRow },
  { parameters: { presencePenalty: 1.5 }, history: historyRow, promptLength: 3 },
  { parameters: { frequencyPenalty: 0.8 }, history: historyRow, promptLength: 0 },
  { parameters: { frequencyPenalty: -0.5, presencePenalty: 0.2 }, history: historyRow, promptLength: 7 },
  {
    parameters: { temperature: 0, repetitionPenalty: 5, frequencyPenalty: 2 },
    history: historyRow,
    promptLength: 2,
  },
];

const mixed: readonly Row[] = [
  {
    parameters: { temperature: 0.8, topP: 0.9, minP: 0.02, repetitionPenalty: 1.1 },
    topK: 40,
    history: historyRow,
    promptLength: 2,
    biases: [
      [5, 4],
      [11, -100],
      [5, 0.5],
    ],
  },
  {
    parameters: { temperature: 1.2, typicalP: 0.8, presencePenalty: 0.5 },
    topK: 20,
    history: [1, 2],
    promptLength: 1,
  },
  greedy,
  { parameters: { temperature: 0 }, biases: [[42, 100]] },
];

/** Among rows of numbers: which logit of a row is what, at the ends of the vocabulary and between. */
const spoiledRows: readonly { readonly row: Row; readonly at?: readonly [id: number, logit: number] }[] = [
  { row: greedy },
  { row: greedy, at: [0, NaN] },
  { row: { parameters: {} }, at: [2052, NaN] },
  { row: { parameters: { temperature: 0.7, topP: 0.9 }, topK: 5 } },
  { row: { parameters: { temperature: 0.7 }, topK: 5 }, at: [1031, Infinity] },
  { row: { parameters: { temperature: 0 }, biases: [[7, -100]] }, at: [7, Infinity] },
  { row: { ...greedy, history: historyRow, promptLength: 2 }, at: [2047, NaN] },
];

function spoil(logits: Float32Array, row: number): void {
  const { at } = spoiledRows[row]!;
  if (at) logits[at[0]] = at[1];
}

export const sampleSuite: OpSuite = {
  bound,
  cases: () => [
    sampleCase('greedy', { vocabulary: 97, rows: [greedy, greedy, greedy] }),
    sampleCase(
      'greedy of ties',
      { vocabulary: 67, rows: [greedy], logits: (logits) => logits.fill(1.5) },
      {
        promise: 'Of equal logits the lowest id wins.',
      },
    ),
    sampleCase('one token of vocabulary', { vocabulary: 1, rows: [greedy, { parameters: {} }] }),
    sampleCase('each filter', { vocabulary: 97, rows: filters }),
    sampleCase('each filter over a larger vocabulary', { vocabulary: 1009, rows: filters }),
    sampleCase('each penalty', { vocabulary: 97, rows: penalties }),
    sampleCase('a mixed batch', { vocabulary: 997, rows: mixed }),
    sampleCase('masked', { vocabulary: 97, rows: [greedy, ...mixed], masked: true }),
    sampleCase(
      'a full history',
      {
        vocabulary: 31,
        rows: [{ parameters: { temperature: 0 }, history: Array.from({ length: capacity }, (_, i) => i) }],
      },
      {
        promise: 'A history without room keeps what it has.',
      },
    ),
    sampleCase(
      'top-k of ties',
      {
        vocabulary: 61,
        rows: [{ parameters: {}, topK: 3 }],
        logits: (logits) => logits.forEach((_, id) => (logits[id] = id % 5)),
      },
      {
        promise: 'All tokens tied with the k-th stay.',
      },
    ),
    sampleCase(
      'minus infinity',
      {
        vocabulary: 37,
        rows: [greedy, { parameters: {} }],
        logits: (logits) => logits.forEach((_, id) => id % 3 && (logits[id] = -Infinity)),
      },
      { promise: 'Minus infinity is never chosen.' },
    ),
    ...[false, true].map((masked) =>
      sampleCase(
        `logits that are no numbers${masked ? ', masked' : ''}`,
        { vocabulary: 2053, rows: spoiledRows.map(({ row }) => row), masked, logits: spoil },
        {
          promise: 'A row with NaN or plus infinity gives -1 and keeps its history; other rows their tokens.',
        },
      ),
    ),
    sampleCase(
      'nothing allowed',
      {
        vocabulary: 31,
        rows: [greedy, { parameters: {} }, greedy],
        logits: (logits, row) => row < 2 && logits.fill(-Infinity),
      },
      { promise: 'A row in which nothing may be chosen gives -1.' },
    ),
    sampleCase(
      'a bias past the vocabulary',
      { vocabulary: 31, rows: [{ parameters: {}, biases: [[31, 1]] }] },
      {
        rejects: 'usage/logit-bias',
      },
    ),
  ],
  benchmarks: () => [
    sampleCase('32,003 tokens greedy', { vocabulary: 32_003, rows: [greedy] }),
    sampleCase('32,003 tokens with every filter', { vocabulary: 32_003, rows: [mixed[0]!] }),
  ],
};
