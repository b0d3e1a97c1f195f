/**
 * Renders a conversation to the prompt that a model was trained on, with the Jinja template that came with the model. It
 * does not tokenize, and it does not know any model's format.
 *
 * A template is a program from a stranger. It cannot reach outside (the library blocks that), it cannot run for long
 * (`deadline.ts` says how and why no worker is needed), and it cannot fill the memory (`metered-interpreter.ts`).
 */
import { Environment, Template } from '@huggingface/jinja';
import { UnicornError } from '@unicorn-exec/tensor';
import { DeadlineExceeded, withinDeadline } from '../deadline.js';
import type { TextRange } from '../tokenizer/literal-ranges.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { contentRanges, type RenderedPrompt } from './content-ranges.js';
import { conversationFrom, type Conversation } from './conversation.js';
import { MeteredInterpreter, RenderTooLarge } from './metered-interpreter.js';
import { namedTexts, type NamedTexts } from './named-texts.js';
import { SpecialTexts } from './special-texts.js';

/** The longest published template has 20,000 characters. */
const maxSourceLength = 2 ** 20;
/** Rendering takes 1 ms or so; a thousand long messages take 50. */
const defaultTimeoutMs = 2000;
/** `range` of a template: more than any loop over a conversation needs, less than would hurt. */
const maxRange = 100_000;

export interface ChatTemplateOptions {
  /** Texts that templates write by name: `bos_token`, `eos_token` and others. */
  specialTokens?: Readonly<Record<string, string>>;
  /** Used instead of the main template when the conversation has tools, as some models want it. */
  toolUseSource?: string;
  /** Wall time that reading the template, and each render, may take. Default 2000. */
  timeoutMs?: number;
  /** The clock of `strftime_now`. Default: now. */
  now?: () => Date;
}

/** A rendered prompt, and the ranges of it that are no place for special tokens. */
export interface PromptParts {
  text: string;
  /** Sorted, apart from one another. Empty where no message has anything of a special token. */
  literal: TextRange[];
}

const namedTextsOf = remembered((template: Template): NamedTexts => namedTexts(template.parsed));
const specialTextsOf = remembered(
  ({ specialTexts }: Pick<Tokenizer, 'specialTexts'>) => new SpecialTexts(specialTexts),
);

export class ChatTemplate {
  readonly source: string;
  readonly #specialTokens: Readonly<Record<string, string>>;
  readonly #timeoutMs: number;
  readonly #now: () => Date;
  readonly #main: Template;
  readonly #toolUse: Template | undefined;
  readonly #toolUseSource: string | undefined;

  /** @throws UnicornError `format/chat-template` when the source is no template that the library can read */
  constructor(source: string, options: ChatTemplateOptions = {}) {
    this.source = source;
    this.#specialTokens = options.specialTokens ?? {};
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    this.#now = options.now ?? (() => new Date());
    this.#main = this.#parse(source);
    this.#toolUseSource = options.toolUseSource;
    this.#toolUse = options.toolUseSource === undefined ? undefined : this.#parse(options.toolUseSource);
  }

  /**
   * The prompt, ending in the beginning of the model's own turn unless `options.add_generation_prompt` is false.
   *
   * @param conversation checked here; see {@link conversationFrom}
   * @throws UnicornError `usage/chat-template` when the template refuses (`fields.refusal`, its own words, also at the end
   * of the message, after a colon) or fails on this conversation; `resource/chat-template` when it takes too much time or
   * memory; `usage/conversation`
   */
  render(conversation: Conversation): string {
    return this.#render(conversationFrom(conversation), this.#now);
  }

  /**
   * The prompt as {@link render} gives it, and what of it came out of the messages: pass both to `Tokenizer.encode`, and a
   * special token that somebody typed into a message stays text. Texts of `tools` and `options` are the caller's own.
   *
   * @param tokenizer of the same model
   * @throws as {@link render}
   */
  renderParts(conversation: Conversation, tokenizer: Pick<Tokenizer, 'specialTexts'>): PromptParts {
    const checked = conversationFrom(conversation);
    const started = this.#now();
    const clock = () => started; // the prompt may be rendered twice
    const text = this.#render(checked, clock);
    const template = this.#templateFor(checked);
    const prompt: RenderedPrompt = {
      text,
      messages: checked.messages,
      source: template === this.#main ? this.source : this.#toolUseSource!,
      named: () => namedTextsOf(template),
      render: (messages) => {
        try {
          return this.#render({ ...checked, messages }, clock);
        } catch (error) {
          if (error instanceof UnicornError) return undefined;
          throw error;
        }
      },
    };
    try {
      return { text, literal: contentRanges(prompt, specialTextsOf(tokenizer)) };
    } catch (error) {
      throw this.#renderError(error);
    }
  }

  /** Whether the prompt begins with BOS already, so that the caller must not put another one before it. */
  beginsWithBos(prompt: string): boolean {
    const bos = this.#specialTokens['bos_token'];
    return bos !== undefined && bos !== '' && prompt.startsWith(bos);
  }

