/** The typed mirror of the toy addon, built when a test asks for it. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isUnicornError } from '@unicorn-exec/tensor';
import { buildNativeAddon, type AddonConfig, type JobListener } from '../src/index.js';

export type Handle = object;

export interface ToyAddon {
  readonly version: number;
  fail(kind: string): never;
  describe(whole: unknown, bytes: unknown, words: unknown, items: unknown, flag: unknown): string;
  openFile(path: string): Handle;
  sumOf(file: Handle, offset: number, byteLength: number): number;
  pagesAround(file: Handle, offset: number, byteLength: number, alignment: number): readonly [number, number];
  catchBusErrors(): void;
  touchUnguarded(path: string): number;
  openDevice(listener: JobListener): Handle;
  closeDevice(device: Handle): void;
  dispose(handle: Handle): void;
  add(device: Handle, a: number, b: number, into: BigInt64Array): number;
  count(device: Handle, steps: number, stepMs: number): number;
  refuse(device: Handle): void;
}

export const toyConfig: AddonConfig<ToyAddon> = {
  package: '@unicorn-exec/toy-addon',
  folder: join(dirname(fileURLToPath(import.meta.url)), 'toy-addon'),
  name: 'toy_addon',
  title: 'the toy addon',
  variable: 'UNICORN_TOY_ADDON',
  version: 8,
};

/**
 * The addon of `UNICORN_TOY_ADDON`, else a build of it.
 *
 * @returns its path, or why there is none
 * @throws UnicornError when it does not compile
 */
export async function builtToy(): Promise<{ path: string } | { missing: string }> {
  const explicit = process.env[toyConfig.variable];
  if (explicit) return { path: explicit };
  try {
    return await buildNativeAddon(toyConfig);
  } catch (error) {
    if (isUnicornError(error) && error.fields['output'] === '') return { missing: error.message };
    throw error;
  }
}
