/**
 * Makes the request of a submission from its bindings: checks them, finds the memory behind each, and decides which data the
 * submission brings along.
 */
import { resolveBindings, submissionDims, touchedBindings, UnicornError } from '@unicorn-exec/tensor';
import type {
  Binding,
  Bindings,
  BufferView,
  CompileOptions,
  DeviceBuffer,
  ResolvedBinding,
} from '@unicorn-exec/tensor';
import { bindingAlignment, VulkanBuffer } from '../device/buffer.js';
import type { Shadow } from '../device/foreign-buffers.js';
import { keyBucket, type KeyBound } from '../lowering/attention-bound.js';
import type { Plan } from '../lowering/plan.js';
import type { ForeignHost, ForeignPart } from './foreign-parts.js';
import type { BoundSource, LayoutKey, SubmissionLayout } from './submission-layouts.js';

/** A submission that passed every check. */
export interface Request extends LayoutKey {
  /** Host data, by index of the binding. */
  data: (Uint8Array | undefined)[];
  /** Indexes of the data that lie in memory of other devices, which may still be computing them. */
  readonly foreign: ReadonlySet<number>;
  /** Parts of other devices' buffers that the submission has to copy or to synchronize. */
  readonly parts: readonly ForeignPart[];
}

export interface RequestHost extends ForeignHost {
  /** True where the device's memory is the host's: what it imports it reads as fast as its own. */
  readonly sharesHostMemory: boolean;
}

interface Bound {
  readonly source: BoundSource;
  readonly data?: Uint8Array;
  /** Memory of another device's. */
  readonly foreign?: DeviceBuffer;
  readonly shadow?: Shadow;
}

const nothingForeign: ReadonlySet<number> = new Set();

export class Requests {
  /** By index of the binding. */
  readonly #names: readonly string[];
  /** Indexes of the inputs that the host must know: by them rows of weights are gathered. */
  readonly #hostInputs: ReadonlySet<number>;

  constructor(
    private readonly host: RequestHost,
    private readonly plan: Plan,
    private readonly options: CompileOptions,
    private readonly bounds: readonly KeyBound[],
    private readonly layouts: Iterable<SubmissionLayout>,
  ) {
    this.#names = [...plan.bindings.keys()].map((key) => key.slice(key.indexOf(':') + 1));
    this.#hostInputs = new Set(plan.gathers.map(({ ids }) => bindingOf(plan, ids)));
  }

  /**
   * @throws UnicornError `usage/dims`, `usage/binding`, `usage/disposed`, `unsupported/op` for ids of a weight in host
   * memory that the host does not know, `resource/memory` for a shadow
   */
  of(bindings: Bindings): Request {
    return this.#sameAsBefore(bindings) ?? this.#check(bindings);
  }

  #check(bindings: Bindings): Request {
    const { graph, signature, gathers } = this.plan;
    const dims = { ...submissionDims(signature, this.options, bindings) };
    const resolved = resolveBindings(signature, dims, bindings);
    const bound = resolved.map((binding, index) => this.#bind(binding, index));
    const sources = bound.map(({ source }) => source);
    const data = bound.map((binding) => binding.data);
    for (const { ids, weight } of gathers) {
      if (!sources[bindingOf(this.plan, ids)]!.buffer) continue;
      throw new UnicornError(
        'unsupported/op',
        `The weight "${weight}" stays in host memory: the ids that it is looked up by must be host data.`,
        { fields: { weight }, fix: 'Bind the ids to an Int32Array, or load the weight into device memory.' },
      );
    }
    const foreign = new Set(
      bound.flatMap((one, index) => (one.foreign && one.data !== undefined ? [index] : [])),
    );
    const isTold = ({ foreign: buffer, shadow }: Bound): boolean =>
      shadow !== undefined || buffer?.sync !== undefined;
    const parts = bound.some(isTold) ? this.#parts(graph, resolved, bound) : [];
    return { dims, sources, data, foreign, keys: this.#keys(data, foreign), parts };
  }

  #parts(graph: Plan['graph'], resolved: ResolvedBinding[], bound: readonly Bound[]): ForeignPart[] {
    return touchedBindings(graph, resolved).flatMap(({ binding, ranges, written }): ForeignPart[] => {
      const { foreign, shadow } = bound[resolved.indexOf(binding)]!;
      if (!foreign || !(shadow ?? foreign.sync)) return [];
      return [{ buffer: foreign, ranges, isRead: binding.role !== 'output', written, shadow }];
    });
  }

