/** Lists the products of a graph as kernels will compute them, which is what can be tuned for a model. No device is needed. */
import { graphSignature, symbolicDims, type Graph, type WeightEntry } from '@unicorn-exec/tensor';
import type { DeviceTraits } from '../dispatch/dispatch.js';
import { tiledKernels } from '../kernel/kernels.js';
import { defaultTiler, type MatmulTiler } from '../kernel/tiler.js';
import type { ProductShape } from '../kernel/product-shape.js';
import { dispatchesOf } from '../lowering/dispatches.js';
import { lower } from '../lowering/lower.js';
import type { ProductForm } from './tuning.js';
import { loadRequest } from '../weights/weight-set.js';

/** Products of one form and shape, and how many of them a submission has. */
export interface ProductUse {
  readonly form: ProductForm;
  readonly shape: ProductShape;
  readonly count: number;
}

/** Symbolic dims that follow the rows of activations; `outputs` are the rows that a step samples from. */
const rowDims = ['tokens', 'outputs', 'sequences'];

/** Rows of one step that decodes; above it is prefill, of which one row is sampled from. */
const mostSequences = 16;

/** A tiler that answers like another one and remembers what it was asked. */
function listening(base: MatmulTiler, heard: (form: ProductForm, shape: ProductShape) => void): MatmulTiler {
  return {
    f16(shape, traits) {
      const tile = base.f16(shape, traits);
      if (tile) heard('f16', shape);
      return tile;
    },
    int8: (shape, traits) => (heard('int8', shape), base.int8(shape, traits)),
    float: (shape, traits) => (heard('float', shape), base.float(shape, traits)),
  };
}

/**
 * @param graph with a symbolic dim `tokens`, and `outputs` and `sequences` where it has them, as steps of models do
 * @param entries its weights; vectors are read from their files
 * @param tokens rows of activations, for each of which products are listed
 * @throws UnicornError `usage/weight`, `usage/file`, `format/truncated`
 */
export async function productUses(
  graph: Graph,
  entries: readonly WeightEntry[],
  traits: DeviceTraits,
  tokens: readonly number[],
): Promise<ProductUse[]> {
  const { weights } = await loadRequest(entries);
  // The bytes of all weights decide nothing about products.
  const table = { byteLength: 0, loaded: (name: string) => weights.get(name)! };
  const uses = new Map<string, ProductUse>();
  const dims = (rows: number): Record<string, number> =>
    Object.fromEntries(
      symbolicDims(graph).map((dim) => {
        const sampled = rows <= mostSequences ? rows : 1;
        return [dim, dim === 'tokens' ? rows : rowDims.includes(dim) ? sampled : 1];
      }),
    );
  const maximum = Object.fromEntries(
    symbolicDims(graph).map((dim) => [dim, Math.max(...tokens.map((rows) => dims(rows)[dim]!))]),
  );
  const plan = lower(graph, {
    signature: graphSignature(graph),
    precision: 'fast',
    maximumDims: maximum,
    weights: table,
    target: { traits, table: tiledKernels(defaultTiler) },
  });
  const isGathered = (step: number): boolean => plan.gathers.some((one) => one.step === step);
  for (const rows of tokens) {
    const heard: Record<string, number> = {};
    const listen = listening(defaultTiler, (form, shape) => {
      const key = [form, shape.dtype, shape.rows, shape.columns, shape.tokens, shape.banks].join(' ');
      const count = (heard[key] = (heard[key] ?? 0) + 1);
      // Every step has a product of the sampled rows, whatever its tokens.
      if (count > (uses.get(key)?.count ?? 0)) uses.set(key, { form, shape, count });
    });
    dispatchesOf(
      plan,
      table,
      { traits, table: tiledKernels(listen) },
      { dims: dims(rows), gatheredAt: (step) => (isGathered(step) ? 64 : undefined) },
    );
  }
  return [...uses.values()];
}
