/**
 * An opened model: what a scheduler needs of it (a graph for each step), what a device loads, and what people ask
 * about it. It builds graphs and never runs them; it reads no weights.
 */
import { basename, dirname } from 'node:path';
import type { Weights } from '@unicorn-exec/checkpoint';
import type {
  DType,
  ElasticSize,
  GraphBuilder,
  KvGroup,
  LanguageModel,
  SampledIds,
  StepOptions,
  TensorSpec,
  Value,
  WeightEntry,
} from '@unicorn-exec/tensor';
import { isUnicornError, tensorBytes, UnicornError } from '@unicorn-exec/tensor';
import type { ModelDefinition } from './architecture/architecture.js';
import type { BoundWeight } from './bound-weights.js';
import { chatTemplateFromGguf, type ChatTemplate } from './chat-template/index.js';
import { kvGroupsOf } from './decoder/decoder-config.js';
import { DecoderStep } from './decoder/decoder-step.js';
import { layerWeight } from './decoder/decoder-weights.js';
import {
  formatSize,
  fullSize,
  parseSize,
  type ElasticModel,
  type ElasticSpec,
  type NamedSize,
} from './elastic.js';
import type { SamplingDefaults } from './model-facts.js';
import { directoryTemplate, directoryTokenizer } from './text-side.js';
import { tokenizerFromGguf, type Tokenizer } from './tokenizer/index.js';

/** What was read beside weights and configuration. */
export interface ModelFacts {
  readonly name: string;
  readonly bosId: number | undefined;
  readonly endOfTurnIds: readonly number[];
  readonly samplingDefaults: SamplingDefaults;
  readonly warnings: readonly string[];
  /** Presets other than the whole model, by name. */
  readonly presets: ReadonlyMap<string, ElasticSize>;
}

export class Model implements LanguageModel {
  /** The architecture's id: `gemma3n`. */
  readonly architecture: string;
  /** As the caller named it: a file or a directory. */
  readonly path: string;
  readonly format: 'gguf' | 'safetensors';
  readonly vocabularySize: number;
  readonly contextLength: number;
  readonly layers: number;
  readonly kvGroups: readonly KvGroup[];
  /** Elements of the weights that the graph reads. */
  readonly parameters: number;
  /** Bytes of the same. */
  readonly weightBytes: number;
  /** Those of them that stay in mapped memory, out of a device's: tables of which a token reads one row. */
  readonly hostBytes: number;
  /** The type that most bytes are of, as the file spells it: `Q4_1`. */
  readonly weightType: string;
  /** The whole model first (`full`), then the presets that come with it. */
  readonly sizes: readonly NamedSize[];
  /** Whether it was trained so that slices of it are models too. A slice of any other model answers with nonsense. */
  readonly isNested: boolean;
  readonly #specs: ReadonlyMap<string, TensorSpec>;
  #tokenizer: Promise<Tokenizer> | undefined;
  #chatTemplate: Promise<ChatTemplate | undefined> | undefined;

  /** Models are made by `openModel`. */
  constructor(
    opened: { readonly architecture: string; readonly path: string },
    private readonly file: Weights,
    /** Configuration, and the names and shapes of the weights in either kind of file: for converters. */
    readonly definition: ModelDefinition,
    private readonly bound: ReadonlyMap<string, BoundWeight>,
    private readonly facts: ModelFacts,
  ) {
    const { config } = definition;
    this.architecture = opened.architecture;
    this.path = opened.path;
    this.format = file.format;
    this.vocabularySize = config.vocabularySize;
    this.contextLength = config.contextLength;
    this.layers = config.layers.length;
    this.kvGroups = kvGroupsOf(config);
    this.#specs = new Map(
      [...bound].map(([name, { entry }]) => [name, { dtype: entry.dtype, shape: entry.shape }]),
    );
    const full = this.#nameSize('full', fullSize(config));
    this.parameters = full.parameters;
    const bytesOf = (entries: readonly WeightEntry[]): number =>
      entries.reduce((sum, { dtype, shape }) => sum + tensorBytes(dtype, shape), 0);
    this.weightBytes = bytesOf(this.weights());
    this.hostBytes = bytesOf(this.weights().filter(({ residency }) => residency === 'host'));
    this.weightType = commonType([...bound.values()]);
    this.isNested = definition.presets !== undefined || facts.presets.size > 0;
    this.sizes = [
      full,
      ...[...facts.presets]
        .filter(([name]) => name !== 'full')
        .map(([name, size]) => this.#nameSize(name, this.#checkPreset(name, size))),
    ];
  }

