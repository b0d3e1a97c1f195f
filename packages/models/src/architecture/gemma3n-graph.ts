/**
 * The graph of Gemma 3n: a decoder whose layers read one of several AltUp streams (arXiv:2301.13310), add a low-rank
 * branch (LAuReL, arXiv:2411.07501) and mix in an embedding of their own. The order of operations is the reference
 * implementation's (Gemma3nTextModel of Hugging Face transformers).
 */
import type { Value } from '@unicorn-exec/tensor';
import { attention, writeKeysAndValues } from '../decoder/attention.js';
import type { DecoderConfig } from '../decoder/decoder-config.js';
import type { DecoderStep, KeptLayer } from '../decoder/decoder-step.js';
import { feedForward } from '../decoder/feed-forward.js';

export interface Gemma3nConfig extends DecoderConfig {
  /** Residual streams, the computed one included. */
  readonly streams: number;
  /** The stream that layers compute. */
  readonly activeStream: number;
  /** Whether the corrected stream is scaled, feature by feature, before it gates the per-layer embedding. */
  readonly correctScale: boolean;
  readonly laurelRank: number;
  /** Features that each layer's own embedding has. */
  readonly perLayerFeatures: number;
  /** Rows of the per-layer table; ids beyond it (images, audio) take row 0. */
  readonly perLayerVocabulary: number;
}

/** The per-layer embedding is added to every stream but the first, whichever is active. */
const streamWithoutEmbedding = 0;

/** @returns the logits, where the step's options ask for them */
export function buildGemma3n(step: DecoderStep, config: Gemma3nConfig): Value | undefined {
  const { embedded, ...rest } = step.scoped('embedding', () => embedding(step, config));
  let { perLayer, streams } = rest;
  step.outputHidden(0, embedded);
  for (const layer of step.layers) {
    if (layer.kvSource !== undefined && step.mayNarrow) {
      // From here on nobody writes keys and values, so only rows whose logits are wanted are read again.
      const pick = step.narrow();
      streams = pick(streams, 1);
      perLayer = pick(perLayer);
    }
    const predictions = step.scopedLayer(layer, 'altUp', () => predictStreams(step, layer, config, streams));
    const activated = computeLayer(step, layer, config, predictions);
    if (!activated) return undefined;
    const corrected = step.scopedLayer(layer, 'altUp', () =>
      correctStreams(step, layer, config, predictions, activated),
    );
    streams = step.scopedLayer(layer, 'perLayer', () =>
      injectPerLayer(step, layer, config, corrected, perLayer),
    );
    if (step.options.hidden) step.outputHidden(layer.index + 1, stream(step, streams, config.activeStream));
  }
  if (step.options.logits === 'none') return undefined;
  return step.logits(step.scoped('head', () => mergeStreams(step, config, streams)));
}

/** What the layers begin with: the scaled embedding, the layers' own ones, and the streams. */
function embedding(
  step: DecoderStep,
  config: Gemma3nConfig,
): { readonly embedded: Value; readonly perLayer: Value; readonly streams: Value } {
  const embedded = step.embed();
  const perLayer = perLayerInputs(step, config, embedded);
  return { embedded, perLayer, streams: spreadStreams(step, config, embedded) };
}

/** One of the streams: f32 [rows, hidden]. */
function stream({ builder, config }: DecoderStep, streams: Value, index: number): Value {
  return builder.reshape(builder.slice(streams, 0, index, 1), [streams.shape[1]!, config.hidden]);
}

function stack({ builder, config }: DecoderStep, streams: readonly Value[]): Value {
  return builder.concat(
    streams.map((x) => builder.reshape(x, [1, x.shape[0]!, config.hidden])),
    0,
  );
}

/**
 * f32 [tokens, layers, perLayerFeatures]: what each layer multiplies its gate with. Of a given row, the table's part is
 * that of its placeholder id, which lies past the table (row 0 then), and the projection is that of what was given.
 */
function perLayerInputs(step: DecoderStep, config: Gemma3nConfig, embedded: Value): Value {
  const { builder, inputs } = step;
  const shape = [embedded.shape[0]!, config.layers.length, config.perLayerFeatures];
  const table = builder.embed(inputs.ids, step.weight('perLayer.embed'), {
    scale: Math.fround(Math.sqrt(config.perLayerFeatures)),
    beyond: 'firstRow',
  });
  const projected = builder.scale(
    builder.matmul(embedded, step.weight('perLayer.project')),
    config.hidden ** -0.5,
  );
  const normed = step.norm(builder.reshape(projected, shape), step.weight('perLayer.norm'));
  return builder.scale(builder.add(normed, builder.reshape(table, shape)), Math.SQRT1_2);
}

