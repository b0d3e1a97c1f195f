/** Options from the environment and the configuration file, other tools' spellings, and what shells complete. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { canonicalArguments } from '../src/alias.js';
import { promptWarning } from '../src/hint.js';
import { invocation } from '../src/invocation.js';
import { createProgram } from '../src/program.js';
import { quoted } from '../src/shell-word.js';
import { Terminal } from '../src/terminal.js';
import { shell, temporaryFolder, unicorn, unicornJson } from './command.js';

interface ConfigJson {
  readonly file: string;
  readonly exists: boolean;
  readonly settings: readonly { name: string; command?: string; value: unknown; origin: string }[];
}

/** An environment with a configuration file. */
function configured(text: string): { XDG_CONFIG_HOME: string; file: string } {
  const home = temporaryFolder();
  mkdirSync(join(home, 'unicorn'));
  const file = join(home, 'unicorn', 'config.toml');
  writeFileSync(file, text);
  return { XDG_CONFIG_HOME: home, file };
}

const program = createProgram(new Terminal());

describe('options that are not on the command line', () => {
  const { XDG_CONFIG_HOME, file } = configured(
    'temperature = 0\nmax-tokens = 5\nstop = ["one", "two"]\nseed = 18446744073709551615\n\n[run]\nmax-tokens = 4\n',
  );

  it.each([
    ['the file', {}, [], 4],
    ['the environment before the file', { UNICORN_MAX_TOKENS: '3' }, [], 3],
    ['a flag before both', { UNICORN_MAX_TOKENS: '3' }, ['-n', '2'], 2],
    ['the file, where the variable is empty', { UNICORN_MAX_TOKENS: '' }, [], 4],
  ])('%s holds', async (_what, variables, flags, tokens) => {
    const env = { XDG_CONFIG_HOME, ...variables };
    const result = await unicornJson<{ tokens: number[] }>(['run', 'Who are you?', ...flags], { env });
    expect(result.tokens).toHaveLength(tokens);
  });

  it('config lists each with its origin', async () => {
    const env = { XDG_CONFIG_HOME, UNICORN_HISTORY: 'off', UNICORN_TOP_K: '7' };
    const shown = await unicornJson<ConfigJson>(['config'], { env });
    expect(shown).toMatchObject({ file, exists: true });
    const of = (name: string, command?: string) =>
      shown.settings.find((one) => one.name === name && (command === undefined || one.command === command));
    expect(of('max-tokens', 'run')).toMatchObject({ value: 4, origin: 'file', where: `${file}:7` });
    expect(of('max-tokens', 'chat')).toMatchObject({ value: 5, origin: 'file', where: `${file}:2` });
    expect(of('stop')).toMatchObject({ value: ['one', 'two'] });
    expect(of('seed')).toMatchObject({ value: '18446744073709551615' });
    expect(of('history')).toMatchObject({ value: false, origin: 'environment', where: 'UNICORN_HISTORY' });
    expect(of('top-k')).toMatchObject({ value: 7 });
    expect(of('backend')).toMatchObject({ value: 'auto', origin: 'default' });
  });

  it.each([
    ['an unknown key', 'threads = 1\ntemprature = 1', 2, /temprature/, /Did you mean "temperature"/],
    ['a key of another command', '[run]\nhistory = false', 2, /history/, /./],
    ['an unknown table', '\n[rum]\nseed = 1', 2, /rum/, /./],
    ['a key of one call', 'output = "x"', 1, /output/, /./],
    ['a value out of range', 'temperature = -1', 1, /temperature/, /./],
    ['a text for a number', 'top-k = "many"', 1, /top-k/, /./],
    ['a number for a switch', 'hide-thinking = 1', 1, /hide-thinking/, /true/],
    ['a list for a text', 'system = ["a"]', 1, /system/, /./],
    ['what is not TOML', 'seed = 1\ntemperature', 2, /TOML/, /./],
  ])('%s in the file: named with its line', async (_what, text, line, says, fix) => {
    const env = configured(text);
    const { code, stdout } = await unicorn(['run', 'Hi', '--json'], { env });
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string; fix: string } };
    expect(error.code).toBe('usage/config');
    expect(error.message).toContain(`${env.file}, line ${line}`);
    expect(error.message).toMatch(says);
    expect(error.fix).toMatch(fix);
    expect(code).toBe(2);
  });

  it.each([
    ['UNICORN_TOP_K', 'many'],
    ['UNICORN_HIDE_THINKING', 'perhaps'],
    ['UNICORN_BACKEND', 'abacus'],
  ])('%s=%s is refused by name', async (variable, value) => {
    const { code, stderr } = await unicorn(['run', 'Hi'], { env: { [variable]: value } });
    expect(stderr).toContain(variable);
    expect(code).toBe(2);
  });

  it('a file that is asked for must be there; help needs none', async () => {
    const env = { UNICORN_CONFIG: '/no/such.toml' };
    expect((await unicorn(['run', 'Hi'], { env })).stderr).toContain('/no/such.toml');
    expect((await unicorn(['run', '--help'], { env })).code).toBe(0);
  });
});

