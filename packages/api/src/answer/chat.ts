/**
 * A conversation whose later turns prefill only what is new: it keeps the very ids of earlier turns, so that the KV
 * cache's longest common prefix is all of them, also where the text would tokenize in another way a second time.
 */
import { UnicornError, writeAtomically } from '@unicorn-exec/tensor';
import type { ChatMessage, ElasticSpec } from '@unicorn-exec/models';
import type { SamplingParameters } from '@unicorn-exec/scheduler';
import type { Engine } from '../engine.js';
import type { GenerateChunk, Speculation } from './request.js';

export interface ChatOptions {
  /** A system message before the first turn. */
  readonly system?: string | undefined;
  readonly elastic?: ElasticSpec | undefined;
  readonly speculation?: Speculation | undefined;
  readonly sampling?: SamplingParameters | undefined;
  readonly maxTokens?: number | undefined;
  readonly stop?: readonly string[] | undefined;
  /** What happens when the conversation outgrows the context; default `refuse`. */
  readonly overflow?: 'refuse' | 'shift' | undefined;
}

/** Names that `/set` takes, as users of other tools know them. */
const samplingNames: Readonly<Record<string, keyof SamplingParameters>> = {
  temperature: 'temperature',
  top_k: 'topK',
  top_p: 'topP',
  min_p: 'minP',
  typical: 'typicalP',
  repeat_penalty: 'repetitionPenalty',
  presence_penalty: 'presencePenalty',
  frequency_penalty: 'frequencyPenalty',
  seed: 'seed',
};

export class Chat {
  /** MatFormer size of the turns to come; the KV cache of earlier turns is kept. */
  elastic: ElasticSpec | undefined;
  #messages: ChatMessage[] = [];
  #sampling: SamplingParameters;
  #maxTokens: number | undefined;
  #system: string | undefined;
  /** The ids of all turns so far, and the text of which they are the ids. */
  #past: { readonly text: string; readonly tokens: readonly number[] } = { text: '', tokens: [] };

  constructor(
    readonly engine: Engine,
    private readonly options: ChatOptions = {},
  ) {
    this.elastic = options.elastic;
    this.#sampling = { ...options.sampling };
    this.#maxTokens = options.maxTokens;
    this.#system = options.system;
  }

  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  get settings(): Readonly<Record<string, unknown>> {
    return {
      model: this.engine.model.name,
      backend: this.engine.backend.device,
      context: this.engine.context.contextLength,
      elastic: this.elastic ?? 'full',
      system: this.#system,
      max_tokens: this.#maxTokens,
      sampling: {
        ...this.engine.samplingDefaults,
        ...this.#sampling,
        seed: this.#sampling.seed?.toString(),
      },
    };
  }

  /**
   * One turn. A cancelled answer stays in the conversation as far as it came; a failed turn leaves no trace.
   *
   * @throws UnicornError as `Engine.generate`
   */
  async *ask(
    content: string,
    options: { signal?: AbortSignal } = {},
  ): AsyncGenerator<GenerateChunk, void, undefined> {
    const messages = [...this.#messages, { role: 'user', content }];
    const { text: prompt, tokens } = await this.#prompt(messages);
    const generated: number[] = [];
    let answer = '';
    try {
      const request = {
        tokens,
        elastic: this.elastic,
        speculation: this.options.speculation,
        sampling: this.#sampling,
        maxTokens: this.#maxTokens,
        stop: this.options.stop,
        overflow: this.options.overflow,
        reuse: 'anySize' as const,
        signal: options.signal,
      };
      for await (const chunk of this.engine.generate(request)) {
        generated.push(...chunk.tokens);
        answer += chunk.text;
        yield chunk;
      }
    } finally {
      if (generated.length > 0) {
        this.#messages = [...messages, { role: 'assistant', content: answer }];
        this.#past = {
          text: prompt + (await this.engine.detokenize(generated)),
          tokens: [...tokens, ...generated],
        };
      }
    }
  }

  /** @throws UnicornError `usage/setting` for an unknown name or a value that is no number */
  set(name: string, value: string): void {
    if (name === 'system') {
      this.#system = value === '' ? undefined : value;
      this.#past = { text: '', tokens: [] };
      return;
    }
    const parameter = Object.hasOwn(samplingNames, name) ? samplingNames[name] : undefined;
    const number = Number(value);
    if ((!parameter && name !== 'max_tokens') || value === '' || !Number.isFinite(number)) {
      throw new UnicornError('usage/setting', `"/set ${name} ${value}" is not understood.`, {
        fix: `Names: ${[...Object.keys(samplingNames), 'max_tokens', 'system'].join(', ')}; values are numbers.`,
      });
    }
    if (parameter)
      this.#sampling = { ...this.#sampling, [parameter]: parameter === 'seed' ? BigInt(value) : number };
    else this.#maxTokens = number;
  }

  clear(): void {
    this.#messages = [];
    this.#past = { text: '', tokens: [] };
  }

  /** Writes the messages as JSON. @throws UnicornError `usage/file`, `resource/disk` */
  async save(path: string): Promise<void> {
    const content = { system: this.#system, messages: this.#messages };
    await writeAtomically(path, `${JSON.stringify(content, undefined, 2)}\n`);
  }

  /** Takes over what `save` wrote. @throws UnicornError `usage/conversation` when it is something else */
  load(saved: unknown): void {
    const { system, messages } = (saved ?? {}) as { system?: unknown; messages?: unknown };
    const isMessage = (entry: unknown): entry is ChatMessage =>
      typeof entry === 'object' && entry !== null && 'role' in entry && 'content' in entry;
    if (!Array.isArray(messages) || !messages.every(isMessage)) {
      throw new UnicornError('usage/conversation', 'The file holds no conversation.', {
        fix: 'Load a file that /save wrote.',
      });
    }
    this.clear();
    this.#system = typeof system === 'string' ? system : undefined;
    this.#messages = messages;
  }

  /** The prompt of the next turn: the known ids, and the ids of what the template wrote behind them. */
  async #prompt(messages: readonly ChatMessage[]): Promise<{ text: string; tokens: number[] }> {
    const system: ChatMessage[] =
      this.#system === undefined ? [] : [{ role: 'system', content: this.#system }];
    const parts = await this.engine.renderParts({ messages: [...system, ...messages] });
    const { text } = parts;
    const past = this.#past;
    const begin = past.text.length;
    const known = begin > 0 && text.startsWith(past.text);
    if (!known) return { text, tokens: await this.engine.encodePrompt(parts) };
    const literal = parts.literal
      .filter(([, end]) => end > begin)
      .map(([start, end]) => [Math.max(0, start - begin), end - begin] as const);
    const rest = await this.engine.tokenize(text.slice(begin), { special: true, literal });
    return { text, tokens: [...past.tokens, ...rest] };
  }
}
