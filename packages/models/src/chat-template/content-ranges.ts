/**
 * Which parts of a rendered prompt came out of the messages, so that a special token that somebody typed there is not
 * taken for one of the template's.
 *
 * A template cuts, trims and joins what it is given, so looking for the messages in the prompt would be guessing. Instead
 * the prompt is rendered once more, with the characters of the messages hidden behind a stand-in, one for one: where that
 * prompt shows the stand-in, the first one shows something from a message. Templates look at messages too, so what they
 * look at stays visible: white space, the two characters that JSON escapes, and texts that the template names
 * (`'</think>' in content`). A typed special token is hidden even so.
 *
 * It holds only if both prompts are the same everywhere else, which is checked. Where they are not, the template took
 * another way because of what was hidden, and it cannot be told which tokens are its own. Then a token of which the first
 * prompt has more than the second is text wherever it stands, the template's own with the rest; and where the template
 * refused the second prompt, a token that a message spells is. A model that misses the end of a turn is better than a user
 * who can write one.
 */
import type { TextRange } from '../tokenizer/literal-ranges.js';
import type { ChatMessage } from './conversation.js';
import type { NamedTexts } from './named-texts.js';
import type { SpecialTexts } from './special-texts.js';

/** What is being asked about, and how to ask the template again. */
export interface RenderedPrompt {
  text: string;
  messages: readonly ChatMessage[];
  /** The template's own text: a stand-in is no character of it. */
  source: string;
  named: () => NamedTexts;
  /** The prompt of other messages, in the same circumstances; undefined when the template refuses them. */
  render: (messages: readonly ChatMessage[]) => string | undefined;
}

/** The characters of a private area, which no keyboard has; one that nobody uses is the stand-in. */
const [firstPrivate, lastPrivate] = [0xe000, 0xf8ff];
const privateCharacter = /[\ue000-\uf8ff]/g;
/**
 * What stands in for a character of two units, since templates count characters: one of a private plane. What the prompt
 * has of it comes from a message in any case, or would be taken for it, and is then text.
 */
const wideStandIn = '\u{f8ff0}';
const wide = /[\u{10000}-\u{10ffff}]/u;
/** Hiding white space would change what trimming does; hiding what JSON escapes, lengths. */
const hideable = /[^\s"\\\p{Cc}\p{Cs}]+/gu;
const blank = /^[\s"\\\p{Cc}]*$/u;
/** Structure rather than content: compared with more than a template names. Hidden only where they could spell a token. */
const isStructure = (key: string | undefined) => key === undefined || key === 'role' || key === 'type';

/** Sorted, apart from one another; none when no message has so much as an edge of a special token. */
export function contentRanges(prompt: RenderedPrompt, specials: SpecialTexts): TextRange[] {
  const { text, messages } = prompt;
  const strings = stringsIn(messages);
  if (!strings.some((string) => specials.near(string))) return [];
  const standIn = unusedCharacter([text, prompt.source, ...strings]);
  const named = prompt.named();
  const masked =
    standIn === undefined
      ? undefined
      : prompt.render(
          mapStrings(messages, (string, key) =>
            isStructure(key) && !specials.near(string) ? string : hidden(string, standIn, named, specials),
          ) as readonly ChatMessage[],
        );
  if (masked !== undefined && isMaskOf(masked, text, standIn!)) {
    return standInRanges(masked, standIn!, !specials.some((special) => blank.test(special)));
  }
  return suspectRanges(text, masked, strings, specials);
}

function unusedCharacter(texts: readonly string[]): string | undefined {
  const used = new Set(texts.flatMap((text) => text.match(privateCharacter) ?? []));
  for (let unit = firstPrivate; unit <= lastPrivate; unit++) {
    const character = String.fromCharCode(unit);
    if (!used.has(character)) return character;
  }
  return undefined;
}

/** The string with stand-ins, as long as it was. */
function hidden(
  string: string,
  standIn: string,
  { wholes, parts }: NamedTexts,
  specials: SpecialTexts,
): string {
  const hide = new Uint8Array(string.length);
  if (!wholes.has(string)) {
    for (const { 0: run, index } of string.matchAll(hideable)) hide.fill(1, index, index + run.length);
    for (const part of parts) {
      for (let at = string.indexOf(part); at >= 0; at = string.indexOf(part, at + part.length))
        hide.fill(0, at, at + part.length);
    }
  }
  for (const { start, end } of specials.in(string)) hide.fill(1, start, end);
  let masked = '';
  for (let at = 0, end = 0; at < string.length; at = end) {
    while (end < string.length && hide[end] === hide[at]) end++;
    masked += hide[at] === 1 ? standInsFor(string.slice(at, end), standIn) : string.slice(at, end);
  }
  return masked;
}

/** As many units and as many characters. */
function standInsFor(text: string, standIn: string): string {
  if (!wide.test(text)) return standIn.repeat(text.length);
  return text.replace(/[\u{10000}-\u{10ffff}]|[^]/gu, (character) =>
    character.length > 1 ? wideStandIn : standIn,
  );
}

function isMaskOf(masked: string, text: string, standIn: string): boolean {
  if (masked.length !== text.length) return false;
  const units = [standIn, ...wideStandIn.split('')].map((unit) => unit.charCodeAt(0));
  for (let i = 0; i < text.length; i++) {
    const shown = masked.charCodeAt(i);
    if (shown !== text.charCodeAt(i) && !units.includes(shown)) return false;
  }
  return true;
}

/** Where stand-ins are; those with nothing but white space and the like between them in one range, if `joined`. */
function standInRanges(masked: string, standIn: string, joined: boolean): TextRange[] {
  const ranges: [number, number][] = [];
  const hidden = new RegExp(`(?:${standIn}|${wideStandIn})+`, 'gu');
  for (const { 0: run, index: at } of masked.matchAll(hidden)) {
    const end = at + run.length;
    const before = ranges.at(-1);
    if (joined && before !== undefined && blank.test(masked.slice(before[1], at))) before[1] = end;
    else ranges.push([at, end]);
  }
  return ranges;
}

function suspectRanges(
  text: string,
  masked: string | undefined,
  strings: readonly string[],
  specials: SpecialTexts,
): TextRange[] {
  const surplus = new Map<string, number>();
  const count = (where: string, by: number) => {
    for (const found of specials.in(where)) surplus.set(found.text, (surplus.get(found.text) ?? 0) + by);
  };
  if (masked === undefined) {
    for (const string of strings) count(string, 1);
  } else {
    count(text, 1);
    count(masked, -1);
  }
  const ranges: [number, number][] = [];
  for (const { text: special, start, end } of specials.in(text)) {
    if ((surplus.get(special) ?? 0) <= 0) continue;
    const before = ranges.at(-1);
    if (before !== undefined && start <= before[1]) before[1] = Math.max(before[1], end);
    else ranges.push([start, end]);
  }
  return ranges;
}

/** Every string of a value, names of fields among them. */
function stringsIn(value: unknown): string[] {
  const strings: string[] = [];
  mapStrings(value, (string) => {
    strings.push(string);
    return string;
  });
  return strings;
}

/** A copy with other strings. The key is that of the field that holds it; undefined for the name of a field. */
function mapStrings(value: unknown, map: (string: string, key?: string) => string, key = ''): unknown {
  if (typeof value === 'string') return map(value, key);
  if (Array.isArray(value)) return value.map((element) => mapStrings(element, map, key));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [map(name), mapStrings(field, map, name)]),
  );
}
