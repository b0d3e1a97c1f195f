/** `unicorn chat`: through a pipe, and the keys of a person. */
import { EventEmitter } from 'node:events';
import { chmodSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { ReadStream } from 'node:tty';
import { describe, expect, it } from 'vitest';
import { completeLine } from '../src/chat/completion.js';
import { HistoryFile } from '../src/chat/history-file.js';
import { Keyboard, type KeyReader } from '../src/chat/keyboard.js';
import { temporaryFolder, unicorn } from './command.js';

const folder = temporaryFolder();

describe('unicorn chat', () => {
  it('a later turn prefills only its new tokens', async () => {
    const { stdout } = await unicorn(['chat', '--json', '--temperature', '0', '-n', '40'], {
      input: 'Who are you?\nWhy is the sky blue?\n',
    });
    const [first, second] = stdout
      .trim()
      .split('\n')
      .map(
        (line) =>
          JSON.parse(line) as {
            tokens: number[];
            usage: { promptTokens: number; cachedPromptTokens: number };
          },
      );
    expect(first!.usage.cachedPromptTokens).toBe(0);
    // All of the first turn but its last token, whose keys and values nobody had needed yet.
    expect(second!.usage.cachedPromptTokens).toBe(first!.usage.promptTokens + first!.tokens.length - 1);
  });

  it('has commands, and survives a wrong one', async () => {
    const saved = join(folder, 'chat.json');
    const input = [
      '/set temperature 0',
      '/set max_tokens 4',
      'Hi',
      '/nonsense',
      `/save ${saved}`,
      '/clear',
      `/load ${saved}`,
      '/elastic half',
      'Hi',
      '/stats',
      '/exit',
    ].join('\n');
    const { code, stderr } = await unicorn(['chat'], { input });
    // A script learns at the end that something failed.
    expect(code).toBe(1);
    expect(stderr).toContain('There is no command /nonsense');
    const { messages } = JSON.parse(readFileSync(saved, 'utf8')) as { messages: { role: string }[] };
    expect(messages.map(({ role }) => role)).toEqual(['user', 'assistant']);
  });
});

describe('a conversation through a pipe', () => {
  const chat = (lines: readonly string[], args: readonly string[] = []) =>
    unicorn(['chat', '-n', '8', '--temperature', '0', ...args], { input: lines.join('\n') });

  it.each([
    ['all went well', ['Hi', '/undo', 'Hi', '/regen', '/set temperature 0.5'], 0],
    ['a command is unknown', ['/nonsense', 'Hi'], 1],
    ['a setting is impossible', ['/set temperature 1000'], 1],
    ['a size is unknown', ['/elastic huge'], 1],
    ['a message is too long', ['fox '.repeat(3000), 'Hi'], 1],
    ['there is nothing to regenerate', ['/regen'], 1],
    ['a file is missing', ['/load /no/such.json'], 1],
  ])('%s: the exit code says so', async (_what, lines, exit) => {
    expect((await chat(lines)).code).toBe(exit);
  });

  it('an error is a line of JSON, and the rest goes on', async () => {
    const { code, stdout } = await chat(['/nonsense', 'Hi'], ['--json']);
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { text?: string; error?: { code: string } });
    expect(lines.map(({ text, error }) => error?.code ?? typeof text)).toEqual(['usage/command', 'string']);
    expect(code).toBe(1);
  });

  it('goes on past the context, and says so', async () => {
    const lines = Array.from({ length: 8 }, (_, turn) => `${'fox '.repeat(40)}${turn}`);
    const shifting = await chat(lines, ['-c', '256']);
    expect(shifting.code).toBe(0);
    expect(shifting.stderr).toMatch(
      /the context of 256 tokens is full: the oldest \d+ messages are forgotten/,
    );
    const refusing = await chat(lines, ['-c', '256', '--no-context-shift']);
    expect(refusing.code).toBe(1);
    expect(refusing.stderr).toMatch(/the context holds 256/);
  });

  it('confirms what it changes', async () => {
    const { stderr } = await chat(['/set temp 0.5', '/set temperature default', '/elastic half', '/elastic']);
    expect(stderr).toContain('temperature is 0.5');
    expect(stderr).toContain('the size is half');
    expect(stderr).toContain('the size is full');
  });

  it('a size that cannot be is refused before the first message', async () => {
    expect((await chat(['Hi'], ['--elastic', 'huge'])).code).toBe(2);
  });
});

