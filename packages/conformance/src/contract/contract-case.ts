/** What a contract case is, and the assertions that they share. */
import {
  isUnicornError,
  type Backend,
  type CompileOptions,
  type Device,
  type DeviceInfo,
  type Executable,
  type WeightSet,
} from '@unicorn-exec/tensor';
import { ConformanceFailure } from '../failure.js';
import { choose, contractPrecision, width, type Need, type Program } from './program.js';

export interface ContractContext {
  readonly backend: Backend;
  /** A usable device. */
  readonly id: string;
  readonly info: DeviceInfo;
}

export interface ContractCase {
  readonly name: string;
  /** Why the case cannot be run: the device supports none of the graphs that would do for it. Undefined when it can. */
  refused(context: ContractContext): string | undefined;
  /** @throws ConformanceFailure when the promise is broken */
  run(context: ContractContext): Promise<void>;
}

type Needs = Readonly<Record<string, Need>>;

/** For each need the program that was chosen. */
type Programs<N extends Needs> = { readonly [K in keyof N]: N[K] extends Need<infer P> ? P : never };

/** A case that needs nothing computed. */
export function withoutPrograms(
  name: string,
  run: (context: ContractContext) => Promise<void>,
): ContractCase {
  return { name, refused: () => undefined, run };
}

/** A case over graphs that the device supports. */
export function withPrograms<N extends Needs>(
  name: string,
  needs: N,
  run: (programs: Programs<N>, context: ContractContext) => Promise<void>,
): ContractCase {
  const choices = ({ backend, info }: ContractContext) => {
    const planner = backend.planner(info);
    return Object.entries(needs).map(([key, need]) => [key, choose(need, planner, info)] as const);
  };
  return {
    name,
    refused(context) {
      const reasons = choices(context).flatMap(([, choice]) => ('refused' in choice ? [choice.refused] : []));
      return reasons.length > 0 ? reasons.join('; ') : undefined;
    },
    async run(context) {
      const programs = choices(context).map(([key, choice]) => {
        if ('program' in choice) return [key, choice.program];
        throw new ConformanceFailure(`The case cannot be run: ${choice.refused}.`);
      });
      await run(Object.fromEntries(programs) as Programs<N>, context);
    },
  };
}

/** A case over one device that is opened and closed for it. */
export function onDevice<N extends Needs>(
  name: string,
  needs: N,
  run: (device: Device, programs: Programs<N>, context: ContractContext) => Promise<void>,
): ContractCase {
  return withPrograms(name, needs, async (programs, context) => {
    const device = await context.backend.open(context.id);
    try {
      await run(device, programs, context);
    } finally {
      await device.close();
    }
  });
}

/** @throws ConformanceFailure with the sentence unless the condition holds */
export function expectThat(condition: unknown, sentence: string): asserts condition {
  if (!condition) throw new ConformanceFailure(sentence);
}

/**
 * Expects an error of this code, thrown or rejected with. One of the family `device` must name the device.
 *
 * @throws ConformanceFailure when there is none, or it is another
 */
export async function expectError(what: string, code: string, run: () => unknown): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (isUnicornError(error) && error.code === code) {
      const isNamed = error.family !== 'device' || typeof error.fields.device === 'string';
      expectThat(isNamed, `${what}: ${code} does not name the device in \`fields.device\`.`);
      return;
    }
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

export interface Compiled {
  readonly weights: WeightSet;
  readonly executable: Executable;
  dispose(): void;
}

/** A program on a device, at the precision of contract cases. Dims: up to 8 tokens by default. */
export async function compileProgram(
  device: Device,
  { graph, weights: entries }: Program,
  options: Partial<CompileOptions> = {},
): Promise<Compiled> {
  const weights = await device.load(entries);
  const precision = contractPrecision(device.info);
  try {
    const executable = await device.compile(graph, weights, {
      dims: { tokens: { max: 8 } },
      precision,
      ...options,
    });
    return {
      weights,
      executable,
      dispose() {
        executable.dispose();
        weights.dispose();
      },
    };
  } catch (error) {
    weights.dispose();
    throw error;
  }
}

/** Bytes of one f32 row of {@link width} columns. */
export const rowByteLength = 4 * width;

/** Rows of {@link width} columns: `value`, twice and three times it, over and over. */
export function ramp(value = 1, rows = 1): Float32Array {
  return Float32Array.from({ length: rows * width }, (_, i) => value * ((i % 3) + 1));
}

/** A row that begins with these and is zero elsewhere. */
export function rowOf(...values: readonly number[]): Float32Array {
  const row = new Float32Array(width);
  row.set(values);
  return row;
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

/**
 * Expects what was computed within 2% of the largest: int8 operands may be off by 0.4% each, and a device that breaks the
 * promise of one of these cases gives another number altogether.
 */
export function expectNumbers(what: string, actual: ArrayLike<number>, wanted: ArrayLike<number>): void {
  const [have, want] = [Array.from(actual), Array.from(wanted)];
  const limit = 0.02 * want.reduce((top, value) => Math.max(top, Math.abs(value)), 0);
  const same = have.length === want.length && have.every((value, i) => Math.abs(value - want[i]!) <= limit);
  expectThat(same, `${what}: [${beginning(have)}] instead of [${beginning(want)}].`);
}

function beginning(values: readonly number[]): string {
  return values.slice(0, 8).join(', ') + (values.length > 8 ? ', ...' : '');
}
