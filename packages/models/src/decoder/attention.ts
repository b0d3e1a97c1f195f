/** Grouped-query attention over the paged cache, shared by all decoders. */
import type { Value } from '@unicorn-exec/tensor';
import type { DecoderStep, KeptLayer } from './decoder-step.js';

function splitHeads(step: DecoderStep, x: Value, heads: number): Value {
  return step.builder.reshape(x, [x.shape[0]!, heads, step.config.headDim]);
}

/**
 * Stores the layer's keys and values of this step.
 *
 * @param x normed input, f32 [tokens, hidden]
 */
export function writeKeysAndValues(step: DecoderStep, layer: KeptLayer, x: Value): void {
  const { builder, config } = step;
  const rawKey = splitHeads(step, step.linear(layer, 'attention.key', x), config.kvHeads);
  const rawValue = splitHeads(step, step.linear(layer, 'attention.value', x), config.kvHeads);
  const key = config.queryKeyNorm ? step.layerNorm(layer, 'attention.keyNorm', rawKey) : rawKey;
  const value = config.valueNorm ? step.norm(rawValue, undefined) : rawValue;
  const slots = step.inputs.slots(step.group(layer.index));
  step.setState(layer, builder.kvWrite(step.state(layer), step.rope(layer, key), value, slots));
}

/**
 * Attention of one layer, output projection included, norms around it not.
 *
 * @param x normed input, f32 [rows, hidden]
 */
export function attention(step: DecoderStep, layer: KeptLayer, x: Value): Value {
  const { builder, config } = step;
  const rawQuery = splitHeads(step, step.linear(layer, 'attention.query', x), config.heads);
  const query = config.queryKeyNorm ? step.layerNorm(layer, 'attention.queryNorm', rawQuery) : rawQuery;
  if (layer.kvSource === undefined) writeKeysAndValues(step, layer, x);
  const mixed = builder.attention(
    {
      query: step.rope(layer, query),
      state: step.state(layer),
      positions: step.positions,
      starts: step.starts,
      blocks: step.inputs.blocks(step.group(layer.kvSource ?? layer.index)),
      reach: step.reach,
    },
    {
      scale: config.attentionScale,
      window: layer.attention === 'sliding' ? config.window : undefined,
      softcap: config.attentionSoftcap,
    },
  );
  const joined = builder.reshape(mixed, [x.shape[0]!, config.heads * config.headDim]);
  return step.linear(layer, 'attention.output', joined);
}
