/** A golden checkpoint: its opened model and the reference's numbers, with the rules by which they are compared. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openSafetensors, type SafetensorsFile } from '@unicorn-exec/checkpoint';

const here = fileURLToPath(new URL('../goldens/', import.meta.url));
const shared = fileURLToPath(new URL('../../../../../shared/goldens/models/', import.meta.url));

/** Before the name of a golden of which this package has another. */
export const elsewhere = 'shared/';

/** The folder of a golden model: the package's own, else the shared one. */
export function goldenFolder(name: string): string {
  if (name.startsWith(elsewhere)) return join(shared, name.slice(elsewhere.length));
  return existsSync(join(here, name)) ? join(here, name) : join(shared, name);
}

/** Every golden model of the package: a folder with a checkpoint and its `meta.json`. */
export const ownGoldens: readonly string[] = readdirSync(here)
  .filter((name) => existsSync(join(here, name, 'meta.json')))
  .sort();

export function hasGolden(name: string): boolean {
  return existsSync(goldenFolder(name));
}

export interface Meta {
  readonly prompts: Readonly<Record<string, number>>;
  readonly checks: Readonly<Record<string, { f32_vs_f64_max_abs: number }>>;
  readonly slices?: Readonly<
    Record<string, { intermediate_size: number[]; file: string; checks: Meta['checks'] }>
  >;
}

/** What a golden says of itself; nothing where it is absent, since a skipped suite is collected all the same. */
export function readMeta(name: string): Meta {
  if (!hasGolden(name)) return { prompts: {}, checks: {} };
  return JSON.parse(readFileSync(join(goldenFolder(name), 'meta.json'), 'utf8')) as Meta;
}

export class GoldenNumbers {
  private constructor(private readonly file: SafetensorsFile) {}

  static async open(name: string, file = 'io.safetensors'): Promise<GoldenNumbers> {
    return new GoldenNumbers(await openSafetensors(join(goldenFolder(name), file)));
  }

  has(name: string): boolean {
    return this.file.tensor(name) !== undefined;
  }

  shape(name: string): readonly number[] {
    return this.file.tensor(name)!.shape;
  }

  async floats(name: string): Promise<Float32Array> {
    return new Float32Array((await this.file.readTensor(name)).buffer);
  }

  async ids(name: string): Promise<number[]> {
    return [...new Int32Array((await this.file.readTensor(name)).buffer)];
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

export function maxAbsDifference(actual: Float32Array, expected: Float32Array): number {
  if (actual.length !== expected.length)
    throw new Error(`${actual.length} values instead of ${expected.length}`);
  let largest = 0;
  for (let i = 0; i < actual.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

/** The largest |difference| in units of what the rule for layers allows: rtol 1e-4 plus `share` of the golden's deviation. */
export function layerExcess(actual: Float32Array, expected: Float32Array, share: number): number {
  if (actual.length !== expected.length)
    throw new Error(`${actual.length} values instead of ${expected.length}`);
  const mean = expected.reduce((sum, value) => sum + value, 0) / expected.length;
  const deviation = Math.sqrt(
    expected.reduce((sum, value) => sum + (value - mean) ** 2, 0) / expected.length,
  );
  let largest = 0;
  for (let i = 0; i < actual.length; i++) {
    const allowed = 1e-4 * Math.abs(expected[i]!) + share * deviation;
    const excess = Math.abs(actual[i]! - expected[i]!) / allowed;
    if (!(excess <= largest)) largest = excess;
  }
  return largest;
}
