/** What a command reads: standard input, byte for byte, or a file. */
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { UnicornError } from '@unicorn-exec/api/error';

/** All of standard input. @throws UnicornError `usage/input` when a person sits there instead of a pipe */
export async function readStandardInput(what: string): Promise<Uint8Array> {
  if (process.stdin.isTTY) {
    throw new UnicornError('usage/input', `No ${what} was given.`, {
      fix: `Give the ${what} as an argument, or pipe it into the command.`,
    });
  }
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** @throws UnicornError `usage/encoding` where the bytes are not UTF-8: a wrong character would be a wrong answer */
export function decodeUtf8(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new UnicornError('usage/encoding', `The ${what} is not valid UTF-8.`, { cause });
  }
}

/** @throws UnicornError `usage/file` when it cannot be read */
export async function readTextFile(path: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new UnicornError('usage/file', `${path} cannot be read: ${(cause as Error).message}.`, {
      fields: { file: path },
      fix: 'Check the path and its permissions.',
      cause,
    });
  }
  return decodeUtf8(bytes, `file ${path}`);
}

/** @throws UnicornError `usage/json` naming the source when the text is not JSON */
export function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UnicornError('usage/json', `The ${what} is not JSON: ${(cause as Error).message}.`, { cause });
  }
}

export async function readJsonFile(path: string): Promise<unknown> {
  return parseJson(await readTextFile(path), `file ${path}`);
}

/** The lines of standard input or of a file, without their ends. */
export function inputLines(path?: string): AsyncIterable<string> {
  const input = path === undefined ? process.stdin : createReadStream(path);
  return createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
}
