/** Errors about what is wrong inside a file: `format/...`, always with file, field and byte offset. */
import { UnicornError } from '@unicorn-exec/tensor';

/** Where in a file something was found. */
export interface FilePlace {
  readonly file: string;
  /** The part of the format that is wrong, in words: `tensor "a" dimension 2`. */
  readonly field: string;
  /** Byte offset from the start of the file. */
  readonly offset: number;
}

/** `format/NOUN`: "FILE: SENTENCE (FIELD, byte OFFSET)." */
export function formatError(
  noun: string,
  { file, field, offset }: FilePlace,
  sentence: string,
  fix?: string,
): UnicornError {
  return new UnicornError(`format/${noun}`, `${file}: ${sentence} (${field}, byte ${offset}).`, {
    fields: { file, field, offset },
    ...(fix === undefined ? {} : { fix }),
  });
}

/** A name from a file, fit for a message: quoted, control characters escaped, cut at 80 characters. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text);
}
