/** The package is a file and where it lies; what is in the file is tested by `models`, which can read it. */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { modelPath } from '../index.js';

describe('modelPath', () => {
  it('is the same for import and require', () => {
    const required = createRequire(import.meta.url)('../index.cjs') as { modelPath: string };
    expect(required.modelPath).toBe(modelPath);
  });

  it('names a GGUF file under 26 MB', () => {
    const file = openSync(modelPath, 'r');
    const magic = Buffer.alloc(4);
    readSync(file, magic);
    closeSync(file);
    expect(magic.toString()).toBe('GGUF');
    expect(statSync(modelPath).size).toBeLessThan(26e6);
  });
});
