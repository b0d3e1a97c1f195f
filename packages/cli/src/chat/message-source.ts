/** Where the messages of a conversation come from: a person at a terminal, or a pipe with a message on each line. */
import { decodeUtf8, inputLines } from '../input.js';
import type { HistoryFile } from './history-file.js';
import type { LineEditor } from './line-editor.js';

/** Opens and closes a message of several lines. */
export const fence = '"""';

export type Message =
  /** A command of the conversation: a line that begins with a slash, as it was typed. */
  { readonly kind: 'command'; readonly line: string } | { readonly kind: 'text'; readonly text: string };

export interface MessageSource {
  /** Undefined at the end. @throws UnicornError `usage/encoding`, `usage/input` */
  next(): Promise<Message | undefined>;
}

export class PipedMessages implements MessageSource {
  readonly #lines = inputLines('message');
  #number = 0;

  /** @param onWait before a line is read */
  constructor(private readonly onWait: () => void) {}

  async next(): Promise<Message | undefined> {
    const joiner = new MessageJoiner();
    for (;;) {
      this.onWait();
      const { value, done } = await this.#lines.next();
      if (done) return joiner.rest();
      this.#number++;
      const message = joiner.add(decodeUtf8(value, `line ${this.#number}`));
      if (message) return message;
    }
  }
}

export class TypedMessages implements MessageSource {
  constructor(
    private readonly editor: LineEditor,
    private readonly history: HistoryFile | undefined,
    private readonly hint: (text: string) => void,
  ) {}

  async next(): Promise<Message | undefined> {
    let joiner = new MessageJoiner();
    /** Whether a Ctrl-C at an empty prompt was the last thing that came. */
    let isLeaving = false;
    for (;;) {
      const result = await this.editor.read(joiner.isOpen ? '… ' : '> ', this.history?.entries ?? []);
      if (result.kind === 'end') return undefined;
      if (result.kind === 'interrupt') {
        if (result.text === '' && !joiner.isOpen) {
          if (isLeaving) return undefined;
          isLeaving = true;
          this.hint('Ctrl-C again, Ctrl-D or /exit leaves.');
        }
        joiner = new MessageJoiner();
        continue;
      }
      isLeaving = false;
      const message = joiner.add(result.text);
      // Pastes are put in at the end: what is in them is neither a command nor a fence.
      await this.history?.add(this.editor.expanded(result.text));
      if (message?.kind === 'text') return { kind: 'text', text: this.editor.expanded(message.text) };
      if (message) return message;
    }
  }
}

/** Joins lines to messages: between fences, and after a backslash at the end of a line. */
class MessageJoiner {
  #held: string[] = [];
  #fenced = false;

  get isOpen(): boolean {
    return this.#fenced || this.#held.length > 0;
  }

  /** The message that the line ends, if it does. */
  add(line: string): Message | undefined {
    const trimmed = line.trim();
    if (this.#fenced) {
      if (!trimmed.endsWith(fence)) return this.#hold(line);
      const inner = line.trimEnd().slice(0, -fence.length);
      this.#fenced = false;
      return this.#end(inner === '' ? [] : [inner]);
    }
    if (this.#held.length === 0 && trimmed.startsWith(fence)) {
      const inner = trimmed.slice(fence.length);
      if (inner.length > 0 && inner.endsWith(fence)) return this.#end([inner.slice(0, -fence.length)]);
      this.#fenced = true;
      return inner === '' ? undefined : this.#hold(inner);
    }
    if (line.endsWith('\\')) return this.#hold(line.slice(0, -1));
    if (this.#held.length === 0 && line.startsWith('/') && !line.includes('\n'))
      return { kind: 'command', line };
    return this.#end([line]);
  }

  /** What is left at the end of the input. */
  rest(): Message | undefined {
    return this.#held.length > 0 ? this.#end([]) : undefined;
  }

  #hold(line: string): undefined {
    this.#held.push(line);
    return undefined;
  }

  #end(lines: readonly string[]): Message {
    return { kind: 'text', text: [...this.#held.splice(0), ...lines].join('\n') };
  }
}
