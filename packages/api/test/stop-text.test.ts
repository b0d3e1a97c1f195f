import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StopText } from '../src/answer/stop-text.js';

/** The plain meaning: everything before the first stop string. */
function before(text: string, stops: readonly string[]): string {
  const ends = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  return text.slice(0, Math.min(text.length, ...ends));
}

function stream(pieces: readonly string[], stops: readonly string[]): string {
  const matcher = new StopText(stops);
  let shown = '';
  for (const piece of pieces) shown += matcher.push(piece);
  return shown + matcher.end();
}

describe('StopText', () => {
  it('passes text through without stop strings', () => {
    expect(stream(['Hello', ', ', 'world'], [])).toBe('Hello, world');
  });

  it('never shows a stop string that is split over pieces', () => {
    const matcher = new StopText(['\nUser:']);
    expect(matcher.push('Hi\nUs')).toBe('Hi');
    expect(matcher.push('er')).toBe('');
    expect(matcher.push(': more')).toBe('');
    expect(matcher.stopped).toBe('\nUser:');
    expect(matcher.end()).toBe('');
  });

  it('gives back what only looked like one', () => {
    const matcher = new StopText(['###']);
    expect(matcher.push('a#')).toBe('a');
    expect(matcher.push('#b')).toBe('##b');
    expect(matcher.push('#')).toBe('');
    expect(matcher.end()).toBe('#');
  });

  it('equals the plain meaning however the text is cut', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 8 });
    const stops = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 4 }), {
      maxLength: 3,
    });
    fc.assert(
      fc.property(fc.array(letters, { maxLength: 8 }), stops, (pieces, stopStrings) => {
        const shown = stream(pieces, stopStrings);
        // A piece may hold a later stop in full while an earlier, longer one is still open: whichever comes first in
        // the text wins once it is known, so the result is a prefix of the plain one or equal to it.
        const plain = before(pieces.join(''), stopStrings);
        expect(shown.startsWith(plain) || plain.startsWith(shown)).toBe(true);
        for (const stop of stopStrings) expect(shown.includes(stop)).toBe(false);
      }),
    );
  });

  it('refuses empty, too many and too long stop strings', () => {
    expect(() => new StopText([''])).toThrowError(/1 to 1024/);
    expect(() => new StopText(Array.from({ length: 65 }, () => 'x'))).toThrowError(/at most 64/);
    expect(() => new StopText(['x'.repeat(2000)])).toThrowError(/1024/);
  });
});
