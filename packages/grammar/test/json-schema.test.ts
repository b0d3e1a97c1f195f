/** What schemas allow, against the Python package jsonschema (`tools/json-schema-cases.py`). */
import { readFileSync } from 'node:fs';
import { isUnicornError } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { Constraint, jsonSchemaGrammar, Vocabulary } from '../src/index.js';

interface Case {
  readonly schema: unknown;
  readonly documents: readonly (readonly [text: string, isAllowed: boolean])[];
}

const cases = JSON.parse(
  readFileSync(new URL('goldens/json-schemas.json', import.meta.url), 'utf8'),
) as Case[];
const vocabulary = new Vocabulary({ size: 256, bytes: (id) => Uint8Array.of(id), endIds: [] });

/** Undefined where nothing matches the schema. */
function constraintOf(schema: unknown): Constraint | undefined {
  try {
    return new Constraint(jsonSchemaGrammar(schema), vocabulary);
  } catch (error) {
    if (isUnicornError(error) && error.message.includes('No text matches')) return undefined;
    throw error;
  }
}

describe('jsonschema allows what the grammar allows', () => {
  it.each(cases.map((one) => [JSON.stringify(one.schema), one] as const))(
    '%s',
    (_, { schema, documents }) => {
      const constraint = constraintOf(schema);
      const wrong = documents.filter(([text, isAllowed]) => {
        const matcher = constraint?.matcher();
        const isMatch = matcher?.acceptBytes(new TextEncoder().encode(text)) === true && matcher.isComplete;
        return isMatch !== isAllowed;
      });
      expect(wrong).toEqual([]);
    },
  );
});
