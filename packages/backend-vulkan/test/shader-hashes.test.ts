/**
 * The committed SPIR-V is that of the sources beside it: hashes are computed anew, without the compiler. When this fails,
 * run `npx nx build-shaders backend-vulkan`.
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ShaderLibrary } from '../src/device/shader-library.js';

interface Variant {
  readonly name: string;
}

interface ShaderInputs {
  readFamilies(): Promise<Map<string, Variant[]>>;
  inputHasher(): (variant: Variant) => string;
  compiledFolder: string;
}

const tool = new URL('../tools/shader-inputs.mjs', import.meta.url);
const { readFamilies, inputHasher, compiledFolder } = (await import(fileURLToPath(tool))) as ShaderInputs;
const variants = [...(await readFamilies()).values()].flat();
const library = new ShaderLibrary();

/** What the package may weigh as it is packed: every variant is downloaded by everyone. */
const maxBytes = 3_000_000;

describe('committed shaders', () => {
  it('are those of the variants, no more and no fewer', () => {
    expect(library.names).toEqual(variants.map(({ name }) => name).sort());
  });

  it('were compiled from the sources as they are', () => {
    const hashOf = inputHasher();
    const stale = variants.filter((variant) => library.hash(variant.name) !== hashOf(variant));
    expect(stale.map(({ name }) => name)).toEqual([]);
  });

  it('are SPIR-V 1.6, and small', () => {
    for (const name of library.names) {
      const blob = library.spirv(name);
      const words = new Uint32Array(blob.buffer, blob.byteOffset, blob.byteLength / 4);
      expect([words[0], words[1]], name).toEqual([0x07230203, 0x00010600]);
    }
    const packs = readdirSync(compiledFolder).filter((file) => file.endsWith('.bin'));
    const bytes = packs.reduce((sum, file) => sum + statSync(join(compiledFolder, file)).size, 0);
    expect(bytes).toBeLessThan(maxBytes);
  });

  it('are refused by name when they are missing', () => {
    expect(() => library.spirv('nothing')).toThrow(/no compiled shader nothing/);
    expect(() => new ShaderLibrary(`${compiledFolder}/nowhere`)).toThrow(/no compiled shaders in/);
  });
});
