/** Grammars from strangers: each is answered or refused at once, with a code. */
import { isUnicornError } from '@unicorn-exec/tensor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Constraint, jsonSchemaGrammar, parseGbnf, Vocabulary } from '../src/index.js';
import { vocabularyOf } from './vocabulary.js';

const { vocabulary } = vocabularyOf(['ab', '"', '{"']);

function codeOf(make: () => unknown): string {
  try {
    make();
    return 'accepted';
  } catch (error) {
    return isUnicornError(error) ? error.code : String(error);
  }
}

const ofSchema = (schema: unknown): string =>
  codeOf(() => new Constraint(jsonSchemaGrammar(schema), vocabulary).matcher().mask());
const ofGbnf = (source: string): string =>
  codeOf(() => new Constraint(parseGbnf(source), vocabulary).matcher().mask());

const nested = (depth: number): unknown => {
  let schema: unknown = { type: 'integer' };
  for (let i = 0; i < depth; i++) schema = { type: 'array', items: schema };
  return schema;
};

describe('schemas', () => {
  const many = {
    anyOf: Array.from({ length: 40 }, (_, i) => ({ properties: { [`p${i}`]: { type: 'integer' } } })),
  };
  it.each<readonly [name: string, schema: unknown, code: RegExp]>([
    ['null', null, /^usage\/schema$/],
    ['a text', 'object', /^usage\/schema$/],
    ['a reference to itself', { $ref: '#' }, /^unsupported\/grammar$/],
    [
      'a circle of references',
      { $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } } },
      /^unsupported\/grammar$/,
    ],
    ['a part of itself', { allOf: [{ $ref: '#' }, { type: 'object' }] }, /^usage\/schema$/],
    ['a reference to nothing', { $ref: '#/$defs/none' }, /^usage\/schema$/],
    ['a reference elsewhere', { $ref: 'https://example.com/schema' }, /^unsupported\/schema$/],
    ['a reference to a prototype', { $ref: '#/constructor' }, /^usage\/schema$/],
    ['10,000 levels', nested(10_000), /^resource\/grammar$/],
    [
      'alternatives multiplied',
      { allOf: Array.from({ length: 20 }, () => many) },
      /^(resource\/grammar|unsupported\/schema)$/,
    ],
    ['a huge count', { type: 'string', minLength: 2 ** 40 }, /^resource\/grammar$/],
    [
      'counts within counts',
      { type: 'array', minItems: 9999, items: { type: 'array', minItems: 9999 } },
      /^(resource\/grammar|accepted)$/,
    ],
    ['a catastrophic pattern', { type: 'string', pattern: '^(a+)+$|(a|aa)+b(.*)*' }, /^accepted$/],
    ['a pattern that is none', { type: 'string', pattern: '(' }, /^usage\/grammar$/],
    ['a name of a megabyte', { properties: { ['x'.repeat(2 ** 20)]: {} } }, /^resource\/grammar$/],
    ['nothing', false, /^usage\/grammar$/],
    [
      'a required member that is never',
      { properties: { a: false }, required: ['a'], type: 'object' },
      /^usage\/grammar$/,
    ],
    ['not', { not: { type: 'string' } }, /^unsupported\/schema$/],
    ['an unknown type', { type: 'any' }, /^usage\/schema$/],
    ['numbers for lists', { anyOf: 1, required: 'abc' }, /^usage\/schema$/],
    [
      '__proto__',
      JSON.parse('{"type": "object", "properties": {"__proto__": {"type": "integer"}}}'),
      /^accepted$/,
    ],
  ])('%s', (_, schema, code) => {
    expect(ofSchema(schema)).toMatch(code);
  });

  it('of any shape are accepted or refused with a code', () => {
    const keyword = fc.constantFrom(
      ...[
        'type',
        'anyOf',
        'allOf',
        'oneOf',
        'properties',
        'required',
        'items',
        'prefixItems',
        'enum',
        'const',
        '$ref',
      ],
      ...[
        'minimum',
        'maximum',
        'minLength',
        'maxItems',
        'pattern',
        'format',
        'additionalProperties',
        'not',
        'multipleOf',
      ],
    );
    const { schema } = fc.letrec<{ schema: unknown; value: unknown }>((tie) => ({
      schema: fc.oneof({ maxDepth: 4 }, fc.boolean(), fc.dictionary(keyword, tie('value'), { maxKeys: 4 })),
      value: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom('string', 'object', 'integer', 'array', '#', '^a+$', 'date', null),
        fc.integer({ min: -3, max: 50 }),
        fc.double(),
        fc.array(tie('schema'), { maxLength: 3 }),
        fc.array(fc.constantFrom('a', 'string', 'null'), { maxLength: 3 }),
        tie('schema'),
        fc.dictionary(fc.constantFrom('a', 'b'), tie('schema')),
      ),
    }));
    fc.assert(
      fc.property(schema, (one) => {
        expect(ofSchema(one)).toMatch(/^(accepted|(usage|unsupported|resource)\/(schema|grammar))$/);
      }),
      { numRuns: 500 },
    );
  });
});

describe('GBNF', () => {
  it.each<readonly [source: string, code: string]>([
    ['', 'usage/grammar'],
    ['root', 'usage/grammar'],
    ['root ::= "a', 'usage/grammar'],
    ['root ::= [a', 'usage/grammar'],
    ['root ::= (', 'usage/grammar'],
    ['root ::= "a" )', 'usage/grammar'],
    ['root ::= other', 'usage/grammar'],
    ['other ::= "a"', 'usage/grammar'],
    ['root ::= "a"\nroot ::= "b"', 'usage/grammar'],
    ['root ::= "\\q"', 'usage/grammar'],
    ['root ::= "a"{2,1}', 'usage/grammar'],
    ['root ::= root "a" | "b"', 'unsupported/grammar'],
    ['root ::= a\na ::= b? "x"\nb ::= a', 'unsupported/grammar'],
    ['root ::= "a" root', 'usage/grammar'],
    ['root ::= ("a"{1000}){10000}', 'resource/grammar'],
    [`root ::= ${'('.repeat(5000)}"a"${')'.repeat(5000)}`, 'usage/grammar'],
    [`root ::= "${'a'.repeat(2 ** 21)}"`, 'resource/grammar'],
    ['root ::= (""*)* "a"', 'accepted'],
    ['root ::= ("a"*)* ("a"?)* "b"', 'accepted'],
  ])('%s', (source, code) => {
    expect(ofGbnf(source)).toBe(code);
  });

  it('of any text is accepted or refused with a code', () => {
    const piece = fc.constantFrom(
      ...[
        'root ::= ',
        'a ::= ',
        '"x"',
        '[a-z]',
        '[^"]',
        '(',
        ')',
        '|',
        '*',
        '+',
        '?',
        '{2,3}',
        '\n',
        ' ',
        'a',
        'root',
        '#',
        '"',
        '\\',
      ],
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        expect(ofGbnf(`root ::= ${pieces.join('')}`)).toMatch(
          /^(accepted|(usage|unsupported|resource)\/grammar)$/,
        );
      }),
      { numRuns: 1000 },
    );
  });
});

it('a vocabulary must have a size, and its end ids', () => {
  for (const size of [0, -1, 1.5, NaN, 2 ** 30]) {
    expect(() => new Vocabulary({ size, bytes: () => undefined, endIds: [] })).toThrow(
      expect.objectContaining({ code: 'usage/option' }),
    );
  }
  expect(() => new Vocabulary({ size: 4, bytes: () => undefined, endIds: [4] })).toThrow(
    expect.objectContaining({ code: 'usage/option' }),
  );
});
