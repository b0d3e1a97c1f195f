/** The methods of text that is HTML already: their results are HTML too, and what they are given is escaped. */
import { NotSupported } from './failure.js';
import { escaped } from './markup.js';
import { boundMethod, type Operation } from './signature.js';
import type { Run } from './run.js';
import { Callable, Markup, Tuple, type Value } from './value.js';

/** Their arguments become part of the text. */
const joining = new Set(['join', 'replace', 'center', 'ljust', 'rjust']);

export function markupMethod(name: string, method: Operation<string>, self: Markup, run: Run): Callable {
  if (name === 'format' || name === 'format_map')
    throw new NotSupported(`The method '${name}' of escaped text`);
  const bound = boundMethod(name, method, self.text, run);
  return new Callable(name, (args) => {
    const escape = (value: Value): Value =>
      typeof value === 'string' ? escaped(value, run.work) : Array.isArray(value) ? value.map(escape) : value;
    return marked(
      bound.call(joining.has(name) ? { ...args, positional: args.positional.map(escape) } : args),
    );
  });
}

function marked(value: Value): Value {
  if (typeof value === 'string') return new Markup(value);
  if (Array.isArray(value)) return value.map(marked);
  return value instanceof Tuple ? new Tuple(value.items.map(marked)) : value;
}