  #bind({ name, role, source, byteLength }: ResolvedBinding, index: number): Bound {
    const host = { buffer: undefined, byteOffset: 0, byteLength };
    if (source.kind === 'host') return { source: host, data: source.bytes };
    const { buffer, byteOffset } = source;
    const fail = (sentence: string, fields: Record<string, unknown> = {}): never => {
      throw new UnicornError('usage/binding', `"${name}" ${sentence}.`, { fields: { name, ...fields } });
    };
    if (buffer instanceof VulkanBuffer) buffer.expectAlive();
    const isAligned = byteOffset % bindingAlignment === 0;
    const misaligned = (): never =>
      fail(`begins at byte ${byteOffset}; bindings begin at multiples of ${bindingAlignment}`, {
        byteOffset,
        alignmentBytes: bindingAlignment,
      });
    if (buffer instanceof VulkanBuffer && buffer.device === this.host.handle) {
      if (!isAligned) misaligned();
      const { owner } = buffer;
      return { source: { buffer, byteOffset, byteLength }, ...(owner ? { foreign: owner } : {}) };
    }
    const memory = buffer.host ?? fail('is bound to a buffer of another device that the host cannot address');
    if (memory.byteLength < byteOffset + byteLength) {
      throw new UnicornError('usage/disposed', `The buffer that "${name}" is bound to was disposed of.`, {
        fields: { name },
        fix: 'Dispose of a buffer after the submissions that it is bound to.',
      });
    }
    const { foreign, sharesHostMemory } = this.host;
    const isInput = role === 'input';
    // A device with memory of its own reads inputs more than once: they come along like host data, when its turn comes.
    if (isInput && (!sharesHostMemory || !isAligned || this.#hostInputs.has(index))) {
      return { source: host, data: memory.subarray(byteOffset, byteOffset + byteLength), foreign: buffer };
    }
    if (!isAligned) misaligned();
    const imported = foreign.imported(buffer);
    if (imported) return { source: { buffer: imported, byteOffset, byteLength }, foreign: buffer };
    if (isInput) {
      return { source: host, data: memory.subarray(byteOffset, byteOffset + byteLength), foreign: buffer };
    }
    const shadow = foreign.shadow(buffer);
    return { source: { buffer: shadow.buffer, byteOffset, byteLength }, foreign: buffer, shadow };
  }

  /** For each bound the keys that positions of the host allow. */
  #keys(data: readonly (Uint8Array | undefined)[], foreign: ReadonlySet<number>): number[] {
    return this.bounds.map(({ binding }) => {
      const bytes = data[binding];
      if (!bytes || foreign.has(binding)) return Infinity;
      let last = -1;
      const positions = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
      for (const position of positions) if (position > last) last = position;
      return keyBucket(last + 1);
    });
  }

  /**
   * The request of a step that differs from an earlier one in its host data only: the same buffers under the same dims were
   * checked before, and checking dozens of states again would take longer than all the rest. Undefined for anything else.
   */
  #sameAsBefore(bindings: Partial<Bindings> | null | undefined): Request | undefined {
    // Callers in plain JavaScript may pass anything.
    const { dims, buffers } = bindings ?? {};
    if (!dims || !buffers) return undefined;
    let given = 0;
    for (const _ in buffers) given++;
    if (given !== this.#names.length) return undefined;
    for (const layout of this.layouts) {
      if (!this.plan.signature.dims.every((dim) => dims[dim] === layout.dims[dim])) continue;
      const found = this.#dataFor(layout, buffers);
      if (!found) continue;
      const { dims: own, sources } = layout;
      return { dims: own, sources, ...found, keys: this.#keys(found.data, found.foreign), parts: [] };
    }
    return undefined;
  }

  /** Host data by index of the binding, when everything else is bound as in the layout. */
  #dataFor(
    { sources }: SubmissionLayout,
    buffers: Bindings['buffers'],
  ): Pick<Request, 'data' | 'foreign'> | undefined {
    const data: Request['data'] = [];
    let foreign: Set<number> | undefined;
    for (const [index, source] of sources.entries()) {
      const name = this.#names[index]!;
      const now = buffers[name];
      if (typeof now !== 'object' || now === null) return undefined;
      if (source.buffer) {
        if (!this.#isBoundTo(now, source)) return undefined;
        data.push(undefined);
      } else {
        const isForeign = !ArrayBuffer.isView(now);
        const view = isForeign
          ? this.#foreignView(now, source.byteLength)
          : hostView(now, this.plan.signature.inputs[name]!.dtype, source.byteLength);
        if (!view) return undefined;
        if (isForeign) (foreign ??= new Set()).add(index);
        data.push(view);
      }
    }
    return { data, foreign: foreign ?? nothingForeign };
  }

  #isBoundTo(binding: Binding, { buffer, byteOffset }: BoundSource): boolean {
    if (ArrayBuffer.isView(binding) || buffer!.isDisposed) return false;
    const view = 'buffer' in binding ? binding : { buffer: binding, byteOffset: 0 };
    if (view.byteOffset !== byteOffset || !view.buffer) return false;
    // What is not coherent is synchronized in the parts that the host data names, which change from step to step.
    if (view.buffer === buffer) return !buffer.owner;
    return !view.buffer.sync && this.host.foreign.known(view.buffer) === buffer;
  }

  /** The bytes of a whole buffer of another device that come along; undefined for anything else. */
  #foreignView(binding: DeviceBuffer | BufferView, byteLength: number): Uint8Array | undefined {
    if ('buffer' in binding || binding instanceof VulkanBuffer || binding.sync) return undefined;
    if (this.host.sharesHostMemory) return undefined;
    const { host } = binding;
    return host && host.byteLength >= byteLength ? host.subarray(0, byteLength) : undefined;
  }
}

/** Index of the binding that an input value is. */
export function bindingOf({ values }: Plan, id: number): number {
  return (values[id]!.storage as { index: number }).index;
}

/** The bytes of host data of the right type and length; undefined for anything else. */
function hostView(binding: ArrayBufferView, dtype: string, byteLength: number): Uint8Array | undefined {
  if (binding.byteLength < byteLength) return undefined;
  const isRight =
    dtype === 'f32' ? binding instanceof Float32Array : dtype === 'i32' && binding instanceof Int32Array;
  return isRight ? new Uint8Array(binding.buffer, binding.byteOffset, byteLength) : undefined;
}
