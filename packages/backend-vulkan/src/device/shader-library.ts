/**
 * The compiled shaders that this package ships, by the names that `shaders/*.variants.mjs` gave them. They are made by
 * tools/compile-shaders.mjs; kernels choose among them.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { UnicornError } from '@unicorn-exec/tensor';
import { packageFolder } from '../package-folder.js';

/** A line of `shaders/compiled/<family>.json`. */
interface PackedShader {
  /** Where the SPIR-V lies in what the family's `.bin` unpacks to. */
  readonly offset: number;
  readonly byteLength: number;
  /** sha256 of the compiler, its arguments and all sources: changes when the shader may have. */
  readonly inputs: string;
}

const compiledFolder = join(packageFolder, 'shaders', 'compiled');

export class ShaderLibrary {
  readonly #shaders = new Map<string, PackedShader & { readonly packPath: string }>();
  readonly #packs = new Map<string, Uint8Array>();

  /**
   * Reads the indexes, a few kilobytes; a family's blobs are unpacked when one of them is asked for.
   *
   * @param folder `shaders/compiled` of this package by default
   * @throws UnicornError `internal/shader` when there is none
   */
  constructor(folder = compiledFolder) {
    const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.json')) : [];
    if (files.length === 0) {
      throw new UnicornError('internal/shader', `There are no compiled shaders in ${folder}.`, {
        fields: { folder },
        fix: 'Install the package anew: a file of it is missing.',
      });
    }
    for (const file of files.sort()) {
      const index = JSON.parse(readFileSync(join(folder, file), 'utf8')) as {
        variants: Record<string, PackedShader>;
      };
      const packPath = join(folder, file.replace(/json$/, 'bin'));
      for (const [name, shader] of Object.entries(index.variants)) {
        this.#shaders.set(name, { ...shader, packPath });
      }
    }
  }

  /** All names, sorted. */
  get names(): readonly string[] {
    return [...this.#shaders.keys()].sort();
  }

  has(name: string): boolean {
    return this.#shaders.has(name);
  }

  /**
   * The module's bytes, aligned to its words.
   *
   * @throws UnicornError `internal/shader` for a name that no shader has
   */
  spirv(name: string): Uint8Array {
    const { packPath, offset, byteLength } = this.#find(name);
    let pack = this.#packs.get(packPath);
    // Unpacking the largest family takes about 15 ms, once.
    if (pack === undefined) this.#packs.set(packPath, (pack = brotliDecompressSync(readFileSync(packPath))));
    // A fresh array of its own begins at a word; what zlib returns may lie anywhere in its memory.
    return new Uint8Array(pack.subarray(offset, offset + byteLength));
  }

  /** sha256 in hex of what the shader was made from: part of the key of what is tuned or cached for it. */
  hash(name: string): string {
    return this.#find(name).inputs;
  }

  #find(name: string) {
    const shader = this.#shaders.get(name);
    if (shader === undefined) {
      throw new UnicornError('internal/shader', `There is no compiled shader ${name}.`, {
        fields: { shader: name },
        fix: 'node tools/compile-shaders.mjs --fetch-compiler',
      });
    }
    return shader;
  }
}
