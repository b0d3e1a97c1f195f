/**
 * The gated feed-forward, whole or nested: a width of m uses the first m rows of gate and up and the first m columns of
 * down (MatFormer, Devvrit et al. 2023, arXiv:2310.07707).
 */
import type { Value } from '@unicorn-exec/tensor';
import type { DecoderStep, KeptLayer } from './decoder-step.js';

/** @param x normed input, f32 [rows, hidden] */
export function feedForward(step: DecoderStep, layer: KeptLayer, x: Value): Value {
  const { builder, config } = step;
  const whole = layer.width === layer.feedForward;
  const rows = whole ? undefined : { rows: layer.width };
  const columns = whole ? undefined : { columns: layer.width };
  const raw = step.linear(layer, 'feedForward.gate', x, rows);
  // The cut-off takes mean and deviation of the rows in use, so it moves with the width.
  const gate =
    layer.sparsityDeviations === undefined ? raw : builder.gaussianTopK(raw, layer.sparsityDeviations);
  const up = step.linear(layer, 'feedForward.up', x, rows);
  return step.linear(layer, 'feedForward.down', builder.glu(gate, up, config.activation), columns);
}
