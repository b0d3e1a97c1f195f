/** The order and the cut-offs of sampling, against Hugging Face's logits processors: see the shared goldens' README. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  GraphBuilder,
  referenceBackend,
  sampleControls,
  sampleParameters,
  sampleDistribution,
  type SampleParameters,
} from '@unicorn-exec/tensor';
import { packSampling, type SamplingParameters } from '../src/index.js';

interface Case {
  readonly id: number;
  readonly params: Record<string, number> & { logit_bias?: Record<string, number> };
  readonly history: readonly number[];
  readonly kept: number;
  readonly note: string;
}

const { cases } = JSON.parse(readFileSync(new URL('./goldens/sampling.json', import.meta.url), 'utf8')) as {
  cases: Case[];
};

const tensors = ((): ((name: string) => Float32Array) => {
  const file = readFileSync(new URL('./goldens/sampling.safetensors', import.meta.url));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes)) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  return (name) => {
    const [begin, end] = header[name]!.data_offsets;
    return new Float32Array(
      Uint8Array.from(file.subarray(8 + headerBytes + begin, 8 + headerBytes + end)).buffer,
    );
  };
})();

function parametersOf({ params }: Case): SamplingParameters {
  return {
    temperature: params.temperature,
    topK: params.top_k,
    topP: params.top_p,
    minP: params.min_p,
    typicalP: params.typical_p,
    repetitionPenalty: params.repetition_penalty,
    presencePenalty: params.presence_penalty,
    frequencyPenalty: params.frequency_penalty,
    logitBias: params.logit_bias,
    seed: 1,
  };
}

/** A bias of -100 leaves a mass near 1e-43: whether f32 keeps it is no cut-off. */
function comparable(golden: Case, id: number): boolean {
  return golden.params.logit_bias?.[String(id)] !== -100;
}

function expectDistribution(golden: Case, ours: Float32Array): void {
  const theirs = tensors(`${golden.id}.probs`);
  const kept = (distribution: Float32Array): number[] =>
    [...distribution.keys()].filter((id) => distribution[id]! > 0 && comparable(golden, id));
  expect(kept(ours)).toEqual(kept(theirs));
  ours.forEach((value, id) => expect(Math.abs(value - theirs[id]!)).toBeLessThanOrEqual(1e-6));
}

describe('sampling goldens', () => {
  it.each(cases)('$id: $params $note', (golden) => {
    const logits = tensors(`${golden.id}.logits`);
    const row = packSampling(parametersOf(golden), logits.length);
    const { ids, probabilities } = sampleDistribution({
      logits,
      parameters: Object.fromEntries(
        sampleParameters.map((name, index) => [name, row.parameters[index]!]),
      ) as SampleParameters,
      topK: row.controls[sampleControls.indexOf('topK')]!,
      history: Int32Array.from(golden.history),
      promptLength: 0,
      biasIds: row.biasIds,
      biasValues: row.biasValues,
    });
    const distribution = new Float32Array(logits.length);
    ids.forEach((id, index) => (distribution[id] = probabilities[index]!));
    expectDistribution(golden, distribution);
  });

  it('come out of one submission too, each row with its own parameters', async () => {
    const vocabulary = tensors('0.logits').length;
    const capacity = Math.max(...cases.map(({ history }) => history.length)) + 1;
    const biases = Math.max(...cases.map(({ params }) => Object.keys(params.logit_bias ?? {}).length));
    const rows = cases.length;
    const builder = new GraphBuilder('sampling');
    const [ids, , distribution] = builder.apply(
      'sample',
      {
        logits: builder.input('logits', 'f32', [rows, vocabulary]),
        parameters: builder.input('parameters', 'f32', [rows, sampleParameters.length]),
        controls: builder.input('controls', 'i32', [rows, sampleControls.length]),
        biasIds: builder.input('biasIds', 'i32', [rows, biases]),
        biasValues: builder.input('biasValues', 'f32', [rows, biases]),
        history: builder.state('history', 'i32', [rows, capacity]),
      },
      { probabilities: true },
    );
    builder.output('ids', ids!);
    builder.output('distribution', distribution!);

    const logits = new Float32Array(rows * vocabulary);
    const parameters = new Float32Array(rows * sampleParameters.length);
    const controls = new Int32Array(rows * sampleControls.length);
    const biasIds = new Int32Array(rows * biases);
    const biasValues = new Float32Array(rows * biases);
    const tokens = new Int32Array(rows * capacity);
    cases.forEach((golden, row) => {
      const packed = packSampling(parametersOf(golden), vocabulary);
      logits.set(tensors(`${golden.id}.logits`), row * vocabulary);
      parameters.set(packed.parameters, row * sampleParameters.length);
      controls.set(packed.controls, row * sampleControls.length);
      controls[row * sampleControls.length + sampleControls.indexOf('historyRow')] = row;
      controls[row * sampleControls.length + sampleControls.indexOf('historyLength')] = golden.history.length;
      biasIds.set(packed.biasIds, row * biases);
      biasValues.set(packed.biasValues, row * biases);
      tokens.set(golden.history, row * capacity);
    });
    const device = await referenceBackend.open();
    const executable = await device.compile(builder.build(), await device.load([]), { dims: {} });
    const history = device.allocate(tokens.byteLength);
    await device.write(history, 0, new Uint8Array(tokens.buffer));
    const buffers = {
      ...{ logits, parameters, controls, biasIds, biasValues, history },
      ids: device.allocate(rows * 4),
      distribution: device.allocate(rows * vocabulary * 4),
    };
    await executable.submit({ dims: {}, buffers }).done;
    const read = await device.read(buffers.distribution, 0, buffers.distribution.byteLength);
    cases.forEach((golden, row) =>
      expectDistribution(golden, new Float32Array(read.buffer, row * vocabulary * 4, vocabulary)),
    );
    await device.close();
  });
});
