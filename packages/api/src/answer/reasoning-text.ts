/**
 * What a model thinks, told from what it answers: text between the tokens `<think>` and `</think>`, where the model has
 * them (Qwen3 and others that took its convention). It splits by token ids, so the same words typed out letter by letter
 * stay text, and it knows nothing of templates.
 */
import type { Tokenizer } from '@unicorn-exec/models';

/** Text that may be shown after a token: of the answer, of the thinking, or of neither while a character is incomplete. */
export interface TextPiece {
  readonly text: string;
  readonly reasoning: string;
}

export const noText: TextPiece = { text: '', reasoning: '' };

export class ReasoningText {
  readonly #detokenizer;
  readonly #open: number | undefined;
  readonly #close: number | undefined;
  #thinking: boolean;
  /** Nothing but white space of the part that began last has come: it separates, and belongs to nobody. */
  #atStart: boolean;
  /** White space at the end of the thinking so far, shown only if more of it follows. */
  #trailing = '';

  /** @param prompt ids; a template may have opened the thinking, or opened and closed it, on the model's behalf */
  constructor(tokenizer: Tokenizer, prompt: ArrayLike<number>) {
    this.#detokenizer = tokenizer.detokenizer({ skipSpecial: true });
    const [open, close] = [tokenizer.idOf('<think>'), tokenizer.idOf('</think>')];
    if (open !== undefined && close !== undefined) [this.#open, this.#close] = [open, close];
    const ids = Array.from(prompt);
    // Only at the end of the prompt: elsewhere a user has written about such tags.
    const endsAfter = (id: number | undefined): boolean => {
      const at = id === undefined ? -1 : ids.lastIndexOf(id);
      return at >= 0 && tokenizer.decode(ids.slice(at + 1)).trim() === '';
    };
    this.#thinking = endsAfter(this.#open);
    this.#atStart = this.#thinking || endsAfter(this.#close);
  }

  push(id: number): TextPiece {
    if (id !== this.#open && id !== this.#close) return this.#piece(this.#detokenizer.push(id));
    // An unfinished character ends here, in the part that it began in.
    const rest = this.#piece(this.#detokenizer.end());
    this.#thinking = id === this.#open;
    this.#atStart = true;
    this.#trailing = '';
    return rest;
  }

  /** What was held back when the stream ends. */
  end(): TextPiece {
    return this.#piece(this.#detokenizer.end());
  }

  #piece(piece: string): TextPiece {
    const text = this.#atStart ? piece.trimStart() : piece;
    if (text === '') return noText;
    this.#atStart = false;
    if (!this.#thinking) return { text, reasoning: '' };
    const whole = this.#trailing + text;
    const shown = whole.trimEnd();
    this.#trailing = whole.slice(shown.length);
    return { text: '', reasoning: shown };
  }
}
