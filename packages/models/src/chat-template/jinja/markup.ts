/** HTML escaping as markupsafe does it. Prompts are rarely HTML; `escape` and `safe` are part of Jinja2 all the same. */
import { display } from './printing.js';
import { Markup, type Value } from './value.js';
import type { Work } from './work.js';

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&#39;',
  '"': '&#34;',
};

/** The text of a value with HTML's characters escaped, unless it is HTML already. */
export function escaped(value: Value, work: Work): string {
  if (value instanceof Markup) return value.text;
  const text = display(value, work);
  work.spend(5 * text.length);
  return text.replace(/[&<>'"]/g, (character) => entities[character]!);
}
