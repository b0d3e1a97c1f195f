/**
 * Runs one problem on a device as an untrusting caller does: every bound buffer is a part of a larger one whose other
 * bytes must survive, and inputs must come back as they went in.
 */
import {
  HostTensor,
  resolveShape,
  tensorBytes,
  type Binding,
  type Device,
  type DeviceBuffer,
  type DimRange,
  type Executable,
  type Precision,
  type WeightSet,
} from '@unicorn-exec/tensor';
import type { Problem } from './case.js';
import { ConformanceFailure } from './failure.js';
import { Random } from './random.js';

/** Bytes of random content on each side of a tensor: more by a cache line than a vector store can write past its end. */
const guardBytes = 128;

/** A tensor bound as a part of a larger buffer. */
class GuardedBuffer {
  readonly #before: Uint8Array;
  readonly #offset: number;
  readonly buffer: DeviceBuffer;

  private constructor(
    private readonly device: Device,
    readonly name: string,
    private readonly byteLength: number,
    content: Uint8Array | undefined,
  ) {
    const { alignmentBytes } = device.info;
    this.#offset = alignmentBytes * Math.ceil(guardBytes / alignmentBytes);
    // An output that is not written stays NaN (or -1).
    this.#before = new Uint8Array(this.#offset + byteLength + guardBytes).fill(0xff);
    const random = new Random(`guard ${name}`);
    this.#before.set(random.bytes(this.#offset));
    this.#before.set(random.bytes(guardBytes), this.#offset + byteLength);
    if (content) this.#before.set(content, this.#offset);
    this.buffer = device.allocate(this.#before.byteLength);
  }

  static async create(
    device: Device,
    name: string,
    byteLength: number,
    content?: Uint8Array,
  ): Promise<GuardedBuffer> {
    const guarded = new GuardedBuffer(device, name, byteLength, content);
    await device.write(guarded.buffer, 0, guarded.#before);
    return guarded;
  }

  get binding(): Binding {
    return { buffer: this.buffer, byteOffset: this.#offset };
  }

  /** The tensor's bytes now. @throws ConformanceFailure when a byte around them changed */
  async content(): Promise<Uint8Array> {
    const now = await this.device.read(this.buffer, 0, this.#before.byteLength);
    const end = this.#offset + this.byteLength;
    for (let i = 0; i < now.length; i++) {
      if (i === this.#offset) i = end;
      if (now[i] !== this.#before[i]) {
        const where = i < end ? `${this.#offset - i} bytes before` : `${i - end} bytes after the end of`;
        throw new ConformanceFailure(`A byte ${where} "${this.name}" was overwritten.`);
      }
    }
    return now.slice(this.#offset, end);
  }

  /** @throws ConformanceFailure when the content changed */
  async expectUnchanged(): Promise<void> {
    const now = await this.content();
    const at = now.findIndex((byte, i) => byte !== this.#before[this.#offset + i]);
    if (at >= 0) throw new ConformanceFailure(`The input "${this.name}" was changed at byte ${at}.`);
  }

  dispose(): void {
    this.buffer.dispose();
  }
}

/** A problem's graph and weights on a device. Further problems of the same graph may run on it. */
export class PreparedProblem {
  private constructor(
    private readonly device: Device,
    private readonly weights: WeightSet,
    readonly executable: Executable,
  ) {}

  /** @param dims what to compile for; the problem's own dims as maxima by default */
  static async create(
    device: Device,
    problem: Problem,
    precision: Precision,
    dims?: Readonly<Record<string, DimRange>>,
  ): Promise<PreparedProblem> {
    const weights = await device.load(problem.weights);
    try {
      const ranges =
        dims ?? Object.fromEntries(Object.entries(problem.dims).map(([dim, max]) => [dim, { max }]));
      const executable = await device.compile(problem.graph, weights, { dims: ranges, precision });
      return new PreparedProblem(device, weights, executable);
    } catch (error) {
      weights.dispose();
      throw error;
    }
  }

  /**
   * Outputs and states after one submission.
   *
   * @throws ConformanceFailure when a byte outside the outputs and states changed
   */
  async run({ graph, dims, tensors }: Omit<Problem, 'weights'>): Promise<Record<string, HostTensor>> {
    const { signature } = this.executable;
    const buffers = new Map<string, GuardedBuffer>();
    const bindings: Record<string, Binding> = {};
    const bind = async (name: string, byteLength: number, content?: Uint8Array): Promise<void> => {
      const guarded = await GuardedBuffer.create(this.device, name, byteLength, content);
      buffers.set(name, guarded);
      bindings[name] = guarded.binding;
    };
    try {
      for (const name of Object.keys(signature.inputs)) {
        const tensor = tensors[name]!;
        // Both ways of binding an input, by the name's stream: host data, and a part of a device buffer.
        if (new Random(`bind ${graph.name} ${name}`).bits() & 16) {
          bindings[name] = (tensor.dtype === 'f32' ? tensor.floats : tensor.integers).slice();
        } else {
          const content = tensor.denseBytes();
          await bind(name, content.byteLength, content);
        }
      }
      for (const name of Object.keys(signature.state)) {
        const content = tensors[name]!.denseBytes();
        await bind(name, content.byteLength, content);
      }
      for (const [name, spec] of Object.entries(signature.outputs)) {
        await bind(name, tensorBytes(spec.dtype, resolveShape(spec.shape, dims)));
      }
      await this.executable.submit({ dims, buffers: bindings }).done;
      const results: Record<string, HostTensor> = {};
      for (const [name, guarded] of buffers) {
        const spec = signature.outputs[name] ?? signature.state[name];
        if (!spec) {
          await guarded.expectUnchanged();
          continue;
        }
        results[name] = new HostTensor(spec.dtype, resolveShape(spec.shape, dims), await guarded.content());
      }
      return results;
    } finally {
      for (const guarded of buffers.values()) guarded.dispose();
    }
  }

  dispose(): void {
    this.executable.dispose();
    this.weights.dispose();
  }
}
