/**
 * Renders a conversation to the prompt that a model was trained on, with the Jinja template that came with the model. It
 * does not tokenize, and it does not know any model's format.
 *
 * A template is a program from a stranger. It cannot reach outside (the interpreter in `jinja/` has no way there), and a
 * meter bounds its work and its memory (`jinja/work.ts`): only the request that renders it fails.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import type { TextRange } from '../tokenizer/literal-ranges.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { contentRanges, type RenderedPrompt } from './content-ranges.js';
import { conversationFrom, type ChatMessage, type Conversation } from './conversation.js';
import {
  Refusal,
  Work,
  WorkExceeded,
  render,
  templateFrom,
  valueFrom,
  type Template,
  type Value,
} from './jinja/index.js';
import { messageValues, toolValues, withPlainText } from './message-values.js';
import { namedTexts, type NamedTexts } from './named-texts.js';
import { SpecialTexts } from './special-texts.js';

/** The longest published template has 20,000 characters. */
const maxSourceLength = 2 ** 20;
/**
 * Units of work of one render, of about one character copied each. A conversation of a million tokens is 4 Mi characters,
 * and a template handles each some ten times (trim, join with its role, join with the rest): this is three times the most
 * that anybody needs, a second or so, and a quarter of a gigabyte where all that is made is kept.
 */
const defaultMaxWork = 2 ** 27;

export interface ChatTemplateOptions {
  /** Texts that templates write by name: `bos_token`, `eos_token` and others. */
  specialTokens?: Readonly<Record<string, string>>;
  /** Used instead of the main template when the conversation has tools, as some models want it. */
  toolUseSource?: string;
  /** Units of work that one render may take, of about one character copied each. Default 2^27. */
  maxWork?: number;
  /** The clock of `strftime_now`. Default: now. */
  now?: () => Date;
}

/** A rendered prompt, and the ranges of it that are no place for special tokens. */
export interface PromptParts {
  text: string;
  /** Sorted, apart from one another. Empty where no message has anything of a special token. */
  literal: TextRange[];
}

/** What a template does with what it is given, as far as its text says. */
export interface ChatTemplateFacts {
  /** Whether it writes tools into the prompt. One that does not ignores them silently. */
  tools: boolean;
  /** Whether it takes content in parts. For one that does not, parts of text are joined by newlines. */
  contentParts: boolean;
}

const namedTextsOf = remembered((template: Template): NamedTexts => namedTexts(template));
const specialTextsOf = remembered(
  ({ specialTexts }: Pick<Tokenizer, 'specialTexts'>) => new SpecialTexts(specialTexts),
);

export class ChatTemplate {
  readonly source: string;
  readonly #specialTokens: Readonly<Record<string, string>>;
  readonly #maxWork: number;
  readonly #now: () => Date;
  readonly #main: Template;
  readonly #toolUse: Template | undefined;
  readonly #toolUseSource: string | undefined;
  #takesParts: boolean | undefined;

  /** @throws UnicornError `format/chat-template` when the source is no template that the library can read */
  constructor(source: string, options: ChatTemplateOptions = {}) {
    this.source = source;
    this.#specialTokens = options.specialTokens ?? {};
    this.#maxWork = options.maxWork ?? defaultMaxWork;
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
    return this.#render(this.#fitting(conversationFrom(conversation)), this.#now);
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
    const rendered = this.#fitting(checked);
    const text = this.#render(rendered, clock);
    const template = this.#templateFor(checked);
    const prompt: RenderedPrompt = {
      text,
      messages: rendered.messages,
      source: template === this.#main ? this.source : this.#toolUseSource!,
      named: () => namedTextsOf(template),
      render: (messages) => {
        try {
          return this.#render({ ...rendered, messages }, clock);
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

  /** What the template does with tools and parts; see {@link ChatTemplateFacts}. */
  get facts(): ChatTemplateFacts {
    const template = this.#toolUse ?? this.#main;
    return {
      tools: template.reads.has('tools') || template.reads.has('xml_tools'),
      contentParts: this.#contentParts,
    };
  }

  #templateFor({ tools }: Conversation): Template {
    return hasTools(tools) && this.#toolUse !== undefined ? this.#toolUse : this.#main;
  }

  /** The conversation with its content as texts, where the template knows nothing else. */
  #fitting(conversation: Conversation): Conversation {
    const inParts = conversation.messages.some(({ content }) => Array.isArray(content));
    if (!inParts || this.#contentParts) return conversation;
    return { ...conversation, messages: withPlainText(conversation.messages) };
  }

  /** Whether a text that is given in a part arrives in the prompt, and nothing of the part around it. */
  get #contentParts(): boolean {
    return (this.#takesParts ??= this.#shows([{ type: 'text', text: probe }]));
  }

  #shows(content: ChatMessage['content']): boolean {
    try {
      const text = this.#render({ messages: [{ role: 'user', content: content! }] }, this.#now);
      return text.includes(probe) && !/['"]text['"]/.test(text);
    } catch {
      return false;
    }
  }

  #render(conversation: Conversation, now: () => Date): string {
    const { messages, tools, options } = conversation;
    const given = toolValues(tools);
    const variables: Record<string, Value> = {
      add_generation_prompt: true,
      ...this.#specialTokens,
      documents: null,
    };
    for (const [name, value] of Object.entries(options ?? {})) variables[name] = valueFrom(value);
    try {
      Object.assign(variables, { messages: messageValues(messages), tools: given });
      const work = new Work(this.#maxWork);
      return render(this.#templateFor(conversation), Object.entries(variables), now, work);
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
      return templateFrom(source);
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
    if (error instanceof UnicornError) return error;
    if (error instanceof WorkExceeded) {
      return new UnicornError(
        'resource/chat-template',
        `The chat template does not come to an end: ${error.message}`,
        {
          fields: { maxWork: this.#maxWork },
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

/** What no template writes by itself. */
const probe = 'unicorn-probe';

function hasTools(tools: Conversation['tools']): boolean {
  return typeof tools === 'string' ? !/^\s*\[\s*\]\s*$/.test(tools) : (tools ?? []).length > 0;
}

function messageOf(error: unknown): string {
  // V8's words for a template that calls itself for ever, or nests too deep to be read, would name nothing useful.
  if (error instanceof RangeError) return 'it is nested too deep, or makes too long a text';
  return error instanceof Error ? error.message : String(error);
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
