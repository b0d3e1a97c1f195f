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
import { conversationFrom, type Conversation } from './conversation.js';
import { MeteredInterpreter, RenderTooLarge } from './metered-interpreter.js';

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

export class ChatTemplate {
  readonly source: string;
  readonly #specialTokens: Readonly<Record<string, string>>;
  readonly #timeoutMs: number;
  readonly #now: () => Date;
  readonly #main: Template;
  readonly #toolUse: Template | undefined;

  /** @throws UnicornError `format/chat-template` when the source is no template that the library can read */
  constructor(source: string, options: ChatTemplateOptions = {}) {
    this.source = source;
    this.#specialTokens = options.specialTokens ?? {};
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    this.#now = options.now ?? (() => new Date());
    this.#main = this.#parse(source);
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
    const { messages, tools, options } = conversationFrom(conversation);
    const hasTools = (tools ?? []).length > 0;
    const template = hasTools && this.#toolUse !== undefined ? this.#toolUse : this.#main;
    const variables = {
      add_generation_prompt: true,
      ...this.#specialTokens,
      ...options,
      messages,
      tools: hasTools ? tools : null,
      documents: options?.['documents'] ?? null,
    };
    try {
      return withinDeadline(this.#timeoutMs, () => {
        const environment = new Environment();
        // The template's variables first: what a caller names like a built-in function takes its place.
        for (const [name, value] of Object.entries({ ...this.#globals(), ...variables })) {
          if (environment.variables.has(name)) environment.variables.delete(name);
          environment.set(name, value);
        }
        return String(new MeteredInterpreter(environment).run(template.parsed).value);
      });
    } catch (error) {
      throw this.#renderError(error);
    }
  }

  /** Whether the prompt begins with BOS already, so that the caller must not put another one before it. */
  beginsWithBos(prompt: string): boolean {
    const bos = this.#specialTokens['bos_token'];
    return bos !== undefined && bos !== '' && prompt.startsWith(bos);
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

  #globals(): Record<string, unknown> {
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
      strftime_now: (format: unknown) => strftime(this.#now(), String(format)),
    };
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
