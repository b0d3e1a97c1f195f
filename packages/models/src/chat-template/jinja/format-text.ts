/** Python's `str.format`, as the sandbox runs it: fields see attributes and entries as templates do. */
import { RenderFailure } from './failure.js';
import { formatted } from './format-spec.js';
import { display, represented } from './printing.js';
import type { Run } from './run.js';
import type { Arguments, Value } from './value.js';

export function formatText(run: Run, template: string, args: Arguments): string {
  run.work.spend(template.length);
  return new Formatter(run, args).format(template, 2);
}

const braces = /[{}]/g;

class Formatter {
  #automatic = 0;
  #byNumber = false;

  constructor(
    private readonly run: Run,
    private readonly args: Arguments,
  ) {}

  /** @param depth how deep fields may stand in fields */
  format(template: string, depth: number): string {
    if (depth < 0) throw new RenderFailure('Max string recursion exceeded');
    let written = '';
    const write = (text: string) => {
      this.run.work.spend(text.length);
      written += text;
    };
    for (let at = 0; at < template.length;) {
      braces.lastIndex = at;
      const brace = braces.exec(template)?.index ?? template.length;
      write(template.slice(at, brace));
      at = brace;
      if (at === template.length) break;
      const sign = template[at]!;
      if (template[at + 1] === sign) {
        write(sign);
        at += 2;
      } else if (sign === '}') {
        throw new RenderFailure("Single '}' encountered in format string");
      } else {
        const end = fieldEnd(template, at);
        write(this.#field(template.slice(at + 1, end), depth));
        at = end + 1;
      }
    }
    return written;
  }

  #field(field: string, depth: number): string {
    const [, path = '', conversion, spec = ''] =
      /^((?:\[[^\]]*\]|[^!:[])*)(?:!([^:]*))?(?::([^]*))?$/.exec(field) ?? [];
    let value = this.#value(path);
    const { work } = this.run;
    if (conversion === 'r') value = represented(value, work);
    else if (conversion === 's') value = display(value, work);
    else if (conversion !== undefined)
      throw new RenderFailure(`Unknown conversion specifier '${conversion}'`);
    return formatted(value, spec.includes('{') ? this.format(spec, depth - 1) : spec, work);
  }

  #value(path: string): Value {
    const [, first = '', rest = ''] = /^([^.[]*)([^]*)$/.exec(path)!;
    let value = this.#argument(first);
    for (const [part, attribute, entry] of rest.matchAll(/\.([^.[]+)|\[([^\]]+)\]|[^]/g)) {
      if (attribute !== undefined) value = this.run.attribute(value, attribute);
      else if (entry !== undefined) value = this.run.item(value, /^\d+$/.test(entry) ? BigInt(entry) : entry);
      else throw new RenderFailure(`Invalid format field at '${part}'`);
    }
    return value;
  }

  #argument(name: string): Value {
    const numbered = /^\d+$/.test(name);
    if (name === '' || numbered) {
      if (this.#byNumber !== numbered && (this.#automatic > 0 || this.#byNumber)) {
        throw new RenderFailure('cannot mix automatic field numbering and manual field specification');
      }
      this.#byNumber = numbered;
      const value = this.args.positional[numbered ? Number(name) : this.#automatic++];
      if (value === undefined)
        throw new RenderFailure('Replacement index out of range for positional args tuple');
      return value;
    }
    const value = this.args.named.get(name);
    if (value === undefined) throw new RenderFailure(`'${name}'`);
    return value;
  }
}

function fieldEnd(template: string, begin: number): number {
  let depth = 0;
  for (let at = begin; at < template.length; at++) {
    if (template[at] === '{') depth++;
    else if (template[at] === '}' && --depth === 0) return at;
  }
  throw new RenderFailure("expected '}' before end of string");
}
