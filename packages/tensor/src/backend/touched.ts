/**
 * Which parts of the bound buffers one submission touches. A state is touched only in the rows that the submission's
 * slots and block tables name, so that two devices may work on one state, and only what was touched is synchronized or
 * copied between them.
 */
import { tensorBytes } from '../dtype.js';
import type { Graph, Node } from '../graph/graph.js';
import { findOp } from '../op/index.js';
import type { ConcreteSpec, Op } from '../op/op.js';
import type { ResolvedBinding } from './bindings.js';
import type { ByteRange, SyncDirection } from './buffer.js';

/** The parts of one binding's buffer, relative to the buffer's beginning. Host data has none. */
export interface TouchedBinding {
  readonly binding: ResolvedBinding;
  /** All of them, ascending and disjoint. */
  readonly ranges: readonly ByteRange[];
  /** The ranges that are written, likewise ascending and disjoint. */
  readonly written: readonly ByteRange[];
}

/** @param bindings of one submission of the graph, resolved */
export function touchedBindings(graph: Graph, bindings: readonly ResolvedBinding[]): TouchedBinding[] {
  const byName = new Map(bindings.map((binding) => [binding.name, binding]));
  const states = new Map<string, StateUse>();
  for (const node of graph.nodes) {
    const op = findOp(node.op);
    for (const [operand, id] of Object.entries(node.inputs)) {
      const name = stateName(graph, id);
      if (name === undefined) continue;
      const use = states.get(name) ?? { rows: new Set<number>(), writtenRows: new Set<number>() };
      const rows = namedRows(op, operand, node, graph, byName, byName.get(name)!);
      use.rows = union(use.rows, rows);
      if (Object.values(op.aliases ?? {}).includes(operand)) use.writtenRows = union(use.writtenRows, rows);
      states.set(name, use);
    }
  }
  return bindings.flatMap((binding): TouchedBinding[] => {
    const { role, source, byteLength } = binding;
    if (source.kind === 'host') return [];
    const whole = [{ byteOffset: source.byteOffset, byteLength }];
    if (role !== 'state') return [{ binding, ranges: whole, written: role === 'output' ? whole : [] }];
    const use = states.get(binding.name);
    if (!use) return [];
    const rangesOf = (rows: ReadonlySet<number> | undefined): readonly ByteRange[] =>
      rows ? rowRanges(rows, binding, source.byteOffset) : whole;
    return [{ binding, ranges: rangesOf(use.rows), written: rangesOf(use.writtenRows) }];
  });
}

/** True when a byte lies in both lists. Each is ascending and disjoint. */
export function rangesOverlap(a: readonly ByteRange[], b: readonly ByteRange[]): boolean {
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    const [one, other] = [a[i]!, b[j]!];
    if (one.byteOffset + one.byteLength <= other.byteOffset) i++;
    else if (other.byteOffset + other.byteLength <= one.byteOffset) j++;
    else return true;
  }
  return false;
}

interface StateUse {
  /** Indices along the leading axis; undefined: all. */
  rows: ReadonlySet<number> | undefined;
  writtenRows: ReadonlySet<number> | undefined;
}

function union(
  a: ReadonlySet<number> | undefined,
  b: ReadonlySet<number> | undefined,
): ReadonlySet<number> | undefined {
  return a && b && new Set([...a, ...b]);
}

/** The state that a value is a version of. */
function stateName(graph: Graph, id: number): string | undefined {
  const { source } = graph.values[id]!;
  if (source.kind === 'state') return source.name;
  if (source.kind !== 'node') return undefined;
  const node = graph.nodes[source.node]!;
  const operand = findOp(node.op).aliases?.[source.output];
  return operand === undefined ? undefined : stateName(graph, node.inputs[operand]!);
}

/** The rows that a node touches; undefined when only the device knows them. */
function namedRows(
  op: Op,
  operand: string,
  node: Node,
  graph: Graph,
  bindings: ReadonlyMap<string, ResolvedBinding>,
  state: ResolvedBinding,
): ReadonlySet<number> | undefined {
  const rule = op.touches?.[operand];
  const named = rule && graph.values[node.inputs[rule.operand] ?? -1];
  if (named?.source.kind !== 'input') return undefined;
  const { source, shape } = bindings.get(named.source.name)!;
  if (source.kind !== 'host') return undefined;
  const { bytes } = source;
  const integers = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  return new Set(rule!.rows({ shape, integers }, stateSpec(state)));
}

function stateSpec({ dtype, shape }: ResolvedBinding): ConcreteSpec {
  return { dtype, shape };
}

/** Neighbouring rows become one range; rows outside of the state are left to the op, which refuses them. */
function rowRanges(rows: ReadonlySet<number>, { dtype, shape }: ResolvedBinding, begin: number): ByteRange[] {
  const rowBytes = tensorBytes(dtype, [1, ...shape.slice(1)]);
  const ranges: { byteOffset: number; byteLength: number }[] = [];
  for (const row of [...rows].sort((a, b) => a - b)) {
    if (row < 0 || row >= shape[0]!) continue;
    const byteOffset = begin + row * rowBytes;
    const last = ranges.at(-1);
    if (last && last.byteOffset + last.byteLength === byteOffset) last.byteLength += rowBytes;
    else ranges.push({ byteOffset, byteLength: rowBytes });
  }
  return ranges;
}

/** What a device that computes in host memory synchronizes around a submission. */
export interface HostSync {
  /** Call before the work: what other devices wrote becomes visible. */
  before(): void;
  /** Call after the work: what it wrote becomes visible to other devices. */
  after(): void;
}

/** Undefined when every bound buffer is coherent, as a device's own are. */
export function hostSync(graph: Graph, bindings: readonly ResolvedBinding[]): HostSync | undefined {
  if (!bindings.some(({ source }) => source.kind === 'buffer' && source.buffer.sync)) return undefined;
  const touched = touchedBindings(graph, bindings);
  const sync = (direction: SyncDirection, rangesOf: (one: TouchedBinding) => readonly ByteRange[]): void => {
    for (const one of touched) {
      const { source } = one.binding;
      const ranges = rangesOf(one);
      if (source.kind === 'buffer' && ranges.length > 0) source.buffer.sync?.(direction, ranges);
    }
  };
  return {
    before: () => sync('toHost', ({ ranges }) => ranges),
    after: () => sync('toDevice', ({ written }) => written),
  };
}
