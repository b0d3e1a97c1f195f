/**
 * Choosing the next token. Each row of logits has its own parameters, so a row's token does not depend on the batch.
 * The order is Hugging Face's: bias, penalties, temperature, top-k, top-p, min-p, typical, softmax, draw.
 */
import { UnicornError } from '../error.js';
import { uniformAt } from '../philox.js';
import { expectDType, expectDim, expectRank, specElements, type Op } from './op.js';

/** Columns of the f32 operand `parameters`. A neutral value leaves the logits as they are. */
export const sampleParameters = [
  'temperature', // 0 takes the best token (ties: the lowest id); neutral 1
  'topP', // neutral 1
  'minP', // neutral 0
  'typicalP', // neutral 1
  'repetitionPenalty', // neutral 1
  'presencePenalty', // neutral 0
  'frequencyPenalty', // neutral 0
] as const;

/** Columns of the i32 operand `controls`. */
export const sampleControls = [
  'topK', // 0 keeps all
  'seedLow', // u32 bits
  'seedHigh', // u32 bits
  'position', // of the token to draw: the Philox counter
  'historyRow', // row of the history state
  'historyLength', // tokens of that row that the penalties see
  'promptLength', // the first of them that presence and frequency penalties count
] as const;

export type SampleParameters = Record<(typeof sampleParameters)[number], number>;

/**
 * In the place of an id: no token, for a row of logits that are no numbers. `embed` takes it for row 0, so that a step may
 * be submitted before the host has seen it.
 */
export const noToken = -1;

/** Token id to score after all filters; removed tokens are absent. Ascending ids. */
export interface Candidates {
  readonly ids: Int32Array;
  readonly probabilities: Float64Array;
}

/** One row of logits and how it is sampled. */
export interface RowInput {
  readonly logits: Float32Array;
  readonly parameters: SampleParameters;
  readonly topK: number;
  readonly history: Int32Array;
  readonly promptLength: number;
  readonly biasIds: Int32Array;
  readonly biasValues: Float32Array;
  readonly allowed?: (id: number) => boolean;
}

/** Adds the bias, then the penalties: repetition once for each distinct token, presence and frequency by count. */
function adjustLogits({
  logits,
  parameters,
  history,
  promptLength,
  biasIds,
  biasValues,
  allowed,
}: RowInput): Float64Array {
  const scores = Float64Array.from(logits);
  biasIds.forEach((id, i) => {
    if (id < 0 || id >= scores.length) {
      throw new UnicornError(
        'usage/logit-bias',
        `Logit bias names token ${id}; the vocabulary has ${scores.length}.`,
        {
          fields: { id, vocabulary: scores.length },
          fix: "Use ids of the model's own vocabulary.",
        },
      );
    }
    scores[id]! += biasValues[i]!;
  });
  const inVocabulary = (id: number): boolean => id >= 0 && id < scores.length;
  for (const id of new Set(history)) {
    if (!inVocabulary(id)) continue;
    const score = scores[id]!;
    scores[id] = score > 0 ? score / parameters.repetitionPenalty : score * parameters.repetitionPenalty;
  }
  const counts = new Map<number, number>();
  for (const id of history.subarray(promptLength)) counts.set(id, (counts.get(id) ?? 0) + 1);
  for (const [id, count] of counts) {
    if (inVocabulary(id)) scores[id]! -= parameters.presencePenalty + parameters.frequencyPenalty * count;
  }
  if (allowed) for (let id = 0; id < scores.length; id++) if (!allowed(id)) scores[id] = -Infinity;
  return scores;
}

const none: Candidates = { ids: new Int32Array(0), probabilities: new Float64Array(0) };

