import { describe, expect, it } from 'vitest';
import { invariant, isUnicornError, UnicornError } from '../src/index.js';

describe('UnicornError', () => {
  const cause = new Error('ENOENT');
  const error = new UnicornError('format/truncated', 'a.gguf ends early.', {
    fields: { offset: 12 },
    fix: 'Download it again.',
    cause,
  });

  it('tells code, family, facts, fix and cause', () => {
    expect(error).toMatchObject({ name: 'UnicornError', code: 'format/truncated', family: 'format', cause });
    expect(error).toBeInstanceOf(Error);
    expect(JSON.parse(JSON.stringify(error))).toEqual({
      code: 'format/truncated',
      message: 'a.gguf ends early.',
      fields: { offset: 12 },
      fix: 'Download it again.',
    });
  });

  it('leaves out what it was not given', () => {
    const bare = new UnicornError('usage/dims', 'No.');
    expect(bare.toJSON()).toEqual({ code: 'usage/dims', message: 'No.', fields: {} });
    expect('cause' in bare).toBe(false);
  });

  it('is known across copies of the package, by its name', () => {
    const copy = Object.assign(new Error('x'), { name: 'UnicornError', code: 'usage/dims' });
    expect([error, copy].every(isUnicornError)).toBe(true);
    expect(
      [new Error('x'), { name: 'UnicornError', code: 'x' }, undefined, 'text'].some(isUnicornError),
    ).toBe(false);
  });

  it('is what a broken invariant throws', () => {
    expect(() => invariant(0, 'zero is false')).toThrow(
      expect.objectContaining({ code: 'internal/invariant' }),
    );
    invariant('text', 'is true');
  });
});
