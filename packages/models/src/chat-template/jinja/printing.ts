/** How values print: Python's `str` and `repr`. Every piece is paid for before it is joined to the rest. */
import {
  Callable,
  Dict,
  DictView,
  Markup,
  Range,
  Thing,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './value.js';
import { floatText } from './decimal.js';
import { NotSupported, RenderFailure } from './failure.js';
import { nodeUnits, type Work } from './work.js';

/** Python's `str`. @throws RenderFailure for an integer of more than 4300 digits, as Python */
export function display(value: Value, work: Work): string {
  if (typeof value === 'string') return value;
  if (value instanceof Markup) return value.text;
  if (value instanceof Undefined) return '';
  return represented(value, work);
}

/** Python's `repr`. @throws NotSupported for what prints an address */
export function represented(value: Value, work: Work): string {
  let text = '';
  const write = (piece: string) => {
    work.spend(piece.length);
    text += piece;
  };
  const list = (open: string, items: Iterable<Value>, close: string) => {
    write(open);
    let first = true;
    for (const item of items) {
      if (!first) write(', ');
      first = false;
      show(item);
    }
    write(close);
  };
  const dict = (shown: Dict) => {
    write('{');
    let first = true;
    for (const [key, item] of shown.entries()) {
      if (!first) write(', ');
      first = false;
      show(key);
      write(': ');
      show(item);
    }
    write('}');
  };
  const show = (shown: Value): void => {
    work.spend(nodeUnits);
    if (typeof shown === 'string') write(quoted(shown, work));
    else if (typeof shown !== 'object' || shown === null) write(atom(shown));
    else work.nested(() => compound(shown));
  };
  const compound = (shown: Exclude<Value & object, never>): void => {
    if (Array.isArray(shown)) list('[', shown, ']');
    else if (shown instanceof Tuple) list('(', shown.items, shown.items.length === 1 ? ',)' : ')');
    else if (shown instanceof Dict) dict(shown);
    else if (shown instanceof DictView) {
      write(`${shown.kind}(`);
      list('[', shown.items(), ']');
      write(')');
    } else if (shown instanceof Markup) {
      write('Markup(');
      write(quoted(shown.text, work));
      write(')');
    } else if (shown instanceof Undefined) write('Undefined');
    else if (shown instanceof Range) {
      const step = shown.step === 1n ? '' : `, ${shown.step}`;
      write(`range(${shown.start}, ${shown.stop}${step})`);
    } else write(named(shown));
  };
  const named = (shown: Value): string => {
    const printed =
      shown instanceof Callable
        ? shown.printed
        : shown instanceof Thing
          ? shown.print(show, write)
          : undefined;
    if (printed === undefined) throw new NotSupported(`Printing a ${typeName(shown)}`);
    return printed;
  };
  show(value);
  return text;
}

function atom(value: null | boolean | bigint | number): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  return typeof value === 'number' ? floatText(value) : integerText(value);
}

/** @throws RenderFailure beyond 4300 digits */
export function integerText(value: bigint): string {
  const text = value.toString();
  if (text.length > 4300 + (value < 0n ? 1 : 0)) {
    throw new RenderFailure('Exceeds the limit (4300 digits) for integer string conversion');
  }
  return text;
}

const unprintable = /[\p{C}\p{Z}]/u;
const mayNeedEscape = /[\\'"]|[^\x20-\x7e]/;
const short: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function quoted(text: string, work: Work): string {
  work.spend(text.length);
  if (!mayNeedEscape.test(text)) return `'${text}'`;
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let written = quote;
  for (const character of text) {
    const escape = short[character] ?? (character === quote ? `\\${quote}` : undefined);
    if (escape !== undefined) written += escape;
    else if (character === ' ' || !unprintable.test(character)) written += character;
    else {
      const code = character.codePointAt(0)!;
      const [letter, width] = code < 0x100 ? ['x', 2] : code < 0x10000 ? ['u', 4] : ['U', 8];
      written += `\\${letter}${code.toString(16).padStart(width, '0')}`;
    }
  }
  return written + quote;
}
