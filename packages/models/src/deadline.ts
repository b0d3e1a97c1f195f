/**
 * A time limit for synchronous code that a file brought with it (a splitting pattern).
 * It bounds time only; memory is the caller's business.
 *
 * Why `node:vm` and not a worker: a worker costs some 40 ms to start and makes every caller asynchronous, while a
 * watchdog around a call in the same isolate costs 0.08 ms. V8 stops the call wherever it is, inside a library and inside
 * a backtracking regular expression too, and the code keeps its own objects, since it stays in its own realm. Counting
 * steps in the interpreter would be deterministic, but would miss every slow step within the library.
 */
import { createContext, Script, type Context } from 'node:vm';

const call = new Script('run()');
let context: Context | undefined;

/** Thrown by {@link withinDeadline} when the time is over; callers turn it into an error of their own. */
export class DeadlineExceeded extends Error {
  override readonly name = 'DeadlineExceeded';
}

/**
 * Runs `task` and returns its value, or stops it after `timeoutMs` of wall time.
 *
 * @throws DeadlineExceeded when the time is over, and whatever `task` throws.
 */
export function withinDeadline<T>(timeoutMs: number, task: () => T): T {
  context ??= createContext(Object.create(null) as Context);
  const outer: unknown = context['run'];
  context['run'] = task;
  try {
    return call.runInContext(context, { timeout: timeoutMs }) as T;
  } catch (error) {
    // The time-out is an error of the other realm, so `instanceof` says nothing about it.
    if ((error as { code?: unknown } | null)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') {
      throw new DeadlineExceeded(`Stopped after ${timeoutMs} ms.`);
    }
    throw error;
  } finally {
    context['run'] = outer;
  }
}
