/** What a JSON schema is here, and the errors that say where one is wrong or cannot be kept by a grammar. */
import { UnicornError } from '@unicorn-exec/tensor';

export type SchemaObject = Readonly<Record<string, unknown>>;
export type Schema = boolean | SchemaObject;

export function isObject(value: unknown): value is SchemaObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A mistake in a schema. */
export function wrongSchema(path: string, sentence: string): UnicornError {
  return new UnicornError('usage/schema', `The schema is wrong at ${path}: ${sentence}.`, {
    fields: { path },
    fix: 'Write it as JSON Schema 2020-12 has it.',
  });
}

/** A keyword that a grammar cannot keep. */
export function unsupportedSchema(path: string, keyword: string, sentence: string): UnicornError {
  return new UnicornError('unsupported/schema', `The keyword "${keyword}" at ${path} ${sentence}.`, {
    fields: { path, keyword },
    fix: 'Leave it out and check it when the answer is there.',
  });
}

export function asSchema(value: unknown, path: string): Schema {
  if (typeof value === 'boolean' || isObject(value)) return value;
  throw wrongSchema(path, 'a schema is an object, true or false');
}

/** The keywords that are read, each of its kind. */
export interface Keywords extends SchemaObject {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema;
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly prefixItems?: readonly Schema[];
  readonly items?: Schema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly multipleOf?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly format?: string;
}

const isSchema = (value: unknown): boolean => typeof value === 'boolean' || isObject(value);
const isList = (value: unknown): boolean => Array.isArray(value);
const areSchemas = (value: unknown): boolean => Array.isArray(value) && value.every(isSchema);
const isNumber = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value);
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const areTexts = (value: unknown): boolean =>
  Array.isArray(value) && value.every((item) => typeof item === 'string');

/** Kinds of values that keywords have. */
const kinds: readonly (readonly [
  keywords: readonly string[],
  isRight: (value: unknown) => boolean,
  sentence: string,
])[] = [
  [['anyOf', 'oneOf', 'allOf', 'prefixItems'], areSchemas, 'this is not a list of schemas'],
  [['additionalProperties', 'additionalItems'], isSchema, 'this is not a schema'],
  [
    ['items'],
    (value) => isSchema(value) || areSchemas(value),
    'this is neither a schema nor a list of schemas',
  ],
  [
    ['properties'],
    (value) => isObject(value) && Object.values(value).every(isSchema),
    'this is not an object of schemas',
  ],
  [['required'], areTexts, 'this is not a list of texts'],
  [['enum'], isList, 'this is not a list'],
  [
    ['type'],
    (value) => typeof value === 'string' || areTexts(value),
    'this is not a type, nor a list of types',
  ],
  [
    ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
    isNumber,
    'this is not a number',
  ],
  [
    ['minLength', 'maxLength', 'minItems', 'maxItems', 'minProperties', 'maxProperties'],
    isCount,
    'this is not a whole number from 0 on',
  ],
  [['$ref', 'pattern', 'format'], (value) => typeof value === 'string', 'this is not a text'],
];

/**
 * The keywords of a schema. Older drafts write the first items of a list into `items`, and the others into `additionalItems`.
 *
 * @throws UnicornError `usage/schema` where a keyword has a value of another kind than it must
 */
export function keywordsOf(schema: SchemaObject, path: string): Keywords {
  for (const [keywords, isRight, sentence] of kinds) {
    for (const keyword of keywords) {
      const value = schema[keyword];
      if (value !== undefined && !isRight(value)) throw wrongSchema(`${path}/${keyword}`, sentence);
    }
  }
  if (!Array.isArray(schema.items)) return schema;
  const { items, additionalItems = true, ...others } = schema;
  return { ...others, prefixItems: items, items: additionalItems } as Keywords;
}
