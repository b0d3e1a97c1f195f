/**
 * JSON schemas (2020-12, and what is the same in older drafts) as grammars of the documents that they allow. What a grammar
 * cannot keep is refused by name, never ignored; `oneOf` alone is read as `anyOf`.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import { choice, empty, repeat, rule, sequence, text, type Expression, type Grammar } from '../expression.js';
import { regexExpression } from '../regex.js';
import { formatPatterns } from './format.js';
import {
  bracketed,
  comma,
  jsonCharacter,
  jsonNames,
  jsonRules,
  jsonString,
  list,
  literal,
  type Whitespace,
} from './json-text.js';
import { allOf, canonical, mergeSchemas } from './merge.js';
import { numberRange } from './number-range.js';
import { objectExpression, type Member } from './object.js';
import {
  asSchema,
  isObject,
  keywordsOf,
  unsupportedSchema,
  wrongSchema,
  type Schema,
  type Keywords,
} from './schema.js';

export interface JsonSchemaOptions {
  /** Default: `flexible`. */
  readonly whitespace?: Whitespace;
}

export interface SchemaGrammar extends Grammar {
  /** Sentences about what the schema asks for and the grammar reads more widely: `oneOf`, formats that are not known. */
  readonly warnings: readonly string[];
}

/** Schemas that are read, with those that merging makes: `allOf` over `anyOf` multiplies. */
const mostSchemas = 50_000;
/** Schemas within schemas. */
const deepest = 200;
const oneOfWarning = '`oneOf` is read as `anyOf`: a document may match several of its schemas.';

/** Characters of a member's name, each of which nests the grammar of other names. */
const longestName = 400;

const types = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const;
type Type = (typeof types)[number];

/** What would change what is allowed, and is not a matter of grammar or not built. */
const refusals: Readonly<Record<string, string>> = {
  not: 'excludes what a schema allows, which a grammar cannot',
  if: 'depends on other parts of the document',
  then: 'depends on other parts of the document',
  else: 'depends on other parts of the document',
  dependentSchemas: 'depends on other parts of the document',
  dependentRequired: 'depends on other parts of the document',
  dependencies: 'depends on other parts of the document',
  contains: 'counts items by a schema',
  minContains: 'counts items by a schema',
  maxContains: 'counts items by a schema',
  propertyNames: 'is not supported',
  patternProperties: 'is not supported',
  unevaluatedProperties: 'depends on other parts of the schema',
  unevaluatedItems: 'depends on other parts of the schema',
  $dynamicRef: 'is not supported',
  $recursiveRef: 'is not supported',
};

class SchemaCompiler {
  readonly rules: Map<string, Expression>;
  readonly warnings = new Set<string>();
  /** Names of rules by the reference that they are made of. */
  readonly #references = new Map<string, string>();
  readonly #waiting: { readonly name: string; readonly schema: Schema; readonly path: string }[] = [];
  #schemas = 0;

  constructor(
    private readonly root: Schema,
    whitespace: Whitespace,
  ) {
    this.rules = jsonRules(whitespace);
  }

  compile(): string {
    const root = this.#ruleOf('#');
    for (let next = this.#waiting.pop(); next; next = this.#waiting.pop()) {
      this.rules.set(next.name, this.#expression(next.schema, next.path, 0));
    }
    return root;
  }

  /** The name of the rule for what a reference leads to. */
  #ruleOf(reference: string): string {
    const known = this.#references.get(reference);
    if (known !== undefined) return known;
    const name = `schema ${this.#references.size}`;
    this.#references.set(reference, name);
    this.#waiting.push({ name, schema: this.#resolved(reference), path: reference });
    return name;
  }

