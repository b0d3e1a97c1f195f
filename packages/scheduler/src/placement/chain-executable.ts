/** A graph that was cut in two: each submission is one of the part in front and, after it, one of the part behind. */
import {
  completionsOf,
  UnicornError,
  type Binding,
  type Bindings,
  type Completion,
  type DeviceBuffer,
  type Executable,
  type ProfileEntry,
  type Signature,
  type SubmitOptions,
} from '@unicorn-exec/tensor';

/** An executable of one of the devices. */
export interface ChainPart {
  /** Of the device, for people. */
  readonly name: string;
  readonly executable: Executable;
}

export class ChainExecutable implements Executable {
  readonly scratchBytes: number;
  readonly #parts: readonly ChainPart[];
  readonly #crossing: ReadonlyMap<string, DeviceBuffer | undefined>;
  /** Names that a caller binds. */
  readonly #names: ReadonlySet<string>;
  /** The last submission's part behind, while it may still read what crosses. */
  #reading: Completion | undefined;
  #disposed = false;

  /**
   * @param crossing each value that crosses, with the memory that it crosses in; without where the caller binds it as an
   * output. The buffers are disposed of with the executable.
   */
  constructor(
    readonly signature: Signature,
    front: ChainPart | undefined,
    back: ChainPart | undefined,
    crossing: ReadonlyMap<string, DeviceBuffer | undefined>,
  ) {
    this.#parts = [...(front ? [front] : []), ...(back ? [back] : [])];
    this.#crossing = crossing;
    const { inputs, outputs, state } = signature;
    this.#names = new Set([inputs, outputs, state].flatMap((specs) => Object.keys(specs)));
    const crossingBytes = [...crossing.values()].reduce((sum, buffer) => sum + (buffer?.byteLength ?? 0), 0);
    this.scratchBytes =
      crossingBytes + this.#parts.reduce((sum, { executable }) => sum + executable.scratchBytes, 0);
  }

  describe(): string {
    return this.#parts.map(({ name, executable }) => `on ${name}:\n${executable.describe()}`).join('\n\n');
  }

  submit(bindings: Bindings, options: SubmitOptions = {}): Completion {
    if (this.#disposed) throw new UnicornError('usage/disposed', 'The executable was disposed of.');
    for (const name of Object.keys(bindings.buffers)) {
      if (this.#names.has(name)) continue;
      throw new UnicornError(
        'usage/binding',
        `"${name}" is not an input, output or state of this executable.`,
        { fields: { name } },
      );
    }
    let after = this.#free(completionsOf(options));
    for (const { executable } of this.#parts) {
      after = [executable.submit(this.#bindingsOf(executable, bindings), { after })];
    }
    const last = after[0]!;
    this.#watch(last);
    return last;
  }

  profile(): readonly ProfileEntry[] {
    return this.#parts.flatMap(({ executable }) => executable.profile());
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const { executable } of this.#parts) executable.dispose();
    for (const buffer of this.#crossing.values()) buffer?.dispose();
  }

  /** What the part in front waits for: `after`, and that nobody reads what crossed before. */
  #free(after: readonly Completion[]): readonly Completion[] {
    const reading = this.#reading;
    if (!reading || after.includes(reading) || this.#crossing.size === 0) return after;
    // A failure there is not this submission's.
    return [...after, { done: reading.done.catch(() => {}), times: () => [] }];
  }

  #watch(last: Completion): void {
    this.#reading = last;
    const ended = (): void => {
      if (this.#reading === last) this.#reading = undefined;
    };
    last.done.then(ended, ended);
  }

  #bindingsOf({ signature }: Executable, { dims, buffers }: Bindings): Bindings {
    const own: Record<string, Binding> = {};
    for (const specs of [signature.inputs, signature.outputs, signature.state]) {
      for (const name in specs) {
        const binding = this.#crossing.get(name) ?? buffers[name];
        if (binding) own[name] = binding;
      }
    }
    return { dims: Object.fromEntries(signature.dims.map((dim) => [dim, dims[dim]!])), buffers: own };
  }
}
