/** Events whose listeners harm nobody: neither the engine, nor the other listeners, nor the process. */
import { EventEmitter } from 'node:events';

export class GuardedEmitter<Events extends Record<keyof Events, unknown[]>> extends EventEmitter<Events> {
  /** As `emit`, but what a listener throws, or its promise rejects with, becomes a warning of the process. */
  protected announce<Name extends keyof Events & string>(name: Name, ...values: Events[Name]): void {
    // Raw, since only these take themselves off after they were called once.
    const listeners = this.rawListeners(name as never) as unknown as ((...values: unknown[]) => unknown)[];
    for (const listener of listeners) {
      guarded(`A listener of "${name}"`, () => Reflect.apply(listener, this, values));
    }
  }
}

/**
 * Calls what somebody else wrote.
 *
 * @param what begins the sentence of the warning
 */
export function guarded(what: string, call: () => unknown): void {
  const warn = (error: unknown): void => {
    const said = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.emitWarning(`${what} failed: ${said}`, 'UnicornWarning');
  };
  try {
    const result = call();
    if (result instanceof Promise) result.catch(warn);
  } catch (error) {
    warn(error);
  }
}
