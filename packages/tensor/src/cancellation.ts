/** How work that takes time ends when its caller's signal says so. */
import { isUnicornError, UnicornError } from './error.js';

/**
 * @param what a sentence's subject: "Loading" gives "Loading was cancelled."
 * @throws UnicornError the signal's reason where that is one, otherwise `usage/cancelled` with the reason as its cause, when
 *   the signal was aborted
 */
export function throwIfCancelled(signal: AbortSignal | undefined, what: string): void {
  if (!signal?.aborted) return;
  const reason: unknown = signal.reason;
  if (isUnicornError(reason)) throw reason;
  throw new UnicornError('usage/cancelled', `${what} was cancelled.`, { cause: reason });
}