/** f32 [streams, tokens, hidden]: the embedding, and projections of it at its magnitude. */
function spreadStreams(step: DecoderStep, config: Gemma3nConfig, embedded: Value): Value {
  const others = Array.from({ length: config.streams - 1 }, (_, index) =>
    step.builder.matchRms(step.builder.matmul(embedded, step.weight(`altUp.project.${index}`)), embedded),
  );
  return stack(step, [embedded, ...others]);
}

/** f32 [rows, hidden]: the mean of all streams, each projected back at the first one's magnitude. */
function mergeStreams(step: DecoderStep, config: Gemma3nConfig, streams: Value): Value {
  const { builder } = step;
  const kept = step.selected(streams, 1);
  const first = stream(step, kept, 0);
  const others = Array.from({ length: config.streams - 1 }, (_, index) =>
    builder.matchRms(
      builder.matmul(stream(step, kept, index + 1), step.weight(`altUp.unproject.${index}`)),
      first,
    ),
  );
  return builder.mean(stack(step, [first, ...others]));
}

/** What tells how to mix the streams, from the active one: f32 [rows, streams]. */
function routeStreams(step: DecoderStep, layer: KeptLayer, active: Value): Value {
  const { builder, config } = step;
  const normed = builder.scale(step.layerNorm(layer, 'altUp.routerNorm', active), 1 / config.hidden);
  return builder.activation(builder.matmul(normed, step.layerWeight(layer, 'altUp.router')), 'tanh');
}

function predictStreams(step: DecoderStep, layer: KeptLayer, config: Gemma3nConfig, streams: Value): Value {
  const { builder } = step;
  const route = routeStreams(step, layer, stream(step, streams, config.activeStream));
  return builder.altUpPredict(streams, builder.matmul(route, step.layerWeight(layer, 'altUp.predict')));
}

function correctStreams(
  step: DecoderStep,
  layer: KeptLayer,
  config: Gemma3nConfig,
  predictions: Value,
  activated: Value,
): Value {
  const { builder } = step;
  const route = routeStreams(step, layer, activated);
  const coefficients = builder.matmul(route, step.layerWeight(layer, 'altUp.correct'));
  return builder.altUpCorrect(predictions, activated, coefficients, config.activeStream);
}

/** The active stream after attention, LAuReL and feed-forward; undefined where only keys and values are computed. */
function computeLayer(
  step: DecoderStep,
  layer: KeptLayer,
  config: Gemma3nConfig,
  predictions: Value,
): Value | undefined {
  const mixed = step.scopedLayer(layer, 'attention', () => mixTokens(step, layer, config, predictions));
  if (!mixed) return undefined;
  return step.scopedLayer(layer, 'feedForward', () => {
    const inner = feedForward(step, layer, step.layerNorm(layer, 'feedForward.norm', mixed));
    return step.builder.add(mixed, step.layerNorm(layer, 'feedForward.postNorm', inner));
  });
}

/** Attention and LAuReL of the active stream. LAuReL's residual is the normed value too. */
function mixTokens(
  step: DecoderStep,
  layer: KeptLayer,
  config: Gemma3nConfig,
  predictions: Value,
): Value | undefined {
  const { builder } = step;
  const active = stream(step, predictions, config.activeStream);
  const normed = step.layerNorm(layer, 'attention.norm', active);
  if (step.endsAt(layer)) {
    writeKeysAndValues(step, layer, normed);
    return undefined;
  }
  const low = builder.matmul(normed, step.layerWeight(layer, 'laurel.left'));
  const branch = step.layerNorm(
    layer,
    'laurel.norm',
    builder.matmul(low, step.layerWeight(layer, 'laurel.right')),
  );
  const laurel = builder.add(normed, branch);
  const attended = step.layerNorm(layer, 'attention.postNorm', attention(step, layer, normed));
  return builder.scale(builder.add(builder.add(active, attended), laurel), Math.SQRT1_2);
}

function injectPerLayer(
  step: DecoderStep,
  layer: KeptLayer,
  config: Gemma3nConfig,
  corrected: Value,
  perLayer: Value,
): Value {
  const { builder } = step;
  const active = stream(step, corrected, config.activeStream);
  const scaled = config.correctScale
    ? builder.multiply(active, step.layerWeight(layer, 'altUp.correctScale'))
    : active;
  const gate = builder.matmul(scaled, step.layerWeight(layer, 'perLayer.gate'));
  const own = builder.reshape(builder.slice(perLayer, 1, layer.index, 1), [
    perLayer.shape[0]!,
    config.perLayerFeatures,
  ]);
  const projected = builder.matmul(
    builder.glu(gate, own, config.activation),
    step.layerWeight(layer, 'perLayer.project'),
  );
  return builder.altUpInject(
    corrected,
    step.layerNorm(layer, 'perLayer.norm', projected),
    streamWithoutEmbedding,
  );
}
