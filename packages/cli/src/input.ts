/** What a command reads: standard input or a file, byte for byte, and never more than fits. */
import { createReadStream, fstatSync, type Stats } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import {
  irregularFile,
  isUnicornError,
  parseJson as parseBounded,
  UnicornError,
} from '@unicorn-exec/api/error';

/**
 * The most that one text may have. A prompt of a million tokens has 16 bytes for each of them in it, three to four times what
 * a token stands for in any language; more would fill the memory before anybody could say that it is too long.
 */
export const maxTextBytes = 16 * 2 ** 20;

/** How long a socket as standard input may stay silent beside a prompt in the arguments. */
const silenceMs = 3000;

/** All of standard input. @throws UnicornError `usage/input` when a person sits there instead of a pipe, or it is too long */
export async function readStandardInput(what: string): Promise<Uint8Array> {
  if (process.stdin.isTTY) {
    throw new UnicornError('usage/input', `No ${what} was given.`, {
      fix: `Give the ${what} as an argument, or pipe it into the command.`,
    });
  }
  return readAllOfInput(what);
}

/**
 * What is piped in beside a text that was given; empty where nothing is. A program that starts another one with Node.js, and
 * ssh, leave a socket open that says nothing and never ends; a socket that stays silent is not waited for.
 *
 * @param onSilence is told that a silent socket was left alone
 * @throws UnicornError `usage/input` when it is too long
 */
export async function readPipedInput(what: string, onSilence: () => void): Promise<Uint8Array> {
  const kind = inputKind();
  if (kind === 'none') return new Uint8Array();
  if (kind === 'socket' && (await isSilent(process.stdin))) {
    onSilence();
    process.stdin.destroy();
    return new Uint8Array();
  }
  return readAllOfInput(what);
}

/** Whether standard input is something that another program or a file fills. */
function inputKind(): 'data' | 'socket' | 'none' {
  let stats: Stats;
  try {
    stats = fstatSync(0);
  } catch {
    return 'none';
  }
  if (stats.isSocket()) return 'socket';
  return stats.isFIFO() || stats.isFile() ? 'data' : 'none';
}

function isSilent(stream: Readable): Promise<boolean> {
  return new Promise((resolve) => {
    const events = ['readable', 'end', 'error'];
    const settle = (silent: boolean): void => {
      clearTimeout(timer);
      for (const event of events) stream.off(event, heard);
      resolve(silent);
    };
    const heard = (): void => settle(false);
    const timer = setTimeout(settle, silenceMs, true);
    for (const event of events) stream.on(event, heard);
  });
}

/** As {@link readAll}; what the system says of standard input is the caller's mistake, as a directory in its place is. */
async function readAllOfInput(what: string): Promise<Uint8Array> {
  try {
    return await readAll(process.stdin, what);
  } catch (error) {
    if (isUnicornError(error)) throw error;
    throw new UnicornError('usage/input', `Standard input cannot be read: ${(error as Error).message}.`, {
      fix: `Give the ${what} as an argument, or pipe it into the command.`,
      cause: error,
    });
  }
}

async function readAll(stream: Readable, what: string): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += (chunk as Buffer).length;
    // Leaving the loop closes the stream: what is left is never read.
    if (bytes > maxTextBytes) throw tooLong(what);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

function tooLong(what: string): UnicornError {
  return new UnicornError('usage/input', `The ${what} is too long: it has more than ${maxTextBytes} bytes.`, {
    fields: { maxBytes: maxTextBytes },
    fix: 'Give a shorter one, or parts of it.',
  });
}

/** @throws UnicornError `usage/encoding` where the bytes are not UTF-8: a wrong character would be a wrong answer */
export function decodeUtf8(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new UnicornError('usage/encoding', `The ${what} is not valid UTF-8.`, { cause });
  }
}

/**
 * The text of a file, or of a pipe that the shell has made (`<(command)`).
 *
 * @throws UnicornError `usage/file` when it cannot be read, and at once for a named pipe, a socket or a device, `usage/input`
 * when what comes from a pipe is too long
 */
export async function readTextFile(path: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    const stats = await stat(path);
    const isShellPipe = stats.isFIFO() && /^\/(?:dev|proc\/(?:self|\d+))\/fd\/\d+$/.test(path);
    const refusal = isShellPipe ? undefined : irregularFile(stats, path);
    if (refusal) throw refusal;
    bytes = isShellPipe ? await readAll(createReadStream(path), `file ${path}`) : await readFile(path);
  } catch (error) {
    if (isUnicornError(error)) throw error;
    throw unreadable(path, error);
  }
  return decodeUtf8(bytes, `file ${path}`);
}

/**
 * The text of a file that holds a prompt; it may be a pipe. One line end at its end is left out, as editors put it there.
 *
 * @throws UnicornError `usage/file` when it cannot be read, `usage/input` when it is too long
 */
export async function readPromptFile(path: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readAll(createReadStream(path), `file ${path}`);
  } catch (error) {
    if (isUnicornError(error)) throw error;
    throw unreadable(path, error);
  }
  return decodeUtf8(bytes, `file ${path}`).replace(/\r?\n$/, '');
}

function unreadable(path: string, cause: unknown): UnicornError {
  return new UnicornError('usage/file', `${path} cannot be read: ${(cause as Error).message}.`, {
    fields: { file: path },
    fix: 'Check the path and its permissions.',
    cause,
  });
}

/** @throws UnicornError `usage/json` naming the source when the text is not JSON, or nests too deep */
export function parseJson(text: string, what: string): unknown {
  try {
    return parseBounded(text);
  } catch (cause) {
    throw new UnicornError('usage/json', `The ${what} is not JSON: ${(cause as Error).message}.`, { cause });
  }
}

export async function readJsonFile(path: string): Promise<unknown> {
  return parseJson(await readTextFile(path), `file ${path}`);
}

const [lineFeed, carriageReturn] = [10, 13];

/**
 * The lines of standard input, without their ends, as bytes: one that is not UTF-8 spoils no other.
 *
 * @throws UnicornError `usage/input` for a line that is too long
 */
export async function* inputLines(what: string): AsyncGenerator<Uint8Array, void, undefined> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  const take = (rest: Buffer): Buffer => {
    const line = Buffer.concat([...held, rest]);
    [held, heldBytes] = [[], 0];
    return line.at(-1) === carriageReturn ? line.subarray(0, -1) : line;
  };
  for await (const chunk of process.stdin) {
    let rest = chunk as Buffer;
    for (let at = rest.indexOf(lineFeed); at >= 0; at = rest.indexOf(lineFeed)) {
      yield take(rest.subarray(0, at));
      rest = rest.subarray(at + 1);
    }
    heldBytes += rest.length;
    if (heldBytes > maxTextBytes) throw tooLong(what);
    if (rest.length > 0) held.push(rest);
  }
  if (heldBytes > 0) yield take(Buffer.alloc(0));
}
