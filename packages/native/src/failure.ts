/** How a failure of native code, which leaves an addon as JSON, becomes an error with the stack of its caller. */
import { UnicornError, type ErrorCode } from '@unicorn-exec/tensor';

/** What `failureJson` of `unicorn/failure.h` writes. */
interface FailureJson {
  readonly code: ErrorCode;
  readonly message: string;
  readonly fields: Record<string, unknown>;
  readonly fix?: string;
}

/**
 * The error that the JSON of a native failure describes. Call it where the stack should begin.
 *
 * @param json what a job's listener was told, or the message of an Error that the addon threw
 */
export function nativeFailure(json: string): UnicornError {
  const { code, message, fields, fix } = JSON.parse(json) as FailureJson;
  return new UnicornError(code, message, { fields, ...(fix === undefined ? {} : { fix }) });
}

/**
 * Calls an addon.
 *
 * @returns what the call returns
 * @throws UnicornError with the caller's stack, for a failure of the addon; any other error of the call as it is
 */
export function guarded<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof Error && (error as NodeJS.ErrnoException).code === 'UNICORN_FAILURE') {
      throw nativeFailure(error.message);
    }
    throw error;
  }
}
