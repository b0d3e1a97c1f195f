/** Jinja2's filters of texts. */
import { joined as joinedTexts, centered, padded } from './string-methods.js';
import { codePointLength, unitOf } from './code-points.js';
import {
  countOf,
  Dict,
  isInteger,
  isSequence,
  isText,
  itemsOf,
  likeText,
  Markup,
  textOf,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './value.js';
import { NotSupported, RenderFailure } from './failure.js';
import { capitalized } from './letter-case.js';
import { iterated, listOf, truthy } from './iteration.js';
import { escaped } from './markup.js';
import { formatPercent } from './percent-format.js';
import { display, represented } from './printing.js';
import { operation, type Operation } from './signature.js';
import { replaced, searchUnits, splitLines, splitWords, stripped } from './text-split.js';
import { pathGetter } from './value-path.js';
import type { Work } from './work.js';
import { jsonText } from './json-text.js';

type Filter = Operation<Value>;

/** The text of any value, HTML where it was. */
function soft(value: Value, work: Work): string | Markup {
  return isText(value) ? value : display(value, work);
}

function changed(change: (text: string) => string): Filter {
  return operation('', (run, self) => {
    const text = soft(self, run.work);
    run.work.spend(3 * textOf(text).length);
    return likeText(text, change(textOf(text)));
  });
}

const escape: Filter = operation('', (run, self) => new Markup(escaped(self, run.work)));

/** As Jinja2's own: words begin after white space and opening brackets, and hyphens. */
function title(text: string): string {
  return text
    .split(/([-\s\x1c-\x1f\x85({[<]+)/u)
    .map((word) => {
      const [first = ''] = word;
      return first.toUpperCase() + word.slice(first.length).toLowerCase();
    })
    .join('');
}

/** @throws RenderFailure for what has no length as a text has */
function plain(value: Value): string {
  if (isText(value)) return textOf(value);
  throw new RenderFailure(
    value instanceof Undefined ? value.message : `'${typeName(value)}' object is not a string`,
  );
}

function indented(text: string, width: string, first: boolean, blank: boolean, work: Work): string {
  work.spend(2 * text.length);
  const lines = splitLines(`${text}\n`, false, work);
  const chosen = lines.map((line, i) => (i === 0 ? first : blank || line !== ''));
  work.spend(chosen.filter(Boolean).length * width.length);
  return lines.map((line, i) => (chosen[i] ? width + line : line)).join('\n');
}

function truncated(text: string, length: number, killWords: boolean, end: string, leeway: number): string {
  const kept = length - codePointLength(end);
  if (kept < 0) throw new RenderFailure(`expected length >= ${codePointLength(end)}, got ${length}`);
  if (leeway < 0) throw new RenderFailure(`expected leeway >= 0, got ${leeway}`);
  if (codePointLength(text) <= length + leeway) return text;
  const cut = text.slice(0, unitOf(text, kept));
  const space = killWords ? -1 : cut.lastIndexOf(' ');
  return (space < 0 ? cut : cut.slice(0, space)) + end;
}

/** `textwrap.wrap` of texts whose words have neither hyphens nor more characters than a line. */
function wrapped(line: string, width: number, breakLong: boolean, work: Work): string[] {
  if (/[-\u2014]/.test(line)) throw new NotSupported("The filter 'wordwrap' on hyphens");
  const chunks = line.match(/\s+|\S+/gu) ?? [];
  const lines: string[] = [];
  let current: string[] = [];
  let length = 0;
  const flush = () => {
    if (current.length > 0 && current.at(-1)!.trim() === '') current.pop();
    if (current.length > 0) lines.push(current.join(''));
    current = [];
    length = 0;
  };
  for (const chunk of chunks) {
    work.spend(chunk.length);
    if (chunk.trim() === '' && current.length === 0 && lines.length > 0) continue;
    const size = codePointLength(chunk);
    if (length + size <= width) {
      current.push(chunk);
      length += size;
      continue;
    }
    if (size > width && breakLong)
      throw new NotSupported("The filter 'wordwrap' on words longer than a line");
    flush();
    if (chunk.trim() === '') continue;
    current.push(chunk);
    length = size;
  }
  flush();
  return lines;
}

const quotedForUrl = (value: Value, forQuery: boolean, work: Work): string => {
  const text = display(value, work);
  work.spend(9 * text.length);
  const quoted = encodeURIComponent(text).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return forQuery ? quoted.replaceAll('%20', '+') : quoted.replaceAll('%2F', '/');
};

/** A function's named arguments for `tojson`, in JSON's terms. */
const tojson: Filter = operation(
  'ensure_ascii? indent? separators? sort_keys?',
  (run, self, ascii = false, indent = null, separators = null, sort = false) => {
    let by: readonly [string, string] = indent === null ? [', ', ': '] : [',', ': '];
    if (separators !== null) {
      const given = isSequence(separators) ? itemsOf(separators) : [];
      if (given.length !== 2) throw new RenderFailure('separators must be a pair of strings');
      by = [plain(given[0]!), plain(given[1]!)];
    }
    let unit: string | undefined;
    if (isText(indent)) unit = textOf(indent);
    else if (indent !== null) {
      if (!isInteger(indent))
        throw new RenderFailure(`indent must be an integer or a string, not ${typeName(indent)}`);
      const width = Math.max(0, countOf(indent));
      run.work.spend(width);
      unit = ' '.repeat(width);
    }
    const style = { ensureAscii: truthy(ascii), indent: unit, separators: by, sortKeys: truthy(sort) };
    return jsonText(self, style, run.work);
  },
);

export const textFilters: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ['upper', changed((text) => text.toUpperCase())],
  ['lower', changed((text) => text.toLowerCase())],
  ['capitalize', changed(capitalized)],
  [
    'title',
    operation('', (run, self) => {
      const text = textOf(soft(self, run.work));
      run.work.spend(3 * text.length);
      return title(text);
    }),
  ],
  [
    'trim',
    operation('chars?', (run, self, characters = null) => {
      const text = soft(self, run.work);
      run.work.spend(textOf(text).length);
      return likeText(
        text,
        stripped(textOf(text), characters === null ? undefined : plain(characters), true, true),
      );
    }),
  ],
  [
    'replace',
    operation('old new count?', (run, self, old, by, count = null) => {
      const { work } = run;
      const [text, from, to] = [display(self, work), display(old!, work), display(by!, work)];
      work.spend(searchUnits(text, from));
      const limit = count === null ? -1 : countOf(count);
      return replaced(text, from, to, limit < 0 ? Infinity : limit, work);
    }),
  ],
  [
    'center',
    operation('width?', (run, self, width = 80n) => {
      const text = soft(self, run.work);
      return likeText(text, padded(run.work, textOf(text), countOf(width), ' ', centered));
    }),
  ],
  [
    'indent',
    operation('width? first? blank?', (run, self, width = 4n, first = false, blank = false) => {
      if (!isText(self))
        throw new RenderFailure(
          self instanceof Undefined ? self.message : `'${typeName(self)}' object is not a string`,
        );
      const size = isText(width) ? 0 : Math.max(0, countOf(width));
      run.work.spend(size);
      const unit = isText(width) ? textOf(width) : ' '.repeat(size);
      return likeText(self, indented(textOf(self), unit, truthy(first), truthy(blank), run.work));
    }),
  ],
  [
    'truncate',
    operation(
      'length? killwords? end? leeway?',
      (run, self, length = 255n, kill = false, end = '...', leeway = null) => {
        const text = plain(self);
        run.work.spend(2 * text.length);
        return truncated(
          text,
          countOf(length),
          truthy(kill),
          plain(end),
          leeway === null ? 5 : countOf(leeway),
        );
      },
    ),
  ],
  [
    'wordwrap',
    operation(
      'width? break_long_words? wrapstring? break_on_hyphens?',
      (run, self, width = 79n, breakLong = true, by = null) => {
        const text = plain(self);
        run.work.spend(text.length);
        const newline = by === null ? '\n' : plain(by);
        const lines = splitLines(text, false, run.work).map((line) =>
          joinedTexts(newline, wrapped(line, countOf(width), truthy(breakLong), run.work), run.work),
        );
        return joinedTexts(newline, lines, run.work);
      },
    ),
  ],
  [
    'wordcount',
    operation('', (run, self) => {
      const text = textOf(soft(self, run.work));
      run.work.spend(4 * text.length);
      return BigInt((text.match(/[\p{L}\p{N}_]+/gu) ?? []).length);
    }),
  ],
  ['string', operation('', (run, self) => soft(self, run.work))],
  [
    'join',
    operation('d? attribute?', (run, self, separator = '', attribute = null) => {
      const get = pathGetter(attribute, run);
      const parts = listOf(self, run.work).map((item) => display(get(item), run.work));
      return joinedTexts(display(separator, run.work), parts, run.work);
    }),
  ],
  [
    'format',
    (run, self, { positional, named }) => {
      if (positional.length > 0 && named.size > 0) {
        throw new RenderFailure("can't handle positional and keyword arguments at the same time");
      }
      return formatPercent(
        soft(self, run.work),
        named.size > 0 ? new Dict(named) : new Tuple(positional),
        run.work,
      );
    },
  ],
  ['escape', escape],
  ['e', escape],
  ['forceescape', operation('', (run, self) => new Markup(escaped(display(self, run.work), run.work)))],
  ['safe', operation('', (run, self) => new Markup(display(self, run.work)))],
  [
    'striptags',
    operation('', (run, self) => {
      const text = display(self, run.work);
      run.work.spend(text.length);
      return unescapedEntities(splitWords(withoutTags(text), Infinity, run.work).join(' '));
    }),
  ],
  [
    'urlencode',
    operation('', (run, self) => {
      const iterator = isText(self) ? undefined : iterated(self, run.work);
      if (iterator === undefined) return quotedForUrl(self, false, run.work);
      const pairs =
        self instanceof Dict
          ? [...self.entries()]
          : listOf(self, run.work).map((pair) => listOf(pair, run.work));
      return pairs
        .map(([key, value]) => `${quotedForUrl(key, true, run.work)}=${quotedForUrl(value, true, run.work)}`)
        .join('&');
    }),
  ],
  [
    'xmlattr',
    operation('autospace?', (run, self, autospace = true) => {
      if (!(self instanceof Dict))
        throw new RenderFailure(`'${typeName(self)}' object has no attribute 'items'`);
      const parts: string[] = [];
      for (const [key, value] of self.entries()) {
        if (value === null || value instanceof Undefined) continue;
        if (/[ \t\n\r\f\v/>=]/.test(plain(key)))
          throw new RenderFailure('Invalid character in attribute name');
        parts.push(`${escaped(key, run.work)}="${escaped(value, run.work)}"`);
      }
      const text = parts.join(' ');
      return truthy(autospace) && text !== '' ? ` ${text}` : text;
    }),
  ],
  ['tojson', tojson],
  [
    'pprint',
    operation('', (run, self) => {
      const text = represented(self, run.work);
      if (self instanceof Dict || codePointLength(text) > 80)
        throw new NotSupported("The filter 'pprint' on dicts and long values");
      return text;
    }),
  ],
  [
    'urlize',
    () => {
      throw new NotSupported("The filter 'urlize'");
    },
  ],
]);

function withoutTags(text: string): string {
  let rest = text;
  for (const [open, close] of [
    ['<!--', '-->'],
    ['<', '>'],
  ] as const) {
    let written = '';
    let at = 0;
    for (let begin = rest.indexOf(open); begin >= 0; begin = rest.indexOf(open, at)) {
      const end = rest.indexOf(close, begin);
      if (end < 0) break;
      written += rest.slice(at, begin);
      at = end + close.length;
    }
    rest = written + rest.slice(at);
  }
  return rest;
}

const entities: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  nbsp: '\xa0',
};

function unescapedEntities(text: string): string {
  return text.replace(
    /&(?:#(\d+)|#[xX]([\da-fA-F]+)|(\w+));/g,
    (whole, decimal?: string, hex?: string, name?: string) => {
      if (name === undefined) {
        const code = decimal === undefined ? parseInt(hex!, 16) : Number(decimal);
        if (code < 0x20 || (code >= 0x7f && code < 0xa0) || code > 0x10ffff)
          throw new NotSupported(`The HTML character ${whole}`);
        return String.fromCodePoint(code);
      }
      const character = Object.hasOwn(entities, name) ? entities[name] : undefined;
      if (character === undefined) throw new NotSupported(`The HTML character ${whole}`);
      return character;
    },
  );
}
