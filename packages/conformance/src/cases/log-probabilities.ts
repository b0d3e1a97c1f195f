/** logProbabilities: of a named token and of the best ones, over peaked and flat logits, ties, forbidden tokens. */
import { Sketch, type Case, type Fill } from '../case.js';
import { errorAt, type Errors } from '../bound.js';
import { functionUnits, gamma, unit, type BoundContext } from '../tolerance.js';
import type { OpSuite } from './suite.js';

/**
 * With m the largest logit, t = sum exp(x - m) and l = m + ln t, an element is x - l. Logits that are off move it by
 * their own error and, since l is a mean of logits by the softmax, by at most the largest error of the row. The
 * subtraction x - m rounds by a unit of |x - m|, which moves t by the mean of that under the softmax; exp and the sum
 * move ln t by functionUnits units and gamma(vocabulary + 2); ln rounds by functionUnits units of |ln t| and 1, and two
 * sums and the result round by a unit of |m|, |l| and |x - l| each.
 */
function bound({ inputs, outputs }: BoundContext): Errors[] {
  const { tensor, errors } = inputs.logits!;
  const [rows, vocabulary] = tensor.shape as [number, number];
  const logits = tensor.floats;
  const ids = inputs.ids!.tensor.integers;
  const top = outputs[1]?.columns ?? 0;
  const chosen = new Float64Array(rows);
  const ranks = errors && top > 0 ? new Float64Array(rows * top) : undefined;
  const values = new Float64Array(rows * top);
  for (let row = 0; row < rows; row++) {
    const start = row * vocabulary;
    const at = (id: number): number => logits[start + id]!;
    const off = (id: number): number => errorAt(errors, start + id);
    let [largest, worst] = [-Infinity, 0];
    for (let id = 0; id < vocabulary; id++) {
      largest = Math.max(largest, at(id));
      worst = Math.max(worst, off(id));
    }
    let [total, spread] = [0, 0];
    for (let id = 0; id < vocabulary; id++) {
      const weight = Math.exp(at(id) - largest);
      total += weight;
      if (weight > 0) spread += weight * (largest - at(id));
    }
    const log = Math.log(total);
    const shared =
      worst +
      unit * (spread / total) +
      functionUnits * unit * (2 + log) +
      gamma(vocabulary + 2) +
      unit * (Math.abs(largest) + Math.abs(largest + log));
    const errorOf = (id: number): number => off(id) + shared + 2 * unit * Math.abs(at(id) - largest - log);
    chosen[row] = errorOf(ids[row]!);
    for (let rank = 0; rank < top; rank++) {
      const id = outputs[1]!.integers[row * top + rank]!;
      // Another token may stand there whose logit is within both errors: no further than the largest of them.
      values[row * top + rank] = errorOf(id) + worst;
      if (ranks) ranks[row * top + rank] = isClear(id, vocabulary, at, off) ? 0 : Infinity;
    }
  }
  return top > 0 ? [chosen, ranks, values] : [chosen];
}

/** Whether no other token of the row can have this one's rank. */
function isClear(
  id: number,
  vocabulary: number,
  at: (id: number) => number,
  off: (id: number) => number,
): boolean {
  for (let other = 0; other < vocabulary; other++) {
    if (other !== id && Math.abs(at(other) - at(id)) <= off(other) + off(id)) return false;
  }
  return true;
}

interface Shape {
  readonly vocabulary: number;
  readonly rows: number;
  readonly top: number;
  readonly fill?: Fill;
}

function scored(label: string, { vocabulary, rows, top, fill }: Shape, extra: Partial<Case> = {}): Case {
  const name = `logProbabilities ${label}`;
  return {
    name,
    op: 'logProbabilities',
    rows,
    ...extra,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const logits = sketch.input('logits', ['tokens', vocabulary], fill);
      const ids = sketch.integers('ids', ['tokens'], (random) => random.integer(vocabulary));
      addOutputs(sketch, logits, ids, top);
      return sketch.problem();
    },
  };
}

function addOutputs(
  sketch: Sketch,
  logits: ReturnType<Sketch['input']>,
  ids: ReturnType<Sketch['input']>,
  top: number,
): void {
  const { chosen, top: best } = sketch.builder.logProbabilities(logits, ids, top);
  sketch.output('chosen', chosen);
  if (!best) return;
  sketch.output('topIds', best.ids);
  sketch.output('top', best.logProbabilities);
}

/** Logits that a head computes, softcap included. */
function headCase(): Case {
  const name = 'logProbabilities behind a head';
  return {
    name,
    op: 'logProbabilities',
    rows: 3,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const { builder } = sketch;
      const raw = builder.matmul(sketch.input('x', ['tokens', 64]), sketch.weight('head', 'f32', [211, 64]));
      const ids = sketch.integers('ids', ['tokens'], (random) => random.integer(211));
      addOutputs(sketch, builder.softcap(raw, 3), ids, 3);
      return sketch.problem();
    },
  };
}

function noTokenCase(): Case {
  const name = 'logProbabilities of no token';
  return {
    name,
    op: 'logProbabilities',
    promise: 'The log-probability of -1, which is no token, is NaN.',
    make() {
      const sketch = new Sketch(name);
      const logits = sketch.input('logits', [3, 31]);
      addOutputs(sketch, logits, sketch.given('ids', 'i32', [3], [3, -1, 30]), 2);
      return sketch.problem();
    },
  };
}

function strangeId(id: number): Case {
  const name = `logProbabilities of the token ${id}`;
  return {
    name,
    op: 'logProbabilities',
    rejects: 'usage/token-id',
    make() {
      const sketch = new Sketch(name);
      const logits = sketch.input('logits', [2, 31]);
      addOutputs(sketch, logits, sketch.given('ids', 'i32', [2], [3, id]), 0);
      return sketch.problem();
    },
  };
}

export const logProbabilitiesSuite: OpSuite = {
  bound,
  cases: () => [
    scored('of one token of vocabulary', { vocabulary: 1, rows: 2, top: 1 }),
    scored('of 97, the chosen alone', { vocabulary: 97, rows: 5, top: 0 }),
    scored('of 97, the best', { vocabulary: 97, rows: 5, top: 1 }),
    scored('of 1009, five best', { vocabulary: 1009, rows: 3, top: 5 }),
    scored('of 67, all', { vocabulary: 67, rows: 2, top: 67 }),
    scored('of 20011, twenty best of sharp ones', {
      vocabulary: 20_011,
      rows: 2,
      top: 20,
      fill: (random) => 12 * random.normal(),
    }),
    scored(
      'of 257 that tie',
      { vocabulary: 257, rows: 3, top: 7, fill: (random) => random.integer(4) },
      { promise: 'Of equal logits the lower id comes first.' },
    ),
    scored(
      'of 131, some forbidden',
      {
        vocabulary: 131,
        rows: 3,
        top: 4,
        fill: (random) => (random.integer(2) === 0 ? -Infinity : random.normal()),
      },
      { promise: 'The log-probability of minus infinity is minus infinity.' },
    ),
    scored('of 113, far from zero', {
      vocabulary: 113,
      rows: 3,
      top: 2,
      fill: (random) => 3000 + random.normal(),
    }),
    headCase(),
    noTokenCase(),
    strangeId(31),
    strangeId(-2),
  ],
  benchmarks: () => [
    scored('of 151,936, twenty best', { vocabulary: 151_936, rows: 1, top: 20 }),
    scored('of 151,936, the chosen of 64 rows', { vocabulary: 151_936, rows: 64, top: 0 }),
  ],
};
