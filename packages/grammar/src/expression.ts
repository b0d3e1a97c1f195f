/** What a grammar is made of: expressions over bytes, and rules that name them. */
import { utf8Of, type CharacterSet } from './character-set.js';

export type Expression =
  /** One byte of inclusive ranges. */
  | { readonly kind: 'byte'; readonly first: number; readonly last: number }
  | { readonly kind: 'sequence'; readonly items: readonly Expression[] }
  /** One of these; none at all matches nothing. */
  | { readonly kind: 'choice'; readonly items: readonly Expression[] }
  /** Absent `max`: without an end. */
  | {
      readonly kind: 'repeat';
      readonly item: Expression;
      readonly min: number;
      readonly max: number | undefined;
    }
  | { readonly kind: 'rule'; readonly name: string };

/** Rules by name, and the one that a text must match as a whole. */
export interface Grammar {
  readonly root: string;
  readonly rules: ReadonlyMap<string, Expression>;
}

/** The empty text. */
export const empty: Expression = { kind: 'sequence', items: [] };

export function sequence(...items: readonly Expression[]): Expression {
  return items.length === 1 ? items[0]! : { kind: 'sequence', items };
}

export function choice(...items: readonly Expression[]): Expression {
  return items.length === 1 ? items[0]! : { kind: 'choice', items };
}

export function repeat(item: Expression, min = 0, max?: number): Expression {
  return { kind: 'repeat', item, min, max };
}

export function optional(item: Expression): Expression {
  return repeat(item, 0, 1);
}

export function rule(name: string): Expression {
  return { kind: 'rule', name };
}

/** A text as it is. */
export function text(value: string): Expression {
  return sequence(
    ...Array.from(new TextEncoder().encode(value), (byte): Expression => ({
      kind: 'byte',
      first: byte,
      last: byte,
    })),
  );
}

/** One character of a set. */
export function character(set: CharacterSet): Expression {
  return choice(
    ...utf8Of(set).map((bytes) =>
      sequence(...bytes.map(([first, last]): Expression => ({ kind: 'byte', first, last }))),
    ),
  );
}
