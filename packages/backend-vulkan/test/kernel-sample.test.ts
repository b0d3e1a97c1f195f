/**
 * Sampling over large vocabularies, where filters cut among many tokens and many scores are equal. The reference sorts and
 * computes in float64; the kernels sort nothing and sum integers.
 */
import {
  findOp,
  HostTensor,
  sampleControls,
  sampleParameters,
  uniformAt,
  type SampleParameters,
} from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sample } from '../src/kernel/sample.js';
import { kernelProblem, KernelRun } from './kernel-run.js';
import { normals, uniforms } from './random.js';

const problem = kernelProblem();

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
  readonly historyLength?: number;
  readonly promptLength?: number;
}

describe.skipIf(problem !== undefined)(`sample kernels${problem ? ` (${problem})` : ''}`, () => {
  let run: KernelRun;
  beforeAll(() => {
    run = KernelRun.open();
  });
  afterAll(() => {
    expect(run.close()).toEqual([]);
  });

  /** Runs rows on the device and on the reference; row i of the logits has row i of the history. */
  async function compare(rows: readonly Row[], logits: HostTensor, capacity = 64) {
    const vocabulary = logits.columns;
    const uniform = uniforms(7);
    const parameters = HostTensor.f32(
      [rows.length, sampleParameters.length],
      Float32Array.from(
        rows.flatMap((row) => sampleParameters.map((name) => row.parameters[name] ?? neutral[name])),
      ),
    );
    const controls = HostTensor.i32(
      [rows.length, sampleControls.length],
      rows.flatMap((row, index) => {
        const { topK = 0, historyLength = 0, promptLength = 0 } = row;
        const control = { topK, seedLow: 11, seedHigh: index, position: 5, historyRow: index };
        const all = { ...control, historyLength, promptLength };
        return sampleControls.map((name) => all[name]);
      }),
    );
    const history = HostTensor.i32(
      [rows.length, capacity],
      Array.from({ length: rows.length * capacity }, () => Math.floor(uniform() * Math.min(50, vocabulary))),
    );
    const empty = {
      biasIds: HostTensor.i32([rows.length, 0], []),
      biasValues: HostTensor.f32([rows.length, 0], []),
    };
    const inputs = { logits, parameters, controls, ...empty, history };
    const given = {
      logits: await run.tensor(logits),
      parameters: await run.tensor(parameters),
      controls: await run.tensor(controls),
      biasIds: await run.tensor(empty.biasIds),
      biasValues: await run.tensor(empty.biasValues),
      history: await run.tensor(history),
      ids: await run.operand('i32', [rows.length]),
      probabilities: await run.operand('f32', logits.shape),
      counters: run.faults,
      faults: run.faults,
    };
    const scratch = await run.memory(sample.scratchBytes({ ...given, scratch: run.faults }));
    await run.run(sample.dispatch({ ...given, scratch }));
    expect(await run.takeFault()).toBe(0);
    const ids = (await run.read(given.ids)).integers;
    const probabilities = (await run.read(given.probabilities)).floats;
    const expected = [
      HostTensor.zeros('i32', [rows.length]),
      history,
      HostTensor.zeros('f32', logits.shape),
    ] as const;
    findOp('sample').evaluate({ inputs, attributes: { probabilities: true }, outputs: expected });
    expect((await run.read(given.history)).integers).toEqual(history.integers);
    return { ids, probabilities, expectedIds: expected[0].integers, expected: expected[2].floats };
  }

  const filters: readonly Row[] = [
    { parameters: { temperature: 0 } },
    { parameters: {} },
    { parameters: { temperature: 1.5 }, topK: 50 },
    { parameters: { topP: 0.95 } },
    { parameters: { topP: 0.5, temperature: 0.7 }, topK: 1000 },
    { parameters: { minP: 0.1 } },
    { parameters: { typicalP: 0.9 } },
    { parameters: { typicalP: 0.3, topP: 0.9 }, topK: 500 },
    {
      parameters: { temperature: 0.9, repetitionPenalty: 1.3, frequencyPenalty: 0.4, topP: 0.8 },
      historyLength: 60,
      promptLength: 13,
    },
  ];

  it('draws what the reference draws, from 40,009 tokens', async () => {
    const vocabulary = 40_009;
    const logits = HostTensor.f32(
      [filters.length, vocabulary],
      normals(filters.length * vocabulary, 9).map((x) => 2.5 * x),
    );
    const { ids, probabilities, expectedIds, expected } = await compare(filters, logits);
    for (let row = 0; row < filters.length; row++) {
      const [own, theirs] = [probabilities, expected].map((all) =>
        all.subarray(row * vocabulary, (row + 1) * vocabulary),
      ) as [Float32Array, Float32Array];
      let [distance, kept, keptByBoth, cumulative, edge] = [0, 0, 0, 0, 1];
      const draw = uniformAt(11, row, 5);
      for (let id = 0; id < vocabulary; id++) {
        distance += Math.abs(own[id]! - theirs[id]!);
        kept += Number(theirs[id]! > 0);
        keptByBoth += Number(theirs[id]! > 0 && own[id]! > 0);
        cumulative += theirs[id]!;
        edge = Math.min(edge, Math.abs(cumulative - draw));
      }
      // f32 exponentials and sums of integers of 2^-31.
      expect(distance, `row ${row}`).toBeLessThan(2e-5);
      // A token at the cut may be kept by one and not by the other.
      expect(kept - keptByBoth, `row ${row}`).toBeLessThanOrEqual(1);
      if (edge > 2e-5) expect(ids[row], `row ${row}`).toBe(expectedIds[row]);
    }
  });

  it('cuts among equal scores by id', async () => {
    // Eight values only: every cut falls among thousands of equals.
    const vocabulary = 9001;
    const uniform = uniforms(21);
    const rows = filters.slice(1, 8);
    const logits = HostTensor.f32(
      [rows.length, vocabulary],
      Float32Array.from({ length: rows.length * vocabulary }, () => Math.floor(8 * uniform()) - 4),
    );
    const { probabilities, expected } = await compare(rows, logits);
    for (let row = 0; row < rows.length; row++) {
      let [distance, differing] = [0, 0];
      for (let i = row * vocabulary; i < (row + 1) * vocabulary; i++) {
        distance += Math.abs(probabilities[i]! - expected[i]!);
        differing += Number(probabilities[i]! > 0 !== expected[i]! > 0);
      }
      expect(distance, `row ${row}`).toBeLessThan(5e-4);
      // Sums in float64 and in integers may differ about the cut by a token.
      expect(differing, `row ${row}`).toBeLessThanOrEqual(1);
    }
  });

  it('takes the lowest of equal best ids, in any stretch', async () => {
    const vocabulary = 10_000;
    const logits = HostTensor.f32([2, vocabulary], new Float32Array(2 * vocabulary));
    logits.floats[7777] = 1;
    logits.floats[4099] = 1;
    logits.floats[vocabulary + 9999] = 1e30;
    const { ids } = await compare([filters[0]!, filters[0]!], logits);
    expect([...ids]).toEqual([4099, 9999]);
  });
});
