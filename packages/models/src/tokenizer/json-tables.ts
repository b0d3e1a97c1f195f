/**
 * The two large tables of a `tokenizer.json`, straight from its bytes: a vocabulary of 262,144 tokens and its 514,906
 * merges take JSON.parse 0.4 s and 56 MB (and the text before it 66 MB), for values that nobody needs.
 *
 * It understands what published files look like and nothing else. `undefined` means "not so": the caller then parses the
 * whole file, which is the slow twin, and finds out what is wrong, if anything is. It is sound, not complete: what it does
 * take, JSON.parse would take with the same meaning. The two tables are checked here byte by byte; everything around them
 * is cut out and goes through JSON.parse, which checks that.
 */
import { isUtf8 } from 'node:buffer';
import { UnicornError, parseJson } from '@unicorn-exec/tensor';
import { MergeList, separatorIn } from './merge-list.js';
import { Vocabulary } from './vocabulary.js';

export interface JsonTables {
  /** The parsed file, except that `model.vocab` and `model.merges` are `null`. */
  root: Record<string, unknown>;
  vocabulary: Vocabulary;
  merges: MergeList;
}

/** A published file has 50 to 130 bytes for each token, merges and all: room for all at once, or after one growth. */
const fileBytesPerToken = 128;
const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a];
const [openBrace, closeBrace, openBracket, closeBracket] = [0x7b, 0x7d, 0x5b, 0x5d];

/** @param bytes a `tokenizer.json` as it is on disk */
export function jsonTables(bytes: Uint8Array): JsonTables | undefined {
  if (!isUtf8(bytes)) return undefined;
  try {
    return new Scanner(bytes).scan();
  } catch (error) {
    const known = error === unexpected || error instanceof SyntaxError || error instanceof UnicornError;
    if (known) return undefined;
    throw error;
  }
}

/** Thrown within this file only, so that every step need not ask whether the one before went well. */
const unexpected = new Error('not as expected');

class Scanner {
  readonly #bytes: Buffer;
  #at = 0;
  readonly #view: DataView;
  /** Where the last string lies, without its quotes: in `#bytes` itself unless it has escapes. */
  #source: Buffer;
  #start = 0;
  #end = 0;

  constructor({ buffer, byteOffset, length }: Uint8Array) {
    const bytes = Buffer.from(buffer, byteOffset, length);
    this.#bytes = bytes;
    this.#source = bytes;
    this.#view = new DataView(buffer, byteOffset, length);
  }

