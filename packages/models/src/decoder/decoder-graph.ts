/** The plain pre-norm decoder: Llama, Qwen and Gemma 2 and 3 differ in their configuration only. */
import type { Value } from '@unicorn-exec/tensor';
import { attention, writeKeysAndValues } from './attention.js';
import type { DecoderStep, KeptLayer } from './decoder-step.js';
import { feedForward } from './feed-forward.js';

/** @returns the logits, where the step's options ask for them */
export function buildDecoder(step: DecoderStep): Value | undefined {
  let x = step.scoped('embedding', () => step.embed());
  step.outputHidden(0, x);
  for (const layer of step.layers) {
    const attended = step.scopedLayer(layer, 'attention', () => attentionPart(step, layer, x));
    if (!attended) return undefined;
    x = step.scopedLayer(layer, 'feedForward', () => feedForwardPart(step, layer, attended));
    step.outputHidden(layer.index + 1, x);
  }
  return step.logits(x);
}

/** `x` with the layer's attention added; undefined where nothing is left to compute but its keys and values. */
function attentionPart(step: DecoderStep, layer: KeptLayer, x: Value): Value | undefined {
  const normed = step.layerNorm(layer, 'attention.norm', x);
  if (step.endsAt(layer)) {
    writeKeysAndValues(step, layer, normed);
    return undefined;
  }
  const mixed = attention(step, layer, normed);
  return step.builder.add(x, afterNorm(step, layer, 'attention.postNorm', mixed));
}

/** `x` with the layer's feed-forward added. */
function feedForwardPart(step: DecoderStep, layer: KeptLayer, x: Value): Value {
  const inner = feedForward(step, layer, step.layerNorm(layer, 'feedForward.norm', x));
  return step.builder.add(x, afterNorm(step, layer, 'feedForward.postNorm', inner));
}

function afterNorm(step: DecoderStep, layer: KeptLayer, part: string, x: Value): Value {
  return step.config.postNorms ? step.layerNorm(layer, part, x) : x;
}