  #templateFor({ tools }: Conversation): Template {
    return (tools ?? []).length > 0 && this.#toolUse !== undefined ? this.#toolUse : this.#main;
  }

  #render(conversation: Conversation, now: () => Date): string {
    const { messages, tools, options } = conversation;
    const variables = {
      add_generation_prompt: true,
      ...this.#specialTokens,
      ...options,
      messages,
      tools: (tools ?? []).length > 0 ? tools : null,
      documents: options?.['documents'] ?? null,
    };
    try {
      return withinDeadline(this.#timeoutMs, () => {
        const environment = new Environment();
        // The template's variables first: what a caller names like a built-in function takes its place.
        for (const [name, value] of Object.entries({ ...globals(now), ...variables })) {
          if (environment.variables.has(name)) environment.variables.delete(name);
          environment.set(name, value);
        }
        const { parsed } = this.#templateFor(conversation);
        return String(new MeteredInterpreter(environment).run(parsed).value);
      });
    } catch (error) {
      throw this.#renderError(error);
    }
  }

  #parse(source: string): Template {
    if (source.length > maxSourceLength) {
      throw new UnicornError(
        'format/chat-template',
        `The chat template has ${source.length} characters; the limit is ${maxSourceLength}.`,
        { fields: { length: source.length, limit: maxSourceLength } },
      );
    }
    try {
      return withinDeadline(this.#timeoutMs, () => new Template(source));
    } catch (error) {
      const reason = messageOf(error);
      throw new UnicornError('format/chat-template', `The chat template cannot be read: ${reason}`, {
        fields: { reason },
        fix: 'Give a raw prompt instead, or a model whose template is whole.',
        cause: error,
      });
    }
  }

  #renderError(error: unknown): UnicornError {
    if (error instanceof Refusal) {
      return new UnicornError(
        'usage/chat-template',
        `The chat template refuses this conversation: ${error.message}`,
        {
          fields: { refusal: error.message },
          cause: error,
        },
      );
    }
    if (error instanceof DeadlineExceeded || error instanceof RenderTooLarge) {
      return new UnicornError(
        'resource/chat-template',
        `The chat template does not come to an end: ${error.message}`,
        {
          fields: { timeoutMs: this.#timeoutMs },
          fix: 'Use a model from a source that you trust, or give a raw prompt.',
          cause: error,
        },
      );
    }
    const reason = messageOf(error);
    return new UnicornError(
      'usage/chat-template',
      `The chat template fails on this conversation: ${reason}`,
      {
        fields: { reason },
        fix: 'Compare the messages with what the model expects, or give a raw prompt.',
        cause: error,
      },
    );
  }
}

function globals(now: () => Date): Record<string, unknown> {
  return {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    range,
    raise_exception: (message: unknown) => {
      throw new Refusal(String(message));
    },
    strftime_now: (format: unknown) => strftime(now(), String(format)),
  };
}

/** What `raise_exception` throws. */
class Refusal extends Error {
  override readonly name = 'Refusal';
}

function messageOf(error: unknown): string {
  // V8's words for a template that calls itself for ever, or nests too deep to be read, would name nothing useful.
  if (error instanceof RangeError) return 'it is nested too deep, or makes too long a text';
  return error instanceof Error ? error.message : String(error);
}

/** Python's `range`, with a limit: the library's would fill the memory in one step. */
function range(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  if (![from, to, step].every(Number.isInteger)) throw new Error('range() takes integers');
  if (step === 0) throw new Error('range() step must not be zero');
  const length = Math.max(0, Math.ceil((to - from) / step));
  if (length > maxRange) throw new Error(`range() of ${length} entries is beyond the limit of ${maxRange}`);
  return Array.from({ length }, (_, i) => from + i * step);
}

/** `make`, but once for each object that it is asked for. */
function remembered<K extends object, V>(make: (key: K) => V): (key: K) => V {
  const made = new WeakMap<K, V>();
  return (key) => {
    let value = made.get(key);
    if (value === undefined) made.set(key, (value = make(key)));
    return value;
  };
}

const monthNames =
  'January February March April May June July August September October November December'.split(' ');
const dayNames = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');

/** Python's `strftime` in its C locale and the local time zone, for the directives that dates in prompts are made of. */
function strftime(date: Date, format: string): string {
  const two = (n: number) => String(n).padStart(2, '0');
  return format.replace(/%(-?)([a-zA-Z%])/g, (directive, dash: string, letter: string) => {
    const pad = dash === '' ? two : String;
    switch (letter) {
      case 'Y':
        return String(date.getFullYear());
      case 'y':
        return two(date.getFullYear() % 100);
      case 'm':
        return pad(date.getMonth() + 1);
      case 'd':
        return pad(date.getDate());
      case 'e':
        return String(date.getDate()).padStart(2, ' ');
      case 'B':
        return monthNames[date.getMonth()]!;
      case 'b':
        return monthNames[date.getMonth()]!.slice(0, 3);
      case 'A':
        return dayNames[date.getDay()]!;
      case 'a':
        return dayNames[date.getDay()]!.slice(0, 3);
      case 'H':
        return pad(date.getHours());
      case 'I':
        return pad(date.getHours() % 12 || 12);
      case 'M':
        return pad(date.getMinutes());
      case 'S':
        return pad(date.getSeconds());
      case 'p':
        return date.getHours() < 12 ? 'AM' : 'PM';
      case '%':
        return '%';
      default:
        return directive;
    }
  });
}
