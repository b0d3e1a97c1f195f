/** The variables at one place of a template. Inner scopes see the outer ones, and set only their own. */
import type { Value } from './value.js';

export class Scope {
  readonly #own = new Map<string, Value>();

  constructor(private readonly outer?: Scope) {}

  /** Undefined where no scope has it. */
  get(name: string): Value | undefined {
    const own = this.#own.get(name);
    return own === undefined ? this.outer?.get(name) : own;
  }

  set(name: string, value: Value): void {
    this.#own.set(name, value);
  }
}
