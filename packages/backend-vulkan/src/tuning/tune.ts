/**
 * Finds tiles by trying them: each candidate of a product runs on the device over weights that no cache holds, between
 * timestamps, and the best is kept where it beats the default by more than noise. Products that matter most come first:
 * single tokens, then prompts, large weights before small ones. So a search that is cut short has found the most.
 */
import { UnicornError, type Graph, type WeightEntry } from '@unicorn-exec/tensor';
import { findDevice } from '../backend.js';
import type { Dispatch, Place } from '../dispatch/dispatch.js';
import { matmulKernel } from '../kernel/matmul.js';
import type { MatmulCall } from '../kernel/matmul-call.js';
import { defaultTiler, type MatmulTiler } from '../kernel/tiler.js';
import type { ProductShape } from '../kernel/product-shape.js';
import type { LaneTile } from '../kernel/lane-tile.js';
import type { MatrixTile } from '../kernel/matrix-tile.js';
import type { WeightOperand } from '../kernel/operand.js';
import { KernelRunner } from '../measure/kernel-runner.js';
import { loadAddon } from '../load-addon.js';
import { productUses, type ProductUse } from './product-use.js';
import { ShaderLibrary } from '../device/shader-library.js';
import { laneCandidates, laneCounts, matrixCandidates } from './tile-candidates.js';
import { TuningFile, tunedShadersHash } from './tuning-file.js';
import { withLanes } from './tuning.js';
import type { LaneFields, LaneForm, LanesRule, MatrixFields, TileRule, Tuning } from './tuning.js';
import { deviceTraits } from '../device/traits.js';
import { weightLayout } from '../weights/weight-layout.js';

export interface TuneOptions {
  /** As the backend lists it; the first usable device by default. */
  readonly device?: string | undefined;
  /** Milliseconds after which no further candidate is tried. Default 60,000. */
  readonly budgetMs?: number | undefined;
  /** Ends the search when aborted; what was found until then is kept. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: TuneProgress) => void) | undefined;
  /** Weights that are walked before one is read again. Default 256 MiB: several times the largest cache. */
  readonly coldBytes?: number | undefined;
}

export interface TuneProgress {
  /** Products looked at, of all. */
  readonly done: number;
  readonly total: number;
  /** Number of products for which something better than the default was found. */
  readonly improved: number;
}

export interface TunedProduct extends ProductUse {
  /** Microseconds of the default tile, and of the best that was found. */
  readonly defaultUs: number;
  readonly bestUs: number;
  readonly lanes?: number;
  /** Empty where the default is best. */
  readonly tile: LaneFields | MatrixFields;
}

export interface TuneReport {
  readonly device: string;
  /** Where it was written; undefined when nothing is to be kept on disk. */
  readonly path: string | undefined;
  /** False when budget or signal ended the search. */
  readonly complete: boolean;
  readonly products: readonly TunedProduct[];
}

/** The factor by which a candidate must be faster than the default: two measurements of one tile differ by as much. */
const worthwhile = 0.97;

/** The factor for other lanes, which change the last bits of results and so must be worth more. */
const worthwhileLanes = 0.95;

/** Products that one run of a candidate computes, each with weights of its own; every one of them is a sample. */
const weightsPerRun = 8;

/** A candidate this much slower than the best so far is not measured again. */
const hopeless = 1.3;

/** Pipelines that are made ahead at once. */
const pipelinesAhead = 64;

const largestBytes = (uses: readonly ProductUse[]): number =>
  Math.max(0, ...uses.map(({ shape }) => shape.banks * bytesOf(shape)));

const bytesOf = ({ dtype, rows, columns }: ProductShape): number =>
  weightLayout(dtype, rows, columns).byteLength;

/** Single tokens, then prompts, then what lies between. */
function urgency({ shape: { tokens } }: ProductUse): number {
  const order = [1, 512, 128, 4, 32, 2, 8, 16, 64, 256];
  const at = order.indexOf(tokens);
  return at < 0 ? order.length : at;
}

function inOrder(uses: readonly ProductUse[]): ProductUse[] {
  const weight = ({ shape, count }: ProductUse): number => count * shape.banks * bytesOf(shape);
  return [...uses].sort((a, b) => urgency(a) - urgency(b) || weight(b) - weight(a));
}

/**
 * Milliseconds after which a device counts as idle: its clocks fall, while pipelines are made for example. Chosen, not
 * measured.
 */
const idleMs = 20;

/** Milliseconds of work that bring clocks back up before anything is timed. Chosen, not measured. */
const warmUpMs = 200;

/** Runs products of weights that lie all over one large stretch of memory, so that each run finds cold ones. */
class ProductTimer {
  readonly #cold: Place;
  #cursor = 0;
  #ranAt = -Infinity;

