/**
 * The checks of what devices and planners are given, since callers in plain JavaScript may pass anything. A graph is plain
 * data that may come from anywhere; one that was found whole is not looked at again.
 */
import { isDType } from '../dtype.js';
import { UnicornError } from '../error.js';
import type { Graph, Node, Value } from '../graph/graph.js';
import type { DeviceBuffer } from './buffer.js';
import type { CompileOptions } from './executable.js';
import type { EstimateOptions, PlanOptions, Segment } from './planner.js';

const whole = new WeakSet<Graph>();
const sources: readonly unknown[] = ['input', 'state', 'weight', 'constant', 'node'];

/** @throws UnicornError `usage/graph` for what is not a graph, or one whose nodes name values that it does not have */
export function expectGraph(graph: Graph): void {
  if (!isObject(graph)) throw wrongGraph('What was given is not a graph.');
  if (whole.has(graph)) return;
  const { values, nodes, outputs } = graph as Partial<Graph>;
  if (!Array.isArray(values) || !Array.isArray(nodes) || !isObject(outputs))
    throw wrongGraph('A graph has a list of values, a list of nodes, and its outputs.');
  values.forEach((value: Value, id) => {
    if (!isValue(value, id)) throw wrongGraph(`The value ${id} of the graph has no dtype, shape or source.`);
    const { source } = value;
    const isMade = source.kind !== 'node' || nodes[source.node]?.outputs?.[source.output] === id;
    if (!isMade) throw wrongGraph(`No node of the graph makes its value ${id}.`);
  });
  nodes.forEach((node: Node, id) => {
    if (!isNode(node, graph) || node.id !== id)
      throw wrongGraph(
        `The node ${id} of the graph is not one, or names values that the graph does not have.`,
      );
  });
  if (!Object.values(outputs).every((id) => values[id] !== undefined))
    throw wrongGraph('The graph returns values that it does not have.');
  whole.add(graph);
}

/** @throws UnicornError `usage/graph` as {@link expectGraph} and for a node of another graph, `usage/option` */
export function expectPlanArguments(node: Node, graph: Graph, options: PlanOptions): void {
  expectGraph(graph);
  if (!isNode(node, graph)) throw wrongGraph('What was asked about is not a node of the graph.');
  expectOptions(options);
}

/** @throws UnicornError `usage/graph` as {@link expectGraph} and for nodes that it does not have, `usage/option`, `usage/dims` */
export function expectSegment(segment: Segment, options: EstimateOptions): void {
  if (!isObject(segment)) throw wrongGraph('What was given is not a segment of a graph.');
  const { graph, nodes } = segment;
  expectGraph(graph);
  if (!Array.isArray(nodes) || !nodes.every((id: number) => graph.nodes[id] !== undefined))
    throw wrongGraph('The segment does not list nodes of its graph.');
  expectOptions(options);
  if (!isObject(options.dims)) throw wrongDims();
}

/** @throws UnicornError `usage/graph` as {@link expectGraph}, `usage/option`, `usage/dims` */
export function expectCompileArguments(graph: Graph, options: CompileOptions): void {
  expectGraph(graph);
  expectOptions(options);
  if (!isObject(options.dims)) throw wrongDims();
  const { phase, profile } = options as { readonly phase?: unknown; readonly profile?: unknown };
  if (phase !== undefined && phase !== 'prompt' && phase !== 'token')
    throw wrongOption('phase', 'Give "prompt" or "token".');
  if (profile !== undefined && typeof profile !== 'boolean')
    throw wrongOption('profile', 'Give true or false.');
}

/** @throws UnicornError `usage/buffer-size` for what is not a whole number of bytes */
export function expectByteLength(byteLength: number): void {
  if (Number.isSafeInteger(byteLength) && byteLength >= 0) return;
  throw new UnicornError('usage/buffer-size', `A buffer of ${String(byteLength)} bytes is impossible.`, {
    fields: { byteLength: plain(byteLength) },
    fix: 'Give a whole number of bytes that is not negative.',
  });
}

