/** What `namespace(...)` makes: the one value of a template that it can change. */
import { RenderFailure } from './failure.js';
import { Thing, type Value } from './value.js';

export class Namespace extends Thing {
  readonly kind = 'TemplateNamespace';
  readonly #fields = new Map<string, Value>();

  override attribute(name: string): Value | undefined {
    return this.#fields.get(name);
  }

  /** @throws RenderFailure for a private name, as transformers refuses it */
  set(name: string, value: Value): void {
    if (name.startsWith('_')) {
      throw new RenderFailure(
        `Chat templates cannot store underscore-prefixed attributes on a namespace, but got '${name}'`,
      );
    }
    this.#fields.set(name, value);
  }

  override print(show: (value: Value) => void, write: (text: string) => void): string {
    write('<Namespace {');
    let first = true;
    for (const [name, value] of this.#fields) {
      if (!first) write(', ');
      first = false;
      show(name);
      write(': ');
      show(value);
    }
    return '}>';
  }
}