describe('spellings of other tools', () => {
  it.each([
    ['version', '--version'],
    ['-v', '--version'],
    [
      'run --temp 0.5 -ngl 3 --n-predict 4 --ctx-size 64',
      'run --temperature 0.5 --gpu-layers 3 --max-tokens 4 --context 64',
    ],
    ['run --temp=0.5 --max_tokens=3', 'run --temperature=0.5 --max-tokens=3'],
    ['run -r x -s 1 -sys y', 'run --stop x --seed 1 --system y'],
    ['bench -r 3', 'bench -r 3'],
    ['run --system --temp', 'run --system --temp'],
    ['run -- --temp', 'run -- --temp'],
    ['tokenize --temp', 'tokenize --temp'],
  ])('%s', (given, canonical) => {
    expect(canonicalArguments(program, given.split(' '))).toEqual(canonical.split(' '));
  });

  it.each([
    ['pull llama3', /does not download/],
    ['serve', /no HTTP server/],
    ['run nano Hi', /unicorn.* run -m nano Hi/],
    ['run model.gguf Who are you', /-m model\.gguf 'Who are you'/],
    ['run Who are you', /quoted/],
    ['chat Qwen/Qwen3-0.6B', /chat -m Qwen\/Qwen3-0\.6B/],
    ['model.gguf', /-m model\.gguf/],
    ['run -fa Hi', /Leave -fa out/],
    ['run -hf a/b', /does not download/],
    ['-p Hi', /A command comes first: `.* run -p Hi`/],
    ['-m nano Hi', /A command comes first: `.* run -m nano Hi`/],
    ['pull hf:org/name:Q4_0', /hf download org\/name --include '\*Q4_0\*' --local-dir name/],
    ['get org/name', /hf download org\/name --local-dir name/],
    ['Why is the sky blue?', /run 'Why is the sky blue\?'/],
    ['chta', /Did you mean chat/],
    ['run --temprature 0 Hi', /Did you mean --temperature/],
    ['help chta', /Did you mean `.* help chat`/],
  ])('%s: a hint', async (line, hint) => {
    const { code, stderr } = await unicorn(line.split(' '));
    expect(stderr).toMatch(hint);
    expect(code).toBe(2);
  });
});

describe("a model's name as the prompt", () => {
  const spaced = join(temporaryFolder(), 'a b.gguf');
  writeFileSync(spaced, '');

  it.each(['nano', 'org/name', 'hf:org/name', 'gemma3:1b', 'model.gguf', spaced])('%s: a warning', (name) => {
    expect(promptWarning(name, undefined)).toContain(`unicorn chat -m ${quoted(name)}`);
    expect(promptWarning(name, 'nano')).toBeUndefined();
  });

  it.each(['Hi', 'What is nano?', 'and/or?', '', 'What is a.gguf', 'Note: this'])('%s: none', (prompt) => {
    expect(promptWarning(prompt, undefined)).toBeUndefined();
  });
});

it.each([
  ['/usr/bin/unicorn', {}, 'unicorn'],
  ['/x/node_modules/.bin/unicorn', { npm_command: 'exec' }, 'npx unicorn'],
  ['/root/.npm/_npx/1/node_modules/.bin/unicorn', { npm_command: 'exec' }, 'npx @unicorn-exec/cli'],
  ["/my dir/it's/unicorn.js", {}, String.raw`node '/my dir/it'\''s/unicorn.js'`],
])('%s is called again as a shell takes it', (script, environment, call) => {
  expect(invocation(script, environment)).toBe(call);
});

describe('completion', () => {
  it('bash completes commands, flags, values and files', () => {
    const complete = (words: string): string =>
      shell(
        `source <(unicorn completion bash); COMP_WORDS=(${words}); COMP_CWORD=$(( \${#COMP_WORDS[@]} - 1 )); _unicorn; echo "\${COMPREPLY[@]}"`,
      ).stdout.trim();
    expect(complete('unicorn ch')).toBe('chat');
    expect(complete('unicorn run --temp')).toBe('--temperature');
    expect(complete('unicorn run --backend v')).toBe('vulkan');
    expect(complete('unicorn run --top-k ""')).toBe('');
    expect(complete('unicorn run -m /etc/hostn')).toBe('/etc/hostname');
  });

  it.each(['bash', 'zsh', 'fish'])('%s knows every command and every visible flag', async (name) => {
    const { code, stdout } = await unicorn(['completion', name]);
    expect(code).toBe(0);
    for (const command of program.commands) {
      expect(stdout).toContain(command.name());
      for (const option of command.options) {
        if (!option.hidden) expect(stdout).toContain(option.long!.replace(/^--/, ''));
      }
    }
  });
});