  get name(): string {
    return this.facts.name;
  }

  /** Bytes of weights that one token reads: the least that decoding must move. */
  get bytesPerToken(): number {
    return this.sizes[0]!.bytesPerToken;
  }

  /** The token that begins a text, where the model has one. */
  get bosId(): number | undefined {
    return this.facts.bosId;
  }

  /** Every id that ends the model's turn. */
  get endOfTurnIds(): readonly number[] {
    return this.facts.endOfTurnIds;
  }

  /** Sentences about what the files say and was not taken at its word. Those of the tokenizer are its own. */
  get warnings(): readonly string[] {
    return this.facts.warnings;
  }

  /** What the model's makers recommend; fields that they leave open are absent. */
  get samplingDefaults(): SamplingDefaults {
    return this.facts.samplingDefaults;
  }

  /** What a device loads: the weights that the graph may read, as they lie in the files. */
  weights(): WeightEntry[] {
    return [...this.bound.values()].map(({ entry }) => entry);
  }

  buildStep(builder: GraphBuilder, options: StepOptions): { readonly logits?: Value } {
    const logits = this.definition.build(
      new DecoderStep(builder, this.definition.config, this.#specs, options),
    );
    return logits ? { logits } : {};
  }

  /** Loaded on the first call. @throws UnicornError `unsupported/tokenizer`, `format/tokenizer`, `usage/file` */
  tokenizer(): Promise<Tokenizer> {
    return (this.#tokenizer ??=
      this.file.format === 'gguf'
        ? Promise.resolve().then(() => tokenizerFromGguf(this.file.metadata))
        : directoryTokenizer(this.#directory));
  }

  /** The ids that have a token, where the head has more rows: padding, and gaps of the vocabulary. */
  async sampledIds(): Promise<SampledIds | undefined> {
    let absent: number[];
    let count = this.vocabularySize;
    try {
      const tokenizer = await this.tokenizer();
      count = Math.min(count, tokenizer.vocabSize);
      absent = tokenizer.absentIds.filter((id) => id < count);
    } catch {
      // Ids in, ids out: nobody knows which have a token. Whoever needs the tokenizer is told what is wrong with it.
      return undefined;
    }
    while (absent.length > 0 && absent.at(-1) === count - 1) {
      absent.pop();
      count--;
    }
    const isWhole = count === this.vocabularySize && absent.length === 0;
    return isWhole || count === 0 ? undefined : { count, absent };
  }

  /** Loaded on the first call; undefined where the model has none. @throws UnicornError `format/chat-template` */
  chatTemplate(): Promise<ChatTemplate | undefined> {
    return (this.#chatTemplate ??=
      this.file.format === 'gguf'
        ? this.tokenizer().then((tokenizer) => chatTemplateFromGguf(this.file.metadata, tokenizer))
        : directoryTemplate(this.#directory));
  }

  /**
   * A size by preset, fraction, list or object. A part of a model that is not {@link isNested} is refused, unless it is
   * given as an object, which nobody writes by chance, or with `force`: for measuring what such a part is worth.
   *
   * @param options.force Default: false
   * @throws UnicornError `usage/elastic` naming what is wrong and the nearest legal widths
   */
  resolveSize(spec: ElasticSpec, { force = false }: { readonly force?: boolean } = {}): NamedSize {
    const preset = typeof spec === 'string' ? this.sizes.find(({ name }) => name === spec.trim()) : undefined;
    if (preset) return preset;
    const names = this.sizes.map(({ name }) => name);
    const isForced = force || typeof spec === 'object';
    if (!this.isNested && !isForced && Number(spec) !== 1) {
      throw new UnicornError(
        'usage/elastic',
        `${this.name} has no sizes: no part of it was trained to answer alone.`,
        {
          fields: { presets: names },
          fix: 'Leave the size out.',
        },
      );
    }
    const size = parseSize(this.#elastic, spec, this.isNested ? names : []);
    return this.#nameSize(
      typeof spec === 'object' ? formatSize(this.definition.config, size) : String(spec).trim(),
      size,
    );
  }

  /** Idempotent. The model's description stays; its tokenizer must have been loaded before. */
  close(): Promise<void> {
    return this.file.close();
  }

  get #directory(): string {
    return dirname(this.file.path);
  }

  get #elastic(): ElasticModel {
    const downDType = (layer: number): DType =>
      this.bound.get(layerWeight(layer, 'feedForward.down'))!.entry.dtype;
    return { config: this.definition.config, downDType };
  }

  /** A preset that does not fit is the file's mistake, not the user's. */
  #checkPreset(name: string, size: ElasticSize): ElasticSize {
    try {
      return parseSize(this.#elastic, size);
    } catch (cause) {
      if (!isUnicornError(cause)) throw cause;
      throw new UnicornError('format/config', `${this.path}: the size "${name}": ${cause.message}`, {
        fields: { ...cause.fields, file: this.path, size: name },
        fix: 'Correct matformer.json, or convert the model again.',
        cause,
      });
    }
  }

  #nameSize(name: string, size: ElasticSize): NamedSize {
    const { layers } = this.definition.config;
    const kept = layers.map((_, layer) => layer).filter((layer) => !size.skip.includes(layer));
    const widths = new Map(kept.map((layer, order) => [layer, size.feedForward[order]!]));
    let parameters = 0;
    let bytesPerToken = 0;
    let hostBytesPerToken = 0;
    for (const { entry } of this.bound.values()) {
      const part = partOf(
        entry.name,
        layers.map(({ feedForward }) => feedForward),
        widths,
      );
      if (part === 0) continue;
      const elements = entry.shape.reduce((product, dim) => product * dim, 1);
      const bytes = tensorBytes(entry.dtype, entry.shape);
      parameters += Math.round(elements * part);
      const read = isGathered(entry.name, this.definition.config.tiedHead)
        ? bytes / entry.shape[0]!
        : Math.round(bytes * part);
      bytesPerToken += read;
      if (entry.residency === 'host') hostBytesPerToken += read;
    }
    return { name, ...size, parameters, bytesPerToken, hostBytesPerToken };
  }
}

/** The share of a weight that a size uses: 0 in layers left out, the width's share of the feed-forward's matrices. */
function partOf(name: string, fullWidths: readonly number[], widths: ReadonlyMap<number, number>): number {
  const [, digits, part] = /^layers\.(\d+)\.(.+)$/.exec(name) ?? [];
  if (digits === undefined) return 1;
  const layer = Number(digits);
  const width = widths.get(layer);
  if (width === undefined) return 0;
  return /^feedForward\.(gate|up|down$)/.test(part!) ? width / fullWidths[layer]! : 1;
}

/** Tables of which a token reads one row. A tied embedding is the head as well, which reads all of it. */
function isGathered(name: string, tiedHead: boolean): boolean {
  return name === 'perLayer.embed' || (name === 'embed' && !tiedHead);
}

function commonType(bound: readonly BoundWeight[]): string {
  const bytes = new Map<string, number>();
  for (const { fileType, entry } of bound) {
    bytes.set(fileType, (bytes.get(fileType) ?? 0) + tensorBytes(entry.dtype, entry.shape));
  }
  return [...bytes].sort(([, a], [, b]) => b - a)[0]?.[0] ?? 'F32';
}

/** A readable name for a path. */
export function nameFromPath(path: string): string {
  return basename(path).replace(/\.gguf$/i, '');
}

/** @see Model.resolveSize */
export function resolveSize(model: Model, spec: ElasticSpec): NamedSize {
  return model.resolveSize(spec);
}
