/** Opening a model: from a path to a checked {@link Model}. Reads headers and configuration, no weights. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openWeights, type Weights } from '@unicorn-exec/checkpoint';
import { throwIfCancelled, UnicornError } from '@unicorn-exec/tensor';
import type { ModelDefinition } from './architecture/architecture.js';
import { findGgufArchitecture, findHuggingFaceArchitecture } from './architecture/index.js';
import { bindWeights, layersLeftOut } from './bound-weights.js';
import { ConfigFields } from './config/config-fields.js';
import { GgufConfig, ggufWarnings } from './config/gguf.js';
import { refuseOtherMaths, refuseQuantized } from './config/refusal.js';
import { ggufFacts, huggingFaceFacts, type TextFacts } from './model-facts.js';
import { Model, nameFromPath } from './model.js';
import { optionalJson } from './text-side.js';
import { hasHeadOfItsOwn } from './tied-head.js';

export interface OpenModelOptions {
  readonly signal?: AbortSignal;
}

interface Description {
  readonly architecture: string;
  readonly name: string;
  readonly definition: ModelDefinition;
  readonly facts: TextFacts;
  readonly warnings: readonly string[];
}

/**
 * Opens a model.
 *
 * @param path a GGUF file, or a directory with `config.json` and safetensors (one file, or shards with their index)
 * @throws UnicornError `usage/file`, `usage/model-directory` (no configuration), `unsupported/architecture`,
 *   `unsupported/config`, `unsupported/quantization`, `unsupported/dtype`, `format/config`, `format/missing-tensor`, `format/tensor-shape`, what
 *   `checkpoint` says of a damaged file, `usage/cancelled`
 */
export async function openModel(path: string, options: OpenModelOptions = {}): Promise<Model> {
  const { signal } = options;
  throwIfCancelled(signal, 'Opening the model');
  const config = await readConfig(path);
  const weights = await openWeights(path);
  try {
    throwIfCancelled(signal, 'Opening the model');
    const { definition, facts, architecture, name, warnings } =
      weights.format === 'gguf'
        ? await describeGguf(weights)
        : await describeDirectory(path, config, weights);
    throwIfCancelled(signal, 'Opening the model');
    const bound = bindWeights(weights, definition.weights);
    const leftOut = layersLeftOut(weights, definition.config.layers.length);
    const presets = facts.presets.size > 0 ? facts.presets : (definition.presets ?? facts.presets);
    return new Model({ architecture, path }, weights, definition, bound, {
      ...facts,
      presets,
      name,
      warnings: leftOut === undefined ? warnings : [...warnings, leftOut],
    });
  } catch (error) {
    await weights.close();
    throw error;
  }
}

/** The parsed `config.json` of a directory; undefined for a file. */
async function readConfig(path: string): Promise<Record<string, unknown> | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found?.isDirectory() ? optionalJson(join(path, 'config.json')) : undefined;
}

async function describeGguf(weights: Weights): Promise<Description> {
  const { metadata, path } = weights;
  const architecture = findGgufArchitecture(metadata.string('general.architecture'), path);
  const source = new GgufConfig(weights, metadata.string('general.architecture'));
  const definition = await architecture.fromGguf(source);
  return {
    architecture: architecture.id,
    name: metadata.string('general.name', nameFromPath(path)),
    definition,
    facts: ggufFacts(weights),
    warnings: ggufWarnings(source, definition.config.vocabularySize),
  };
}

async function describeDirectory(
  path: string,
  config: Record<string, unknown> | undefined,
  weights: Weights,
): Promise<Description> {
  if (!config) {
    throw new UnicornError(
      'usage/model-directory',
      `${path} has safetensors but no config.json beside them.`,
      {
        fields: { path },
        fix: 'Give the directory that holds config.json and the weights, or a .gguf file.',
      },
    );
  }
  const root = ConfigFields.fromJson(join(path, 'config.json'), config);
  const architecture = findHuggingFaceArchitecture(root.string('model_type'), root.file);
  // A multimodal configuration keeps the language model's in a part of its own.
  const text = root.object('text_config') ?? root;
  refuseOtherMaths(text, architecture.switches);
  refuseQuantized(root, weights);
  const definition = architecture.fromHuggingFace(text);
  const isUntied = definition.config.tiedHead && (await hasHeadOfItsOwn(weights));
  return {
    architecture: architecture.id,
    name: nameFromPath(path),
    definition: isUntied
      ? architecture.fromHuggingFace(text.with({ tie_word_embeddings: false }))
      : definition,
    facts: await huggingFaceFacts(path, root, text),
    warnings: isUntied
      ? [
          `${root.file} ties the head to the embedding table, but the weights have two matrices: both are used.`,
        ]
      : [],
  };
}
