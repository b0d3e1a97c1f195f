/** The typed mirror of the toy addon, built when a test asks for it. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AddonConfig, JobListener } from '../src/index.js';

export type Handle = object;

export interface ToyAddon {
  readonly version: number;
  fail(kind: string): never;
  describe(whole: unknown, bytes: unknown, words: unknown, items: unknown, flag: unknown): string;
  openFile(path: string): Handle;
  sumOf(file: Handle, offset: number, byteLength: number): number;
  pagesAround(file: Handle, offset: number, byteLength: number, alignment: number): readonly [number, number];
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
  version: 7,
};
