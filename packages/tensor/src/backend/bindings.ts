/** The checks that every device makes before it runs: the signature of a graph, and bindings against it. */
import { tensorBytes } from '../dtype.js';
import { UnicornError } from '../error.js';
import { namedValues, symbolicDims, type Graph, type TensorSpec, type Value } from '../graph/graph.js';
import { formatSpec } from '../graph/text.js';
import { resolveShape, type DimValues } from '../shape.js';
import type { BufferView, DeviceBuffer } from './buffer.js';
import type { Binding, Bindings, CompileOptions, DimRange, Signature } from './executable.js';
import type { WeightEntry, WeightSet } from './weights.js';

export function graphSignature(graph: Graph): Signature {
  const specs = (values: Map<string, Value[]>): Record<string, TensorSpec> =>
    Object.fromEntries(
      [...values].map(([name, [value]]) => [name, { dtype: value!.dtype, shape: value!.shape }]),
    );
  return {
    inputs: specs(namedValues(graph, 'input')),
    state: specs(namedValues(graph, 'state')),
    outputs: Object.fromEntries(
      Object.entries(graph.outputs).map(([name, id]) => {
        const { dtype, shape } = graph.values[id]!;
        return [name, { dtype, shape }];
      }),
    ),
    dims: symbolicDims(graph),
  };
}

/**
 * The largest value of each symbolic dim.
 *
 * @throws UnicornError `usage/dims` when a symbol of the graph has no entry, or an entry is not a whole number >= 0
 */
export function maximumDims(graph: Graph, options: CompileOptions): Record<string, number> {
  const result = new Map<string, number>();
  for (const dim of symbolicDims(graph)) {
    // Callers in plain JavaScript may pass anything.
    const range = (options as CompileOptions | undefined)?.dims?.[dim] as DimRange | null | undefined;
    const value = typeof range === 'object' ? range?.max : range;
    if (value === undefined || !Number.isSafeInteger(value) || value < 0) {
      throw new UnicornError(
        'usage/dims',
        `The symbolic dim "${dim}" needs a value or a maximum at compilation.`,
        { fields: { dim } },
      );
    }
    result.set(dim, value);
  }
  // What is built of entries takes any name, `__proto__` too.
  return Object.fromEntries(result);
}

/**
 * The dims of one submission.
 *
 * @throws UnicornError `usage/dims` when one is missing, above its maximum, or other than its fixed value
 */
export function submissionDims(signature: Signature, options: CompileOptions, bindings: Bindings): DimValues {
  if (!isObject(bindings) || !isObject(bindings.dims)) {
    throw new UnicornError('usage/dims', 'A submission needs its dims.', {
      fix: 'Give `dims`, an object with a number for each symbolic dim of the signature.',
    });
  }
  for (const dim of signature.dims) {
    const value = bindings.dims[dim];
    const range = options.dims[dim]!;
    const isWhole = Number.isSafeInteger(value);
    const fits = isWhole && (typeof range === 'object' ? value! <= range.max : value === range);
    if (!fits || value! < 0) {
      const allowed = typeof range === 'object' ? `at most ${range.max}` : `${range}`;
      throw new UnicornError(
        'usage/dims',
        `The dim "${dim}" is ${String(value)}; the executable was compiled for ${allowed}.`,
        {
          fields: { dim, value: isWhole ? value : String(value), allowed },
          fix: 'Submit what the executable was compiled for, or compile it with other dims.',
        },
      );
    }
  }
  return bindings.dims;
}

export type BindingRole = 'input' | 'output' | 'state';

export interface ResolvedBinding {
  readonly name: string;
  readonly role: BindingRole;
  readonly dtype: TensorSpec['dtype'];
  readonly shape: readonly number[];
  readonly byteLength: number;
  /** Host data of an input, or a part of a device buffer. */
  readonly source:
    { readonly kind: 'host'; readonly bytes: Uint8Array } | ({ readonly kind: 'buffer' } & BufferView);
}

function isHostData(binding: Binding): binding is Float32Array | Int32Array {
  return ArrayBuffer.isView(binding);
}