  scan(): JsonTables {
    let tables: (Omit<JsonTables, 'root'> & { kept: readonly Span[] }) | undefined;
    this.#object((key) => {
      if (key !== 'model') return this.#skipValue();
      if (tables !== undefined) throw unexpected; // the last one counts
      tables = this.#model();
    });
    this.#skipSpace();
    if (tables === undefined || this.#at !== this.#bytes.length) throw unexpected;
    const { kept, vocabulary, merges } = tables;
    const rest = kept.map(({ start, end }) => this.#text(start, end)).join('null');
    return { root: parseJson(rest) as Record<string, unknown>, vocabulary, merges };
  }

  /** `kept` is the whole file without the tables. */
  #model(): Omit<JsonTables, 'root'> & { kept: readonly Span[] } {
    let vocabulary: Vocabulary | undefined;
    let merges: MergeList | undefined;
    const kept: Span[] = [];
    let start = 0;
    this.#object((key) => {
      if (key !== 'vocab' && key !== 'merges') return this.#skipValue();
      this.#skipSpace();
      kept.push({ start, end: this.#at });
      if (key === 'vocab') {
        if (vocabulary !== undefined) throw unexpected;
        vocabulary = this.#vocabulary();
      } else {
        if (merges !== undefined || vocabulary === undefined) throw unexpected;
        merges = this.#merges(vocabulary);
      }
      start = this.#at;
    });
    if (vocabulary === undefined || merges === undefined) throw unexpected;
    return { kept: [...kept, { start, end: this.#bytes.length }], vocabulary, merges };
  }

  #vocabulary(): Vocabulary {
    const bytes = this.#bytes;
    const ids = Math.ceil(bytes.length / fileBytesPerToken);
    const vocabulary = new Vocabulary({ ids, textBytes: 8 * ids });
    this.#expect(openBrace);
    if (this.#takes(closeBrace)) return vocabulary;
    do {
      this.#string();
      this.#expect(colon);
      const id = this.#id();
      // Of two equal names JSON.parse keeps the last: let it.
      if (!vocabulary.setBytes(id, this.#source, this.#start, this.#end)) throw unexpected;
    } while (this.#takes(comma));
    this.#expect(closeBrace);
    return vocabulary;
  }

  #merges(vocabulary: Vocabulary): MergeList {
    const list = new MergeList(vocabulary, 2 * vocabulary.size);
    this.#expect(openBracket);
    if (this.#takes(closeBracket)) return list;
    do {
      const added = this.#takes(openBracket) ? this.#addPair(list) : this.#addCut(list);
      if (!added) throw unexpected;
    } while (this.#takes(comma));
    this.#expect(closeBracket);
    return list;
  }

  /** The rest of `["a", "b"]`. */
  #addPair(list: MergeList): boolean {
    this.#string();
    const source = this.#source;
    const start = this.#start;
    const end = this.#end;
    this.#expect(comma);
    this.#string();
    this.#expect(closeBracket);
    return list.addBytes(source, start, end, this.#source, this.#start, this.#end);
  }

  /** `"a b"`. */
  #addCut(list: MergeList): boolean {
    this.#string();
    const source = this.#source;
    const space = separatorIn(source, this.#start, this.#end);
    return space < this.#end && list.addBytes(source, this.#start, space, source, space + 1, this.#end);
  }

  /** An integer as JSON writes it, of at most seven digits: more than any id has. */
  #id(): number {
    this.#skipSpace();
    const bytes = this.#bytes;
    const start = this.#at;
    let at = start;
    let id = 0;
    for (let digit; at < start + 8 && (digit = bytes[at]! - 0x30) >= 0 && digit <= 9; at++)
      id = 10 * id + digit;
    const digits = at - start;
    // What follows must end the number; `takes` and `expect` see to that.
    if (digits === 0 || digits > 7 || (digits > 1 && bytes[start] === 0x30)) throw unexpected;
    this.#at = at;
    return id;
  }

  #string(): void {
    this.#expect(quote);
    const bytes = this.#bytes;
    const start = this.#at;
    let at = start;
    let escaped = false;
    for (; ; at++) {
      if (at >= bytes.length) throw unexpected;
      const byte = bytes[at]!;
      if (byte > backslash) continue;
      if (byte === quote) break;
      if (byte < 0x20) throw unexpected;
      if (byte === backslash) {
        escaped = true;
        at++;
      }
    }
    this.#at = at + 1;
    this.#source = bytes;
    this.#start = start;
    this.#end = at;
    if (!escaped) return;
    const text = JSON.parse(this.#text(start - 1, at + 1)) as string;
    if (loneSurrogate.test(text)) throw unexpected; // half a character is not text
    this.#source = Buffer.from(text);
    this.#start = 0;
    this.#end = this.#source.length;
  }

  /** Calls `member` with each key, the cursor being behind the colon. A key with escapes is unexpected. */
  #object(member: (key: string) => void): void {
    this.#expect(openBrace);
    if (this.#takes(closeBrace)) return;
    do {
      this.#expect(quote);
      const start = this.#at;
      const end = this.#bytes.indexOf(quote, start);
      if (end < 0) throw unexpected;
      const key = this.#text(start, end);
      if (key.includes('\\')) throw unexpected;
      this.#at = end + 1;
      this.#expect(colon);
      member(key);
    } while (this.#takes(comma));
    this.#expect(closeBrace);
  }

  /** Past a value whose inside JSON.parse will see: only strings and brackets matter. */
  #skipValue(): void {
    const bytes = this.#bytes;
    this.#skipSpace();
    let depth = 0;
    let at = this.#at;
    for (; at < bytes.length; at++) {
      const byte = bytes[at]!;
      if (byte === quote) {
        for (at++; at < bytes.length && bytes[at] !== quote; at++) if (bytes[at] === backslash) at++;
      } else if (byte === openBrace || byte === openBracket) {
        depth++;
      } else if (byte === closeBrace || byte === closeBracket) {
        if (depth-- === 0) break;
      } else if (byte === comma && depth === 0) {
        break;
      }
    }
    this.#at = at;
  }

  /** Whether this byte comes next, white space aside; it is taken then. */
  #takes(byte: number): boolean {
    this.#skipSpace();
    if (this.#bytes[this.#at] !== byte) return false;
    this.#at++;
    return true;
  }

  #expect(byte: number): void {
    if (!this.#takes(byte)) throw unexpected;
  }

  #skipSpace(): void {
    const bytes = this.#bytes;
    const view = this.#view;
    let at = this.#at;
    for (; at < bytes.length; at++) {
      const byte = bytes[at]!;
      // Indentation is a third of a published file.
      if (byte === 0x20) while (at + 8 <= bytes.length && view.getInt32(at + 1, true) === fourSpaces) at += 4;
      else if (byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break;
    }
    this.#at = at;
  }

  #text(start: number, end: number): string {
    return this.#bytes.toString('utf8', start, end);
  }
}

interface Span {
  start: number;
  end: number;
}

const loneSurrogate = /\p{Surrogate}/u;
const fourSpaces = 0x20202020;