/** @throws UnicornError `usage/binding` for what is not a buffer, of whichever device */
export function expectBuffer(buffer: DeviceBuffer): void {
  if (isObject(buffer) && Number.isSafeInteger(buffer.byteLength)) return;
  throw new UnicornError('usage/binding', 'What was given is not a device buffer.', {
    fix: 'Give a buffer that a device has allocated or imported.',
  });
}

/** @throws UnicornError `usage/range` for a range that is not inside of the buffer, `usage/binding` as {@link expectBuffer} */
export function expectRange(buffer: DeviceBuffer, byteOffset: number, byteLength: number): void {
  expectBuffer(buffer);
  const areWhole = Number.isSafeInteger(byteOffset) && Number.isSafeInteger(byteLength);
  if (areWhole && byteOffset >= 0 && byteLength >= 0 && byteOffset + byteLength <= buffer.byteLength) return;
  const [offset, length] = [String(byteOffset), String(byteLength)];
  throw new UnicornError(
    'usage/range',
    `${length} bytes at offset ${offset} lie outside a buffer of ${buffer.byteLength}.`,
    {
      fields: {
        byteOffset: plain(byteOffset),
        byteLength: plain(byteLength),
        bufferBytes: buffer.byteLength,
      },
      fix: 'Give a range inside of the buffer, in whole bytes.',
    },
  );
}

/** @throws UnicornError `usage/option` for what is not a Uint8Array, whose elements would be converted */
export function expectBytes(data: Uint8Array): void {
  if (data instanceof Uint8Array) return;
  throw new UnicornError('usage/option', 'The argument "data" is not a Uint8Array.', {
    fields: { argument: 'data' },
    fix: 'Give new Uint8Array(data.buffer, data.byteOffset, data.byteLength).',
  });
}

/** What can stand in an error's fields. */
function plain(value: unknown): number | string {
  return typeof value === 'number' ? value : String(value);
}

function expectOptions(options: unknown): void {
  if (!isObject(options)) throw wrongOption('options', 'Give an object, with `precision` or `dims`.');
}

function isValue(value: unknown, id: number): boolean {
  if (!isObject(value)) return false;
  const { dtype, shape, source } = value as Partial<Value>;
  if (value.id !== id || !isDType(dtype as string) || !Array.isArray(shape)) return false;
  const isDim = (dim: unknown): boolean =>
    typeof dim === 'string' || (Number.isSafeInteger(dim) && (dim as number) >= 0);
  if (!shape.every(isDim) || !isObject(source) || !sources.includes(source.kind)) return false;
  if (source.kind === 'weight') return isObject(source.stored) && Array.isArray(source.stored.shape);
  if (source.kind === 'constant') return ArrayBuffer.isView(source.data);
  return source.kind === 'node' || typeof source.name === 'string';
}

function isNode(node: unknown, graph: Graph): boolean {
  if (!isObject(node)) return false;
  const { values, nodes } = graph;
  if (whole.has(graph) && nodes[node.id as number] === (node as unknown)) return true;
  const { op, inputs, outputs, attributes } = node;
  if (typeof op !== 'string' || !isObject(inputs) || !isObject(attributes) || !Array.isArray(outputs))
    return false;
  return [...Object.values(inputs), ...(outputs as unknown[])].every(
    (id) => values[id as number] !== undefined,
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function wrongGraph(sentence: string): UnicornError {
  return new UnicornError('usage/graph', sentence, { fix: 'Build it with GraphBuilder.' });
}

function wrongDims(): UnicornError {
  return new UnicornError('usage/dims', 'The option "dims" is not an object.', {
    fields: { option: 'dims' },
    fix: 'Give an object with an entry for each symbolic dim of the graph.',
  });
}

function wrongOption(option: string, fix: string): UnicornError {
  return new UnicornError('usage/option', `The option "${option}" is not what it must be.`, {
    fields: { option },
    fix,
  });
}
