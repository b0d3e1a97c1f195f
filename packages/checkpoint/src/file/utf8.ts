/** Strict UTF-8. Node's fast decoder replaces what is invalid, so its result is checked only where it replaced. */

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Text of `bytes[start, end)`, or undefined when that is not UTF-8. */
export function decodeUtf8(bytes: Uint8Array, start: number, end: number): string | undefined {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('utf8');
  if (!text.includes('\ufffd')) return text;
  try {
    return strict.decode(bytes.subarray(start, end));
  } catch {
    return undefined;
  }
}

/** Bytes of `text`, or undefined when it holds half a surrogate pair, which UTF-8 cannot spell. */
export function encodeUtf8(text: string): Uint8Array | undefined {
  return /\p{Surrogate}/u.test(text) ? undefined : Buffer.from(text, 'utf8');
}
