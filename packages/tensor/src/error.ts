/**
 * The one error type of every Unicorn package. Codes are stable (`family/noun`); messages may be reworded.
 * It does not know HTTP statuses or exit codes: the edges (`api`, `cli`) map families to those.
 */

/** The kind of an error, by who can mend it. */
export type ErrorFamily = 'usage' | 'unsupported' | 'resource' | 'device' | 'format' | 'internal';

export type ErrorCode = `${ErrorFamily}/${string}`;

export interface UnicornErrorOptions {
  /** Structured facts behind the sentence (file, offset, limit, ...). Must be JSON-serializable. */
  fields?: Record<string, unknown>;
  /** What the user can do about it, as a sentence or a command. */
  fix?: string;
  cause?: unknown;
}

/**
 * An error with a stable code, a sentence that says what was wrong, structured fields and, where there is one, a fix.
 *
 * @example throw new UnicornError('format/truncated', 'model.gguf ends inside tensor 3.', {fields: {offset: 4096}})
 */
export class UnicornError extends Error {
  override readonly name = 'UnicornError';
  readonly code: ErrorCode;
  readonly fields: Record<string, unknown>;
  readonly fix: string | undefined;

  constructor(code: ErrorCode, message: string, options: UnicornErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.fields = options.fields ?? {};
    this.fix = options.fix;
  }

  get family(): ErrorFamily {
    return this.code.slice(0, this.code.indexOf('/')) as ErrorFamily;
  }

  toJSON(): { code: ErrorCode; message: string; fields: Record<string, unknown>; fix?: string } {
    return {
      code: this.code,
      message: this.message,
      fields: this.fields,
      ...(this.fix === undefined ? {} : { fix: this.fix }),
    };
  }
}

/** True for a {@link UnicornError} of any copy of this package (two versions may be installed side by side). */
export function isUnicornError(value: unknown): value is UnicornError {
  return value instanceof Error && value.name === 'UnicornError' && 'code' in value;
}

/** Throws `internal/invariant`: the caller believed this could not happen. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new UnicornError('internal/invariant', message);
}