  private constructor(
    readonly runner: KernelRunner,
    cold: Place,
  ) {
    this.#cold = cold;
  }

  static async open(runner: KernelRunner, byteLength: number): Promise<ProductTimer> {
    const cold = runner.memory(Math.ceil(byteLength / 16) * 16);
    // Random bits, but without halves that are infinite, NaN or larger than 2, which would be slower or spoil sums.
    const words = new Uint32Array(Math.min(cold.byteLength, 2 ** 24) / 4);
    let state = 0x9e3779b9;
    for (let i = 0; i < words.length; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      words[i] = state & 0x3f3f3f3f;
    }
    for (let at = 0; at < cold.byteLength; at += words.byteLength) {
      const count = Math.min(words.byteLength, cold.byteLength - at) / 4;
      await runner.write({ ...cold, byteOffset: cold.byteOffset + at }, words.subarray(0, count));
    }
    return new ProductTimer(runner, cold);
  }

  #weight(shape: ProductShape): WeightOperand {
    const { dtype, rows, columns } = shape;
    const layout = weightLayout(dtype, rows, columns);
    if (this.#cursor + layout.byteLength > this.#cold.byteLength) this.#cursor = 0;
    const place = {
      ...this.#cold,
      byteOffset: this.#cold.byteOffset + this.#cursor,
      byteLength: layout.byteLength,
    };
    this.#cursor += Math.ceil(layout.byteLength / 256) * 256;
    return { place, layout, dtype, rows, columns, view: { rowStart: 0, rows, columnStart: 0, columns } };
  }

