/** Two schemas that must both hold, as one: what `allOf`, keywords beside `$ref` and those beside `anyOf` mean. */
import { isObject, keywordsOf, unsupportedSchema, type Keywords, type Schema } from './schema.js';

type Merge = (a: unknown, b: unknown) => unknown;

const smaller: Merge = (a, b) => Math.min(a as number, b as number);
const larger: Merge = (a, b) => Math.max(a as number, b as number);

/** Keywords whose values become one by themselves. */
const merges: Readonly<Record<string, Merge>> = {
  minimum: larger,
  exclusiveMinimum: larger,
  minLength: larger,
  minItems: larger,
  minProperties: larger,
  maximum: smaller,
  exclusiveMaximum: smaller,
  maxLength: smaller,
  maxItems: smaller,
  maxProperties: smaller,
  required: (a, b) => [...new Set([...(a as string[]), ...(b as string[])])],
  type: (a, b) => commonTypes(typesOf(a), typesOf(b)),
  enum: (a, b) => {
    const known = new Set((b as unknown[]).map(canonical));
    return (a as unknown[]).filter((value) => known.has(canonical(value)));
  },
};

/** Keywords that say nothing about what is allowed; the first one stays. */
const annotations = new Set([
  'title',
  'description',
  'default',
  'examples',
  '$comment',
  '$schema',
  '$id',
  '$defs',
  'definitions',
]);

/** Alternatives of one schema that merging may make. */
const mostCombinations = 1000;

/** Keywords of objects and arrays that read one another. */
const structural = new Set([
  'properties',
  'additionalProperties',
  'items',
  'prefixItems',
  'anyOf',
  'oneOf',
  'allOf',
]);

function typesOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [value];
}

function commonTypes(a: readonly unknown[], b: readonly unknown[]): unknown[] {
  const common = a.filter((type) => b.includes(type));
  // An integer is a number.
  const mixed = (some: readonly unknown[], others: readonly unknown[]): boolean =>
    some.includes('integer') && others.includes('number') && !common.includes('integer');
  return mixed(a, b) || mixed(b, a) ? [...common, 'integer'] : common;
}

/** Equal for equal JSON values, whatever the order of keys. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (!isObject(value)) return JSON.stringify(value) ?? 'undefined';
  const members = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`);
  return `{${members.join()}}`;
}

/** The schema that holds where all of these do. Copies nothing that it need not. */
export function allOf(schemas: readonly Schema[]): Schema {
  if (schemas.includes(false)) return false;
  const objects = schemas.filter((schema) => schema !== true);
  if (objects.length === 0) return true;
  return objects.length === 1 ? objects[0]! : { allOf: objects };
}

/**
 * @param path where the second one stands, for errors
 * @throws UnicornError `unsupported/schema` for a keyword that both have and that cannot be one, `usage/schema`
 */
export function mergeSchemas(left: Schema, right: Schema, path: string): Schema {
  if (left === true || right === false) return right;
  if (right === true || left === false) return left;
  const [a, b] = [keywordsOf(left, path), keywordsOf(right, path)];
  const merged: Record<string, unknown> = { ...a };
  for (const [keyword, value] of Object.entries(b)) {
    if (value === undefined || structural.has(keyword)) continue;
    const known = Object.hasOwn(merged, keyword) ? merged[keyword] : undefined;
    if (known === undefined) merged[keyword] = value;
    else if (annotations.has(keyword) || canonical(known) === canonical(value)) continue;
    else if (Object.hasOwn(merges, keyword)) merged[keyword] = merges[keyword]!(known, value);
    else if (keyword === 'const') return false;
    else throw unsupportedSchema(path, keyword, 'stands beside another one that must hold as well');
  }
  mergeObjects(a, b, merged);
  mergeArrays(a, b, merged);
  const all = [...(a.allOf ?? []), ...(b.allOf ?? [])];
  const lists = [a.anyOf, a.oneOf, b.anyOf, b.oneOf].filter((list) => list !== undefined);
  if (lists.length > 0) merged.anyOf = combinations(lists, path);
  delete merged.oneOf;
  if (all.length > 0) merged.allOf = all;
  return merged;
}

/** One of each list, in every way: what holds where one schema of each list does. */
function combinations(lists: readonly (readonly Schema[])[], path: string): Schema[] {
  return lists.reduce<Schema[]>(
    (found, list) => {
      if (found.length * list.length > mostCombinations)
        throw unsupportedSchema(path, 'allOf', `combines more than ${mostCombinations} alternatives`);
      return found.flatMap((one) => list.map((other) => allOf([one, other])));
    },
    [true],
  );
}

function mergeObjects(a: Keywords, b: Keywords, merged: Record<string, unknown>): void {
  const [left, right] = [a.properties ?? {}, b.properties ?? {}];
  const others = (schema: Keywords): Schema => schema.additionalProperties ?? true;
  const entries = [...new Set([...Object.keys(left), ...Object.keys(right)])].map((key) => {
    const of = (properties: Readonly<Record<string, Schema>>, schema: Keywords): Schema =>
      Object.hasOwn(properties, key) ? properties[key]! : others(schema);
    return [key, allOf([of(left, a), of(right, b)])] as const;
  });
  if (entries.length > 0) merged.properties = Object.fromEntries(entries);
  if (a.additionalProperties !== undefined || b.additionalProperties !== undefined) {
    merged.additionalProperties = allOf([others(a), others(b)]);
  }
}

function mergeArrays(a: Keywords, b: Keywords, merged: Record<string, unknown>): void {
  const [left, right] = [a.prefixItems ?? [], b.prefixItems ?? []];
  const others = (schema: Keywords): Schema => schema.items ?? true;
  const length = Math.max(left.length, right.length);
  if (length > 0) {
    merged.prefixItems = Array.from({ length }, (_, i) =>
      allOf([left[i] ?? others(a), right[i] ?? others(b)]),
    );
  }
  if (a.items !== undefined || b.items !== undefined) merged.items = allOf([others(a), others(b)]);
}
