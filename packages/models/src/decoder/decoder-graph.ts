/** The plain pre-norm decoder: Llama, Qwen and Gemma 2 and 3 differ in their configuration only. */
import type { Value } from '@unicorn-exec/tensor';
import { attention, writeKeysAndValues } from './attention.js';
import type { DecoderStep, KeptLayer } from './decoder-step.js';
import { feedForward } from './feed-forward.js';

/** @returns the logits, where the step's options ask for them */
export function buildDecoder(step: DecoderStep): Value | undefined {
  const { builder, config, inputs } = step;
  let x = builder.embed(inputs.ids, step.weight('embed'), { scale: config.embeddingScale });
  step.outputHidden(0, x);
  for (const layer of step.layers) {
    const normed = step.layerNorm(layer, 'attention.norm', x);
    if (step.endsAt(layer)) {
      writeKeysAndValues(step, layer, normed);
      return undefined;
    }
    x = builder.add(x, afterNorm(step, layer, 'attention.postNorm', attention(step, layer, normed)));
    const inner = feedForward(step, layer, step.layerNorm(layer, 'feedForward.norm', x));
    x = builder.add(x, afterNorm(step, layer, 'feedForward.postNorm', inner));
    step.outputHidden(layer.index + 1, x);
  }
  return step.logits(x);
}

function afterNorm(step: DecoderStep, layer: KeptLayer, part: string, x: Value): Value {
  return step.config.postNorms ? step.layerNorm(layer, part, x) : x;
}
