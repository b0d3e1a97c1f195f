/** `unicorn chat`: a conversation. Its state is a {@link Chat}; this file reads lines and prints. */
import { createInterface } from 'node:readline';
import { Chat, type GenerateChunk } from '@unicorn-exec/api';
import { isUnicornError, UnicornError } from '@unicorn-exec/api/error';
import { AnswerPrinter } from '../answer-printer.js';
import { loadOptions, withEngine } from '../engine-session.js';
import { readJsonFile } from '../input.js';
import {
  samplingFrom,
  speculationFrom,
  type DraftFlags,
  type EngineFlags,
  type SamplingFlags,
} from '../option.js';
import type { Terminal } from '../terminal.js';
import { changedBySet, settingNames, shownSettings } from './chat-setting.js';

interface ChatFlags extends EngineFlags, SamplingFlags, DraftFlags {
  readonly system?: string;
}

/** Opens and closes a message of several lines. */
const fence = '"""';

export async function chat(terminal: Terminal, flags: ChatFlags): Promise<void> {
  await withEngine(terminal, loadOptions(flags, terminal), async ({ engine }) => {
    const conversation = new Chat(engine, {
      system: flags.system,
      elastic: flags.elastic,
      speculation: speculationFrom(flags),
      sampling: samplingFrom(flags),
      maxTokens: flags.maxTokens,
      stop: flags.stop,
      overflow: flags.contextShift ? ('shift' as const) : undefined,
    });
    const session = new ChatSession(terminal, conversation, flags);
    if (terminal.interactive) {
      terminal.note(
        `${engine.model.name} on ${engine.backend.device}. /help lists the commands, ${fence} opens a longer message.`,
      );
    }
    await session.readAll();
  });
}

class ChatSession {
  #answering: AbortController | undefined;
  #last: GenerateChunk | undefined;
  /** A Ctrl-C at the prompt was the last thing that came. */
  #leaving = false;

  constructor(
    private readonly terminal: Terminal,
    private readonly chat: Chat,
    private readonly flags: ChatFlags,
  ) {}

  async readAll(): Promise<void> {
    const { terminal } = this;
    const lines = createInterface({
      input: process.stdin,
      output: terminal.interactive ? terminal.stderr : undefined,
      prompt: '> ',
    });
    let closed = false;
    lines.once('close', () => (closed = true));
    // readline swallows Ctrl-C on a terminal; both ways end in one handler. A first one stops the answer, or hints at
    // the way out; a second one in a row leaves.
    const interrupt = (): void => {
      if (this.#answering?.signal.aborted) terminal.exitInterrupted();
      else if (this.#answering) this.#answering.abort();
      else if (this.#leaving) lines.close();
      else {
        this.#leaving = true;
        terminal.stderr.write('\n');
        terminal.note('Ctrl-C again, Ctrl-D or /exit leaves.');
        lines.prompt();
      }
    };
    terminal.onInterrupt = interrupt;
    lines.on('SIGINT', interrupt);
    const queue = messages(lines);
    try {
      for (;;) {
        if (terminal.interactive && !closed) lines.prompt();
        const { value, done } = await queue.next();
        if (done || !(await this.#handle(value))) return;
      }
    } finally {
      terminal.onInterrupt = undefined;
      lines.close();
    }
  }

  /** False when the conversation is over. An error ends the turn, not the conversation. */
  async #handle(message: string): Promise<boolean> {
    this.#leaving = false;
    try {
      if (message.startsWith('/')) return await this.#command(message);
      if (message.trim() !== '') await this.#answer(message);
    } catch (error) {
      if (!isUnicornError(error) || error.family === 'internal' || error.family === 'device') throw error;
      this.terminal.fail(error, this.flags.json ?? false);
    }
    return true;
  }

  async #answer(message: string): Promise<void> {
    this.#answering = new AbortController();
    let text = '';
    let reasoning = '';
    const printer = new AnswerPrinter(this.terminal, this.flags.hideThinking ?? false);
    const tokens: number[] = [];
    try {
      for await (const chunk of this.chat.ask(message, { signal: this.#answering.signal })) {
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
    if (this.flags.json)
      this.terminal.writeJson({ text, ...thoughts, tokens, finishReason, usage, timings }, { lines: true });
    else this.terminal.write('\n');
  }

  async #command(line: string): Promise<boolean> {
    const [name, ...words] = line.slice(1).trim().split(/\s+/);
    const argument = words.join(' ');
    switch (name) {
      case 'help':
        this.terminal.note(help);
        break;
      case 'set':
        this.chat.change(changedBySet(this.chat.options, words[0] ?? '', words.slice(1).join(' ')));
        break;
      case 'show':
        this.terminal.note(JSON.stringify(shownSettings(this.chat), undefined, 2));
        break;
      case 'save':
        await this.chat.save(fileName(argument));
        this.terminal.note(`saved to ${argument}`);
        break;
      case 'load':
        this.chat.load(await readJsonFile(fileName(argument)));
        this.terminal.note(`${this.chat.messages.length} messages loaded`);
        break;
      case 'clear':
        this.chat.clear();
        break;
      case 'elastic':
        this.chat.change({ elastic: argument === '' ? undefined : argument });
        break;
      case 'stats':
        this.terminal.note(
          JSON.stringify(
            { last: this.#last?.usage, timings: this.#last?.timings, engine: this.chat.engine.stats() },
            undefined,
            2,
          ),
        );
        break;
      case 'exit':
      case 'quit':
      case 'bye':
        return false;
      default:
        throw new UnicornError('usage/command', `There is no command /${name}.`, {
          fix: '/help lists them.',
        });
    }
    return true;
  }
}

const help = [
  `/set NAME VALUE   one of ${settingNames.join(', ')}`,
  '/show             the settings',
  '/save FILE        the conversation as JSON, /load FILE brings it back',
  '/clear            forget the conversation',
  '/elastic SIZE     switch the MatFormer size; without a size: the whole model',
  '/stats            tokens and speed of the last answer',
  '/exit             leave (also Ctrl-D); Ctrl-C stops an answer',
  '"""               begins and ends a message of several lines',
].join('\n');

function fileName(argument: string): string {
  if (argument === '') throw new UnicornError('usage/file', 'The command needs a file name.');
  return argument;
}

/** Lines joined to messages: between fences, and after a backslash at the end of a line. */
async function* messages(lines: AsyncIterable<string>): AsyncGenerator<string, undefined> {
  let held: string[] = [];
  let fenced = false;
  for await (const line of lines) {
    const trimmed = line.trim();
    if (!fenced && trimmed.startsWith(fence)) {
      const inner = trimmed.slice(fence.length);
      if (inner.length > 0 && inner.endsWith(fence)) yield inner.slice(0, -fence.length);
      else [fenced, held] = [true, inner === '' ? [] : [inner]];
    } else if (fenced && trimmed.endsWith(fence)) {
      fenced = false;
      const inner = line.trimEnd().slice(0, -fence.length);
      yield [...held.splice(0), ...(inner === '' ? [] : [inner])].join('\n');
    } else if (fenced) held.push(line);
    else if (line.endsWith('\\')) held.push(line.slice(0, -1));
    else yield [...held.splice(0), line].join('\n');
  }
  if (held.length > 0) yield held.join('\n');
  return undefined;
}
