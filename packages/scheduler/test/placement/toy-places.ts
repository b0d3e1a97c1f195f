/** The toy model for the tests of placement: its step, and where its nodes may be. */
import { GraphBuilder, type Graph } from '@unicorn-exec/tensor';
import type { LayerCut, Place } from '../../src/placement/index.js';
import { randomNumbers, ToyModel } from '../toy-model.js';

export const model = new ToyModel([undefined, 5, undefined, 5]);

export function stepGraph(logits: 'selected' | 'all' | 'none' = 'selected', hidden = false): Graph {
  const builder = new GraphBuilder('toy');
  model.buildStep(builder, { kvDType: 'f32', blockTokens: 4, logits, hidden });
  return builder.build();
}

function layerOf(weight: string): number | undefined {
  const digits = /^(\d+)\./.exec(weight)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

export function cutAt(layer: number): LayerCut {
  return { layer, layerOf };
}

/** Each node on any device, but the same at each call: a weight is on one device in every graph. */
export function randomPlace(devices: number, seed: number): Place {
  return ({ nodes, values }) =>
    nodes.map(({ op, inputs }) => {
      const weights = Object.values(inputs).flatMap((id) => {
        const { source } = values[id]!;
        return source.kind === 'weight' ? [source.name] : [];
      });
      const letters = `${op} ${weights.join()}`;
      let hash = seed;
      for (const letter of letters) hash = (Math.imul(hash, 31) + letter.charCodeAt(0)) | 0;
      return Math.floor(randomNumbers(hash)() * devices);
    });
}
