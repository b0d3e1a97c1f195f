/**
 * One submission of a graph in parts: hands each part to its device when those that it reads have ended, never earlier,
 * since a queue that waits for another device would hold up everybody behind it. A part that waits for nothing is handed
 * over at once.
 */
import {
  touchedBindings,
  type Binding,
  type Completion,
  type DeviceBuffer,
  type DimValues,
  type Executable,
  type Graph,
  type ResolvedBinding,
  type SubmissionTime,
} from '@unicorn-exec/tensor';
import { AnnouncedWork, type PartOrder, type TouchedRanges } from './part-order.js';

/** A part, compiled. */
export interface CompiledPart {
  /** Index of the device. */
  readonly device: number;
  /** Name of the device, for people. */
  readonly deviceName: string;
  readonly graph: Graph;
  readonly executable: Executable;
  /** Indices of the parts that must have ended before. */
  readonly after: readonly number[];
}

export interface SplitRequest {
  readonly dims: DimValues;
  /** Bindings of the whole graph. */
  readonly bindings: readonly ResolvedBinding[];
  /** The memory in which a value crosses; undefined for one that the caller binds. */
  crossing(name: string): DeviceBuffer | undefined;
  readonly after: readonly Completion[];
  /** Resolves when nobody reads any more what crossed in that memory before. */
  readonly free: Promise<void> | undefined;
  /** The executable's submission before this one, when it has not ended: each part comes after its own. */
  readonly previous: SplitSubmission | undefined;
  /** Told when all parts have ended, well or not, before the completion tells it. */
  ended(): void;
}

/** The end of all parts. */
class SplitCompletion implements Completion {
  done: Promise<void> = Promise.resolve();

  constructor(readonly submission: SplitSubmission) {}

  times(): readonly SubmissionTime[] {
    const times = this.submission.work.flatMap(({ completion }) => completion?.times() ?? []);
    return times.sort((a, b) => a.beginMs - b.beginMs);
  }
}

export class SplitSubmission {
  readonly completion = new SplitCompletion(this);
  readonly work: readonly PartWork[];
  readonly #bindings: readonly ResolvedBinding[];
  readonly #hasLateParts: boolean;

  /** @throws what a device says of the first part, when it is handed over at once */
  constructor(
    parts: readonly CompiledPart[],
    private readonly order: PartOrder,
    private readonly request: SplitRequest,
  ) {
    this.#hasLateParts = parts.length > 1 || this.#mustWait(parts[0]!, 0);
    // Who waits reads host data later, when the caller may have changed it; and the integers tell what was touched.
    this.#bindings = request.bindings.map((binding) => {
      const { source } = binding;
      if (source.kind !== 'host' || !(this.#hasLateParts || binding.dtype === 'i32')) return binding;
      return { ...binding, source: { kind: 'host', bytes: source.bytes.slice() } };
    });
    this.work = parts.map((part) => new PartWork(part, this.#bindingsOf(part)));
    for (const work of this.work) order.announce(work);
    const ends: Promise<void>[] = [];
    this.work.forEach((work, index) => {
      const end = this.#begin(work, index, ends);
      // Its failure is told by the completion.
      end.catch(() => {});
      ends.push(end);
    });
    this.completion.done = allEnded(ends).finally(() => request.ended());
    // A caller that awaits only a later submission must not be ended by an unhandled rejection of this one.
    this.completion.done.catch(() => {});
  }

  /** @param ends of the parts before it */
  #begin(work: PartWork, index: number, ends: readonly Promise<void>[]): Promise<void> {
    const mustWait = work.part.after.length > 0 || this.#mustWait(work.part, index);
    if (mustWait || this.order.waitsFor(work).length > 0) return this.#later(work, index, ends);
    try {
      return this.#hand(work);
    } catch (error) {
      // What is wrong with the first part is the caller's to hear at once; others are under way by then.
      if (index > 0) return this.#later(work, index, ends);
      for (const other of this.work) other.skip();
      throw error;
    }
  }

  async #later(work: PartWork, index: number, ends: readonly Promise<void>[]): Promise<void> {
    const { after, free, previous } = this.request;
    try {
      if (work.part.after.length === 0) {
        await Promise.all(after.map(({ done }) => done));
        await free;
      } else {
        for (const one of work.part.after) await ends[one]!;
      }
      await previous?.work[index]!.handed;
      await Promise.all(this.order.waitsFor(work));
      await this.#hand(work);
    } catch (error) {
      work.skip();
      throw error;
    }
  }