  /** @throws UnicornError `unsupported/schema` for a reference to another document, `usage/schema` for one to nothing */
  #resolved(reference: string): Schema {
    if (reference !== '#' && !reference.startsWith('#/'))
      throw unsupportedSchema(reference, '$ref', 'leads out of the document, or to an anchor');
    let found: unknown = this.root;
    for (const part of decoded(reference).split('/').slice(1)) {
      const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
      const isThere = typeof found === 'object' && found !== null && Object.hasOwn(found, key);
      if (!isThere) throw wrongSchema(reference, 'the reference leads to nothing');
      found = (found as Record<string, unknown>)[key];
    }
    return asSchema(found, reference);
  }

  /** An expression as a rule of its own. */
  #define(expression: Expression): Expression {
    const name = `part ${this.rules.size}`;
    this.rules.set(name, expression);
    return rule(name);
  }

  #expectRoom(path: string, depth: number): void {
    if (++this.#schemas <= mostSchemas && depth <= deepest) return;
    throw new UnicornError('resource/grammar', `The schema is too large or nests too deep at ${path}.`, {
      fields: { path, mostSchemas, deepest },
      fix: 'Give parts of it a definition of their own, and combine less by `allOf`.',
    });
  }

  #expression(given: Schema, path: string, depth: number): Expression {
    this.#expectRoom(path, depth);
    if (given === true) return rule(jsonNames.value);
    if (given === false) return choice();
    const schema = keywordsOf(given, path);
    const { $ref, ...others } = schema;
    if ($ref !== undefined) {
      if (Object.keys(others).every(isAnnotation)) return rule(this.#ruleOf($ref));
      return this.#expression(this.#flattened(schema, path), path, depth + 1);
    }
    if (schema.allOf !== undefined) return this.#expression(this.#flattened(schema, path), path, depth + 1);
    const alternatives = this.#alternatives(schema, path);
    if (alternatives) {
      return choice(...alternatives.map((one, i) => this.#expression(one, `${path}/${i}`, depth + 1)));
    }
    for (const [keyword, sentence] of Object.entries(refusals)) {
      if (schema[keyword] !== undefined) throw unsupportedSchema(path, keyword, sentence);
    }
    return this.#values(schema, path, depth);
  }

  /** Keywords beside a reference, and those in `allOf`, as one schema. */
  #flattened(schema: Keywords, path: string, references: readonly string[] = []): Schema {
    const { $ref, allOf: all = [], ...own } = schema;
    const parts = [...all];
    let seen = references;
    if ($ref !== undefined) {
      if (references.includes($ref)) throw wrongSchema(path, `${$ref} is made of itself`);
      seen = [...references, $ref];
      parts.unshift(this.#resolved($ref));
    }
    if (parts.some((part) => isObject(part) && part.oneOf !== undefined)) this.warnings.add(oneOfWarning);
    return parts.reduce<Schema>((merged, part) => {
      this.#expectRoom(path, seen.length);
      return mergeSchemas(merged, this.#part(part, path, seen), path);
    }, own);
  }

  /** A schema of `allOf`, flattened itself where it has such parts. */
  #part(part: Schema, path: string, references: readonly string[]): Schema {
    if (!isObject(part)) return part;
    const keywords = keywordsOf(part, path);
    const { $ref, allOf: all } = keywords;
    return $ref === undefined && all === undefined ? keywords : this.#flattened(keywords, path, references);
  }

  /** The schemas of `anyOf` and `oneOf`, each with what stands beside them. */
  #alternatives(schema: Keywords, path: string): readonly Schema[] | undefined {
    const keyword = schema.anyOf ? 'anyOf' : 'oneOf';
    const { [keyword]: alternatives, ...others } = schema;
    if (!alternatives) return undefined;
    if (alternatives.length === 0) throw wrongSchema(`${path}/${keyword}`, 'the list is empty');
    if (keyword === 'oneOf' && alternatives.length > 1) this.warnings.add(oneOfWarning);
    if (Object.keys(others).every(isAnnotation)) return alternatives;
    return alternatives.map((one) => allOf([others, one]));
  }

  #values(schema: Keywords, path: string, depth: number): Expression {
    const wanted = typesOf(schema, path);
    const known = knownValues(schema);
    if (known) {
      const constraint = Object.keys(schema).find((keyword) => constraints.has(keyword));
      if (constraint !== undefined)
        throw unsupportedSchema(path, constraint, 'stands beside values that are listed');
      return choice(...known.filter((value) => wanted.some((type) => isOfType(value, type))).map(literal));
    }
    return choice(...wanted.map((type) => this.#typed(type, schema, path, depth)));
  }

  #typed(type: Type, schema: Keywords, path: string, depth: number): Expression {
    switch (type) {
      case 'null':
        return text('null');
      case 'boolean':
        return choice(text('true'), text('false'));
      case 'integer':
      case 'number':
        return this.#number(type, schema, path);
      case 'string':
        return this.#string(schema, path);
      case 'array':
        return this.#array(schema, path, depth);
      case 'object':
        return this.#object(schema, path, depth);
    }
  }

  #number(type: 'integer' | 'number', schema: Keywords, path: string): Expression {
    const { multipleOf: step, minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
    if (step !== undefined && step !== 1)
      throw unsupportedSchema(path, 'multipleOf', 'is supported as 1 only');
    const bounds = { minimum, maximum, exclusiveMinimum, exclusiveMaximum };
    const isInteger = type === 'integer' || step === 1;
    const isFree = Object.values(bounds).every((bound) => bound === undefined);
    return isFree && !isInteger ? rule(jsonNames.number) : numberRange(bounds, isInteger);
  }

  #string(schema: Keywords, path: string): Expression {
    const { pattern, format, minLength: min = 0, maxLength: max } = schema;
    const isSized = min > 0 || max !== undefined;
    const isKnown = format !== undefined && Object.hasOwn(formatPatterns, format);
    const known = isKnown ? formatPatterns[format] : undefined;
    if (format !== undefined && !isKnown)
      this.warnings.add(`The format "${format}" is not known; strings are not held to it.`);
    const given = [
      pattern !== undefined ? 'pattern' : '',
      known ? 'format' : '',
      isSized ? 'minLength or maxLength' : '',
    ];
    const both = given.filter((keyword) => keyword !== '');
    if (both.length > 1)
      throw unsupportedSchema(path, both[0]!, `stands beside ${both.slice(1).join(' and ')}`);
    if (pattern !== undefined) {
      return jsonString(regexExpression(pattern, { write: jsonCharacter, search: true }));
    }
    if (known !== undefined) return jsonString(regexExpression(known, { write: jsonCharacter }));
    if (!isSized) return rule(jsonNames.string);
    return max !== undefined && max < min
      ? choice()
      : jsonString(repeat(rule(jsonNames.character), min, max));
  }

  #array(schema: Keywords, path: string, depth: number): Expression {
    if (schema.uniqueItems === true)
      throw unsupportedSchema(path, 'uniqueItems', 'compares items with each other');
    const {
      prefixItems: first = [],
      items: rest = true,
      minItems: min = 0,
      maxItems: max = Infinity,
    } = schema;
    if (max < min) return choice();
    const heads = first
      .slice(0, Math.min(first.length, max))
      .map((item, i) => this.#expression(item, `${path}/prefixItems/${i}`, depth + 1));
    const tail =
      rest === false ? undefined : this.#define(this.#expression(rest, `${path}/items`, depth + 1));
    if (heads.length === 0 && min === 0 && max === Infinity && tail) return bracketed('[', list(tail), ']');
    const needed = Math.max(0, min - heads.length);
    if (!tail && needed > 0) return choice();
    const more = tail
      ? repeat(sequence(comma, tail), needed, max === Infinity ? undefined : max - heads.length)
      : empty;
    if (heads.length === 0) {
      if (!tail || max === 0) return bracketed('[', empty, ']');
      const filled = sequence(
        tail,
        repeat(sequence(comma, tail), Math.max(0, min - 1), max === Infinity ? undefined : max - 1),
      );
      return bracketed('[', min === 0 ? choice(empty, filled) : filled, ']');
    }
    // Lists may end before all of the first items are there, but for the smallest number.
    let content = more;
    for (let i = heads.length - 1; i >= 0; i--) {
      const item = sequence(...(i === 0 ? [] : [comma]), heads[i]!, content);
      content = this.#define(i < min ? item : choice(empty, item));
    }
    return bracketed('[', content, ']');
  }

  #object(schema: Keywords, path: string, depth: number): Expression {
    const { properties = {}, additionalProperties: others = true } = schema;
    const { minProperties: least = 0, maxProperties: most = Infinity } = schema;
    const required = new Set(schema.required);
    const names = [...new Set([...Object.keys(properties), ...required])];
    if (least > required.size)
      throw unsupportedSchema(path, 'minProperties', 'counts members that are not required');
    if (most < Infinity && (others !== false || most < names.length))
      throw unsupportedSchema(path, 'maxProperties', 'counts members');
    const long = names.find((name) => name.length > longestName);
    if (long !== undefined) {
      throw new UnicornError(
        'resource/grammar',
        `A member's name at ${path} has ${long.length} characters.`,
        {
          fields: { path, length: long.length, longestName },
          fix: `Give it a name of at most ${longestName} characters.`,
        },
      );
    }
    if (names.length === 0 && others === true) return rule(jsonNames.object);
    const members = names.map((name): Member => {
      const value = Object.hasOwn(properties, name) ? properties[name]! : others;
      const where = `${path}/properties/${name}`;
      const isRequired = required.has(name);
      return { name, value: this.#expression(value, where, depth + 1), isRequired };
    });
    const other =
      others === false ? undefined : this.#expression(others, `${path}/additionalProperties`, depth + 1);
    return objectExpression(members, other, (expression) => this.#define(expression));
  }
}

