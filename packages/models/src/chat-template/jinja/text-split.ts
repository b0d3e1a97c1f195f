/** Cutting texts: what Python's split, strip, find and replace do. Counts are paid for as they grow. */
import { isSpace, stripEnd, stripStart } from './white-space.js';
import { entryUnits, type Work } from './work.js';

/**
 * What looking for a part in a text costs: V8 compares the part at every place in the worst case, some five characters
 * in the time of one unit.
 */
export function searchUnits(text: string, part: string): number {
  return text.length * (1 + part.length / 16);
}

/** Cut at a separator, at most `limit` times, from the left. */
export function splitAt(text: string, separator: string, limit: number, work: Work): string[] {
  const parts: string[] = [];
  let begin = 0;
  while (parts.length < limit) {
    const at = text.indexOf(separator, begin);
    if (at < 0) break;
    work.spend(entryUnits);
    parts.push(text.slice(begin, at));
    begin = at + separator.length;
  }
  parts.push(text.slice(begin));
  return parts;
}

/** The same from the right. */
export function splitAtFromEnd(text: string, separator: string, limit: number, work: Work): string[] {
  const parts: string[] = [];
  let end = text.length;
  while (parts.length < limit) {
    const at = end < separator.length ? -1 : text.lastIndexOf(separator, end - separator.length);
    if (at < 0) break;
    work.spend(entryUnits);
    parts.push(text.slice(at + separator.length, end));
    end = at;
  }
  parts.push(text.slice(0, end));
  return parts.reverse();
}

/** The words of a text; behind `limit` cuts, the rest as it is but for white space before it. */
export function splitWords(text: string, limit: number, work: Work): string[] {
  const words: string[] = [];
  let at = 0;
  for (;;) {
    while (at < text.length && isSpace(text[at]!)) at++;
    if (at === text.length) return words;
    work.spend(entryUnits);
    if (words.length >= limit) {
      words.push(text.slice(at));
      return words;
    }
    const begin = at;
    while (at < text.length && !isSpace(text[at]!)) at++;
    words.push(text.slice(begin, at));
  }
}

/** The same from the right. */
export function splitWordsFromEnd(text: string, limit: number, work: Work): string[] {
  const words: string[] = [];
  let at = text.length;
  for (;;) {
    while (at > 0 && isSpace(text[at - 1]!)) at--;
    if (at === 0) return words.reverse();
    work.spend(entryUnits);
    if (words.length >= limit) {
      words.push(text.slice(0, at));
      return words.reverse();
    }
    const end = at;
    while (at > 0 && !isSpace(text[at - 1]!)) at--;
    words.push(text.slice(at, end));
  }
}

const lineEnd = /\r\n|[\n-\r\x1c-\x1e\x85\u2028\u2029]/g;

export function splitLines(text: string, keepEnds: boolean, work: Work): string[] {
  const lines: string[] = [];
  let begin = 0;
  for (const { 0: end, index } of text.matchAll(lineEnd)) {
    work.spend(entryUnits);
    lines.push(text.slice(begin, keepEnds ? index + end.length : index));
    begin = index + end.length;
  }
  if (begin < text.length) lines.push(text.slice(begin));
  return lines;
}

/** Without white space, or without any of the characters, at the sides. */
export function stripped(text: string, characters: string | undefined, start: boolean, end: boolean): string {
  if (characters === undefined) {
    const rest = start ? stripStart(text) : text;
    return end ? stripEnd(rest) : rest;
  }
  const members = new Set(characters);
  const all = [...text];
  let from = 0;
  let to = all.length;
  while (start && from < to && members.has(all[from]!)) from++;
  while (end && to > from && members.has(all[to - 1]!)) to--;
  return all.slice(from, to).join('');
}

/** How often a part occurs, without overlap; an empty part stands between all characters. */
export function occurrences(text: string, part: string, work: Work): number {
  if (part === '') return [...text].length + 1;
  let count = 0;
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) {
    work.spend(1);
    count++;
  }
  return count;
}

/** The first `limit` occurrences replaced. */
export function replaced(text: string, old: string, by: string, limit: number, work: Work): string {
  if (limit === 0) return text;
  if (old === '') {
    const characters = [...text];
    const count = Math.min(limit, characters.length + 1);
    work.spend(text.length * entryUnits + count * by.length);
    let joined = characters
      .slice(0, count)
      .map((character) => by + character)
      .join('');
    if (count > characters.length) joined += by;
    return joined + characters.slice(count).join('');
  }
  const parts = splitAt(text, old, limit, work);
  work.spend(text.length + (parts.length - 1) * by.length);
  return parts.join(by);
}
