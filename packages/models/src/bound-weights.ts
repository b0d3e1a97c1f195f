/**
 * Finds a model's weights in its file: which tensor each one is, that it has the shape that the configuration promises,
 * and where its bytes lie. Reads no bytes.
 */
import type { TensorInfo, Weights } from '@unicorn-exec/checkpoint';
import { isBlockDType, UnicornError, type DType, type WeightEntry } from '@unicorn-exec/tensor';
import type { WeightDeclaration } from './decoder/decoder-weights.js';

/** What a model's names begin with: alone, inside a multimodal checkpoint, and in checkpoints of older libraries. */
const modelPrefixes = ['model.', 'model.language_model.', 'language_model.model.', 'language_model.', ''];
/** Where the head lies then: beside the model. */
const headPrefixes = ['', 'language_model.', 'model.language_model.', 'model.'];

/** Types that graphs read weights of: floating point and blocks. */
const floatDTypes: readonly DType[] = ['f32', 'f16', 'bf16'];

/** Each weight by our name, as a device loads it; and the type under which the file has it. */
export interface BoundWeight {
  readonly entry: WeightEntry;
  readonly fileType: string;
}

/**
 * @throws UnicornError `format/missing-tensor`, `format/tensor-shape` naming the tensor, what was expected and what is
 *   there; `unsupported/dtype`
 */
export function bindWeights(
  weights: Weights,
  declarations: readonly WeightDeclaration[],
): Map<string, BoundWeight> {
  const find = weights.format === 'gguf' ? ggufFinder(weights) : huggingFaceFinder(weights);
  const bound = new Map<string, BoundWeight>();
  for (const declaration of declarations) {
    const { info, expectedName } = find(declaration);
    if (info) bound.set(declaration.name, bindOne(weights, declaration, info));
    else if (!declaration.optional) throw missing(weights, declaration, expectedName);
  }
  return bound;
}

type Finder = (declaration: WeightDeclaration) => { info: TensorInfo | undefined; expectedName: string };

function ggufFinder(weights: Weights): Finder {
  return ({ gguf }) => ({ info: weights.tensor(gguf), expectedName: gguf });
}

function modelPrefixOf(weights: Weights): string {
  return (
    modelPrefixes.find((candidate) => weights.tensor(`${candidate}embed_tokens.weight`)) ?? modelPrefixes[0]!
  );
}

function huggingFaceFinder(weights: Weights): Finder {
  const prefix = modelPrefixOf(weights);
  return ({ huggingFace, beside }) => {
    const names = beside ? headPrefixes.map((candidate) => candidate + huggingFace) : [prefix + huggingFace];
    const name = names.find((candidate) => weights.tensor(candidate));
    return { info: name === undefined ? undefined : weights.tensor(name), expectedName: names[0]! };
  };
}

/**
 * Layers of the file from the last that the configuration has on: it is of another model then, or of a part of this one.
 *
 * @returns a sentence for Hugging Face's files, whose library leaves such layers out with a warning; else undefined
 * @throws UnicornError `format/config` for GGUF files, whose reference loader takes no tensor that it does not know
 */
export function layersLeftOut(weights: Weights, layerCount: number): string | undefined {
  const isGguf = weights.format === 'gguf';
  const prefix = isGguf ? 'blk.' : `${modelPrefixOf(weights)}layers.`;
  let last = -1;
  for (const { name } of weights.tensors) {
    if (!name.startsWith(prefix)) continue;
    const digits = /^(\d+)\./.exec(name.slice(prefix.length))?.[1];
    if (digits !== undefined) last = Math.max(last, Number(digits));
  }
  if (last < layerCount) return undefined;
  const key = isGguf ? 'block_count' : 'num_hidden_layers';
  const sentence = `${weights.path}: "${key}" is ${layerCount}, but there are tensors of layer ${last} (counted from 0)`;
  if (!isGguf) return `${sentence}: they are not used.`;
  throw new UnicornError('format/config', `${sentence}.`, {
    fields: { file: weights.path, field: key, layers: layerCount, lastLayer: last },
    fix: 'Convert or download the model again.',
  });
}

function bindOne(weights: Weights, declaration: WeightDeclaration, info: TensorInfo): BoundWeight {
  const { name, shape, ggufPart, residency } = declaration;
  const part = weights.format === 'gguf' ? ggufPart : undefined;
  const expected = part ? [part.count, ...shape] : shape;
  if (expected.length !== info.shape.length || expected.some((dim, axis) => dim !== info.shape[axis])) {
    throw new UnicornError(
      'format/tensor-shape',
      `${weights.path}: the tensor "${info.name}" is [${info.shape.join(', ')}]; the configuration makes it [${expected.join(', ')}].`,
      {
        fields: { file: weights.path, tensor: info.name, expected: [...expected], found: [...info.shape] },
        fix: 'Configuration and weights do not belong together: download both again.',
      },
    );
  }
  const { dtype } = info;
  if (dtype === undefined || !(floatDTypes.includes(dtype) || isBlockDType(dtype))) {
    throw new UnicornError(
      'unsupported/dtype',
      `${weights.path}: the tensor "${info.name}" is ${info.fileType}, which weights cannot be here.`,
      {
        fields: { file: weights.path, tensor: info.name, dtype: info.fileType },
        fix: 'Use a checkpoint in F32, F16, BF16 or a GGUF quantization.',
      },
    );
  }
  const byteLength = part ? info.byteLength / part.count : info.byteLength;
  return {
    fileType: info.fileType,
    entry: {
      name,
      dtype,
      shape,
      source: {
        kind: 'file',
        path: info.path,
        offset: info.offset + (part?.index ?? 0) * byteLength,
        byteLength,
      },
      ...(residency ? { residency } : {}),
    },
  };
}

function missing(weights: Weights, { shape }: WeightDeclaration, expectedName: string): UnicornError {
  return new UnicornError(
    'format/missing-tensor',
    `${weights.path} has no tensor "${expectedName}" [${shape.join(', ')}].`,
    {
      fields: { file: weights.path, tensor: expectedName, expected: [...shape] },
      fix: 'The file is incomplete, or its configuration is of another model: download both again.',
    },
  );
}
