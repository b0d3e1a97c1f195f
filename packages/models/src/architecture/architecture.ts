/** One registry entry: what must be said of a model family so that its files can be opened and its graph built. */
import type { MetadataEntry } from '@unicorn-exec/checkpoint';
import type { ElasticSize, Value } from '@unicorn-exec/tensor';
import type { ConfigFields } from '../config/config-fields.js';
import type { GgufConfig } from '../config/gguf.js';
import type { AttentionKind, DecoderConfig, LayerConfig } from '../decoder/decoder-config.js';
import type { DecoderStep } from '../decoder/decoder-step.js';
import type { WeightDeclaration } from '../decoder/decoder-weights.js';

/** One model of an architecture, all its numbers known. */
export interface ModelDefinition {
  readonly config: DecoderConfig;
  /** Every weight that the graph may read, under its name in either kind of file. */
  readonly weights: readonly WeightDeclaration[];
  /**
   * Nested sizes that the model's makers published, by name. What a model's own files list goes before them. None for an
   * architecture that is not trained for them; an empty map where nothing is published of this model.
   */
  readonly presets?: ReadonlyMap<string, ElasticSize>;
  /** What a GGUF file of it holds beyond what all decoders' do. */
  readonly gguf?: {
    /** Below `<architecture>.` */
    readonly fields?: Readonly<Record<string, MetadataEntry>>;
    /** Rows of query and key are reordered so that rope turns neighbours. */
    readonly interleaved?: boolean;
    /** Which layers slide for readers of the format, where no field says it. Default: none, and no field can say it. */
    readonly kinds?: (layer: number) => AttentionKind;
    /** What readers of the format know of a layer's attention without a field, from the architecture's name. */
    readonly implied?: readonly (keyof LayerConfig)[];
  };
  /** Adds the step's graph. @returns the logits, where the step's options ask for them */
  build(step: DecoderStep): Value | undefined;
}

export interface Architecture {
  /** Ours, for people: `gemma3n`. */
  readonly id: string;
  /** `model_type` of a Hugging Face configuration. */
  readonly huggingFaceTypes: readonly string[];
  /** `general.architecture` of a GGUF file. */
  readonly ggufArchitectures: readonly string[];
  /** Keys of a Hugging Face configuration that it reads and that any other architecture must refuse (`config/refusal.ts`). */
  readonly switches?: readonly string[];
  /**
   * @param fields the text model's part of `config.json`
   * @throws UnicornError `format/config`, `unsupported/config` naming the key
   */
  fromHuggingFace(fields: ConfigFields): ModelDefinition;
  /** @throws UnicornError as above, and `format/missing-tensor` where a size is a tensor's */
  fromGguf(source: GgufConfig): Promise<ModelDefinition>;
}
