import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Vocabulary } from '../../src/tokenizer/vocabulary.js';

/** The slow twin: strings in maps. */
class PlainVocabulary {
  readonly pieces = new Map<number, string>();
  readonly ordinary = new Map<string, number>();
  readonly added = new Map<string, number>();

  set(id: number, piece: string): void {
    this.pieces.set(id, piece);
    this.ordinary.set(piece, id);
  }

  setAdded(id: number, piece: string): void {
    this.pieces.set(id, piece);
    this.added.set(piece, id);
  }
}

const piece = fc.oneof(
  fc.string({ unit: fc.constantFrom('a', 'b', 'é', '漢', '🙂'), maxLength: 4 }),
  fc.string({ unit: 'grapheme', maxLength: 300 }).map((text) => text.replace(/\p{Surrogate}/gu, '')),
);

describe('Vocabulary', () => {
  it('is what two maps would be', () => {
    const entries = fc.uniqueArray(fc.tuple(fc.nat(500), piece), { selector: ([id]) => id, maxLength: 200 });
    const added = fc.array(fc.tuple(fc.nat(600), piece), { maxLength: 20 });
    const expected = fc.record({ ids: fc.nat(300), textBytes: fc.nat(300) });
    fc.assert(
      fc.property(entries, added, fc.array(piece), expected, (ordinary, later, others, room) => {
        const vocabulary = new Vocabulary(room);
        const twin = new PlainVocabulary();
        for (const table of [vocabulary, twin]) {
          for (const [id, text] of ordinary) table.set(id, text);
          for (const [id, text] of later) table.setAdded(id, text);
        }
        vocabulary.compact();
        expect(vocabulary.size).toBe(Math.max(-1, ...twin.pieces.keys()) + 1);
        for (let id = 0; id < vocabulary.size; id++)
          expect(vocabulary.pieceOf(id)).toBe(twin.pieces.get(id) ?? '');
        const all = [...others, ...ordinary.map(([, text]) => text), ...later.map(([, text]) => text)];
        for (const text of all) {
          expect(vocabulary.ordinaryIdOf(text)).toBe(twin.ordinary.get(text));
          expect(vocabulary.idOf(text)).toBe(twin.added.get(text) ?? twin.ordinary.get(text));
          if ([...text].length === 1)
            expect(vocabulary.idOfCodePoint(text.codePointAt(0)!)).toBe(twin.ordinary.get(text));
        }
        // Merging knows an id by its ordinary spelling, whatever an added token made of it.
        const spellings = ordinary.slice(0, 10);
        for (const [left, a] of spellings) {
          for (const [right, b] of spellings) {
            expect(vocabulary.idOfPair(left, right)).toBe(twin.ordinary.get(a + b));
            const bytes = Buffer.from(a + b);
            const cut = Buffer.byteLength(a);
            for (const guess of [undefined, left, right - 1, 1000]) {
              const found = vocabulary.idOfJoined(bytes, 0, cut, bytes, cut, bytes.length, guess);
              expect(found).toBe(twin.ordinary.get(a + b));
            }
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  it('finds nothing by half a character', () => {
    const vocabulary = new Vocabulary();
    vocabulary.set(0, '\ufffd');
    expect(vocabulary.idOf('\ufffd')).toBe(0);
    expect(vocabulary.idOf('\ud83d')).toBeUndefined();
    expect(() => vocabulary.set(1, 'a\ud83d')).toThrow(expect.objectContaining({ code: 'format/tokenizer' }));
  });

  it('refuses two spellings of one id, naming both', () => {
    const vocabulary = new Vocabulary();
    vocabulary.set(3, 'a');
    expect(() => vocabulary.set(3, 'b')).toThrow('"a" and "b" both have the id 3');
  });

  it('keeps many tokens in little more than their text', () => {
    const vocabulary = new Vocabulary();
    const count = 50_000;
    for (let id = 0; id < count; id++) vocabulary.set(id, `token ${id}`);
    vocabulary.compact();
    for (let id = 0; id < count; id += 7) {
      expect(vocabulary.pieceOf(id)).toBe(`token ${id}`);
      expect(vocabulary.ordinaryIdOf(`token ${id}`)).toBe(id);
    }
    expect(vocabulary.ordinaryIdOf('token 50000')).toBeUndefined();
  });
});
