/** What a terminal shows: lines as they are edited, progress, and nothing that commands it. */
import { EventEmitter } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ReadStream } from 'node:tty';
import { describe, expect, it } from 'vitest';
import { Keyboard } from '../src/chat/keyboard.js';
import { LineEditor } from '../src/chat/line-editor.js';
import { ProgressBar } from '../src/progress.js';
import { Terminal, visible } from '../src/terminal.js';
import { temporaryFolder, unicorn } from './command.js';
import { Screen } from './screen.js';

const asStream = (screen: Screen): NodeJS.WriteStream => screen as unknown as NodeJS.WriteStream;

describe('a line that is edited', () => {
  /** The screen, and the results of the prompts, after keys that come in these pieces. */
  async function edit(pieces: readonly string[], columns = 20) {
    const screen = new Screen(columns);
    const input = Object.assign(new EventEmitter(), {
      destroyed: false,
      setRawMode: () => input,
      setEncoding: () => input,
      pause: () => input,
    });
    const keyboard = new Keyboard(input as unknown as ReadStream, asStream(screen), () => {});
    keyboard.open();
    const editor = new LineEditor(keyboard, asStream(screen), (line) => [[], line]);
    const results: string[] = [];
    const reading = (async () => {
      for (;;) {
        const result = await editor.read('> ', []);
        results.push(result.kind === 'line' ? result.text : result.kind);
        if (result.kind === 'end') return;
      }
    })();
    for (const piece of pieces) {
      input.emit('data', piece);
      await new Promise(setImmediate);
    }
    const rows = screen.rows;
    input.emit('end');
    await reading;
    keyboard.close();
    return { rows, results };
  }

  const text = 'abcdefghij klmnopqrst uvwxyz 0123456789';
  const left = '\x1b[D';
  const shown = (line: string): string[] => `> ${line}`.match(/.{1,20}/g)!.map((row) => row.trimEnd());

  it.each([
    ['in one piece', [text]],
    ['key by key', [...text]],
    ['in pieces', [text.slice(0, 7), text.slice(7, 30), text.slice(30)]],
    ['with an escape sequence cut apart', [text, '\x1b', '[D', '\x1b[', 'C']],
    ['that ends a row', [text.slice(0, 18), text.slice(18)]],
  ])('is on the screen once, come %s', async (_name, pieces) => {
    expect((await edit(pieces)).rows).toEqual(shown(text));
    const changed = await edit([...pieces, left + left, 'XY', left, 'Z', '\r']);
    const line = `${text.slice(0, -2)}XZY${text.slice(-2)}`;
    expect(changed.rows.slice(0, shown(line).length)).toEqual(shown(line));
    expect(changed.results[0]).toBe(line);
  });

  it('each Ctrl-C is of a prompt of its own', async () => {
    expect((await edit(['text\x03\x03', '\x04'])).results).toEqual(['interrupt', 'interrupt', 'end']);
  });
});

describe('progress', () => {
  it.each([200, 80, 60, 40, 20, 5])('is drawn over in %i columns', (columns) => {
    const screen = new Screen(columns);
    const bar = new ProgressBar(new Terminal(process.stdout, asStream(screen)), 'measuring');
    for (const done of [1, 50, 100]) bar.update(done, 100, '1234.5 MB of a long detail');
    expect(screen.rows).toHaveLength(1);
    bar.end();
    expect(screen.rows).toEqual(['']);
  });
});

describe('control characters', () => {
  it('are escapes, but for line ends and tabs', () => {
    expect(visible('a\x1b[31mb\x07\r\x9b\n\tü😀')).toBe(
      String.raw`a\u001b[31mb\u0007\u000d\u009b` + '\n\tü😀',
    );
  });

  it.each([
    ['an argument', ['show', 'a\x1b[2Jb']],
    ['a command', ['a\x1b[2Jb']],
    ['a flag', ['run', '--a\x1b[2Jb']],
    ['a file', ['show', hostileFile()]],
    ['a model', ['run', '-m', hostileFile(), 'Hi']],
  ])('of %s do not reach the terminal', async (_name, args) => {
    const { stdout, stderr } = await unicorn(args);
    expect(stdout + stderr).toContain(String.raw`\u001b`);
    expect(stdout + stderr).not.toContain('\x1b');
  });
});

/** A GGUF file whose strings would change the terminal. */
function hostileFile(): string {
  const text = (string: string): Buffer => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(Buffer.byteLength(string)));
    return Buffer.concat([length, Buffer.from(string)]);
  };
  const head = Buffer.alloc(24);
  head.write('GGUF', 0, 'latin1');
  head.writeUInt32LE(3, 4);
  head.writeBigUInt64LE(2n, 16);
  const stringType = Buffer.from([8, 0, 0, 0]);
  const entries = [
    ['general.architecture', 'my\x1b[31mstery'],
    ['k\x1b[1mey', 'v\x1b]0;title\x07alue'],
  ].map(([key, value]) => Buffer.concat([text(key!), stringType, text(value!)]));
  const path = join(temporaryFolder(), 'hostile.gguf');
  writeFileSync(path, Buffer.concat([head, ...entries, Buffer.alloc(64)]));
  return path;
}