  /** Whether a part that reads no other has to wait for what is not its own device's business. */
  #mustWait({ device }: CompiledPart, index: number): boolean {
    const { after, free, previous } = this.request;
    if (free || previous?.work[index]!.isHanded === false) return true;
    return after.some((one) => ownAfter(one, device) === undefined);
  }

  /** Resolves when the part has ended. */
  #hand(work: PartWork): Promise<void> {
    const { part } = work;
    const buffers = new Map<string, Binding>();
    for (const binding of this.#bindingsOf(part)) buffers.set(binding.name, boundAs(binding));
    const { inputs, outputs, dims } = part.executable.signature;
    for (const name of [...Object.keys(inputs), ...Object.keys(outputs)]) {
      const crossing = this.request.crossing(name);
      if (crossing) buffers.set(name, crossing);
    }
    const values = Object.fromEntries(dims.map((dim) => [dim, this.request.dims[dim]!]));
    const after = this.request.after.flatMap((one) => ownAfter(one, part.device) ?? []);
    return work.begin(
      part.executable.submit({ dims: values, buffers: Object.fromEntries(buffers) }, { after }),
    );
  }

  /** What the caller binds of a part. */
  #bindingsOf({ executable: { signature } }: CompiledPart): ResolvedBinding[] {
    return this.#bindings.flatMap((binding): ResolvedBinding[] => {
      const { name } = binding;
      if (Object.hasOwn(signature.state, name) || Object.hasOwn(signature.outputs, name)) return [binding];
      // Another part's output may be read by this one.
      return Object.hasOwn(signature.inputs, name) ? [{ ...binding, role: 'input' }] : [];
    });
  }
}

/** A part of one submission, as the order of several devices sees it. */
class PartWork extends AnnouncedWork {
  /** The device's completion; undefined until the part was handed over. */
  completion: Completion | undefined;
  #touched: readonly TouchedRanges[] | undefined;

  constructor(
    readonly part: CompiledPart,
    private readonly bindings: readonly ResolvedBinding[],
  ) {
    super(part.device);
  }

  touched(): readonly TouchedRanges[] {
    return (this.#touched ??= touchedBindings(this.part.graph, this.bindings).flatMap(
      ({ binding: { source }, ranges, written }) =>
        source.kind === 'buffer' ? [{ buffer: source.buffer, ranges, written }] : [],
    ));
  }

  /** The device has it. Resolves when it has ended. */
  begin(completion: Completion): Promise<void> {
    this.completion = completion;
    this.handedOver(completion.done);
    return completion.done;
  }
}

function boundAs({ dtype, source }: ResolvedBinding): Binding {
  if (source.kind === 'buffer') {
    return source.byteOffset === 0 ? source.buffer : { buffer: source.buffer, byteOffset: source.byteOffset };
  }
  const { byteOffset, byteLength } = source.bytes;
  const data = dtype === 'f32' ? Float32Array : Int32Array;
  return new data(source.bytes.buffer as ArrayBuffer, byteOffset, byteLength / 4);
}

/** What a device may be asked to wait for itself: completions of its own queue; undefined for anything else. */
function ownAfter(completion: Completion, device: number): Completion | undefined {
  if (!(completion instanceof SplitCompletion)) return undefined;
  const [only, ...others] = completion.submission.work;
  return only && others.length === 0 && only.device === device ? only.completion : undefined;
}

/** Settles when all have: with the failure of the first that failed, in their order. */
async function allEnded(ends: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(ends);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
