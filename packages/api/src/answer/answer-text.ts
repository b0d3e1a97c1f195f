/**
 * The text of one answer, from the ids that a model gives: what it thinks apart from what it says, and nothing from a stop
 * string on. It knows ids and text only; what ends a sequence is the scheduler's business.
 */
import type { Tokenizer } from '@unicorn-exec/models';
import { noText, ReasoningText, type TextPiece } from './reasoning-text.js';
import { StopText } from './stop-text.js';

/** As in a chunk: `reasoning` only where there is any. */
export interface AnswerPiece {
  readonly text: string;
  readonly reasoning?: string;
}

export class AnswerText {
  readonly #reader: ReasoningText | undefined;
  readonly #stops: StopText;

  /**
   * @param tokenizer undefined for ids alone: every piece is then empty
   * @param prompt ids, at whose end a template may have opened the thinking
   */
  constructor(tokenizer: Tokenizer | undefined, prompt: ArrayLike<number>, stops: StopText) {
    this.#reader = tokenizer && new ReasoningText(tokenizer, prompt);
    this.#stops = stops;
  }

  /** True from the piece on in which a stop string ended. */
  get isStopped(): boolean {
    return this.#stops.stopped !== undefined;
  }

  /** The stop string that ended it. */
  get stopString(): string | undefined {
    return this.#stops.stopped;
  }

  push(token: number): AnswerPiece {
    const { text, reasoning } = this.#reader?.push(token) ?? noText;
    return piece({ text: this.#stops.push(text), reasoning });
  }

  /** What was held back, when the stream ends; nothing after a stop string. */
  end(): AnswerPiece {
    if (this.isStopped) return { text: '' };
    const { text, reasoning } = this.#reader?.end() ?? noText;
    return piece({ text: this.#stops.push(text) + this.#stops.end(), reasoning });
  }
}

function piece({ text, reasoning }: TextPiece): AnswerPiece {
  return reasoning === '' ? { text } : { text, reasoning };
}
