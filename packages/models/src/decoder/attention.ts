/** Grouped-query attention over the paged cache, shared by all decoders. */
import type { Value } from '@unicorn-exec/tensor';
import { attentionShape } from './decoder-config.js';
import type { DecoderStep, KeptLayer } from './decoder-step.js';

function splitHeads(step: DecoderStep, x: Value, heads: number, headDim: number): Value {
  return step.builder.reshape(x, [x.shape[0]!, heads, headDim]);
}

/**
 * Stores the layer's keys and values of this step.
 *
 * @param x normed input, f32 [tokens, hidden]
 */
export function writeKeysAndValues(step: DecoderStep, layer: KeptLayer, x: Value): void {
  const { builder, config } = step;
  const { kvHeads, headDim } = attentionShape(config, layer);
  const project = (part: string): Value =>
    splitHeads(step, step.linear(layer, `attention.${part}`, x), kvHeads, headDim);
  const rawKey = project('key');
  const rawValue = layer.values === undefined || layer.values === 'own' ? project('value') : rawKey;
  const key = config.queryKeyNorm ? step.layerNorm(layer, 'attention.keyNorm', rawKey) : rawKey;
  const value = config.valueNorm ? step.norm(rawValue, undefined) : rawValue;
  const slots = step.inputs.slots(step.group(layer.index));
  const stored = layer.values === 'keys' ? undefined : value;
  step.setState(layer, builder.kvWrite(step.state(layer), step.rope(layer, key), stored, slots));
}

/**
 * Attention of one layer, output projection included, norms around it not.
 *
 * @param x normed input, f32 [rows, hidden]
 */
export function attention(step: DecoderStep, layer: KeptLayer, x: Value): Value {
  const { builder, config } = step;
  const { heads, headDim, window, scale } = attentionShape(config, layer);
  const rawQuery = splitHeads(step, step.linear(layer, 'attention.query', x), heads, headDim);
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
    { scale, window, softcap: config.attentionSoftcap },
  );
  return step.linear(layer, 'attention.output', builder.reshape(mixed, [x.shape[0]!, heads * headDim]));
}
