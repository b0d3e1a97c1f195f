/** `unicorn chat`: a conversation. Its state is a {@link Chat}; this file carries out its commands and prints. */
import { Chat, type GenerateChunk } from '@unicorn-exec/api';
import { isUnicornError, nearestName, UnicornError } from '@unicorn-exec/api/error';
import { AnswerPrinter } from '../answer-printer.js';
import { completeLine } from '../chat/completion.js';
import { fileName } from '../chat/file-name.js';
import { HistoryFile } from '../chat/history-file.js';
import { Keyboard } from '../chat/keyboard.js';
import { LineEditor } from '../chat/line-editor.js';
import { fence, PipedMessages, TypedMessages, type MessageSource } from '../chat/message-source.js';
import { changeSetting, settingNames, shownSettings } from '../chat/setting.js';
import { elasticFrom, loadOptions, withEngine } from '../engine-session.js';
import { readJsonFile } from '../input.js';
import {
  samplingFrom,
  speculationFrom,
  type DraftFlags,
  type EngineFlags,
  type SamplingFlags,
} from '../option.js';
import type { Terminal } from '../terminal.js';

interface ChatFlags extends EngineFlags, SamplingFlags, DraftFlags {
  readonly system?: string;
  readonly history: boolean;
}

export async function chat(terminal: Terminal, flags: ChatFlags): Promise<void> {
  await withEngine(terminal, loadOptions(flags, terminal), async ({ engine }) => {
    const conversation = new Chat(engine, {
      system: flags.system,
      elastic: elasticFrom(engine, flags),
      speculation: speculationFrom(flags),
      sampling: samplingFrom(flags),
      maxTokens: flags.maxTokens,
      stop: flags.stop,
      overflow: flags.contextShift === false ? ('refuse' as const) : ('shift' as const),
    });
    const session = new ChatSession(terminal, conversation, flags);
    if (terminal.interactive && process.stdin.isTTY) {
      terminal.note(
        `${engine.model.name} on ${engine.backend.device}. /help lists the commands, ${fence} opens a longer message.`,
      );
    }
    await session.run();
  });
}

class ChatSession {
  #answering: AbortController | undefined;
  #last: GenerateChunk | undefined;
  readonly #interrupt = (): void => {
    // A first Ctrl-C stops the answer; whatever else takes long, or stops too slowly, is not waited for.
    if (!this.#answering || this.#answering.signal.aborted) this.terminal.exitInterrupted();
    this.#answering.abort();
  };

  constructor(
    private readonly terminal: Terminal,
    private readonly chat: Chat,
    private readonly flags: ChatFlags,
  ) {}