  /** Memory of a product's activations and results, until `release(mark)`. */
  async calls({ form, shape }: ProductUse): Promise<(tiler: MatmulTiler) => Dispatch[]> {
    const { runner } = this;
    const { tokens, columns, rows, banks } = shape;
    const x = await runner.floats(
      [tokens, columns],
      Float32Array.from({ length: tokens * columns }, (_, index) => Math.sin(index)),
    );
    const out = await runner.floats([tokens, rows]);
    const nowhere = runner.memory(0);
    let [scratch, counters] = [nowhere, nowhere];
    const call = (): MatmulCall => ({
      x,
      fast: form !== 'float',
      products: [
        {
          weight: this.#weight(shape),
          ...(banks === 2 ? { gated: { up: this.#weight(shape), activation: 'silu' as const } } : {}),
          out,
          posts: [],
        },
      ],
      scratch,
      counters,
    });
    return (tiler) => {
      const kernel = matmulKernel(tiler);
      const scratchBytes = kernel.scratchBytes(call(), runner.traits);
      const counterBytes = kernel.counterBytes(call(), runner.traits);
      if (scratch.byteLength < scratchBytes) scratch = runner.memory(scratchBytes);
      if (counters.byteLength < counterBytes) counters = runner.memory(counterBytes);
      return Array.from({ length: weightsPerRun }, (_, index) => {
        const dispatches = kernel.dispatch(call(), runner.traits);
        // Activations are the same for all.
        return index === 0 ? dispatches : dispatches.filter((one) => !isPreparing(one));
      }).flat();
    };
  }

  /** Work for a device that was idle; a CPU's clocks need none. */
  async #warmUp(dispatches: readonly Dispatch[]): Promise<void> {
    const begin = performance.now();
    if (this.runner.traits.software || begin - this.#ranAt < idleMs) return;
    do await this.runner.runOften(dispatches, 1);
    while (performance.now() - begin < warmUpMs);
  }

  /** Microseconds of one product: the median over the weights of a run. */
  async time(dispatches: readonly Dispatch[], runs: number): Promise<number> {
    await this.#warmUp(dispatches);
    const times = await this.runner.runOften(dispatches, runs);
    this.#ranAt = performance.now();
    const samples = times.flatMap((run) => {
      const own = [...run].filter((_, index) => !isPreparing(dispatches[index]!));
      const each = own.length / weightsPerRun;
      return Array.from({ length: weightsPerRun }, (_, index) =>
        own.slice(index * each, (index + 1) * each).reduce((sum, value) => sum + value, 0),
      );
    });
    return samples.sort((a, b) => a - b)[samples.length >> 1]! / 1e3;
  }
}

/** What tells launches of one product apart. */
function launchOf(dispatches: readonly Dispatch[]): string {
  return dispatches
    .filter((one) => !isPreparing(one))
    .map(({ pipeline, groups }) => `${pipeline.shader} ${pipeline.constants.join(' ')} ${groups.join(' ')}`)
    .join();
}

const isPreparing = ({ name }: Dispatch): boolean => name.includes('prepare');

type Tile = LaneTile | MatrixTile;

function isMatrixTile(tile: Tile): tile is MatrixTile {
  return 'subgroupRows' in tile;
}

/** A tiler that answers with one tile, whatever the product. */
function fixed(tile: Tile): MatmulTiler {
  if ('subgroupRows' in tile) return { ...defaultTiler, f16: () => tile };
  return { f16: () => undefined, int8: () => tile, float: () => tile };
}

interface Comparison {
  /** Microseconds of the tile that was begun with. */
  readonly baseUs: number;
  readonly best: Found;
}

interface Found {
  readonly us: number;
  readonly fields: LaneFields | MatrixFields;
}

class Search {
  readonly #deadline: number;

  constructor(
    private readonly timer: ProductTimer,
    private readonly options: TuneOptions,
  ) {
    this.#deadline = performance.now() + (options.budgetMs ?? 60_000);
  }

  get isOver(): boolean {
    return (this.options.signal?.aborted ?? false) || performance.now() > this.#deadline;
  }

  baseOf({ form, shape }: ProductUse): Tile {
    const { traits } = this.timer.runner;
    return defaultTiler[form](shape, traits)!;
  }

  /** The default, and the fastest fields over `base`. Undefined when there was no time even for the base. */
  async best(use: ProductUse, base: Tile): Promise<Comparison | undefined> {
    if (this.isOver) return undefined;
    const { runner } = this.timer;
    const { mark } = runner;
    try {
      const dispatchesFor = await this.timer.calls(use);
      const candidates = isMatrixTile(base)
        ? matrixCandidates(base, use.shape, runner.traits)
        : laneCandidates(base, use.shape, runner.traits);
      const baseDispatches = dispatchesFor(fixed(base));
      const baseUs = await this.timer.time(baseDispatches, 3);
      let best: Found = { us: baseUs, fields: {} };
      const good: Found[] = [];
      // Kernels make of a tile the nearest that they can run, so that several candidates may be one.
      const tried = new Set([launchOf(baseDispatches)]);
      for (let at = 0; at < candidates.length && !this.isOver; at += pipelinesAhead) {
        const some = candidates.slice(at, at + pipelinesAhead).flatMap((fields) => {
          const dispatches = dispatchesFor(fixed({ ...base, ...fields }));
          const launch = launchOf(dispatches);
          if (tried.has(launch)) return [];
          tried.add(launch);
          return [{ fields, dispatches }];
        });
        await runner.prepare(some.flatMap(({ dispatches }) => dispatches.map(({ pipeline }) => pipeline)));
        for (const { fields, dispatches } of some) {
          if (this.isOver) break;
          const us = await this.timer.time(dispatches, 1);
          if (us < hopeless * best.us) good.push({ us, fields });
          if (us < best.us) best = { us, fields };
        }
      }
      // The few best are measured again, between two measurements of the default, and the best of these counts.
      const before = await this.timer.time(baseDispatches, 3);
      const finalists: Found[] = [];
      for (const { fields } of good.sort((a, b) => a.us - b.us).slice(0, 4)) {
        const tile = { ...base, ...fields };
        finalists.push({ us: await this.timer.time(dispatchesFor(fixed(tile)), 3), fields });
      }
      const again = Math.min(before, await this.timer.time(baseDispatches, 3));
      best = { us: again, fields: {} };
      for (const found of finalists) {
        if (found.us < worthwhile * again && found.us < best.us) best = found;
      }
      return { baseUs: again, best };
    } finally {
      runner.release(mark);
    }
  }

  /**
   * Lanes for all products of a form, stored type and columns: those with which its single tokens take least in all. The
   * rule's own are tried first, and stay when time is over before another choice was tried on all.
   *
   * @returns those lanes where they are not the rule's, and what was found for each of the products with them
   */
  async lanes(form: LaneForm, uses: readonly ProductUse[]): Promise<LanesChoice> {
    const base = uses.map((use) => this.baseOf(use) as LaneTile);
    const { dtype, columns } = uses[0]!.shape;
    const block = form === 'int8' || !['f32', 'f16', 'bf16'].includes(dtype) ? 32 : 8;
    const options = laneCounts(form, Math.ceil(columns / block), this.timer.runner.traits);
    const own = base[0]!.lanes;
    let chosen: LanesChoice & { total: number } = { total: Infinity, found: new Map() };
    for (const lanes of [own, ...options.filter((each) => each !== own)]) {
      const found = new Map<ProductUse, Comparison>();
      let total = 0;
      for (const [index, use] of uses.entries()) {
        const result = await this.best(use, withLanes(base[index]!, lanes));
        if (!result) break;
        found.set(use, result);
        total += use.count * result.best.us;
      }
      if (lanes === own) chosen = { total: worthwhileLanes * total, found };
      else if (found.size < uses.length || this.isOver) break;
      else if (total < chosen.total) chosen = { total, lanes, found };
    }
    return chosen;
  }
}

interface LanesChoice {
  readonly lanes?: number;
  readonly found: ReadonlyMap<ProductUse, Comparison>;
}

/**
 * Tunes the products of models on a device and keeps what was found on disk, where the backend finds it when it opens the
 * device the next time. Nothing else should use the device meanwhile.
 *
 * @param uses as `productUses` lists them
 * @throws UnicornError `device/unavailable`, `resource/memory`, `usage/file` when the result cannot be written, and what a
 * device says that fails meanwhile
 */
export async function tune(uses: readonly ProductUse[], options: TuneOptions = {}): Promise<TuneReport> {
  const addon = loadAddon();
  const { info, physical } = findDevice(addon, options.device);
  if (uses.length === 0) {
    throw new UnicornError('usage/model', 'There is no product to tune.', {
      fix: 'Give the products of a model, as `productUses` lists them.',
    });
  }
  const shaders = new ShaderLibrary();
  const runner = new KernelRunner(addon, physical, shaders);
  const file = new TuningFile(physical, tunedShadersHash(shaders));
  try {
    // A product that no buffer holds would be read beyond its end.
    const fitting = uses.filter(({ shape }) => bytesOf(shape) <= info.maxBufferBytes);
    const bytes = Math.max(options.coldBytes ?? 256 * 2 ** 20, 2 * largestBytes(fitting));
    const timer = await ProductTimer.open(runner, Math.min(bytes, info.maxBufferBytes));
    const { tuning, products, complete } = await search(new Search(timer, options), fitting, options);
    const isEmpty = tuning.lanes.length + tuning.tiles.length === 0;
    const path = isEmpty ? file.path : await file.write(tuning);
    return { device: info.name, path, complete, products };
  } finally {
    runner.close();
  }
}

async function search(
  found: Search,
  uses: readonly ProductUse[],
  { onProgress }: TuneOptions,
): Promise<{ tuning: Tuning; products: TunedProduct[]; complete: boolean }> {
  const lanes = new Map<string, LanesRule>();
  const laneKey = ({ form, shape }: ProductUse): string => `${form} ${shape.dtype} ${shape.columns}`;
  const decided = new Set<string>();
  const tiles: TileRule[] = [];
  const products: TunedProduct[] = [];
  const ordered = inOrder(uses);
  const known = new Map<ProductUse, Comparison>();
  for (const use of ordered) {
    const { form, shape } = use;
    onProgress?.({ done: products.length, total: ordered.length, improved: tiles.length });
    const key = laneKey(use);
    if (form !== 'f16' && !decided.has(key)) {
      decided.add(key);
      const single = ordered.filter((other) => laneKey(other) === key && other.shape.tokens === 1);
      const choice: LanesChoice =
        single.length > 0 ? await found.lanes(form, single) : { found: new Map<ProductUse, Comparison>() };
      const { dtype, columns } = shape;
      if (choice.lanes !== undefined) lanes.set(key, { form, dtype, columns, lanes: choice.lanes });
      for (const [one, result] of choice.found) known.set(one, result);
    }
    const plain = found.baseOf(use);
    const rule = lanes.get(key);
    const base = rule && !isMatrixTile(plain) ? withLanes(plain, rule.lanes) : plain;
    const result = known.get(use) ?? (await found.best(use, base));
    if (!result) break;
    const { fields, us } = result.best;
    products.push({
      ...use,
      defaultUs: result.baseUs,
      bestUs: us,
      ...(rule ? { lanes: rule.lanes } : {}),
      tile: fields,
    });
    if (Object.keys(fields).length > 0) tiles.push({ form, ...shape, tile: fields });
  }
  onProgress?.({ done: products.length, total: ordered.length, improved: tiles.length });
  return {
    tuning: { lanes: [...lanes.values()], tiles },
    products,
    complete: products.length === ordered.length && !found.isOver,
  };
}

/** Rows of activations that models are tuned for: tokens of decoding, guesses and sequences together, parts of prompts. */
const tunedTokens = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/**
 * {@link tune} for the products of a model's step.
 *
 * @param graph as `productUses` takes it
 * @param entries its weights, of which only vectors are read
 */
export async function tuneGraph(
  graph: Graph,
  entries: readonly WeightEntry[],
  options: TuneOptions & { readonly tokens?: readonly number[] | undefined } = {},
): Promise<TuneReport> {
  const { physical } = findDevice(loadAddon(), options.device);
  const { tokens = tunedTokens } = options;
  return tune(await productUses(graph, entries, deviceTraits(physical), tokens), options);
}
