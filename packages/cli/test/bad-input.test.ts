/** Every mistake gets a sentence and a fix, an exit code, and with --json a document with a stable code. */
import { closeSync, mkdirSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { describeWeights } from '@unicorn-exec/api';
import { irregularKinds, makeIrregular } from './irregular.js';
import { temporaryFolder, unicorn } from './command.js';

const folder = temporaryFolder();
const { modelPath: nano } = createRequire(import.meta.url)('@unicorn-exec/model-nano') as {
  modelPath: string;
};

/** A GGUF file of no tensors and one string key. */
function ggufWith(key: string, value: string): Uint8Array {
  const text = (string: string): Buffer => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(Buffer.byteLength(string)));
    return Buffer.concat([length, Buffer.from(string)]);
  };
  const head = Buffer.alloc(24);
  head.write('GGUF', 0, 'latin1');
  head.writeUInt32LE(3, 4);
  head.writeBigUInt64LE(1n, 16);
  const stringType = Buffer.from([8, 0, 0, 0]);
  return Buffer.concat([head, text(key), stringType, text(value), Buffer.alloc(32)]);
}

function file(name: string, content: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function beginning(path: string, bytes: number): Uint8Array {
  const content = new Uint8Array(bytes);
  const descriptor = openSync(path, 'r');
  readSync(descriptor, content, 0, bytes, 0);
  closeSync(descriptor);
  return content;
}

const emptyFolder = join(folder, 'empty');
mkdirSync(emptyFolder);
const unknown = file('unknown.gguf', ggufWith('general.architecture', 'mystery'));
const truncated = file('truncated.gguf', beginning(nano, 3_000_000));
const notWeights = file('text.gguf', 'This is not a model.');
const qwen3 = fileURLToPath(new URL('../../models/test/goldens/qwen3', import.meta.url));
const words = 'word '.repeat(400);
const nested = file('nested.json', `${'['.repeat(20_000)}${']'.repeat(20_000)}`);
const conversation = file('conversation.json', '[{"role": "user", "content": "Hi"}]');
const irregular = Object.fromEntries(
  irregularKinds.map((kind, index) => {
    const path = join(folder, `irregular-${index}`);
    makeIrregular(kind, path);
    return [kind, path];
  }),
) as Record<(typeof irregularKinds)[number], string>;
const textFile = file('text.txt', 'Once there was a brave fox who lived in the orchard.');
const spoiled = file('spoiled.gguf', await withoutNumbers());

/** The bundled model with NaN in its last norm. */
async function withoutNumbers(): Promise<Uint8Array> {
  const bytes = readFileSync(nano);
  const { tensors } = await describeWeights();
  bytes.writeFloatLE(NaN, tensors.find(({ name }) => name === 'output_norm.weight')!.offset);
  return bytes;
}

interface Mistake {
  readonly what: string;
  readonly args: string[];
  readonly code: RegExp;
  readonly exit: number;
  readonly says: RegExp;
  readonly env?: Readonly<Record<string, string>>;
}

const cases: Mistake[] = [
  {
    what: 'a missing file',
    args: ['run', '-m', '/no/such.gguf', 'Hi'],
    code: /^usage\/model$/,
    exit: 2,
    says: /no such file/,
  },
  {
    what: 'layers for a GPU on a backend without one',
    args: ['run', '--backend', 'reference', '--gpu-layers', '3', 'Hi'],
    code: /^usage\/gpu-layers$/,
    exit: 2,
    says: /is not a GPU/,
  },
  {
    what: 'a number of layers that is none',
    args: ['run', '--gpu-layers', 'most', 'Hi'],
    code: /^usage\/flag$/,
    exit: 2,
    says: /whole number, `all` or `auto`/,
  },
  {
    what: 'a directory without config',
    args: ['run', '-m', emptyFolder, 'Hi'],
    code: /^usage\//,
    exit: 2,
    says: /config\.json|weights/,
  },
  {
    what: 'an unknown architecture',
    args: ['run', '-m', unknown, 'Hi'],
    code: /^unsupported\//,
    exit: 1,
    says: /mystery/,
  },
  {
    what: 'a truncated GGUF',
    args: ['run', '-m', truncated, 'Hi'],
    code: /^format\//,
    exit: 1,
    says: /truncated\.gguf/,
  },
  {
    what: 'a file that is no model',
    args: ['run', '-m', notWeights, 'Hi'],
    code: /^format\//,
    exit: 1,
    says: /text\.gguf/,
  },
  ...irregularKinds.flatMap((kind) =>
    Object.entries({
      'a model': { args: ['run', '-m', irregular[kind], 'Hi'], code: /^usage\/(?:file|no-weights|model)/ },
      tools: { args: ['template', '--tools', irregular[kind], conversation], code: /^usage\/file$/ },
      'token ids': {
        args: ['eval', '--tokens', irregular[kind], '-o', join(folder, 'none')],
        code: /^usage\/file$/,
      },
      'a text': { args: ['perplexity', irregular[kind]], code: /^usage\/file$/ },
      configuration: { args: ['config'], code: /^usage\/config$/, env: { UNICORN_CONFIG: irregular[kind] } },
    }).map(([what, rest]) => ({ ...rest, what: `${what} that is a ${kind}`, exit: 2, says: /irregular/ })),
  ),
  ...[
    ['template', '--tools', nested, conversation],
    ['template', nested],
    ['eval', '--tokens', nested, '-o', join(folder, 'none')],
    ['bench', '--compare', nested],
  ].map((args) => ({
    what: `20,000 nested lists: ${args[0]} ${args[1]}`,
    args,
    code: /^usage\/json$/,
    exit: 2,
    says: /nests deeper/,
  })),
  ...['run', 'bench', 'perplexity', 'eval'].map((command) => ({
    what: `weights that are no numbers, to ${command}`,
    args: {
      run: ['run', '-m', spoiled, 'Hi'],
      bench: ['bench', '-m', spoiled, '-p', '8', '-n', '2', '-r', '1'],
      perplexity: ['perplexity', '-m', spoiled, textFile],
      eval: [
        'eval',
        '-m',
        spoiled,
        '--tokens',
        file('ids.json', '[2, 4, 337]'),
        '-o',
        join(folder, 'spoiled.safetensors'),
      ],
    }[command]!,
    code: /^device\/result$/,
    exit: 1,
    says: /computed no numbers/,
  })),
  {
    what: 'a prompt beyond the context',
    args: ['run', '-c', '64', words],
    code: /^usage\/context$/,
    exit: 2,
    says: /context/,
  },
  {
    what: "a context beyond the model's",
    args: ['run', '-c', '100000', 'Hi'],
    code: /^usage\/context$/,
    exit: 2,
    says: /2048/,
  },
  {
    what: 'an unknown size',
    args: ['run', '--elastic', 'huge', 'Hi'],
    code: /^usage\/elastic$/,
    exit: 2,
    says: /huge/,
  },
  {
    what: 'a size of a model without sizes',
    args: ['run', '-m', qwen3, '--elastic', '0.5', 'Hi'],
    code: /^usage\/elastic$/,
    exit: 2,
    says: /has no sizes/,
  },
  {
    what: 'a download',
    args: ['run', '-m', 'hf:user/repo', 'Hi'],
    code: /^unsupported\/download$/,
    exit: 1,
    says: /download/,
  },
  {
    what: 'ids that are no numbers',
    args: ['detokenize', 'abc'],
    code: /^usage\/token-id$/,
    exit: 2,
    says: /whole numbers/,
  },
  {
    what: 'an id outside the vocabulary',
    args: ['detokenize', '99999999'],
    code: /^usage\/token-id$/,
    exit: 2,
    says: /99999999/,
  },
  {
    what: 'a missing text file',
    args: ['perplexity', '/no/such.txt'],
    code: /^usage\/file/,
    exit: 2,
    says: /such\.txt/,
  },
  {
    what: 'a conversation that is none',
    args: ['template', file('c.json', '{"a": 1}')],
    code: /^usage\/conversation$/,
    exit: 2,
    says: /messages/,
  },
  {
    what: 'a file that is no JSON',
    args: ['template', file('d.json', '{')],
    code: /^usage\/json$/,
    exit: 2,
    says: /JSON/,
  },
];

describe('a mistake', () => {
  it.each(cases)('$what: a sentence with a fix', async ({ args, exit, says, env = {} }) => {
    const { code, stdout, stderr } = await unicorn(args, { env });
    expect(stderr).toMatch(/^error: .+\n/m);
    expect(stderr).toMatch(says);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(stdout.trim()).toBe('');
    expect(code).toBe(exit);
  });

  it.each(cases)('$what: JSON with a stable code', async ({ args, code: expected, exit, env = {} }) => {
    const { code, stdout } = await unicorn([...args, '--json'], { env });
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string; fields: object } };
    expect(error.code).toMatch(expected);
    expect(error.message.length).toBeGreaterThan(10);
    expect(code).toBe(exit);
  });

  it.each([
    ['a non-number', ['run', '--top-k', 'abc', 'Hi'], /--top-k/],
    ['a share above 1', ['run', '--top-p', '1.5', 'Hi'], /--top-p/],
    ['a seed of 65 bits', ['run', '--seed', '18446744073709551616', 'Hi'], /--seed/],
    ['a negative number of tokens', ['run', '-n', '-3', 'Hi'], /--max-tokens/],
    ['an unknown flag', ['run', '--colour', 'Hi'], /--colour/],
    ['an unknown command', ['sing'], /sing/],
    ['an unknown backend', ['run', '--backend', 'abacus', 'Hi'], /abacus/],
    ['a backend that no release has yet', ['run', '--backend', 'npu', 'Hi'], /auto, cpu, vulkan/],
  ])('%s in a flag: exit 2 and the flag named', async (_what, args, says) => {
    const { code, stderr, stdout } = await unicorn(args);
    expect(code).toBe(2);
    expect(stderr).toMatch(says);
    expect(stdout).toBe('');
    const { error } = JSON.parse((await unicorn([...args, '--json'])).stdout) as { error: { code: string } };
    expect(error.code).toBe('usage/flag');
  });

  it('a home that cannot be written to: nothing is kept there, so it answers', async () => {
    const env = { HOME: '/proc/none', XDG_CACHE_HOME: '/proc/none', TMPDIR: '/proc/none' };
    const { code } = await unicorn(['run', '-n', '2', 'Hi'], { env });
    expect(code).toBe(0);
  });
});
