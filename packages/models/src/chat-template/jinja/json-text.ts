/** Python's `json.dumps`, which is the `tojson` of chat templates: exact numbers, keys in their order, no HTML escaping. */
import { floatText } from './decimal.js';
import { Dict, isText, Markup, textOf, Tuple, typeName, type Value } from './value.js';
import { RenderFailure } from './failure.js';
import { sorted } from './comparison.js';
import { integerText } from './printing.js';
import { nodeUnits, type Work } from './work.js';

export interface JsonStyle {
  ensureAscii: boolean;
  /** What one level is indented by; undefined for one line. */
  indent: string | undefined;
  /** Between entries, and between a key and its value. */
  separators: readonly [entry: string, key: string];
  sortKeys: boolean;
}

const escapes: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\f': '\\f',
  '\b': '\\b',
};
const special = /[\x00-\x1f"\\]/g;
const notAscii = /[^ !#-[\]-~]/g;

/** @throws RenderFailure for what JSON cannot hold */
export function jsonText(value: Value, style: JsonStyle, work: Work): string {
  let text = '';
  const write = (piece: string) => {
    work.spend(piece.length);
    text += piece;
  };
  const quoted = (of: string) => {
    work.spend(of.length);
    const escaped = of.replace(
      style.ensureAscii ? notAscii : special,
      (unit) => escapes[unit] ?? `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
    write(`"${escaped}"`);
  };
  const line = (depth: number) => {
    if (style.indent === undefined) return;
    work.spend(style.indent.length * depth);
    write(`\n${style.indent.repeat(depth)}`);
  };
  const block = (open: string, close: string, depth: number, parts: Iterable<() => void>) => {
    let first = true;
    write(open);
    for (const part of parts) {
      if (!first) write(style.separators[0]);
      first = false;
      line(depth + 1);
      part();
    }
    if (!first) line(depth);
    write(close);
  };
  const show = (shown: Value, depth: number): void => {
    work.spend(nodeUnits);
    if (isText(shown)) quoted(textOf(shown));
    else if (Array.isArray(shown) || shown instanceof Tuple) {
      const items = Array.isArray(shown) ? shown : shown.items;
      work.nested(() =>
        block(
          '[',
          ']',
          depth,
          lazily(items, (item) => show(item, depth + 1)),
        ),
      );
    } else if (shown instanceof Dict) {
      const keys = style.sortKeys ? sorted([...shown.keys()], (key) => key, false, work) : shown.keys();
      work.nested(() =>
        block(
          '{',
          '}',
          depth,
          lazily(keys, (key) => {
            quoted(keyText(key));
            write(style.separators[1]);
            show(shown.get(key)!, depth + 1);
          }),
        ),
      );
    } else write(atomText(shown));
  };
  show(value, 0);
  return text;
}

function* lazily<T>(items: Iterable<T>, run: (item: T) => void): Generator<() => void> {
  for (const item of items) yield () => run(item);
}

function keyText(key: Value): string {
  if (isText(key)) return textOf(key);
  if (key instanceof Tuple || (typeof key === 'object' && key !== null)) {
    throw new RenderFailure(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
  }
  return atomText(key);
}

function atomText(value: Exclude<Value, string | Markup>): string {
  if (value === null) return 'null';
  switch (typeof value) {
    case 'boolean':
      return value ? 'true' : 'false';
    case 'bigint':
      return integerText(value);
    case 'number':
      if (Number.isNaN(value)) return 'NaN';
      return Number.isFinite(value) ? floatText(value) : value > 0 ? 'Infinity' : '-Infinity';
    default:
      break;
  }
  throw new RenderFailure(`Object of type ${typeName(value)} is not JSON serializable`);
}
