/**
 * A conversation whose later turns prefill only what is new: it keeps the very ids of earlier turns, so that the KV
 * cache's longest common prefix is all of them, also where the text would tokenize in another way a second time.
 */
import { UnicornError, writeAtomically } from '@unicorn-exec/tensor';
import type { ChatMessage, ElasticSpec } from '@unicorn-exec/models';
import type { SamplingParameters } from '@unicorn-exec/scheduler';
import type { Engine } from '../engine.js';
import {
  abortSignal,
  checkArgument,
  checkOptions,
  choice,
  engineRule,
  listOf,
  number,
  optionsOf,
  required,
  size,
  text,
  type OptionTable,
} from '../option.js';
import { samplingTable, speculationTable, type GenerateChunk, type Speculation } from './request.js';

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

export const chatOptionTable: OptionTable<ChatOptions> = {
  system: text,
  elastic: size,
  speculation: optionsOf(speculationTable),
  sampling: optionsOf(samplingTable),
  maxTokens: number,
  stop: listOf(text),
  overflow: choice('refuse', 'shift'),
};

const askOptionTable: OptionTable<{ signal: AbortSignal }> = { signal: abortSignal };

const noPast = { text: '', tokens: [] };

export class Chat {
  #options: ChatOptions;
  #messages: readonly ChatMessage[] = [];
  /** The ids of all turns so far, and the text of which they are the ids. */
  #past: { readonly text: string; readonly tokens: readonly number[] } = noPast;

  /** @throws UnicornError `usage/option` */
  constructor(
    readonly engine: Engine,
    options: ChatOptions = {},
  ) {
    checkArgument('new Chat', 'engine', engine, required(engineRule));
    checkOptions('new Chat', options, chatOptionTable);
    this.#options = { ...options };
  }

  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  /** What holds for the turns to come. */
  get options(): ChatOptions {
    return this.#options;
  }

  /**
   * Changes options for the turns to come; those that are not given stay as they are, and `undefined` brings a default
   * back. After another MatFormer size the KV cache of earlier turns is kept; after another system message it is of no use.
   *
   * @throws UnicornError `usage/option`
   */
  change(options: ChatOptions): void {
    checkOptions('Chat.change', options, chatOptionTable);
    if ('system' in options) this.#past = noPast;
    this.#options = { ...this.#options, ...options };
  }

  /**
   * One turn. A cancelled answer stays in the conversation as far as it came; a failed turn leaves no trace.
   *
   * @throws UnicornError `usage/option`, and as `Engine.generate`
   */
  async *ask(
    content: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<GenerateChunk, void, undefined> {
    checkArgument('Chat.ask', 'content', content, required(text));
    checkOptions('Chat.ask', options, askOptionTable);
    const { system: _system, ...turn } = this.#options;
    const messages = [...this.#messages, { role: 'user', content }];
    const { text: prompt, tokens } = await this.#prompt(messages);
    const generated: number[] = [];
    let answer = '';
    try {
      const request = {
        ...turn,
        tokens,
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

  /** Forgets the messages; the options stay. */
  clear(): void {
    this.#messages = [];
    this.#past = noPast;
  }

  /**
   * Writes the system message and the messages as JSON.
   *
   * @throws UnicornError `usage/option`, `usage/file`, `resource/disk`
   */
  async save(path: string): Promise<void> {
    checkArgument('Chat.save', 'path', path, required(text));
    const content = { system: this.#options.system, messages: this.#messages };
    await writeAtomically(
      path,
      `${JSON.stringify(content, undefined, 2)}
`,
    );
  }

  /**
   * Takes over a conversation that `save` wrote.
   *
   * @param saved what the file's JSON says
   * @throws UnicornError `usage/conversation` when it is something else
   */
  load(saved: unknown): void {
    const { system, messages } = (saved ?? {}) as { system?: unknown; messages?: unknown };
    const isMessage = (entry: unknown): entry is ChatMessage =>
      typeof entry === 'object' && entry !== null && 'role' in entry && 'content' in entry;
    if (!Array.isArray(messages) || !messages.every(isMessage)) {
      throw new UnicornError('usage/conversation', 'This is not a saved conversation.', {
        fix: 'Give what `save` wrote: {"system": ..., "messages": [...]}.',
      });
    }
    this.clear();
    this.#options = { ...this.#options, system: typeof system === 'string' ? system : undefined };
    this.#messages = messages;
  }

  /** The prompt of the next turn: the known ids, and the ids of what the template wrote behind them. */
  async #prompt(messages: readonly ChatMessage[]): Promise<{ text: string; tokens: number[] }> {
    const { system } = this.#options;
    const first: ChatMessage[] = system === undefined ? [] : [{ role: 'system', content: system }];
    const parts = await this.engine.renderParts({ messages: [...first, ...messages] });
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
