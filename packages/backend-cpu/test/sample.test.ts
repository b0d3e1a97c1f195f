/** Sampling against the reference at sizes where it selects instead of sorting; the suite of conformance is small. */
import { GraphBuilder, referenceBackend, type Device } from '@unicorn-exec/tensor';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cpuBackend } from '../src/index.js';
import { randomSource, runGraph } from './fixture.js';

const vocabulary = 3001;
const capacity = 40;

let cpu: Device;
let reference: Device;

beforeAll(async () => {
  cpu = await cpuBackend.open('cpu', { threads: 2 });
  reference = await referenceBackend.open();
});

afterAll(async () => {
  await cpu.close();
  await reference.close();
});

interface Parameters {
  readonly temperature: number;
  readonly topP: number;
  readonly minP: number;
  readonly typicalP: number;
  readonly penalties: readonly [number, number, number];
  readonly topK: number;
  readonly masked: boolean;
  readonly biases: number;
  readonly seed: number;
  /** Logits on a grid have many ties. */
  readonly coarse: boolean;
}

function graphOf(masked: boolean) {
  const b = new GraphBuilder('sample');
  const inputs = {
    logits: b.input('logits', 'f32', ['rows', vocabulary]),
    parameters: b.input('parameters', 'f32', ['rows', 7]),
    controls: b.input('controls', 'i32', ['rows', 7]),
    biasIds: b.input('biasIds', 'i32', ['rows', 3]),
    biasValues: b.input('biasValues', 'f32', ['rows', 3]),
    history: b.state('history', 'i32', [2, capacity]),
    ...(masked ? { mask: b.input('mask', 'i32', ['rows', Math.ceil(vocabulary / 32)]) } : {}),
  };
  const [ids, , probabilities] = b.apply('sample', inputs, { probabilities: true });
  b.output('ids', ids!);
  b.output('probabilities', probabilities!);
  return b.build();
}

const parameters = fc.record({
  temperature: fc.constantFrom(0, 0.3, 1, 2.5),
  topP: fc.constantFrom(1, 0.95, 0.5, 0.01),
  minP: fc.constantFrom(0, 0.02, 0.3),
  typicalP: fc.constantFrom(1, 0.9, 0.2),
  penalties: fc.constantFrom([1, 0, 0] as const, [1.3, 0, 0] as const, [1, 0.5, 0.25] as const),
  topK: fc.constantFrom(0, 1, 2, 40, 1000, vocabulary, vocabulary + 5),
  masked: fc.boolean(),
  biases: fc.nat(3),
  seed: fc.integer({ min: 1, max: 1_000_000 }),
  coarse: fc.boolean(),
});

function inputsOf(p: Parameters) {
  const random = randomSource(p.seed);
  const logits = Float32Array.from({ length: vocabulary }, () => {
    const value = (random() + random() + random() - 1.5) * 12;
    return p.coarse ? Math.round(value) : value;
  });
  return {
    logits,
    parameters: Float32Array.of(p.temperature, p.topP, p.minP, p.typicalP, ...p.penalties),
    controls: Int32Array.of(p.topK, p.seed, p.seed * 7, p.seed % 1000, 1, 30, 10),
    biasIds: Int32Array.from({ length: 3 }, (_, i) => (i < p.biases ? Math.floor(random() * vocabulary) : 0)),
    biasValues: Float32Array.from({ length: 3 }, (_, i) => (i < p.biases ? random() * 20 - 10 : 0)),
    ...(p.masked
      ? { mask: Int32Array.from({ length: Math.ceil(vocabulary / 32) }, () => random() * 2 ** 32 - 2 ** 31) }
      : {}),
  };
}

describe('sample', () => {
  it('draws the reference’s token from the reference’s distribution', async () => {
    await fc.assert(
      fc.asyncProperty(parameters, async (p) => {
        const trial = { graph: graphOf(p.masked), weights: [], dims: { rows: 1 }, inputs: inputsOf(p) };
        const expected = await runGraph(reference, trial);
        const actual = await runGraph(cpu, trial);
        expect(actual.ids).toEqual(expected.ids);
        actual.probabilities!.forEach((value, id) => {
          const wanted = expected.probabilities![id]!;
          expect(value > 0, `token ${id}`).toBe(wanted > 0);
          expect(Math.abs(value - wanted)).toBeLessThanOrEqual(1e-6);
        });
      }),
      { numRuns: 150 },
    );
  });

  it('is one row’s business: a batch draws what its rows draw alone', async () => {
    const rows = [1, 2, 3, 4].map((seed) =>
      inputsOf({
        temperature: 1,
        topP: 0.9,
        minP: 0,
        typicalP: 1,
        penalties: [1, 0, 0],
        topK: 50,
        masked: false,
        biases: 0,
        seed,
        coarse: false,
      }),
    );
    const alone = [];
    for (const inputs of rows) {
      alone.push(
        (await runGraph(cpu, { graph: graphOf(false), weights: [], dims: { rows: 1 }, inputs })).ids![0],
      );
    }
    const floats = (name: 'logits' | 'parameters' | 'biasValues'): Float32Array =>
      Float32Array.from(rows.flatMap((row) => [...row[name]]));
    const integers = (name: 'controls' | 'biasIds'): Int32Array =>
      Int32Array.from(rows.flatMap((row) => [...row[name]]));
    const inputs = {
      logits: floats('logits'),
      parameters: floats('parameters'),
      controls: integers('controls'),
      biasIds: integers('biasIds'),
      biasValues: floats('biasValues'),
    };
    const { ids } = await runGraph(cpu, { graph: graphOf(false), weights: [], dims: { rows: 4 }, inputs });
    expect([...ids!]).toEqual(alone);
  });

  it('takes rows of one history in order', async () => {
    const rows = 6;
    const logits = Float32Array.from({ length: rows * vocabulary }, (_, i) =>
      i % vocabulary === 7 ? 9 : 0.5,
    );
    // Each row sees one token more of row 0 of the history, and a token that is there is as good as forbidden.
    const inputs = {
      logits: logits.map((value, i) => (i % vocabulary === 8 ? 8 : i % vocabulary === 9 ? 7 : value)),
      parameters: Float32Array.from(Array.from({ length: rows }, () => [0, 1, 0, 1, 1, 100, 0]).flat()),
      controls: Int32Array.from(Array.from({ length: rows }, (_, row) => [0, 1, 2, row, 0, row, 0]).flat()),
      biasIds: new Int32Array(3 * rows),
      biasValues: new Float32Array(3 * rows),
    };
    const trial = { graph: graphOf(false), weights: [], dims: { rows }, inputs };
    const { ids } = await runGraph(cpu, trial);
    expect([...ids!].slice(0, 4)).toEqual([7, 8, 9, 0]);
    expect(ids).toEqual((await runGraph(reference, trial)).ids);
  });
});