describe('the keyboard', () => {
  /** What a reader gets of keys that come in these pieces; each line's end asks for the next line. */
  function read(pieces: readonly string[]): string[] {
    const input = Object.assign(new EventEmitter(), {
      destroyed: false,
      setRawMode: () => input,
      setEncoding: () => input,
      pause: () => input,
    });
    const output = { write: () => true } as unknown as NodeJS.WriteStream;
    const got: string[] = [];
    const keyboard = new Keyboard(input as unknown as ReadStream, output, () => got.push('interrupt'));
    const reader: KeyReader = {
      keys: (text) => {
        got.push(text);
        if (!/[\r\n]$/.test(text)) return;
        keyboard.release();
        queueMicrotask(() => keyboard.read(reader));
      },
      paste: (text) => got.push(`paste ${JSON.stringify(text)}`),
      redraw: () => {},
      end: () => got.push('end'),
    };
    keyboard.open();
    keyboard.read(reader);
    for (const piece of pieces) input.emit('data', piece);
    keyboard.close();
    return got;
  }

  const pasted = '\x1b[200~one\r\ntwo\rthree\n\x1b[201~';

  it('takes a paste as one text, wherever the pieces of it are cut', () => {
    for (let cut = 2; cut < pasted.length; cut++) {
      const got = read([`a${pasted.slice(0, cut)}`, `${pasted.slice(cut)}b`]);
      expect(got, String(cut)).toEqual(['a', String.raw`paste "one\ntwo\nthree\n"`, 'b']);
    }
  });

  it('gives no key of the next line before that line is asked for', () => {
    expect(read(['one\rtwo', '\r'])).toEqual(['one\r']);
  });

  it('Ctrl-C works while nobody reads, and not inside of a paste', () => {
    expect(read(['one\r', '\x03'])).toEqual(['one\r', 'interrupt']);
    expect(read(['one\r', '\x1b[200~a\x03b\x1b[201~'])).toEqual(['one\r']);
  });

  it('Ctrl-C ends a paste whose end never comes', () => {
    expect(read(['\x1b[200~abc', '\x03'])).toEqual(['\x03']);
  });
});

describe('the history', () => {
  it('is kept for its owner alone, whole and newest first', async () => {
    const path = join(folder, 'state', 'history');
    const first = new HistoryFile(path);
    await first.load();
    for (const entry of ['one', 'two\nlines', 'two\nlines', ' secret', '']) await first.add(entry);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    chmodSync(path, 0o644);
    const second = new HistoryFile(path);
    await second.load();
    expect(second.entries).toEqual(['two\nlines', 'one']);
    await second.add('three');
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('writes through no link, and a folder that cannot be written to costs nothing', async () => {
    const target = join(folder, 'target');
    const link = join(folder, 'link');
    symlinkSync(target, link);
    for (const path of [link, '/proc/none/history']) {
      const history = new HistoryFile(path);
      await history.load();
      await history.add('one');
      expect(history.entries).toEqual(['one']);
    }
    expect(() => statSync(target)).toThrow();
  });
});

it('the tab key completes commands, settings, sizes and files', () => {
  const words = {
    commands: ['set', 'save', 'show', 'elastic'],
    settings: ['seed', 'system'],
    sizes: ['half'],
  };
  const complete = (line: string) => completeLine(line, words)[0];
  expect(complete('/s')).toEqual(['/set ', '/save ', '/show ']);
  expect(complete('/set s')).toEqual(['seed ', 'system ']);
  expect(complete('/elastic ')).toEqual(['half']);
  expect(complete(`/load ${folder}/sta`)).toEqual([`${folder}/state/`]);
  expect(complete('hello')).toEqual([]);
});
