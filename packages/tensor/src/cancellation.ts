/** Ends work that takes time when its caller's signal says so. */
import { isUnicornError, UnicornError } from './error.js';

/**
 * Throws when the signal was aborted.
 *
 * @param what the subject of the error's sentence: "Loading" gives "Loading was cancelled."
 * @throws UnicornError the signal's reason where that is a UnicornError, otherwise `usage/cancelled` with the reason as its
 *   cause
 */
export function throwIfCancelled(signal: AbortSignal | undefined, what: string): void {
  if (!signal?.aborted) return;
  const reason: unknown = signal.reason;
  if (isUnicornError(reason)) throw reason;
  throw new UnicornError('usage/cancelled', `${what} was cancelled.`, { cause: reason });
}
