/** What a contract case is, and the few graphs and assertions that they share. */
import {
  GraphBuilder,
  isUnicornError,
  type Backend,
  type Device,
  type DeviceInfo,
  type DimRange,
  type Executable,
  type Graph,
  type WeightSet,
} from '@unicorn-exec/tensor';
import { ConformanceFailure } from '../failure.js';

export interface ContractContext {
  readonly backend: Backend;
  /** A usable device. */
  readonly id: string;
  readonly info: DeviceInfo;
}

export interface ContractCase {
  readonly name: string;
  /** @throws ConformanceFailure when the promise is broken */
  run(context: ContractContext): Promise<void>;
}

/** A case over one device that is opened and closed for it. */
export function onDevice(
  name: string,
  run: (device: Device, context: ContractContext) => Promise<void>,
): ContractCase {
  return {
    name,
    async run(context) {
      const device = await context.backend.open(context.id);
      try {
        await run(device, context);
      } finally {
        await device.close();
      }
    },
  };
}

/** @throws ConformanceFailure with the sentence unless the condition holds */
export function expectThat(condition: unknown, sentence: string): asserts condition {
  if (!condition) throw new ConformanceFailure(sentence);
}

/**
 * Expects an error of this code, thrown or rejected with.
 *
 * @throws ConformanceFailure when there is none, or it is another
 */
export async function expectError(what: string, code: string, run: () => unknown): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (isUnicornError(error) && error.code === code) return;
    throw new ConformanceFailure(`${what}: expected ${code}, got ${String(error)}`, { cause: error });
  }
  throw new ConformanceFailure(`${what}: expected ${code}, but nothing was refused.`);
}

/** As {@link expectError}, for calls that must throw before they return. */
export async function expectThrow(what: string, code: string, run: () => unknown): Promise<void> {
  let result: unknown;
  await expectError(what, code, () => {
    result = run();
  }).catch(async (failure: unknown) => {
    await Promise.resolve(result).catch(() => {});
    throw failure;
  });
}

/** `y = 2 x`, both f32 `[tokens, features]`. */
export function doubling(features = 3): Graph {
  const builder = new GraphBuilder('doubling');
  builder.output('y', builder.scale(builder.input('x', 'f32', ['tokens', features]), 2));
  return builder.build();
}

/** `y = x w^T` with f32 `w` `[rows, columns]`, or the rows of it from `rowStart` on. */
export function product(rows: number, columns: number, rowStart = 0): Graph {
  const builder = new GraphBuilder('product');
  const x = builder.input('x', 'f32', ['tokens', columns]);
  const stored = { dtype: 'f32', shape: [rows, columns] } as const;
  const weight = rowStart === 0 ? builder.weight('w', stored) : builder.weight('w', stored, { rowStart });
  builder.output('y', builder.matmul(x, weight));
  return builder.build();
}

/** Token ids to rows of an f32 table `[rows, columns]`. */
export function lookup(rows: number, columns: number): Graph {
  const builder = new GraphBuilder('lookup');
  const ids = builder.input('ids', 'i32', ['tokens']);
  builder.output('y', builder.embed(ids, builder.weight('table', { dtype: 'f32', shape: [rows, columns] })));
  return builder.build();
}

export interface Compiled {
  readonly weights: WeightSet;
  readonly executable: Executable;
  dispose(): void;
}

/** Compiles a graph without weights. */
export async function compileAlone(
  device: Device,
  graph: Graph,
  dims: Readonly<Record<string, DimRange>> = { tokens: { max: 8 } },
): Promise<Compiled> {
  const weights = await device.load([]);
  const executable = await device.compile(graph, weights, { dims, precision: 'f32' });
  return {
    weights,
    executable,
    dispose() {
      executable.dispose();
      weights.dispose();
    },
  };
}

export function floatBytes(values: ArrayLike<number>): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

/** All of a buffer as f32. */
export async function readFloats(
  device: Device,
  buffer: Parameters<Device['read']>[0],
  count: number,
): Promise<number[]> {
  const bytes = await device.read(buffer, 0, 4 * count);
  return [...new Float32Array(bytes.slice().buffer)];
}

export function expectNumbers(what: string, actual: readonly number[], wanted: readonly number[]): void {
  const same = actual.length === wanted.length && actual.every((value, i) => value === wanted[i]);
  expectThat(same, `${what}: [${actual.join(', ')}] instead of [${wanted.join(', ')}].`);
}
