/**
 * Errors about files: what is wrong inside one (`format/...`, always with file, field and byte offset), and what the
 * file system refuses.
 */
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

/** What the file system said, as a sentence with a fix. Errors that are ours already pass unchanged. */
export function fileError(error: unknown, file: string, action: 'read' | 'write'): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const options = { fields: { file, reason: code }, cause: error };
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new UnicornError('usage/file', `${file} does not exist.`, {
        ...options,
        fix: action === 'read' ? 'Check the path.' : 'Create the directory first.',
      });
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new UnicornError('usage/file', `${file} may not be ${action === 'read' ? 'read' : 'written'}.`, {
        ...options,
        fix: 'Check the permissions of the file and of its directory.',
      });
    case 'EISDIR':
      return new UnicornError('usage/file', `${file} is a directory, not a file.`, options);
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return new UnicornError('resource/disk', `There is no room to write ${file}.`, {
        ...options,
        fix: 'Free some space, or write elsewhere.',
      });
    case 'EMFILE':
    case 'ENFILE':
      return new UnicornError(
        'resource/files',
        `${file} cannot be opened: too many files are open.`,
        options,
      );
    case 'EBADF':
      return new UnicornError('usage/closed', `${file} was closed already.`, options);
    case 'EIO':
      return new UnicornError(
        'device/io',
        `The disk failed while ${file} was being ${action === 'read' ? 'read' : 'written'}.`,
        options,
      );
    default:
      return error;
  }
}