/** Probabilities of the kept candidates. */
function softmax(scores: readonly number[]): number[] {
  const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = scores.map((score) => Math.exp(score - top));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

/**
 * The distribution that a token is drawn from.
 *
 * top-k keeps all tokens tied with the k-th; top-p (Holtzman et al. 2019) drops the smallest tokens while their
 * cumulative mass is <= 1 - p; min-p (arXiv:2407.01082) drops those below p times the largest; typical (Meister et al.
 * 2022, arXiv:2202.00666) keeps those nearest to the entropy until their mass reaches p. Each keeps at least one.
 *
 * @returns nothing where there is no distribution: a logit is NaN or plus infinity, or no token may be chosen
 */
export function sampleDistribution(row: RowInput): Candidates {
  const { parameters } = row;
  const scores = adjustLogits(row);
  let kept: { id: number; score: number }[] = [];
  if (!row.logits.every((logit) => logit < Infinity)) return none;
  const temperature = parameters.temperature;
  for (let id = 0; id < scores.length; id++) {
    if (scores[id]! > -Infinity)
      kept.push({ id, score: temperature > 0 ? scores[id]! / temperature : scores[id]! });
  }
  if (kept.length === 0) return none;
  if (temperature <= 0) {
    const best = kept.reduce((a, b) => (b.score > a.score ? b : a));
    return { ids: Int32Array.of(best.id), probabilities: Float64Array.of(1) };
  }
  // Descending scores; of equal ones the lower id first, so that cut-offs do not depend on the sort.
  kept.sort((a, b) => b.score - a.score || a.id - b.id);
  if (row.topK > 0 && row.topK < kept.length) {
    const least = kept[row.topK - 1]!.score;
    kept = kept.filter(({ score }) => score >= least);
  }
  if (parameters.topP < 1) {
    const probabilities = softmax(kept.map(({ score }) => score));
    let mass = 0;
    let end = kept.length;
    while (end > 1 && mass + probabilities[end - 1]! <= 1 - parameters.topP) mass += probabilities[--end]!;
    kept.length = end;
  }
  if (parameters.minP > 0) {
    const least = kept[0]!.score + Math.log(parameters.minP);
    kept = kept.filter(({ score }, index) => index === 0 || score >= least);
  }
  if (parameters.typicalP < 1) {
    const probabilities = softmax(kept.map(({ score }) => score));
    const entropy = probabilities.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0);
    const order = kept
      .map((candidate, index) => ({
        candidate,
        p: probabilities[index]!,
        shift: Math.abs(-Math.log(probabilities[index]!) - entropy),
      }))
      .sort((a, b) => a.shift - b.shift || a.candidate.id - b.candidate.id);
    let mass = 0;
    const end = order.findIndex(({ p }) => (mass += p) >= parameters.typicalP);
    kept = order.slice(0, end < 0 ? order.length : end + 1).map(({ candidate }) => candidate);
  }
  kept.sort((a, b) => a.id - b.id);
  return {
    ids: Int32Array.from(kept, ({ id }) => id),
    probabilities: Float64Array.from(softmax(kept.map(({ score }) => score))),
  };
}

/** The first candidate, in order of ids, whose cumulative probability exceeds the draw; {@link noToken} of none. */
export function drawToken({ ids, probabilities }: Candidates, uniform: number): number {
  let cumulative = 0;
  for (let i = 0; i < ids.length - 1; i++) {
    cumulative += probabilities[i]!;
    if (cumulative > uniform) return ids[i]!;
  }
  return ids[ids.length - 1] ?? noToken;
}

function* historyRows(controls: Int32Array): Iterable<number> {
  const column = sampleControls.indexOf('historyRow');
  for (let at = column; at < controls.length; at += sampleControls.length) yield controls[at]!;
}

