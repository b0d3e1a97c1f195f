/**
 * GPT-2's way to spell any byte as a printable character: printable Latin-1 bytes stand for themselves, the 68 others
 * for the code points from U+0100 on, in order.
 */

function byteCharacters(): string[] {
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
}

/** The character that spells each byte. */
export const characterOfByte: readonly string[] = byteCharacters();

/** The byte that a UTF-16 unit spells. */
const byteOfCharacter: ReadonlyMap<number, number> = new Map(
  characterOfByte.map((character, byte) => [character.charCodeAt(0), byte]),
);

/** The bytes that a token's spelling stands for, or undefined when some character spells no byte. */
export function bytesOfSpelling(piece: string): Uint8Array | undefined {
  const bytes = new Uint8Array(piece.length);
  for (let i = 0; i < piece.length; i++) {
    const byte = byteOfCharacter.get(piece.charCodeAt(i));
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

/** The spelling of bytes, the inverse of {@link bytesOfSpelling}. */
export function spellingOfBytes(bytes: Uint8Array): string {
  let piece = '';
  for (const byte of bytes) piece += characterOfByte[byte]!;
  return piece;
}