function isView(binding: DeviceBuffer | BufferView): binding is BufferView {
  return 'buffer' in binding;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function isBuffer(value: unknown): value is DeviceBuffer {
  return isObject(value) && 'byteLength' in value && Number.isSafeInteger(value.byteLength);
}

/**
 * Each input, output and state with its concrete shape and storage.
 *
 * @throws UnicornError `usage/binding` when one is missing, unknown, too small, of another dtype, or host data is
 * bound to an output or a state
 */
export function resolveBindings(
  signature: Signature,
  dims: DimValues,
  bindings: Bindings,
): ResolvedBinding[] {
  const fail = (name: string, sentence: string): never => {
    throw new UnicornError('usage/binding', `"${name}" ${sentence}.`, { fields: { name } });
  };
  if (!isObject(bindings.buffers)) {
    throw new UnicornError('usage/binding', 'A submission needs its buffers.', {
      fix: 'Give `buffers`, an object with one for each input, output and state of the signature.',
    });
  }
  const resolved: ResolvedBinding[] = [];
  const known = new Set<string>();
  for (const [role, specs] of [
    ['input', signature.inputs],
    ['output', signature.outputs],
    ['state', signature.state],
  ] as const) {
    for (const [name, spec] of Object.entries(specs)) {
      known.add(name);
      const binding =
        (Object.hasOwn(bindings.buffers, name) ? bindings.buffers[name] : undefined) ??
        fail(name, `(${role} ${formatSpec(spec)}) is not bound`);
      if (!isObject(binding)) fail(name, 'is bound to what is neither a buffer nor host data');
      const shape = resolveShape(spec.shape, dims);
      const byteLength = tensorBytes(spec.dtype, shape);
      if (isHostData(binding)) {
        if (role !== 'input') fail(name, `is ${role}: bind a device buffer, not host data`);
        const dtype =
          binding instanceof Float32Array ? 'f32' : binding instanceof Int32Array ? 'i32' : 'something else';
        if (dtype !== spec.dtype) fail(name, `is ${formatSpec(spec)}; the host data is ${dtype}`);
        if (binding.byteLength < byteLength)
          fail(name, `needs ${byteLength} bytes; the host data has ${binding.byteLength}`);
        const bytes = new Uint8Array(binding.buffer, binding.byteOffset, byteLength);
        resolved.push({ name, role, dtype: spec.dtype, shape, byteLength, source: { kind: 'host', bytes } });
        continue;
      }
      const view = isView(binding) ? binding : { buffer: binding, byteOffset: 0 };
      if (!isBuffer(view.buffer)) fail(name, 'is bound to what is not a device buffer');
      if (!Number.isSafeInteger(view.byteOffset)) fail(name, 'does not begin at a whole number of bytes');
      if (
        view.byteOffset < 0 ||
        view.byteOffset % 4 !== 0 ||
        view.byteOffset + byteLength > view.buffer.byteLength
      ) {
        fail(
          name,
          `needs ${byteLength} bytes at offset ${view.byteOffset}; the buffer has ${view.buffer.byteLength}`,
        );
      }
      resolved.push({
        name,
        role,
        dtype: spec.dtype,
        shape,
        byteLength,
        source: { kind: 'buffer', ...view },
      });
    }
  }
  for (const name of Object.keys(bindings.buffers)) {
    if (!known.has(name)) fail(name, 'is not an input, output or state of this executable');
  }
  return resolved;
}

/**
 * The weight sets that a graph is compiled over, as one look-up.
 *
 * @param isOwn tells the sets that this device has loaded
 * @throws UnicornError `usage/weight` for a set of another device, or a name that two sets hold
 */
export function ownWeightSets<T extends WeightSet>(
  weights: WeightSet | readonly WeightSet[],
  isOwn: (set: WeightSet) => set is T,
): { readonly sets: readonly T[]; holder(name: string): T | undefined } {
  const given: unknown = isObject(weights) && 'names' in weights ? [weights] : weights;
  if (!Array.isArray(given)) {
    throw new UnicornError('usage/weight', 'The weights are neither a weight set nor an array of them.', {
      fix: 'Give what `load` of the device resolved with.',
    });
  }
  const sets = (given as readonly WeightSet[]).map((set) => {
    if (isOwn(set)) return set;
    throw new UnicornError('usage/weight', 'The weights were loaded by another device.', {
      fix: 'Load them on the device that compiles the graph.',
    });
  });
  if (sets.length > 1) expectDisjoint(sets);
  return { sets, holder: (name) => sets.find((set) => set.spec(name)) };
}

/**
 * Checks the entries to load, since callers in plain JavaScript may pass anything.
 *
 * @throws UnicornError `usage/weight` when they are not a list of entries, each with a name, a shape and a source
 */
export function expectWeightEntries(entries: readonly WeightEntry[]): void {
  const given: unknown = entries;
  const wrong = (sentence: string): UnicornError =>
    new UnicornError('usage/weight', sentence, {
      fix: 'Give an array of {name, dtype, shape, source: {kind, ...}}.',
    });
  if (!Array.isArray(given)) throw wrong('Weights are loaded from an array of entries.');
  for (const [index, entry] of (given as readonly (Partial<WeightEntry> | null | undefined)[]).entries()) {
    const isNamed = typeof entry?.name === 'string' && Array.isArray(entry.shape);
    if (!isNamed) throw wrong(`The entry ${index} of the weights has no name or no shape.`);
    if (!entry.shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0))
      throw wrong(`The shape of the weight "${entry.name}" is not of whole numbers.`);
    const { source } = entry;
    const hasSource =
      source?.kind === 'file'
        ? typeof source.path === 'string' && [source.offset, source.byteLength].every(Number.isSafeInteger)
        : source?.kind === 'bytes' && source.bytes instanceof Uint8Array;
    if (!hasSource) throw wrong(`The weight "${entry.name}" has no source: neither a file nor bytes.`);
  }
}

function expectDisjoint(sets: readonly WeightSet[]): void {
  const seen = new Set<string>();
  for (const name of sets.flatMap(({ names }) => names)) {
    if (seen.has(name)) {
      throw new UnicornError('usage/weight', `Two weight sets hold "${name}".`, {
        fields: { name },
        fix: 'Give sets whose names are disjoint.',
      });
    }
    seen.add(name);
  }
}

/**
 * The weights of a graph as the sets hold them.
 *
 * @throws UnicornError `usage/weight` when they lack one, or hold it with another dtype or shape
 */
export function checkWeights(graph: Graph, spec: (name: string) => TensorSpec | undefined): void {
  for (const [name, values] of namedValues(graph, 'weight')) {
    const held = spec(name);
    for (const { source } of values) {
      if (source.kind !== 'weight' || (held && formatSpec(held) === formatSpec(source.stored))) continue;
      const wanted = formatSpec(source.stored);
      throw new UnicornError(
        'usage/weight',
        held
          ? `The graph wants the weight "${name}" as ${wanted}; it was loaded as ${formatSpec(held)}.`
          : `The graph reads the weight "${name}", which was not loaded.`,
        { fields: { name }, fix: 'Load the weights from the model that the graph was built for.' },
      );
    }
  }
}
