/**
 * Stop strings over a stream of text: a stop string is never shown, also when it is split over pieces, so text that
 * could be the beginning of one is held back. It knows text only; stop ids are the scheduler's.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import { checkArgument, listOf, required, text } from '../option.js';

/** More, or longer, stop strings than any client sends; the bound keeps the scan of each piece cheap. */
const maximumStops = 64;
const maximumStopLength = 1024;

export class StopText {
  readonly #stops: readonly string[];
  #held = '';
  #stopped: string | undefined;

  /** @throws UnicornError `usage/option`, `usage/stop` for an empty string, or too many or too long ones */
  constructor(stops: readonly string[]) {
    checkArgument('new StopText', 'stops', stops, required(listOf(text)));
    const tooLong = stops.find((stop) => stop.length === 0 || stop.length > maximumStopLength);
    if (tooLong !== undefined || stops.length > maximumStops) {
      throw new UnicornError(
        'usage/stop',
        `Stop strings must be 1 to ${maximumStopLength} characters long and at most ${maximumStops} in number.`,
        { fields: { count: stops.length } },
      );
    }
    this.#stops = stops;
  }

  /** The stop string that was found. */
  get stopped(): string | undefined {
    return this.#stopped;
  }

  /** Text that may be shown now. After a stop string nothing more comes out. */
  push(piece: string): string {
    if (this.#stopped !== undefined) return '';
    const text = this.#held + piece;
    let first = text.length;
    for (const stop of this.#stops) {
      const at = text.indexOf(stop);
      if (at >= 0 && at < first) {
        first = at;
        this.#stopped = stop;
      }
    }
    if (this.#stopped !== undefined) {
      this.#held = '';
      return text.slice(0, first);
    }
    const keep = Math.max(0, ...this.#stops.map((stop) => overlap(text, stop)));
    this.#held = text.slice(text.length - keep);
    return text.slice(0, text.length - keep);
  }

  /** What was held back, when the stream ends without a stop string. */
  end(): string {
    const held = this.#held;
    this.#held = '';
    return held;
  }
}

/** Length of the longest end of `text` that is a proper beginning of `stop`. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (stop.startsWith(text.slice(text.length - length))) return length;
  }
  return 0;
}
