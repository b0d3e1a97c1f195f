import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FlatStrings } from '../../src/tokenizer/flat-strings.js';

/** As a GGUF file has them: 8 bytes of length, then the text. */
function packed(strings: readonly Uint8Array[]): { count: number; bytes: Uint8Array } {
  const parts = strings.flatMap((string) => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(string.length));
    return [length, string];
  });
  return { count: strings.length, bytes: Buffer.concat(parts) };
}

describe('FlatStrings', () => {
  it('gives back what was put in, packed or not', () => {
    const string = fc.string({ unit: 'grapheme', maxLength: 20 });
    fc.assert(
      fc.property(fc.array(string), (strings) => {
        const both = [
          FlatStrings.unpacked(packed(strings.map((s) => Buffer.from(s))))!,
          FlatStrings.of(strings),
        ];
        for (const flat of both) {
          expect(Array.from({ length: flat.length }, (_, i) => flat.at(i))).toEqual(strings);
        }
      }),
    );
  });

  it('takes nothing that is not UTF-8, also where neighbours would make it so', () => {
    const e = Buffer.from('é');
    expect(FlatStrings.unpacked(packed([e, Buffer.of(0xff)]))).toBeUndefined();
    expect(FlatStrings.unpacked(packed([e.subarray(0, 1), e.subarray(1)]))).toBeUndefined();
    expect(FlatStrings.unpacked(packed([Buffer.of(), e, Buffer.of()]))!.at(1)).toBe('é');
  });
});
