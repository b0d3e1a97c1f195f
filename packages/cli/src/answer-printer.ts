/** Prints an answer as it comes: its text to standard output; what the model thinks, dimmed, to standard error. */
import type { GenerateChunk } from '@unicorn-exec/api';
import { visible, type Terminal } from './terminal.js';

export class AnswerPrinter {
  #thinking = false;

  constructor(
    private readonly terminal: Terminal,
    private readonly hideThinking: boolean,
  ) {}

  print({ text, reasoning }: GenerateChunk): void {
    if (reasoning !== undefined && !this.hideThinking) {
      this.#thinking = true;
      this.terminal.stderr.write(this.terminal.style('dim', visible(reasoning)));
    }
    if (text === '') return;
    // The answer begins on a line of its own, also where both streams end on one screen.
    if (this.#thinking) this.terminal.stderr.write('\n\n');
    this.#thinking = false;
    // Whoever pipes the answer elsewhere has it as the model wrote it.
    this.terminal.write(this.terminal.stdout.isTTY ? visible(text) : text);
  }
}
