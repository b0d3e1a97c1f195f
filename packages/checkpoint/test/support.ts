/** Shared by the tests of this package: where the goldens are, and what a refusal must look like. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UnicornError } from '@unicorn-exec/tensor';
import { expect, onTestFinished } from 'vitest';

export function golden(name: string): string {
  return fileURLToPath(new URL(`goldens/${name}`, import.meta.url));
}

export function goldenJson<T>(name: string): T {
  return JSON.parse(readFileSync(golden(name), 'utf8')) as T;
}

export function goldenBytes(name: string): Uint8Array {
  return new Uint8Array(readFileSync(golden(name)));
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A directory that goes when the test does. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'unicorn-checkpoint-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** The UnicornError that `run` rejects with. */
export async function refusal(run: () => unknown): Promise<UnicornError> {
  try {
    await run();
  } catch (error) {
    expect(error).toBeInstanceOf(UnicornError);
    return error as UnicornError;
  }
  return expect.unreachable('nothing was refused');
}

/** A `format` error names the file, the field and the offset, in its fields and in its words. */
export function expectFormatError(error: UnicornError, file: string): void {
  expect(error.family).toBe('format');
  expect(error.fields).toMatchObject({ file, field: expect.any(String), offset: expect.any(Number) });
  expect(error.message).toContain(file);
  expect(error.message).toContain(String(error.fields.field));
  expect(error.message).toContain(`byte ${String(error.fields.offset)}`);
}
