/**
 * The parts of a JavaScript regular expression with the flag `u`, as its grammar has them: for {@link patternCost}, which
 * tells what it may cost, and {@link CountedPattern}, which runs what may cost too much. It checks nothing: V8 has compiled
 * the source before.
 */

export type Term =
  /** One code point; `source` is a character, an escape or a class. */
  | { readonly kind: 'character'; readonly source: string }
  /** Consumes nothing. `source` where it is one of `^`, `$`, `\b` and `\B`, else a look ahead or behind. */
  | { readonly kind: 'assertion'; readonly source: string }
  | {
      readonly kind: 'look';
      readonly alternatives: readonly Sequence[];
      readonly behind: boolean;
      readonly negated: boolean;
    }
  | { readonly kind: 'group'; readonly alternatives: readonly Sequence[] }
  | {
      readonly kind: 'repeat';
      readonly term: Term;
      readonly least: number;
      /** Infinity where it is unbounded. */
      readonly most: number;
      readonly lazy: boolean;
    };

export type Sequence = readonly Term[];

/** Thrown for a reference to what a group has matched, which nothing here follows. */
export class BackReference extends Error {
  override readonly name = 'BackReference';
}

/** @throws BackReference */
export function parsePattern(source: string): readonly Sequence[] {
  return new PatternParser(source).alternatives();
}

const escaped =
  /\\(?:[pP]\{[^}]*\}|u\{[^}]*\}|u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|u[\da-fA-F]{4}|x[\da-fA-F]{2}|c.|[^])/uy;
const characterClass = /\[(?:[^\]\\]|\\[^])*\]/uy;
const quantifier = /(?:([*+?])|\{(\d+)(,(\d*))?\})(\??)/uy;
const groupStart = /\((?:\?(?:(:)|(<?)([=!])|<[^>]*>))?/uy;

class PatternParser {
  #at = 0;

  constructor(private readonly source: string) {}

  alternatives(): readonly Sequence[] {
    const alternatives: Term[][] = [[]];
    while (this.#at < this.source.length && this.source[this.#at] !== ')') {
      if (this.source[this.#at] === '|') {
        this.#at++;
        alternatives.push([]);
      } else {
        alternatives.at(-1)!.push(this.#repeated(this.#term()));
      }
    }
    return alternatives;
  }

  #term(): Term {
    switch (this.source[this.#at]) {
      case '(': {
        const [, , behind, look] = this.#take(groupStart)!;
        const alternatives = this.alternatives();
        this.#at++;
        return look
          ? { kind: 'look', alternatives, behind: behind === '<', negated: look === '!' }
          : { kind: 'group', alternatives };
      }
      case '[':
        return { kind: 'character', source: this.#take(characterClass)![0] };
      case '\\': {
        const [source] = this.#take(escaped)!;
        if (/^\\(?:[1-9]|k)/u.test(source)) throw new BackReference(source);
        return { kind: /^\\[bB]$/u.test(source) ? 'assertion' : 'character', source };
      }
      case '^':
      case '$':
        return { kind: 'assertion', source: this.source[this.#at++]! };
      default: {
        const source = String.fromCodePoint(this.source.codePointAt(this.#at)!);
        this.#at += source.length;
        return { kind: 'character', source };
      }
    }
  }

  #repeated(term: Term): Term {
    const found = this.#take(quantifier);
    if (!found) return term;
    const [, sign, from, range, to, lazy] = found;
    const least = sign ? Number(sign === '+') : Number(from);
    const most = sign
      ? sign === '?'
        ? 1
        : Infinity
      : range === undefined
        ? least
        : to
          ? Number(to)
          : Infinity;
    return { kind: 'repeat', term, least, most, lazy: lazy === '?' };
  }

  #take(token: RegExp): RegExpExecArray | undefined {
    token.lastIndex = this.#at;
    const found = token.exec(this.source);
    if (found) this.#at += found[0].length;
    return found ?? undefined;
  }
}
