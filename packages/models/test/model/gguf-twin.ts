/**
 * Writes a golden checkpoint as llama.cpp's converter would: its tensor names, its stacks, its permutation of query and
 * key rows (Llama) and its norms with the 1 added (Gemma 2 and 3). All tensors stay f32.
 */
import { open } from 'node:fs/promises';
import { writeGguf, type GgufTensor, type MetadataEntry } from '@unicorn-exec/checkpoint';
import { decodeRow, type WeightEntry } from '@unicorn-exec/tensor';
import type { Model } from '../../src/index.js';

export interface TwinOptions {
  readonly architecture: string;
  readonly metadata: Readonly<Record<string, MetadataEntry>>;
  readonly permuted?: boolean;
  readonly extra?: readonly GgufTensor[];
}

export const u32 = (value: number): MetadataEntry => ({ type: 'u32', value });
export const f32 = (value: number): MetadataEntry => ({ type: 'f32', value });

export async function writeTwin(model: Model, path: string, options: TwinOptions): Promise<void> {
  const { config, weights } = model.definition;
  const entries = new Map(model.weights().map((entry) => [entry.name, entry]));
  const parts = new Map<string, WeightEntry[]>();
  for (const { name, gguf } of weights) {
    const entry = entries.get(name);
    if (entry) parts.set(gguf, [...(parts.get(gguf) ?? []), entry]);
  }
  const tensors: GgufTensor[] = [];
  for (const [name, stack] of parts) {
    const values = await Promise.all(stack.map((entry) => readFloats(entry)));
    const { name: ours, shape } = stack[0]!;
    const joined = values.map((part) => {
      if (options.permuted && /attention\.(query|key)$/.test(ours))
        return permuteHalves(part, shape[1]!, config.headDim);
      return /[nN]orm$/.test(ours) ? part.map((value) => value + config.normOffset) : part;
    });
    tensors.push({
      name,
      dtype: 'f32',
      shape: stack.length > 1 ? [stack.length, ...shape] : shape,
      data: Buffer.concat(joined.map((part) => new Uint8Array(part.buffer))),
    });
  }
  const { architecture } = options;
  const key = (name: string): string => `${architecture}.${name}`;
  await writeGguf(path, {
    metadata: [
      ['general.architecture', { type: 'string', value: architecture }],
      [key('context_length'), u32(config.contextLength)],
      [key('embedding_length'), u32(config.hidden)],
      [key('block_count'), u32(config.layers.length)],
      [
        key('feed_forward_length'),
        { type: 'array', elementType: 'u32', values: config.layers.map(({ feedForward }) => feedForward) },
      ],
      [key('attention.head_count'), u32(config.heads)],
      [key('attention.head_count_kv'), u32(config.kvHeads)],
      [key('attention.key_length'), u32(config.headDim)],
      [key('attention.value_length'), u32(config.headDim)],
      [key('attention.layer_norm_rms_epsilon'), f32(config.normEpsilon)],
      ...Object.entries(options.metadata).map(([name, entry]) => [name, entry] as const),
    ],
    tensors: [...tensors, ...(options.extra ?? [])],
  });
}

/** Rows of each head from halves to neighbours: row s * d/2 + i becomes row 2i + s. */
function permuteHalves(values: Float32Array, columns: number, headDim: number): Float32Array {
  const out = new Float32Array(values.length);
  const rows = values.length / columns;
  for (let row = 0; row < rows; row++) {
    const head = Math.floor(row / headDim);
    const inHead = row % headDim;
    const half = Math.floor(inHead / (headDim / 2));
    const pair = inHead % (headDim / 2);
    out.set(
      values.subarray(row * columns, (row + 1) * columns),
      (head * headDim + 2 * pair + half) * columns,
    );
  }
  return out;
}

async function readFloats({ dtype, shape, source }: WeightEntry): Promise<Float32Array> {
  if (source.kind !== 'file') throw new Error('a golden weight lies in a file');
  const file = await open(source.path, 'r');
  try {
    const bytes = new Uint8Array(source.byteLength);
    await file.read(bytes, 0, bytes.length, source.offset);
    const count = shape.reduce((product, dim) => product * dim, 1);
    const values = new Float32Array(count);
    decodeRow(dtype, bytes, 0, count, values);
    return values;
  } finally {
    await file.close();
  }
}