export const sample: Op = {
  name: 'sample',
  about:
    'one token for each row of logits, appended to the row of history that the controls name; -1, which is not appended, where a logit is NaN or plus infinity, or none may be chosen',
  operands: [
    { name: 'logits', about: 'f32 [rows, vocabulary]' },
    { name: 'parameters', about: `f32 [rows, ${sampleParameters.length}]: ${sampleParameters.join(', ')}` },
    { name: 'controls', about: `i32 [rows, ${sampleControls.length}]: ${sampleControls.join(', ')}` },
    { name: 'biasIds', about: 'i32 [rows, biases]; padded with 0' },
    {
      name: 'biasValues',
      about: 'f32 [rows, biases], added to the logits; padded with 0, which changes nothing',
    },
    {
      name: 'history',
      about: 'state i32 [history rows, capacity]: the tokens of each sequence, prompt first',
    },
    {
      name: 'mask',
      about: 'i32 [rows, ceil(vocabulary / 32)]: bit id % 32 of word id / 32 is 1 where allowed',
      optional: true,
    },
  ],
  attributes: {
    probabilities: {
      type: 'boolean',
      about: 'also returns the distribution, f32 [rows, vocabulary]',
      default: false,
    },
  },
  outputs({ logits, parameters, controls, biasIds, biasValues, history, mask }, attributes) {
    expectRank('sample', 'logits', logits!, 2);
    const rows = logits!.shape[0];
    for (const [name, spec] of Object.entries({ parameters, controls, biasIds, biasValues, mask })) {
      if (spec) expectDim('sample', `the rows of ${name}`, spec.shape[0], rows);
    }
    expectDim('sample', 'the columns of parameters', parameters!.shape[1], sampleParameters.length);
    expectDim('sample', 'the columns of controls', controls!.shape[1], sampleControls.length);
    for (const [name, spec] of Object.entries({ controls, biasIds, history, mask })) {
      if (spec) expectDType('sample', name, spec, 'i32');
    }
    for (const [name, spec] of Object.entries({ logits, parameters, biasValues })) {
      expectDType('sample', name, spec!, 'f32');
    }
    for (const [name, spec] of Object.entries({ biasIds, biasValues, history, mask })) {
      if (spec) expectRank('sample', name, spec, 2);
    }
    expectDim('sample', 'the columns of biasValues', biasValues!.shape[1], biasIds!.shape[1]);
    const vocabulary = logits!.shape[1];
    if (mask && typeof vocabulary === 'number') {
      expectDim('sample', 'the columns of mask', mask.shape[1], Math.ceil(vocabulary / 32));
    }
    const outputs = [{ dtype: 'i32', shape: [rows!] } as const, history!];
    return attributes.probabilities ? [...outputs, { dtype: 'f32', shape: logits!.shape } as const] : outputs;
  },
  aliases: { 1: 'history' },
  touches: { history: { operand: 'controls', rows: ({ integers }) => historyRows(integers) } },
  flops: ({ logits }) => 8 * specElements(logits!),
  evaluate({ inputs, attributes, outputs }) {
    const [rows, vocabulary] = inputs.logits!.shape as [number, number];
    const logits = inputs.logits!.floats;
    const parameters = inputs.parameters!.floats;
    const controls = inputs.controls!.integers;
    const biases = inputs.biasIds!.columns;
    const [historyRowCount, capacity] = inputs.history!.shape as [number, number];
    const history = inputs.history!.integers;
    for (let row = 0; row < rows; row++) {
      const values = Object.fromEntries(
        sampleParameters.map((name, i) => [name, parameters[row * sampleParameters.length + i]!]),
      ) as SampleParameters;
      const control = Object.fromEntries(
        sampleControls.map((name, i) => [name, controls[row * sampleControls.length + i]!]),
      ) as Record<(typeof sampleControls)[number], number>;
      const start = control.historyRow * capacity;
      if (
        control.historyRow < 0 ||
        control.historyRow >= historyRowCount ||
        control.historyLength < 0 ||
        control.promptLength < 0 ||
        control.historyLength > capacity
      ) {
        throw new UnicornError(
          'usage/history',
          'The controls of a row to sample name tokens outside of the history.',
          {
            fields: {
              row: control.historyRow,
              length: control.historyLength,
              rows: historyRowCount,
              capacity,
            },
            fix: 'Give a row and a length within the history.',
          },
        );
      }
      const words = inputs.mask?.integers.subarray(
        row * inputs.mask.columns,
        (row + 1) * inputs.mask.columns,
      );
      const candidates = sampleDistribution({
        logits: logits.subarray(row * vocabulary, (row + 1) * vocabulary),
        parameters: values,
        topK: control.topK,
        history: history.subarray(start, start + control.historyLength),
        promptLength: control.promptLength,
        biasIds: inputs.biasIds!.integers.subarray(row * biases, (row + 1) * biases),
        biasValues: inputs.biasValues!.floats.subarray(row * biases, (row + 1) * biases),
        ...(words ? { allowed: (id: number) => ((words[id >>> 5]! >>> (id & 31)) & 1) === 1 } : {}),
      });
      const token = drawToken(candidates, uniformAt(control.seedLow, control.seedHigh, control.position));
      outputs[0]!.integers[row] = token;
      if (token !== noToken && control.historyLength < capacity)
        history[start + control.historyLength] = token;
      if (attributes.probabilities) {
        const distribution = outputs[2]!.floats.subarray(row * vocabulary, (row + 1) * vocabulary);
        candidates.ids.forEach((id, i) => (distribution[id] = candidates.probabilities[i]!));
      }
    }
  },
};
