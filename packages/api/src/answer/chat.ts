/**
 * A conversation whose later turns prefill only what is new: it keeps the very ids of earlier turns, so that the KV
 * cache's longest common prefix is all of them, also where the text would tokenize in another way a second time.
 */
import { UnicornError, writeAtomically } from '@unicorn-exec/tensor';
import { resolveSize, type ChatMessage, type ElasticSpec } from '@unicorn-exec/models';
import { packSampling, type SamplingParameters } from '@unicorn-exec/scheduler';
import type { Engine } from '../engine.js';
import {
  abortSignal,
  checkArgument,
  checkOptions,
  choice,
  engineRule,
  number,
  optionsOf,
  required,
  size,
  text,
  type OptionTable,
} from '../option.js';
import { BodyStream, type LeavableStream, type StreamBody } from './leavable-stream.js';
import {
  samplingTable,
  speculationTable,
  stopRule,
  type GenerateChunk,
  type Speculation,
} from './request.js';

export interface ChatOptions {
  /** A system message before the first turn. */
  readonly system?: string | undefined;
  readonly elastic?: ElasticSpec | undefined;
  readonly speculation?: Speculation | undefined;
  readonly sampling?: SamplingParameters | undefined;
  readonly maxTokens?: number | undefined;
  /** A string or strings that end an answer; never part of it. */
  readonly stop?: string | readonly string[] | undefined;
  /**
   * What happens when the conversation outgrows the context. `refuse` (default) refuses the turn. `shift` leaves the oldest
   * turns out of the prompt, never the system message, until it fills half of the context; an answer that outgrows it goes
   * on as with the `overflow` of a request. A message that does not fit alone is refused either way.
   */
  readonly overflow?: 'refuse' | 'shift' | undefined;
}

export const chatOptionTable: OptionTable<ChatOptions> = {
  system: text,
  elastic: size,
  speculation: optionsOf(speculationTable),
  sampling: optionsOf(samplingTable),
  maxTokens: number,
  stop: stopRule,
  overflow: choice('refuse', 'shift'),
};

const askOptionTable: OptionTable<{ signal: AbortSignal }> = { signal: abortSignal };

/** The ids of all turns of a prompt so far, and the text of which they are the ids. */
interface Past {
  readonly text: string;
  readonly tokens: readonly number[];
}

const noPast: Past = { text: '', tokens: [] };

/** The share of the context that an answer should find free; a prompt that leaves less of it forgets. */
const answerShare = 1 / 4;

/** What a turn changes. */
interface ChatState {
  readonly messages: readonly ChatMessage[];
  readonly past: Past;
  readonly forgotten: number;
}

const emptyState: ChatState = { messages: [], past: noPast, forgotten: 0 };

/** Who reads a turn. */
interface Reader {
  hasLeft: boolean;
  answer: LeavableStream<GenerateChunk> | undefined;
}

export class Chat {
  #options: ChatOptions;
  #state = emptyState;
  /** As it was before the last turn, while nothing else has changed. */
  #before: ChatState | undefined;

  /** @throws UnicornError `usage/option`, and for values that no turn could be computed with as {@link change} */
  constructor(
    readonly engine: Engine,
    options: ChatOptions = {},
  ) {
    checkArgument('new Chat', 'engine', engine, required(engineRule));
    checkOptions('new Chat', options, chatOptionTable);
    this.#checkValues(options);
    this.#options = { ...options };
  }

  get messages(): readonly ChatMessage[] {
    return this.#state.messages;
  }

  /** How many of the oldest messages the prompt has no room for any more. 0 unless `overflow` is `shift`. */
  get forgotten(): number {
    return this.#state.forgotten;
  }

  /** What holds for the turns to come. */
  get options(): ChatOptions {
    return this.#options;
  }

  /**
   * Changes options for the turns to come; those that are not given stay as they are, and `undefined` brings a default
   * back. After another MatFormer size the KV cache of earlier turns is kept; after another system message it is of no use.
   *
   * @throws UnicornError `usage/option`, `usage/elastic`, `usage/sampling`, `usage/max-tokens`; nothing
   * has changed then
   */
  change(options: ChatOptions): void {
    checkOptions('Chat.change', options, chatOptionTable);
    this.#checkValues(options);
    if ('system' in options) {
      this.#state = { ...this.#state, past: noPast, forgotten: 0 };
      this.#before = undefined;
    }
    this.#options = { ...this.#options, ...options };
  }

