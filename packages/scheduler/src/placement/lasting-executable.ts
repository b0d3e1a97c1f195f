/**
 * An executable over several devices that outlives the loss of one which holds no state: the step that failed is computed
 * again, its nodes where another device has taken over. A device that is lost with keys and values on it is beyond that;
 * then the caller hears of it and begins again from the tokens.
 */
import {
  isUnicornError,
  UnicornError,
  type Bindings,
  type Completion,
  type DeviceBuffer,
  type Executable,
  type ProfileEntry,
  type Signature,
  type SubmissionTime,
  type SubmitOptions,
} from '@unicorn-exec/tensor';

/** What the devices together know of losses. */
export interface LossHost {
  /**
   * Notes that the device of that id is gone.
   *
   * @returns whether another one takes its nodes over
   */
  lose(deviceId: string): boolean;
  /** `info.id` of the device that a buffer is on. */
  ownerOf(buffer: DeviceBuffer): string | undefined;
}

/** An executable, and which losses concern it. */
export interface Made {
  readonly executable: Executable;
  /** `info.id` of the devices that it uses. */
  readonly devices: ReadonlySet<string>;
}

export class LastingExecutable implements Executable {
  readonly signature: Signature;
  #made: Made;
  /** Resolves when everything that failed has been submitted again; undefined while nothing has. */
  #recovery: Promise<void> | undefined;
  #disposed = false;

  /** @param make compiles for the devices that are there now */
  constructor(
    first: Made,
    private readonly make: () => Promise<Made>,
    private readonly host: LossHost,
  ) {
    this.#made = first;
    this.signature = first.executable.signature;
  }

  get scratchBytes(): number {
    return this.#made.executable.scratchBytes;
  }

  get runsAhead(): boolean {
    return this.#made.executable.runsAhead === true;
  }

  describe(): string {
    return this.#made.executable.describe();
  }

  submit(bindings: Bindings, options: SubmitOptions = {}): Completion {
    if (this.#disposed) throw new UnicornError('usage/disposed', 'The executable was disposed of.');
    let last: Completion | undefined;
    const times = (): readonly SubmissionTime[] => last?.times() ?? [];
    // The caller may change its data as soon as this has returned, and the device may be lost later.
    const kept = keep(bindings);
    const again = async (): Promise<void> => {
      last = this.#made.executable.submit(kept, options);
      await last.done;
    };
    let done: Promise<void>;
    if (this.#recovery) {
      done = this.#recovery.then(again);
    } else {
      const { executable } = this.#made;
      last = executable.submit(bindings, options);
      done = last.done.catch((error: unknown) => this.#recover(error, executable, kept).then(again));
    }
    // A caller that awaits only a later submission must not be ended by an unhandled rejection of this one.
    done.catch(() => {});
    return { done, times };
  }

  profile(): readonly ProfileEntry[] {
    return this.#made.executable.profile();
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#made.executable.dispose();
  }

  /** Resolves when the submission may be made again. @throws the error, when nothing can be done about it */
  async #recover(error: unknown, failed: Executable, { buffers }: Bindings): Promise<void> {
    if (!isUnicornError(error) || error.code !== 'device/lost') throw error;
    const { device } = error.fields;
    const isOn = (buffer: DeviceBuffer): boolean => this.host.ownerOf(buffer) === device;
    const bound = Object.values(buffers).flatMap((one) =>
      ArrayBuffer.isView(one) ? [] : 'buffer' in one ? [one.buffer] : [one],
    );
    if (this.#disposed || typeof device !== 'string' || bound.some(isOn)) throw error;
    // Another submission may have found out before, and everything may be compiled anew already.
    if (this.#made.executable === failed) {
      if (!this.#made.devices.has(device) || !this.host.lose(device)) throw error;
      this.#recovery ??= this.#compileAnew(failed);
    }
    await this.#recovery;
  }

  async #compileAnew(failed: Executable): Promise<void> {
    try {
      this.#made = await this.make();
      failed.dispose();
    } finally {
      this.#recovery = undefined;
    }
  }
}

/** The bindings with copies of what the caller may change. */
function keep({ dims, buffers }: Bindings): Bindings {
  return {
    dims: { ...dims },
    buffers: Object.fromEntries(
      Object.entries(buffers).map(([name, binding]) => [
        name,
        ArrayBuffer.isView(binding) ? binding.slice() : binding,
      ]),
    ),
  };
}
