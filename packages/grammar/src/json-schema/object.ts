/** Objects of a schema: members in the schema's order, any others behind them. */
import { anyCharacter, without, type CharacterSet } from '../character-set.js';
import { choice, empty, repeat, rule, sequence, text, type Expression } from '../expression.js';
import { bracketed, comma, jsonCharacter, jsonNames, member } from './json-text.js';

export interface Member {
  readonly name: string;
  readonly value: Expression;
  readonly isRequired: boolean;
}

/**
 * @param others what members have that are not listed; undefined where there are none
 * @param define gives an expression a rule of its own: each place among the members is one, or they would double
 */
export function objectExpression(
  members: readonly Member[],
  others: Expression | undefined,
  define: (expression: Expression) => Expression,
): Expression {
  const other = others && member(keyExcept(members.map(({ name }) => name)), others);
  /** What may stand behind a member, and where none has been written yet. */
  let after: Expression = other ? define(repeat(sequence(comma, other))) : empty;
  let first: Expression = other ? choice(empty, sequence(other, after)) : empty;
  for (const { name, value, isRequired } of members.toReversed()) {
    const own = define(sequence(member(text(JSON.stringify(name)), value), after));
    const later = sequence(comma, own);
    [first, after] = isRequired ? [own, later] : [define(choice(own, first)), define(choice(later, after))];
  }
  return bracketed('{', first, '}');
}

interface KeyNode {
  isName: boolean;
  readonly children: Map<number, KeyNode>;
}

/** A key that is none of these. */
function keyExcept(names: readonly string[]): Expression {
  if (names.length === 0) return rule(jsonNames.string);
  const root: KeyNode = { isName: false, children: new Map() };
  for (const name of names) {
    let node = root;
    for (const character of name) {
      const code = character.codePointAt(0)!;
      const child = node.children.get(code) ?? { isName: false, children: new Map<number, KeyNode>() };
      node.children.set(code, child);
      node = child;
    }
    node.isName = true;
  }
  // Written in one way only: an escape could spell a name.
  const anything = repeat(jsonCharacter(anyCharacter));
  const rest = ({ isName, children }: KeyNode): Expression => {
    const codes: CharacterSet = [...children.keys()].sort((a, b) => a - b).flatMap((code) => [code, code]);
    const different = sequence(jsonCharacter(without(anyCharacter, codes)), anything);
    const same = [...children].map(([code, child]) => sequence(jsonCharacter([code, code]), rest(child)));
    return choice(...(isName ? [] : [empty]), different, ...same);
  };
  return sequence(text('"'), rest(root), text('"'));
}
