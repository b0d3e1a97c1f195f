import { describe, expect, it, vi } from 'vitest';
import { runDeclared } from '../src/declaration.js';

const names = ['matmul q4_0 1x32 by 1', 'fast: matmul q4_0 1x32 by 1'];
const pass = async (): Promise<void> => {};
const fail = async (): Promise<void> => {
  throw new Error('off by one');
};

describe('a case that the device supports', () => {
  it('runs, and fails as it fails', async () => {
    await runDeclared({}, names, undefined, expect.unreachable, pass);
    await expect(runDeclared({}, names, undefined, expect.unreachable, fail)).rejects.toThrow('off by one');
  });

  it('fails when it is declared unsupported', async () => {
    const declarations = { unsupported: { 'matmul *': 'never' } };
    await expect(runDeclared(declarations, names, undefined, expect.unreachable, pass)).rejects.toThrow(
      /does not refuse/,
    );
  });

  it.each(['matmul q4_0 1x32 by 1', 'matmul q4_0 *', 'fast: matmul *', 'fast: matmul q4_0 1x32 by 1'])(
    'must fail when "%s" is an expected failure',
    async (key) => {
      const declarations = { expectedFailures: { [key]: 'kernel unfinished' } };
      await runDeclared(declarations, names, undefined, expect.unreachable, fail);
      await expect(runDeclared(declarations, names, undefined, expect.unreachable, pass)).rejects.toThrow(
        /passes although/,
      );
    },
  );

  it.each(['f32: matmul *', 'matmul q4_0', 'matmul q4_1 *'])('has nothing to do with "%s"', async (key) => {
    const declarations = { expectedFailures: { [key]: '' }, unsupported: { [key]: '' } };
    await runDeclared(declarations, names, undefined, expect.unreachable, pass);
  });
});

describe('a case that the device refuses', () => {
  it('is skipped with both reasons when that is declared', async () => {
    const skip = vi.fn();
    await runDeclared({ unsupported: { 'matmul q4_0 *': 'no kernel' } }, names, 'dtype q4_0', skip, fail);
    expect(skip).toHaveBeenCalledWith('unsupported: no kernel (dtype q4_0)');
  });

  it('fails when it is not declared', async () => {
    await expect(runDeclared({}, names, 'dtype q4_0', expect.unreachable, pass)).rejects.toThrow(
      /not declared/,
    );
  });
});