  async run(): Promise<void> {
    const { terminal } = this;
    const hasPerson = terminal.interactive && process.stdin.isTTY;
    terminal.onInterrupt = this.#interrupt;
    if (!hasPerson || process.env.TERM === 'dumb') {
      const prompt = (): unknown => hasPerson && terminal.stderr.write('> ');
      return this.#converse(new PipedMessages(prompt), hasPerson);
    }
    const history = this.flags.history ? new HistoryFile() : undefined;
    await history?.load();
    const keyboard = new Keyboard(process.stdin, terminal.stderr, this.#interrupt);
    terminal.onRestore = keyboard.close;
    keyboard.open();
    try {
      const editor = new LineEditor(keyboard, terminal.stderr, (line) => completeLine(line, this.#words));
      await this.#converse(new TypedMessages(editor, history, (text) => terminal.note(text)), true);
    } finally {
      keyboard.close();
      terminal.onRestore = undefined;
    }
  }

  get #words() {
    const sizes = this.chat.engine.model.sizes.map(({ name }) => name);
    return { commands: [...Object.keys(commands)], settings: settingNames, sizes };
  }

  /** A script learns at the end that something failed; a person has seen it. */
  async #converse(source: MessageSource, hasPerson: boolean): Promise<void> {
    for (;;) {
      try {
        const message = await source.next();
        if (!message) return;
        if (message.kind === 'command') {
          if (!(await this.#command(message.line))) return;
        } else if (message.text.trim() !== '') await this.#answer(message.text);
      } catch (error) {
        if (!isUnicornError(error) || endsConversation(error)) throw error;
        this.terminal.fail(error, this.flags.json ?? false, { lines: true });
        if (!hasPerson) this.terminal.exitCode = 1;
        // Nothing comes behind an input that cannot be read.
        if (error.code === 'usage/input') return;
      }
    }
  }

  /** Answers a message; without one, the last one anew. */
  async #answer(message?: string): Promise<void> {
    this.#answering = new AbortController();
    const options = { signal: this.#answering.signal };
    let { forgotten } = this.chat;
    let text = '';
    let reasoning = '';
    const printer = new AnswerPrinter(this.terminal, this.flags.hideThinking ?? false);
    const tokens: number[] = [];
    try {
      const turn = message === undefined ? this.chat.regenerate(options) : this.chat.ask(message, options);
      for await (const chunk of turn) {
        if (this.chat.forgotten > forgotten) {
          forgotten = this.chat.forgotten;
          this.#noteForgotten(forgotten);
        }
        if (!this.flags.json) printer.print(chunk);
        text += chunk.text;
        reasoning += chunk.reasoning ?? '';
        tokens.push(...chunk.tokens);
        this.#last = chunk;
      }
    } finally {
      this.#answering = undefined;
    }
    const { finishReason, usage, timings } = this.#last!;
    const thoughts = reasoning === '' ? {} : { reasoning };
    const lost = forgotten > 0 ? { forgottenMessages: forgotten } : {};
    const line = { text, ...thoughts, tokens, finishReason, usage, timings, ...lost };
    if (this.flags.json) this.terminal.writeJson(line, { lines: true });
    else this.terminal.write('\n');
    const { contextLength } = this.chat.engine.context;
    if (usage!.promptTokens + usage!.completionTokens > contextLength) {
      this.terminal.note(
        `(the answer outgrew the context of ${contextLength} tokens: the oldest ones were forgotten)`,
      );
    }
  }

  #noteForgotten(forgotten: number): void {
    const { contextLength } = this.chat.engine.context;
    this.terminal.note(
      `(the context of ${contextLength} tokens is full: the oldest ${forgotten} messages are forgotten)`,
    );
  }

  /** False when the conversation is over. */
  async #command(line: string): Promise<boolean> {
    const [name = '', ...words] = line.slice(1).trim().split(/\s+/);
    const argument = words.join(' ');
    const { chat, terminal } = this;
    switch (commandOf(name)) {
      case 'help':
        terminal.note(help);
        break;
      case 'set':
        terminal.note(changeSetting(chat, words));
        break;
      case 'show':
        terminal.note(JSON.stringify(shownSettings(chat), undefined, 2));
        break;
      case 'save':
        await chat.save(fileName(argument));
        terminal.note(`${chat.messages.length} messages saved to ${argument}`);
        break;
      case 'load':
        chat.load(await readJsonFile(fileName(argument)));
        terminal.note(`${chat.messages.length} messages loaded`);
        break;
      case 'clear':
        chat.clear();
        terminal.note('the conversation is forgotten');
        break;
      case 'regen':
        await this.#answer();
        break;
      case 'undo': {
        const taken = chat.undo();
        terminal.note(
          taken === undefined ? 'there is nothing to take back' : `taken back: ${firstLine(taken)}`,
        );
        break;
      }
      case 'elastic':
        this.#changeSize(argument);
        break;
      case 'stats':
        terminal.note(
          JSON.stringify(
            { last: this.#last?.usage, timings: this.#last?.timings, engine: chat.engine.stats() },
            undefined,
            2,
          ),
        );
        break;
      case 'exit':
        return false;
      default: {
        const nearest = nearestName(name, Object.keys(commands));
        throw new UnicornError('usage/command', `There is no command /${name}.`, {
          fix: `${nearest === undefined ? '' : `Did you mean /${nearest}? `}/help lists them; a message that begins with a slash has a blank before it.`,
        });
      }
    }
    return true;
  }

  #changeSize(spec: string): void {
    const { chat } = this;
    const { model } = chat.engine;
    chat.change({ elastic: spec === '' || spec === 'full' ? undefined : spec });
    const { elastic = 'full' } = chat.options;
    const { name, parameters } = model.resolveSize(elastic);
    const millions = (count: number): string => `${(count / 1e6).toFixed(1)} M`;
    this.terminal.note(
      `the size is ${name}: ${millions(parameters)} of ${millions(model.parameters)} parameters`,
    );
  }
}

/** Whether no further answer can be expected. A disk that failed took a file, not the device. */
const endsConversation = ({ family, code }: UnicornError): boolean =>
  family === 'internal' || (family === 'device' && code !== 'device/io');

/** Each command with what it does. */
const commands: Readonly<Record<string, string>> = {
  set: `NAME VALUE   one of ${settingNames.join(', ')}`,
  show: 'the settings',
  save: 'FILE   the conversation as JSON',
  load: 'FILE   brings a saved conversation back',
  clear: 'forget the conversation',
  regen: 'answer the last message anew',
  undo: 'take the last message and its answer back',
  elastic: 'SIZE   switch the MatFormer size; without a size: the whole model',
  stats: 'tokens and speed of the last answer',
  help: 'this list',
  exit: 'leave (also Ctrl-D); Ctrl-C stops an answer',
};

/** Other words for commands. */
const otherNames: Readonly<Record<string, string>> = {
  quit: 'exit',
  bye: 'exit',
  '?': 'help',
  retry: 'regen',
  regenerate: 'regen',
  reset: 'clear',
};

const commandOf = (name: string): string => otherNames[name] ?? name;

const help = [
  ...Object.entries(commands).map(([name, does]) => `/${name.padEnd(9)}${does}`),
  `${fence.padEnd(10)}begins and ends a message of several lines; so does a backslash at the end of a line, and a paste`,
].join('\n');

/** Longer ones are cut: it is there to recognize the message. */
const shownCharacters = 60;

function firstLine(text: string): string {
  const [line = ''] = text.split('\n');
  return line.length < text.length || line.length > shownCharacters
    ? `${line.slice(0, shownCharacters)}…`
    : line;
}
