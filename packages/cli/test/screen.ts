/** A terminal's screen as far as lines are edited on it: text that wraps, and the cursor's movements. */
import { EventEmitter } from 'node:events';

export class Screen extends EventEmitter {
  readonly isTTY = true;
  readonly #rows: string[][] = [[]];
  #row = 0;
  #column = 0;

  constructor(public columns: number) {
    super();
  }

  /** Rows without the blanks at their ends. */
  get rows(): string[] {
    return this.#rows.map((row) =>
      Array.from(row, (cell) => cell ?? ' ')
        .join('')
        .trimEnd(),
    );
  }

  readonly write = (text: string): boolean => {
    for (const [piece, count, command] of text.matchAll(/\x1b\[\??(\d*)(?:;\d+)?([A-Za-z])|[^]/g)) {
      if (command !== undefined) this.#move(command, Number(count || 1), count === '');
      else if (piece === '\r') this.#column = 0;
      else if (piece === '\n') this.#lineFeed();
      else this.#put(piece);
    }
    return true;
  };

  #put(character: string): void {
    // A full row wraps when the next character comes.
    if (this.#column === this.columns) this.#lineFeed();
    this.#rows[this.#row]![this.#column++] = character;
  }

  #lineFeed(): void {
    this.#row++;
    this.#column = 0;
    this.#rows[this.#row] ??= [];
  }

  #move(command: string, count: number, isDefault: boolean): void {
    if (command === 'A') this.#row = Math.max(0, this.#row - count);
    else if (command === 'B') this.#row = Math.min(this.#rows.length - 1, this.#row + count);
    else if (command === 'C') this.#column = Math.min(this.columns - 1, this.#column + count);
    else if (command === 'D') this.#column = Math.max(0, this.#column - count);
    else if (command === 'G') this.#column = isDefault ? 0 : count - 1;
    else if (command === 'K' && count === 2) this.#rows[this.#row] = [];
    else if (command === 'K') this.#rows[this.#row]!.length = this.#column;
    else if (command === 'J') {
      this.#rows.length = this.#row + 1;
      this.#rows[this.#row]!.length = Math.min(this.#rows[this.#row]!.length, this.#column);
    }
  }
}
