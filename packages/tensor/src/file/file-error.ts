/** Errors of the file system, in words. */
import { UnicornError } from '../error.js';

/**
 * What the file system said, as a sentence with a fix; any other error unchanged.
 *
 * @param file path
 * @returns UnicornError `resource/disk`, `resource/files`, `usage/closed`, `device/io` or else `usage/file` for an error of
 *   the system
 */
export function fileError(error: unknown, file: string, action: 'read' | 'write'): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (file === '' && code !== undefined) {
    return new UnicornError('usage/file', 'The name of the file is empty.', {
      fields: { file, reason: code },
      fix: 'Give the path of a file.',
      cause: error,
    });
  }
  const options = { fields: { file, reason: code }, cause: error };
  const past = action === 'read' ? 'read' : 'written';
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return action === 'read'
        ? new UnicornError('usage/file', `${file} does not exist.`, { ...options, fix: 'Check the path.' })
        : new UnicornError('usage/file', `The directory of ${file} does not exist.`, {
            ...options,
            fix: 'Create the directory first.',
          });
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new UnicornError('usage/file', `${file} may not be ${past}.`, {
        ...options,
        fix: 'Check the permissions of the file and of its directory.',
      });
    case 'EISDIR':
      return new UnicornError('usage/file', `${file} is a directory, not a file.`, {
        ...options,
        fix: 'Name a file in it.',
      });
    case 'ELOOP':
      return new UnicornError('usage/file', `${file} leads through symbolic links without end.`, {
        ...options,
        fix: 'Name the file itself, or mend the links.',
      });
    case 'ENAMETOOLONG':
      return new UnicornError('usage/file', `The name of ${file.slice(0, 60)}... is too long.`, {
        ...options,
        fix: 'Give a shorter name.',
      });
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return new UnicornError('resource/disk', `There is no room to write ${file}.`, {
        ...options,
        fix: 'Free some space, or write elsewhere.',
      });
    case 'EMFILE':
    case 'ENFILE':
      return new UnicornError('resource/files', `${file} cannot be opened: too many files are open.`, {
        ...options,
        fix: 'Close some, or raise the limit (`ulimit -n`).',
      });
    case 'EBADF':
      return new UnicornError('usage/closed', `${file} was closed already.`, {
        ...options,
        fix: 'Open it again, or close it later.',
      });
    case 'EIO':
      return new UnicornError('device/io', `The disk failed while ${file} was being ${past}.`, {
        ...options,
        fix: 'Check the disk (`dmesg`, `smartctl`), and use another copy of the file.',
      });
    default:
      return isSystemError(error)
        ? new UnicornError('usage/file', `${file} cannot be ${past}: ${error.message}.`, {
            ...options,
            fix: 'Check the path, or use another one.',
          })
        : error;
  }
}

/** Whether it came from the operating system, rather than from a mistake in how Node.js was called. */
const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && 'syscall' in error;
