/** Whole decoder layers over ragged steps: the same tokens in one chunk, in many, in company, in other blocks. */
import type { DeviceInfo, DType } from '@unicorn-exec/tensor';
import { layerFamilies } from './cases/chain.js';
import { decoderLayer, type LayerShape, type StepShape } from './decoder.js';
import { largestDims, type InvarianceCase, type InvariantStep, type Variant } from './invariance.js';

/** The sequence that counts: its tokens are the same in every variant. Past 32 rows and past two blocks of 16. */
const watched = { id: 1, tokens: 37 };

/** Rows of company in each step, by sequence id. */
type Company = readonly { readonly id: number; readonly rows: readonly number[] }[];

interface Way {
  readonly name: string;
  /** How the watched prompt is cut. */
  readonly chunks: readonly number[];
  readonly company?: Company;
  /** Order of ids in the step. */
  readonly last?: boolean;
  readonly blocks?: string;
}

const ways: readonly Way[] = [
  { name: 'one chunk', chunks: [37] },
  { name: 'two chunks', chunks: [17, 20] },
  { name: 'uneven chunks', chunks: [5, 1, 30, 1] },
  { name: 'one token at a time', chunks: Array.from({ length: 37 }, () => 1) },
  { name: 'one chunk in other blocks', chunks: [37], blocks: 'others' },
  {
    name: 'two chunks in company',
    chunks: [16, 21],
    company: [
      { id: 2, rows: [3, 1] },
      { id: 3, rows: [0, 13] },
    ],
  },
  {
    name: 'chunks behind company',
    chunks: [2, 33, 2],
    company: [{ id: 4, rows: [40, 1, 1] }],
    last: true,
    blocks: 'more',
  },
];

function variant(name: string, shape: LayerShape, way: Way): Variant {
  const others = way.company ?? [];
  const past = new Map<number, number>();
  const steps = way.chunks.map((count, index): InvariantStep => {
    const members = others.map(({ id, rows }) => ({ id, rows: rows[index] ?? 0 }));
    const own = { id: watched.id, rows: count };
    const sequences = (way.last ? [...members, own] : [own, ...members]).map(({ id, rows }) => {
      const before = past.get(id) ?? 0;
      past.set(id, before + rows);
      return { id, past: before, rows };
    });
    const step: StepShape = {
      sequences,
      capacity: 48,
      blockTokens: 16,
      blocks: way.blocks ?? 'first',
      filler: way.company ? 'junk' : 'zeros',
      emptyPast: true,
    };
    const at = sequences.findIndex(({ id }) => id === watched.id);
    const start = sequences.slice(0, at).reduce((sum, { rows }) => sum + rows, 0);
    return {
      problem: decoderLayer(name, shape, step).problem(),
      take: [{ output: 'y', axis: 0, rows: Array.from({ length: count }, (_, row) => start + row) }],
    };
  });
  return { name: way.name, steps };
}

function scenario(family: keyof typeof layerFamilies, weights: DType, kv: DType): InvarianceCase {
  const name = `chain ${family} layer ${weights} with KV ${kv} in any chunks`;
  return {
    name,
    op: 'chain',
    promise:
      'A token is the same whether its prompt comes whole or in chunks, alone or in company, in whichever blocks: bit for bit.',
    make() {
      const shape = { ...layerFamilies[family], weights, kv };
      const variants = ways.map((way) => variant(name, shape, way));
      return { dims: largestDims(variants), variants };
    },
  };
}

/** Every family with its first weights, and every KV dtype. */
export function scenarioInvariances({ dtypes }: DeviceInfo): InvarianceCase[] {
  const families = Object.keys(layerFamilies) as (keyof typeof layerFamilies)[];
  const weights = (['f32', 'q8_0', 'q4_0'] as const).filter((dtype) => dtypes.weights.includes(dtype));
  return weights.flatMap((dtype, index) =>
    families.flatMap((family) =>
      (index === 0 ? dtypes.kv : dtypes.kv.slice(0, 1)).map((kv) => scenario(family, dtype, kv)),
    ),
  );
}
