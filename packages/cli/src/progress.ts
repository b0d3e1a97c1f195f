/** A loading bar on stderr, for people only: silent where stderr is not a terminal, or one that draws nothing over. */
import type { Terminal } from './terminal.js';

const barWidth = 24;
/** Redraws a second: more cannot be seen. */
const frameMs = 1000 / 15;

export class ProgressBar {
  #drawnAt = 0;
  #shown = false;

  constructor(
    private readonly terminal: Terminal,
    private readonly label: string,
  ) {}

  update(done: number, total: number, detail = ''): void {
    const now = performance.now();
    if (!this.terminal.redraws || (now - this.#drawnAt < frameMs && done < total)) return;
    this.#drawnAt = now;
    this.#shown = true;
    const share = total > 0 ? Math.min(1, done / total) : 0;
    const filled = Math.round(share * barWidth);
    const bar = `${'━'.repeat(filled)}${' '.repeat(barWidth - filled)}`;
    const percent = `${Math.floor(share * 100)}%`.padStart(4);
    // A line that wraps cannot be drawn over; the last column is left free, since some terminals wrap behind it.
    const room = (this.terminal.stderr.columns || 80) - 1;
    const start = `${this.label} `;
    const [shownBar, rest] =
      start.length + barWidth + percent.length <= room ? [bar, `${percent} ${detail}`] : ['', percent.trim()];
    const tail = rest.slice(0, Math.max(0, room - start.length - shownBar.length));
    this.terminal.stderr.write(
      `\r\x1b[2K${start.slice(0, room)}${this.terminal.style('cyan', shownBar)}${tail}`,
    );
  }

  /** Removes the bar. */
  end(): void {
    if (this.#shown) this.terminal.stderr.write('\r\x1b[2K');
    this.#shown = false;
  }
}
