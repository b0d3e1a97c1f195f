/**
 * The nested sizes that Gemma 3n's makers published for E4B, for checkpoints that do not list sizes of their own (no
 * official one does). Source: the data set `google/gemma3n-slicing-configs`, whose widths are given for the layers that
 * a size keeps. Of its sixteen rows those are here that could be checked against a copy of the data set: the two
 * official models and the two smallest sizes between them.
 */
import type { ElasticSize } from '@unicorn-exec/tensor';
import type { DecoderConfig } from '../decoder/decoder-config.js';

/** What E4B is told by: no other published model has it. */
const e4bLayers = 35;
const wide = 16_384;
const narrow = 8_192;
/** Four sliding layers and the full one that follows them. The official E2B does without them. */
const skippedBlock = [20, 21, 22, 23, 24];

/** Layers of full width by name; the others that are kept are of E2B's. */
const published: readonly {
  readonly name: string;
  readonly wide: readonly number[];
  readonly skip: readonly number[];
}[] = [
  { name: 'e2.54b', wide: [4, ...skippedBlock], skip: [] },
  { name: 'e1.96b', wide: [4], skip: skippedBlock },
  { name: 'e2b', wide: [], skip: skippedBlock },
];

/** The published sizes of E4B, largest first; none for a model of another shape. */
export function publishedSizes({ layers }: DecoderConfig): ReadonlyMap<string, ElasticSize> {
  const isE4b =
    layers.length === e4bLayers &&
    layers.every(({ feedForward }) => feedForward === wide) &&
    skippedBlock.every((layer) => layers[layer]!.kvSource !== undefined);
  if (!isE4b) return new Map();
  const all = layers.map((_, layer) => layer);
  return new Map([
    ['e4b', { feedForward: all.map(() => wide), skip: [] }],
    ...published.map((size): [string, ElasticSize] => [
      size.name,
      {
        feedForward: all
          .filter((layer) => !size.skip.includes(layer))
          .map((layer) => (size.wide.includes(layer) ? wide : narrow)),
        skip: size.skip,
      },
    ]),
  ]);
}
