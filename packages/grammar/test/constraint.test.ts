/** Masks against the slow twin: every token of the vocabulary is tried, byte by byte. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Constraint, parseGbnf, regexExpression, type Grammar } from '../src/index.js';
import { allowed, vocabularyOf } from './vocabulary.js';

const { vocabulary, tokens, end } = vocabularyOf([
  ...['ab', 'abc', 'b', 'ba', 'aa', 'aaa', '"', '",', '":', '{"', '"}', '}}', ']]', '[[', '],[', ' ', '  '],
  ...[
    'true',
    'false',
    'tr',
    'ue',
    'null',
    '12',
    '1.5',
    '-1',
    'é',
    'éé',
    '日本',
    '本',
    '😀',
    'x"y',
    '"a"',
    '[1',
    '1]',
  ],
]);

const json = parseGbnf(String.raw`
root ::= value
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (member ("," ws member)*)? "}"
member ::= string ":" ws value
array ::= "[" ws (value ("," ws value)*)? "]"
string ::= "\"" ([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" # a text
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [+-]? [0-9]+)?
ws ::= " "?
`);

const grammars: Readonly<Record<string, Grammar>> = {
  json,
  nested: parseGbnf('root ::= "a" root "b" | "a" tail\ntail ::= "b"* | [a-c]+ tail2\ntail2 ::= "" | "]"'),
  ambiguous: parseGbnf('root ::= (("a" | "aa" | "aaa")+ ("b" | "ba"))* "c"?'),
  counted: parseGbnf('root ::= [ab]{2,5} (" " [^a]{1,2}){0,2}'),
  regex: { root: 'root', rules: new Map([['root', regexExpression('(a|é|\\p{L}{2})+[^a-z]?|\\w*"')]]) },
};

describe.each(Object.entries(grammars))('%s', (_, grammar) => {
  const constraint = new Constraint(grammar, vocabulary);

  it('allows exactly the tokens that may follow, along any way', () => {
    fc.assert(
      fc.property(fc.infiniteStream(fc.nat()), (numbers) => {
        const matcher = constraint.matcher();
        for (let step = 0; step < 12 && !matcher.isEnded; step++) {
          const ids = allowed(matcher.mask(), vocabulary.size);
          const tried = tokens.flatMap((bytes, id) => {
            const isAllowed =
              id === end ? matcher.isComplete : bytes !== undefined && matcher.copy().acceptBytes(bytes);
            return isAllowed ? [id] : [];
          });
          expect(ids).toEqual(tried);
          // Whatever matched so far can be completed.
          expect(ids.length).toBeGreaterThan(0);
          const next = ids[(numbers.next().value as number) % ids.length]!;
          expect(matcher.accept(next)).toBe(true);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('remembers nothing that another request would see', () => {
    const [used, fresh] = [constraint.matcher(), new Constraint(grammar, vocabulary).matcher()];
    expect(used.mask()).toEqual(fresh.mask());
  });
});

describe('a mask of generated tokens', () => {
  it('depends on its argument alone', () => {
    const mask = new Constraint(json, vocabulary).tokenMask();
    const ids = (text: string): number[] => [...new TextEncoder().encode(text)];
    const [a, b] = [ids('{"a": [1'), ids('{"a": "x')];
    const first = mask(a);
    expect(mask(b)).not.toEqual(first);
    expect(mask(a)).toEqual(first);
    expect(mask([])).toEqual(mask([]));
    expect(() => mask(ids('}'))).toThrow(expect.objectContaining({ code: 'usage/grammar' }));
    expect(mask(a)).toEqual(first);
  });

  it('allows the end where the text may end, and nothing behind it', () => {
    const matcher = new Constraint(json, vocabulary).matcher();
    expect(matcher.accept(end)).toBe(false);
    expect(matcher.acceptBytes(new TextEncoder().encode('[true]'))).toBe(true);
    expect(allowed(matcher.mask(), vocabulary.size)).toEqual([end]);
    expect(matcher.accept(end)).toBe(true);
    expect(allowed(matcher.mask(), vocabulary.size)).toEqual([end]);
    expect(matcher.accept(65)).toBe(false);
  });
});
