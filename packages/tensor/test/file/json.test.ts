import { expect, it } from 'vitest';
import { parseJson } from '../../src/index.js';

const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);

it('parses what is not too deep, as JSON.parse does', () => {
  for (const text of ['1', '"[[{"', '{"a\\\\":["\\"[",{}]}', ' [ ] ', nested(512)]) {
    expect(parseJson(text)).toEqual(JSON.parse(text));
  }
});

it('takes brackets in strings for text, and counts those that are open at a time', () => {
  expect(parseJson(JSON.stringify('['.repeat(5000)))).toBe('['.repeat(5000));
  expect(parseJson(JSON.stringify(`"\\${'['.repeat(5000)}`))).toHaveLength(5002);
  expect(parseJson(`[${'[],'.repeat(5000)}[]]`)).toHaveLength(5001);
});

it.each([nested(513), '{"a":'.repeat(600), nested(10_000_000), `{"a":"x","b":${nested(512)}}`])(
  'refuses what nests deeper than 512 levels',
  (text) => expect(() => parseJson(text)).toThrow(new SyntaxError('it nests deeper than 512 levels')),
);

it.each(['', '"', '"\\', '{"a":"', ']', '[}'])('says what is not JSON: %j', (text) => {
  expect(() => parseJson(text)).toThrow(SyntaxError);
});
