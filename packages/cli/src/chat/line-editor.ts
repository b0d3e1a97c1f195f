/**
 * One line at a time with readline's editing. Between lines there is no editor, so that nothing draws a prompt into an
 * answer: not a key, not a change of the terminal's size.
 */
import { EventEmitter } from 'node:events';
import { createInterface, type Completer, type Interface } from 'node:readline';
import type { Keyboard } from './keyboard.js';

/** What came of a prompt. */
export type LineResult =
  | { readonly kind: 'line'; readonly text: string }
  /** Ctrl-C. */
  | { readonly kind: 'interrupt'; readonly text: string }
  /** Ctrl-D, or the input's end. */
  | { readonly kind: 'end' };

/** A paste longer than this, or of several lines, is shown as a note in the line. */
const literalPasteCharacters = 500;

export class LineEditor {
  /** The texts behind the notes of pastes. */
  readonly #pastes = new Map<string, string>();

  constructor(
    private readonly keyboard: Keyboard,
    private readonly output: NodeJS.WriteStream,
    private readonly completer: Completer,
  ) {}

  /** @param history newest first */
  read(prompt: string, history: readonly string[]): Promise<LineResult> {
    const keys = new KeyStream();
    const others = new Set(this.output.listeners('resize'));
    const lines = createInterface({
      input: keys as unknown as NodeJS.ReadableStream,
      output: this.output,
      terminal: true,
      prompt,
      completer: this.completer,
      history: [...history],
      historySize: Math.max(1, history.length + 1),
    }) as EditedLine;
    // Terminals wrap lines anew when their width changes, and the cursor with them: the row is another one than before.
    const resized = (): void => {
      lines.prevRows = lines.getCursorPos().rows;
    };
    this.output.prependListener('resize', resized);
    return new Promise((resolve) => {
      const settle = (result: LineResult): void => {
        this.keyboard.release();
        // Readline listens on after it is closed, and would draw its prompt.
        for (const listener of this.output.listeners('resize')) {
          if (!others.has(listener)) this.output.off('resize', listener as () => void);
        }
        lines.removeAllListeners('close');
        lines.close();
        resolve(result);
      };
      lines.once('line', (text) => settle({ kind: 'line', text }));
      lines.once('close', () => {
        this.output.write('\n');
        settle({ kind: 'end' });
      });
      lines.on('SIGINT', () => {
        moveToEnd(lines);
        this.output.write('^C\n');
        settle({ kind: 'interrupt', text: lines.line });
      });
      lines.on('SIGTSTP', () => this.keyboard.suspend());
      lines.prompt();
      this.keyboard.read({
        keys: (text) => type(lines, keys, text),
        paste: (text) => insert(lines, this.#pasted(text)),
        redraw: () => lines.prompt(true),
        end: () => lines.close(),
      });
    });
  }

  /** The line with the texts of its pastes in the places of their notes. */
  expanded(line: string): string {
    let text = line;
    for (const [note, pasted] of this.#pastes) text = text.replaceAll(note, () => pasted);
    return text;
  }

  /** What a paste puts into the line. */
  #pasted(text: string): string {
    const content = text.replace(/\n$/, '');
    // A tab or an escape sequence would move the cursor behind readline's back.
    if (content.length <= literalPasteCharacters && !/[\0-\x1f\x7f]/.test(content)) return content;
    const lines = content.split('\n').length;
    const size = lines > 1 ? `${lines} lines` : `${content.length} characters`;
    const note = `[pasted text ${this.#pastes.size + 1}: ${size}]`;
    this.#pastes.set(note, content);
    return note;
  }
}

/** Readline's line, which is open to change. */
type EditedLine = Omit<Interface, 'line' | 'cursor'> & { line: string; cursor: number; prevRows: number };

/** An escape sequence, as far as it has come; another control character; or text. */

const keyPattern = /\x1b(?:\[[0-?]*[ -/]*[@-~]?|O.?|[^])?|[\0-\x1a\x1c-\x1f\x7f]|[^\0-\x1f\x7f]+/g;

/**
 * Gives readline its keys. Of several characters that come at once it would lose the row of the cursor, and put them at the
 * end of the line: such text is inserted as a paste is.
 */
function type(lines: EditedLine, keys: KeyStream, text: string): void {
  for (const [key] of text.matchAll(keyPattern)) {
    const isText = key.length > 1 && !/[\0-\x1f\x7f]/.test(key);
    if (isText && !keys.isMidSequence) insert(lines, key);
    else keys.give(key);
  }
}

function insert(lines: EditedLine, text: string): void {
  const { line, cursor } = lines;
  lines.line = line.slice(0, cursor) + text + line.slice(cursor);
  lines.cursor = cursor + text.length;
  lines.prompt(true);
}

function moveToEnd(lines: EditedLine): void {
  lines.cursor = lines.line.length;
  lines.prompt(true);
}

/** What readline takes for a terminal's input. The keyboard stays raw between lines, so that modes are not its business. */
class KeyStream extends EventEmitter {
  readonly isTTY = true;
  /** Whether an escape sequence has begun and not ended: what follows belongs to it. */
  isMidSequence = false;

  give(key: string): void {
    this.isMidSequence = /^\x1b(?:\[[0-?]*[ -/]*|O)?$/.test(key);
    this.emit('data', key);
  }

  setRawMode(): this {
    return this;
  }
  resume(): this {
    return this;
  }
  pause(): this {
    return this;
  }
}