  /**
   * One turn, which begins with the first `next()`. A cancelled answer, or one whose reader left, stays in the conversation
   * as far as it came; a failed turn leaves no trace.
   *
   * @throws UnicornError (from `next()`) `usage/option`, and as `Engine.generate`
   */
  ask(
    content: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): LeavableStream<GenerateChunk> {
    const reader: Reader = { hasLeft: false, answer: undefined };
    const leave = (): void => {
      reader.hasLeft = true;
      void reader.answer?.return();
    };
    return new BodyStream({ body: this.#turn(content, options, reader), leave });
  }

  async *#turn(
    content: string,
    options: { readonly signal?: AbortSignal | undefined },
    reader: Reader,
  ): StreamBody<GenerateChunk> {
    checkArgument('Chat.ask', 'content', content, required(text));
    checkOptions('Chat.ask', options, askOptionTable);
    const { system: _system, ...turn } = this.#options;
    const before = this.#state;
    const messages = [...before.messages, { role: 'user', content }];
    const { text: prompt, tokens, forgotten } = await this.#fittedPrompt(messages);
    // One message that is longer than the context is refused: half of a question is another question.
    const overflow = tokens.length < this.engine.context.contextLength ? turn.overflow : 'refuse';
    // Known before the first piece, so that whoever shows the answer can say it above.
    this.#state = { ...before, forgotten };
    const generated: number[] = [];
    let answer = '';
    try {
      const request = {
        ...turn,
        overflow,
        tokens,
        reuse: 'anySize' as const,
        signal: options.signal,
      };
      reader.answer = this.engine.generate(request);
      if (reader.hasLeft) return undefined;
      for await (const chunk of reader.answer) {
        generated.push(...chunk.tokens);
        answer += chunk.text;
        yield chunk;
      }
      return undefined;
    } finally {
      this.#state = before;
      if (generated.length > 0) {
        const past = {
          text: prompt + (await this.engine.detokenize(generated)),
          tokens: [...tokens, ...generated],
        };
        this.#before = before;
        this.#state = { messages: [...messages, { role: 'assistant', content: answer }], past, forgotten };
      }
    }
  }

  /**
   * Takes the last turn back: its message and its answer.
   *
   * @returns the message, or undefined where there is no turn
   */
  undo(): string | undefined {
    const { messages } = this.#state;
    const start = messages.findLastIndex(({ role }) => role === 'user');
    if (start < 0) return undefined;
    const content = messages[start]!.content;
    this.#state = this.#before ?? { ...emptyState, messages: messages.slice(0, start) };
    this.#before = undefined;
    return typeof content === 'string' ? content : '';
  }

  /**
   * Answers the last message once more, in the place of the answer that it had; that one stays when nothing new comes.
   *
   * @throws UnicornError `usage/conversation` where there is no turn, and as {@link ask}
   */
  async *regenerate(
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<GenerateChunk, void, undefined> {
    const [state, before] = [this.#state, this.#before];
    const content = this.undo();
    if (content === undefined) {
      throw new UnicornError('usage/conversation', 'There is no answer to give anew.', {
        fix: 'Ask something first.',
      });
    }
    try {
      yield* this.ask(content, options);
    } finally {
      if (this.#state.messages.length < state.messages.length) [this.#state, this.#before] = [state, before];
    }
  }

  /** Forgets the messages; the options stay. */
  clear(): void {
    this.#state = emptyState;
    this.#before = undefined;
  }

  /**
   * Writes the system message and the messages as JSON.
   *
   * @throws UnicornError `usage/option`, `usage/file`, `resource/disk`
   */
  async save(path: string): Promise<void> {
    checkArgument('Chat.save', 'path', path, required(text));
    const content = { system: this.#options.system, messages: this.messages };
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
    this.#state = { ...emptyState, messages };
  }

  /** What would fail at the next turn fails where it is said. */
  #checkValues({ elastic, sampling, speculation, maxTokens }: ChatOptions): void {
    const { model } = this.engine;
    if (elastic !== undefined) resolveSize(model, elastic);
    if (speculation && speculation.draft !== 'ngram') resolveSize(model, speculation.draft);
    if (sampling) packSampling(sampling, model.vocabularySize);
    if (maxTokens !== undefined && !(Number.isSafeInteger(maxTokens) && maxTokens > 0)) {
      throw new UnicornError('usage/max-tokens', `The limit of new tokens cannot be ${maxTokens}.`, {
        fields: { maxTokens },
        fix: 'Give a whole number from 1, or leave it out.',
      });
    }
  }

  /** The prompt of the next turn, without the oldest turns where they leave an answer no room and may be forgotten. */
  async #fittedPrompt(
    messages: readonly ChatMessage[],
  ): Promise<{ text: string; tokens: number[]; forgotten: number }> {
    const { forgotten } = this.#state;
    const { overflow, maxTokens = Number.POSITIVE_INFINITY } = this.#options;
    const { contextLength } = this.engine.context;
    const prompt = { ...(await this.#prompt(messages.slice(forgotten))), forgotten };
    const room = Math.min(maxTokens, Math.floor(contextLength * answerShare));
    if (overflow !== 'shift' || prompt.tokens.length + room <= contextLength) return prompt;
    // The first turn to keep: the longest rest that fills at most half of the context, or the new message alone.
    const starts = messages.flatMap(({ role }, index) =>
      role === 'user' && index > forgotten ? [index] : [],
    );
    if (starts.length === 0) return prompt;
    const fromStart = async (index: number): Promise<typeof prompt> => {
      const start = starts[index]!;
      return { ...(await this.#prompt(messages.slice(start), noPast)), forgotten: start };
    };
    let [low, high] = [0, starts.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      const { tokens } = await fromStart(middle);
      if (tokens.length <= contextLength / 2) high = middle;
      else low = middle + 1;
    }
    return fromStart(low);
  }

  /** The prompt of the next turn: the known ids, and the ids of what the template wrote behind them. */
  async #prompt(
    messages: readonly ChatMessage[],
    past = this.#state.past,
  ): Promise<{ text: string; tokens: number[] }> {
    const { system } = this.#options;
    const first: ChatMessage[] = system === undefined ? [] : [{ role: 'system', content: system }];
    const parts = await this.engine.renderParts({ messages: [...first, ...messages] });
    const { text } = parts;
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
