/** Names of models as hubs and other tools have them. */
import { expect, it } from 'vitest';
import { downloadAdvice, hubName } from '../src/error.js';
import { locateModel } from '../src/model-location.js';

it.each([
  ['hf:org/name', 'unsupported/download', 'hf download org/name --local-dir name`'],
  ['hf:org/name:Q4_0', 'unsupported/download', "hf download org/name --include '*Q4_0*' --local-dir name`"],
  ['https://huggingface.co/org/name', 'unsupported/download', 'hf download org/name --local-dir name`'],
  ['https://huggingface.co/org/name/tree/main', 'unsupported/download', 'hf download org/name --local-dir'],
  [
    'https://huggingface.co/org/name/blob/main/x.gguf',
    'unsupported/download',
    "curl -fLO 'https://huggingface.co/org/name/resolve/main/x.gguf'",
  ],
  ['org/name', 'usage/model', 'hf download org/name --local-dir name`'],
  ['org/name:Q8_0', 'usage/model', "--include '*Q8_0*'"],
  ['gemma3:1b', 'usage/model', 'hf download USER/REPO --local-dir REPO`'],
  ['hf:', 'unsupported/download', 'hf download USER/REPO'],
  ['missing.gguf', 'usage/model', 'Give the path'],
  ['./org/name', 'usage/model', 'Give the path'],
  ['../name', 'usage/model', 'Give the path'],
  ['a b', 'usage/model', 'Give the path'],
  ['', 'usage/model', 'Give the path'],
])('%s: %s, with %s', async (name, code, advice) => {
  await expect(locateModel(name)).rejects.toMatchObject({
    code,
    fix: expect.stringContaining(advice) as string,
  });
});

it('no name breaks out of the quotes of the advice', () => {
  for (const name of ["hf:a/b:'$(x)'", "https://x/'$(x)'", 'a/b;c', 'a/$(x)', '-a/-b']) {
    expect(downloadAdvice(name)).not.toMatch(/\$\(|;c|-a/);
    expect(hubName(name)?.repository).toBeUndefined();
  }
});