/** Keywords that allow less than all values of a type. */
const constraints = new Set([
  ...[
    'minimum',
    'maximum',
    'exclusiveMinimum',
    'exclusiveMaximum',
    'multipleOf',
    'pattern',
    'minLength',
    'maxLength',
  ],
  ...[
    'properties',
    'required',
    'additionalProperties',
    'minProperties',
    'maxProperties',
    'items',
    'prefixItems',
  ],
  ...['additionalItems', 'minItems', 'maxItems', 'uniqueItems', 'format', ...Object.keys(refusals)],
]);

/** Whether a keyword says nothing about what is allowed, as all do that JSON Schema does not define. */
function isAnnotation(keyword: string): boolean {
  const means = ['type', 'enum', 'const', 'anyOf', 'oneOf', 'allOf', '$ref', 'nullable'];
  return !means.includes(keyword) && !constraints.has(keyword);
}

function typesOf(schema: Keywords, path: string): readonly Type[] {
  const { type, nullable } = schema;
  const given =
    type === undefined ? types.filter((one) => one !== 'integer') : Array.isArray(type) ? type : [type];
  for (const one of given) {
    if (!types.includes(one as Type))
      throw wrongSchema(`${path}/type`, `there is no type ${JSON.stringify(one)}`);
  }
  // OpenAPI 3.0 says so of what may be null as well.
  const all = nullable === true ? [...given, 'null'] : given;
  const isNumber = all.includes('number');
  return [...new Set(all as Type[])].filter((one) => !(isNumber && one === 'integer'));
}

