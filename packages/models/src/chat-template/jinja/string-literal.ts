/** The escapes of Python's string literals, as Jinja2 reads them. */
import { NotSupported, SyntaxFailure } from './failure.js';

const escape = /\\(?:\n|([0-7]{1,3})|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|N\{([^}]*)\}|([^]))/g;
const single: Readonly<Record<string, string>> = {
  '\\': '\\',
  "'": "'",
  '"': '"',
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

/** @param text what stands between the quotes. @throws SyntaxFailure for an escape that is cut off */
export function unescaped(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replace(
    escape,
    (whole, octal?: string, x?: string, u?: string, long?: string, named?: string, other?: string) => {
      if (octal !== undefined) return String.fromCodePoint(parseInt(octal, 8));
      const hex = x ?? u ?? long;
      if (hex !== undefined) {
        const code = parseInt(hex, 16);
        if (code > 0x10ffff) throw new SyntaxFailure(`illegal Unicode character ${whole}`);
        return String.fromCodePoint(code);
      }
      if (named !== undefined) throw new NotSupported('A character by its name (\\N{...})');
      if (other === undefined) return ''; // a line that goes on
      if (/[xuUN]/.test(other)) throw new SyntaxFailure(`truncated \\${other} escape`);
      return single[other] ?? whole;
    },
  );
}
