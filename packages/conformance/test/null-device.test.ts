/** The null device computes nothing, but what it is given it checks as every device must. */
import { nullBackend } from '@unicorn-exec/tensor';
import { expect, it } from 'vitest';
import { contractCases } from '../src/index.js';

const name = 'values of other kinds are refused';

it(name, async () => {
  const test = contractCases.find((candidate) => candidate.name === name)!;
  const [description] = await nullBackend.probe();
  if (!description?.usable) throw new Error('the null device is not usable');
  await expect(
    test.run({ backend: nullBackend, id: description.id, info: description.info }),
  ).resolves.toBeUndefined();
});