/** What `const` and `enum` leave. */
function knownValues(schema: Keywords): readonly unknown[] | undefined {
  const { enum: values } = schema;
  if (!Object.hasOwn(schema, 'const') || schema.const === undefined) return values;
  const only = canonical(schema.const);
  return values && !values.some((value) => canonical(value) === only) ? [] : [schema.const];
}

function isOfType(value: unknown, type: Type): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') return isObject(value);
  if (type === 'integer') return Number.isInteger(value);
  return typeof value === type;
}

function decoded(reference: string): string {
  try {
    return decodeURIComponent(reference);
  } catch {
    throw wrongSchema(reference, 'the reference is not a URI');
  }
}

/**
 * The documents that a schema allows.
 *
 * @param schema parsed JSON: an object, true or false
 * @throws UnicornError `usage/schema` for what is no schema, with the path; `unsupported/schema` for a keyword that a grammar
 * cannot keep; `usage/grammar` or `unsupported/grammar` for a pattern; `resource/grammar` for a schema that is too large
 */
export function jsonSchemaGrammar(schema: unknown, options: JsonSchemaOptions = {}): SchemaGrammar {
  const compiler = new SchemaCompiler(asSchema(schema, '#'), options.whitespace ?? 'flexible');
  const root = compiler.compile();
  return { root, rules: compiler.rules, warnings: [...compiler.warnings] };
}

/** Any JSON document, or any object. */
export function jsonGrammar(
  kind: 'value' | 'object' = 'value',
  whitespace: Whitespace = 'flexible',
): Grammar {
  return { root: kind, rules: jsonRules(whitespace) };
}
