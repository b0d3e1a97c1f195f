/** What each command prints: the JSON shapes that scripts rely on. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder, unicorn, unicornJson } from './command.js';

const folder = temporaryFolder();

interface RunJson {
  tokens: number[];
  text: string;
  finishReason: string;
  promptTokens: number;
  promptTokenIds: number[];
}

describe('unicorn', () => {
  it('--version prints the version alone', async () => {
    const { code, stdout } = await unicorn(['--version']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it('every command has help with an example', async () => {
    const { stdout } = await unicorn(['--help']);
    const commands = [...stdout.matchAll(/^ {2}(\w+) .*$/gm)]
      .map(([, name]) => name!)
      .filter((name) => name !== 'help');
    expect(commands.length).toBeGreaterThanOrEqual(10);
    for (const command of commands) {
      const help = await unicorn([command, '--help']);
      expect(help.code).toBe(0);
      expect(help.stdout).toContain(`$ unicorn ${command}`);
    }
  });
});

describe('unicorn run', () => {
  it('answers, greedy and reproducible, as JSON', async () => {
    const args = ['run', 'Who are you?', '--temperature', '0', '-n', '12'];
    const result = await unicornJson<RunJson & Record<string, unknown>>(args);
    expect(result).toMatchObject({
      model: expect.any(String),
      backend: expect.any(String),
      finishReason: 'length',
      timings: {
        loadMs: expect.any(Number),
        ttftMs: expect.any(Number),
        prefillTokensPerSecond: expect.any(Number),
        decodeTokensPerSecond: expect.any(Number),
      },
      memory: {
        weightsBytes: expect.any(Number),
        kvBytes: expect.any(Number),
        peakRssBytes: expect.any(Number),
      },
    });
    expect(result.tokens).toHaveLength(12);
    expect(result.promptTokenIds).toHaveLength(result.promptTokens);
    expect(result.text).toMatch(/^I am Unicorn Nano/);
    expect((await unicornJson<RunJson>(args)).tokens).toEqual(result.tokens);
  });

  it('stops at the end of the turn, which it does not show', async () => {
    const result = await unicornJson<RunJson>(['run', 'Who are you?', '--temperature', '0']);
    expect(result.finishReason).toBe('stop');
    expect(result.text).not.toContain('<end_of_turn>');
    expect([1, 5]).toContain(result.tokens.at(-1));
  });

  it('writes one BOS, with the template and without', async () => {
    const chat = await unicornJson<RunJson>(['run', 'Hi', '-n', '1']);
    const raw = await unicornJson<RunJson>(['run', 'Hi', '-n', '1', '--raw']);
    for (const { promptTokenIds } of [chat, raw]) {
      expect(promptTokenIds[0]).toBe(2);
      expect(promptTokenIds.filter((id) => id === 2)).toHaveLength(1);
    }
    const spelled = await unicornJson<RunJson>(['run', '<bos>Hi', '-n', '1', '--raw']);
    expect(spelled.promptTokenIds).toEqual(raw.promptTokenIds);
  });

  it('reads the prompt from standard input and prints the answer alone', async () => {
    const { code, stdout } = await unicorn(['run', '--temperature', '0', '-n', '4'], {
      input: 'Who are you?',
    });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^I am Unicorn.*\n$/);
  });

  it('takes sizes, seeds and stop strings', async () => {
    const half = await unicornJson<RunJson & { elastic: string }>([
      'run',
      'Who are you?',
      '--elastic',
      'half',
      '--temperature',
      '0',
      '-n',
      '6',
    ]);
    expect(half.elastic).toBe('half');
    const seeded = ['run', 'Tell me a story.', '--seed', '7', '-n', '8'];
    expect((await unicornJson<RunJson>(seeded)).tokens).toEqual((await unicornJson<RunJson>(seeded)).tokens);
    const stopped = await unicornJson<RunJson>([
      'run',
      'Who are you?',
      '--temperature',
      '0',
      '--stop',
      'Nano',
    ]);
    expect(stopped).toMatchObject({ finishReason: 'stop', text: 'I am Unicorn ' });
  });

  it('Ctrl-C ends the answer cleanly with 130', async () => {
    let sent = false;
    const { code, stderr } = await unicorn(
      ['run', 'Tell me a long story.', '--temperature', '0', '-n', '2000'],
      {
        onStdout: (text, child) => {
          if (!sent && text.length > 0) sent = child.kill('SIGINT');
        },
      },
    );
    expect(code).toBe(130);
    expect(stderr).not.toContain('error');
  });

  it('a closed pipe ends it quietly', async () => {
    const { stderr } = await unicorn(['run', 'Tell me a long story.', '-n', '400'], {
      onStdout: (_text, child) => child.stdout.destroy(),
    });
    expect(stderr).not.toMatch(/error|EPIPE/);
  });
});

describe('the text side', () => {
  it('tokenize and detokenize are inverse, special text only with the flag', async () => {
    const text = 'Hello, world! <end_of_turn> 🦄';
    const plain = await unicornJson<{ ids: number[]; pieces: string[] }>(['tokenize', text]);
    const special = await unicornJson<{ ids: number[] }>(['tokenize', '--special', text]);
    expect(plain.pieces).toHaveLength(plain.ids.length);
    expect(special.ids).toContain(5);
    expect(plain.ids).not.toContain(5);
    const back = await unicornJson<{ text: string; chunks: string[] }>([
      'detokenize',
      ...plain.ids.map(String),
    ]);
    expect(back.text).toBe(text);
    expect(back.chunks.join('')).toBe(text);
  });

  it('--jsonl answers each line, a bad one with an error in its place', async () => {
    const { code, stdout } = await unicorn(['tokenize', '--jsonl'], { input: '"Hi"\n17\n{\n"Ho"\n' });
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { ids?: number[]; error?: { code: string } });
    expect(code).toBe(0);
    expect(lines.map(({ ids, error }) => (ids ? 'ids' : error?.code))).toEqual([
      'ids',
      'usage/json',
      'usage/json',
      'ids',
    ]);
  });

  it('template renders a conversation and takes options', async () => {
    const conversation = join(folder, 'conversation.json');
    writeFileSync(conversation, JSON.stringify([{ role: 'user', content: 'Hi' }]));
    const { prompt } = await unicornJson<{ prompt: string }>(['template', conversation]);
    expect(prompt).toBe('<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n');
    const closed = await unicornJson<{ prompt: string }>([
      'template',
      conversation,
      '--option',
      'add_generation_prompt=false',
    ]);
    expect(closed.prompt).toBe('<bos><start_of_turn>user\nHi<end_of_turn>\n');
  });

  it('template says where tools are ignored', async () => {
    const [conversation, tools] = [join(folder, 'turn.json'), join(folder, 'tools.json')];
    writeFileSync(conversation, JSON.stringify([{ role: 'user', content: 'Hi' }]));
    writeFileSync(tools, '[{"type": "function", "function": {"name": "f"}}]');
    const { stderr } = await unicorn(['template', conversation, '--tools', tools]);
    expect(stderr).toContain('ignores tools');
  });
});

describe('numbers', () => {
  it('eval writes logits and hidden states', async () => {
    const tokens = join(folder, 'tokens.json');
    const output = join(folder, 'out.safetensors');
    writeFileSync(tokens, '[[2, 4, 337], [2, 5]]');
    const { tensors } = await unicornJson<{ tensors: { name: string; shape: number[] }[] }>([
      'eval',
      '--tokens',
      tokens,
      '--layers',
      '-o',
      output,
    ]);
    const shapes = new Map(tensors.map(({ name, shape }) => [name, shape]));
    expect(shapes.get('logits.0')).toEqual([3, 8192]);
    expect(shapes.get('logits.1')).toEqual([2, 8192]);
    expect(shapes.get('hidden.0.0')).toEqual([3, 320]);
    expect(shapes.get('hidden.10.1')).toEqual([2, 320]);
    expect(readFileSync(output).length).toBeGreaterThan(5 * 8192 * 4);
  });

  it('perplexity of a text, and no divergence from itself', async () => {
    const text = join(folder, 'text.txt');
    writeFileSync(text, 'Once there was a brave fox who lived in the orchard.');
    const result = await unicornJson<{ perplexity: number; tokens: number; kl: { max: number } }>([
      'perplexity',
      text,
      '--against',
      'nano',
    ]);
    expect(result.perplexity).toBeGreaterThan(1);
    expect(result.kl.max).toBeLessThan(1e-9);
  });

  it('bench measures prefill and decode', async () => {
    const report = await unicornJson<Record<string, unknown>>(['bench', '-p', '16', '-n', '4', '-r', '2']);
    expect(report).toMatchObject({
      machine: { cpu: expect.any(String), cores: expect.any(Number), readBandwidthGBs: expect.any(Number) },
      speed: { kind: 'read', bytesPerSecond: expect.any(Number) },
      load: {
        openMs: expect.any(Number),
        weightsMs: expect.any(Number),
        compileMs: expect.any(Number),
      },
      model: {
        name: expect.any(String),
        bytes: expect.any(Number),
        parameters: expect.any(Number),
        type: 'Q8_0',
      },
      results: [
        {
          test: 'pp16',
          tokensPerSecond: {
            mean: expect.any(Number),
            std: expect.any(Number),
            samples: [expect.any(Number), expect.any(Number)],
          },
        },
        { test: 'tg4' },
      ],
    });
  });
});

describe('bench --kernels', () => {
  const args = ['bench', '--kernels', '-p', '16', '-n', '4', '-r', '1'];

  it('prints the steps of both phases, and why one is slow', async () => {
    const { stdout } = await unicorn(args);
    expect(stdout).toMatch(/reads [\d.]+ GB\/s/);
    expect(stdout).toMatch(/^prefill of .* for 16 tokens/m);
    expect(stdout).toMatch(/^decode of .* for 1 token\b/m);
    expect(stdout).toMatch(/^\| sample /m);
    expect(stdout).toContain('below 60 % of the bandwidth:');
  });

  it('as JSON', async () => {
    const { phases } = await unicornJson<{ phases: { phase: string; rows: unknown[] }[] }>(args);
    expect(phases.map(({ phase }) => phase)).toEqual(['prefill', 'decode']);
    expect(phases[1]!.rows[0]).toMatchObject({
      step: expect.any(String),
      detail: expect.any(String),
      microsecondsPerCall: expect.any(Number),
      bandwidthShare: expect.any(Number),
      timeShare: expect.any(Number),
    });
  });
});

describe('descriptions', () => {
  it('show lists metadata, tensors and sizes of the bundled model', async () => {
    const shown = await unicornJson<{
      architecture: string;
      tensors: { name: string; dtype: string }[];
      elastic: { name: string }[];
    }>(['show']);
    expect(shown).toMatchObject({
      format: 'gguf',
      architecture: 'gemma3n',
      contextLength: 2048,
      license: 'apache-2.0',
      quantization: [{ type: 'Q8_0' }, { type: 'F32' }],
      model: {
        layers: 10,
        heads: 5,
        kvHeads: 1,
        headDim: 64,
        sliding: { layers: 8, window: 128 },
        memory: [{ contextLength: 2048, totalBytes: expect.any(Number) }],
        template: { tools: false, contentParts: false },
      },
      metadata: { 'general.name': 'Unicorn Nano', 'general.sampling.temp': 0.7 },
      omitted: { 'tokenizer.ggml.tokens': 8192 },
    });
    const whole = await unicornJson<{ metadata: Record<string, string[]> }>(['show', '--vocabulary']);
    expect(whole.metadata['tokenizer.ggml.tokens']).toHaveLength(8192);
    const { stdout } = await unicorn(['show']);
    expect(stdout).toMatch(/^licence +apache-2.0$/m);
    expect(stdout).toMatch(/^general\.sampling\.temp: 0\.7$/m);
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(shown.tensors.length).toBeGreaterThan(100);
    expect(shown.elastic.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['full', 'three-quarters', 'half', 'quarter']),
    );
  });

  it('doctor names every backend, and a reason and a fix where one is missing', async () => {
    const { backends } = await unicornJson<{
      backends: { name: string; available: boolean; reason?: string }[];
    }>(['doctor']);
    expect(backends.map(({ name }) => name)).toEqual(['cpu', 'vulkan', 'reference']);
    for (const { available, reason } of backends) expect(available || Boolean(reason)).toBe(true);
  });

  it('doctor without the addon says how to get it', async () => {
    const env = { UNICORN_CPU_ADDON: '/no/such.node' };
    const { backends } = await unicornJson<{
      backends: { name: string; available: boolean; fix?: string }[];
    }>(['doctor'], { env });
    expect(backends[0]).toMatchObject({ name: 'cpu', available: false, fix: expect.any(String) });
    const answer = await unicorn(['run', 'Who are you?', '--temperature', '0', '-n', '3'], { env });
    expect(answer.stdout).toMatch(/^I am/);
    expect(answer.stderr).toMatch(/warning: .*reference/);
  });
});
