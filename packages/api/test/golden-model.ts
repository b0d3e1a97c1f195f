/**
 * Golden checkpoints: those of `packages/models`, which every clone has, and others of the same architectures that may lie
 * beside the checkout, with other dims and weights.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openSafetensors, type SafetensorsFile } from '@unicorn-exec/checkpoint';
import { sharedPath } from './shared.js';

const own = fileURLToPath(new URL('../../models/test/goldens/', import.meta.url));

/** What `meta.json` says. */
export interface GoldenMeta {
  /** Tokens of each prompt. */
  readonly prompts: Readonly<Record<string, number>>;
  readonly checks: Readonly<Record<string, { readonly f32_vs_f64_max_abs: number }>>;
  readonly slices?: Readonly<
    Record<string, { readonly intermediate_size: number[]; file: string; checks: GoldenMeta['checks'] }>
  >;
}

export class GoldenModel {
  readonly isThere: boolean;

  /** @param name `qwen3`, or `shared/qwen3` for the one beside the checkout */
  constructor(
    readonly name: string,
    /** The checkpoint's directory, as the engine opens it. */
    readonly path: string,
  ) {
    this.isThere = existsSync(path);
  }

  /** Empty where the golden is absent, since a skipped suite is collected all the same. */
  meta(): GoldenMeta {
    if (!this.isThere) return { prompts: {}, checks: {} };
    return JSON.parse(readFileSync(`${this.path}/meta.json`, 'utf8')) as GoldenMeta;
  }

  /** Names of the tensors that hold the reference's numbers. */
  names(file = 'io.safetensors'): Promise<string[]> {
    return this.#with(file, async ({ tensors }) => tensors.map(({ name }) => name));
  }

  /** Reads and decodes one of them; nothing stays open in between. */
  read(name: string, file = 'io.safetensors'): Promise<Float32Array> {
    return this.#with(file, (opened) => opened.decodeTensor(name));
  }

  async #with<T>(name: string, use: (file: SafetensorsFile) => Promise<T>): Promise<T> {
    const file = await openSafetensors(`${this.path}/${name}`);
    try {
      return await use(file);
    } finally {
      await file.close();
    }
  }
}

/** A golden of `packages/models`. */
export function goldenModel(folder: string): GoldenModel {
  return new GoldenModel(folder, `${own}${folder}`);
}

/** Every golden of `packages/models`, and after each the one of its name beside the checkout, which may be absent. */
export const goldenModels: readonly GoldenModel[] = readdirSync(own)
  .filter((folder) => existsSync(`${own}${folder}/meta.json`))
  .flatMap((folder) => [
    goldenModel(folder),
    new GoldenModel(`shared/${folder}`, sharedPath(`goldens/models/${folder}`)),
  ]);
