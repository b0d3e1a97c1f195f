/** JSON as a grammar (RFC 8259): what schemas are made of, and the rules for any value. */
import { anyCharacter, intersectionOf, without, type CharacterSet } from '../character-set.js';
import { character, choice, repeat, rule, sequence, text, type Expression } from '../expression.js';

/** Names of the rules of {@link jsonRules}. Rules of schemas have other ones. */
export const jsonNames = {
  whitespace: 'whitespace',
  character: 'character',
  value: 'value',
  object: 'object',
  array: 'array',
  string: 'string',
  number: 'number',
} as const;

/**
 * White space between the parts of a document. `flexible`: none, a space, or a line end and up to 40 spaces or tabs, so that
 * a model can indent but not go on for ever. `compact`: none.
 */
export type Whitespace = 'flexible' | 'compact';

const quote = text('"');
const digit = character([0x30, 0x39]);
const hexDigit = character([0x30, 0x39, 0x41, 0x46, 0x61, 0x66]);
/** What stands in a JSON text as it is. */
const plain = without(anyCharacter, [0, 0x1f, 0x22, 0x22, 0x5c, 0x5c]);
const shortEscapes: readonly (readonly [codePoint: number, letter: string])[] = [
  [0x08, 'b'],
  [0x09, 't'],
  [0x0a, 'n'],
  [0x0c, 'f'],
  [0x0d, 'r'],
  [0x22, '"'],
  [0x5c, '\\'],
];

/** One character of a set within a JSON string, written in one way: escaped only where it must be. */
export function jsonCharacter(set: CharacterSet): Expression {
  const has = (code: number): boolean => intersectionOf(set, [code, code]).length > 0;
  const short = shortEscapes.filter(([code]) => has(code)).map(([, letter]) => text(`\\${letter}`));
  const long = Array.from({ length: 0x20 }, (_, code) => code)
    .filter((code) => has(code) && !shortEscapes.some(([known]) => known === code))
    .map((code) => text(`\\u${code.toString(16).padStart(4, '0')}`));
  return choice(character(intersectionOf(set, plain)), ...short, ...long);
}

/** A string in quotes. */
export function jsonString(content: Expression): Expression {
  return sequence(quote, content, quote);
}

const whitespace = rule(jsonNames.whitespace);

/** `[item, item]`, or members of an object, with white space where it may stand. */
export function bracketed(open: string, content: Expression, close: string): Expression {
  return sequence(text(open), whitespace, content, whitespace, text(close));
}

/** The comma between two items. */
export const comma = sequence(whitespace, text(','), whitespace);

/** A member of an object. */
export function member(key: Expression, value: Expression): Expression {
  return sequence(key, whitespace, text(':'), whitespace, value);
}

/** Any number of these, with commas between them. */
export function list(item: Expression): Expression {
  return repeat(sequence(item, repeat(sequence(comma, item))), 0, 1);
}

/** An integer as JSON writes it, without an exponent. */
export const anyInteger = sequence(
  repeat(text('-'), 0, 1),
  choice(text('0'), sequence(character([0x31, 0x39]), repeat(digit))),
);

/** A value that is known, with white space where it may stand. */
export function literal(value: unknown): Expression {
  if (Array.isArray(value)) return bracketed('[', listed(value.map(literal)), ']');
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).map(([key, item]) =>
      member(text(JSON.stringify(key)), literal(item)),
    );
    return bracketed('{', listed(members), '}');
  }
  return text(JSON.stringify(value));
}

/** These, in this order, with commas between them. */
export function listed(items: readonly Expression[]): Expression {
  return sequence(...items.flatMap((item, index) => (index === 0 ? [item] : [comma, item])));
}

/** The rules for any JSON value. */
export function jsonRules(space: Whitespace): Map<string, Expression> {
  const { value, object, array, string, number } = jsonNames;
  const escape = sequence(
    text('\\'),
    choice(
      character([
        0x22, 0x22, 0x2f, 0x2f, 0x5c, 0x5c, 0x62, 0x62, 0x66, 0x66, 0x6e, 0x6e, 0x72, 0x72, 0x74, 0x74,
      ]),
      // Halves of a pair stand together: alone they are no character.
      sequence(text('u'), unpaired),
      sequence(text('u'), high, text('\\u'), low),
    ),
  );
  const exponent = sequence(
    character([0x45, 0x45, 0x65, 0x65]),
    repeat(character([0x2b, 0x2b, 0x2d, 0x2d]), 0, 1),
    repeat(digit, 1),
  );
  return new Map<string, Expression>([
    [
      jsonNames.whitespace,
      space === 'compact'
        ? sequence()
        : choice(
            sequence(),
            text(' '),
            sequence(text('\n'), repeat(character([0x09, 0x09, 0x20, 0x20]), 0, 40)),
          ),
    ],
    [jsonNames.character, choice(character(plain), escape)],
    [
      value,
      choice(
        rule(object),
        rule(array),
        rule(string),
        rule(number),
        text('true'),
        text('false'),
        text('null'),
      ),
    ],
    [object, bracketed('{', list(member(rule(string), rule(value))), '}')],
    [array, bracketed('[', list(rule(value)), ']')],
    [string, jsonString(repeat(rule(jsonNames.character)))],
    [
      number,
      sequence(anyInteger, repeat(sequence(text('.'), repeat(digit, 1)), 0, 1), repeat(exponent, 0, 1)),
    ],
  ]);
}

const notD: CharacterSet = [0x30, 0x39, 0x41, 0x43, 0x45, 0x46, 0x61, 0x63, 0x65, 0x66];
const letterD: CharacterSet = [0x44, 0x44, 0x64, 0x64];
/** Digits behind `\u` of what is no half of a pair, of a first half and of a second half (D800 to DBFF, DC00 to DFFF). */
const unpaired = choice(
  sequence(character(notD), hexDigit, hexDigit, hexDigit),
  sequence(character(letterD), character([0x30, 0x37]), hexDigit, hexDigit),
);
const high = sequence(
  character(letterD),
  character([0x38, 0x39, 0x41, 0x42, 0x61, 0x62]),
  hexDigit,
  hexDigit,
);
const low = sequence(character(letterD), character([0x43, 0x46, 0x63, 0x66]), hexDigit, hexDigit);
