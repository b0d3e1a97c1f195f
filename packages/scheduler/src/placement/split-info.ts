/** What several devices are together. */
import type { DeviceInfo, MemoryHeap, Phase, RowShapes } from '@unicorn-exec/tensor';
import type { NodePlaces } from './partition.js';

export interface PlacedGraph {
  readonly phase: Phase;
  readonly places: NodePlaces;
}

/** What all of them can do; in each phase the numerics of those that take part in it. */
export function splitInfo(infos: readonly DeviceInfo[], graphs: readonly PlacedGraph[]): DeviceInfo {
  const first = infos[0]!;
  const common = <T>(of: (info: DeviceInfo) => readonly T[]): T[] =>
    of(first).filter((one) => infos.every((info) => of(info).includes(one)));
  const numerics = (phase: Phase): string => phaseNumerics(infos, graphs, phase);
  const threads = infos.find((info) => info.threads !== undefined)?.threads;
  // Most of the work is usually the last one's.
  const named = [...infos].reverse();
  return {
    backend: named.map(({ backend }) => backend).join('+'),
    id: named.map(({ id }) => id).join('+'),
    name: named.map(({ name }) => name).join(' + '),
    dtypes: { weights: common(({ dtypes }) => dtypes.weights), kv: common(({ dtypes }) => dtypes.kv) },
    precisions: common(({ precisions }) => precisions),
    // The coarsest that a product may meet.
    activations: (infos.find(({ activations }) => activations.fast?.kind === 'int8') ?? first).activations,
    numerics: { prompt: numerics('prompt'), token: numerics('token') },
    shapes: infos.every(({ shapes }) => shapes === 'dynamic') ? 'dynamic' : 'static',
    rows: promptRows(infos, graphs),
    alignmentBytes: Math.max(...infos.map(({ alignmentBytes }) => alignmentBytes)),
    maxBufferBytes: Math.min(...infos.map(({ maxBufferBytes }) => maxBufferBytes)),
    heaps: distinctHeaps(infos),
    ...(threads === undefined ? {} : { threads }),
    parts: infos,
    features: [...new Set(infos.flatMap(({ features }) => features))],
  };
}

/** Each heap once: devices that are on one memory list the same heap, and it is there for all of them together. */
function distinctHeaps(infos: readonly DeviceInfo[]): MemoryHeap[] {
  const heaps = infos.flatMap((info) => info.heaps);
  const isSame = (a: MemoryHeap, b: MemoryHeap): boolean => a.pool === b.pool && a.name === b.name;
  return heaps.filter((heap, index) => heaps.findIndex((other) => isSame(heap, other)) === index);
}

/**
 * One device's own class when it runs a phase alone. Otherwise the classes of all and how many nodes each has in a row:
 * another placement gives other bits.
 */
function phaseNumerics(infos: readonly DeviceInfo[], graphs: readonly PlacedGraph[], phase: Phase): string {
  const placed = graphs.find((graph) => graph.phase === phase) ?? graphs[0];
  const places = placed?.places ?? [];
  const used = [...new Set(places)];
  if (used.length <= 1) return infos[used[0] ?? 0]!.numerics[phase];
  const runs: string[] = [];
  for (let begin = 0; begin < places.length;) {
    let end = begin + 1;
    while (end < places.length && places[end] === places[begin]) end++;
    runs.push(`${places[begin]}x${end - begin}`);
    begin = end;
  }
  return `${infos.map((info) => info.numerics[phase]).join(' | ')} (${runs.join(' ')})`;
}

/** The rows of the pickiest device that takes part in prompts. */
function promptRows(infos: readonly DeviceInfo[], graphs: readonly PlacedGraph[]): RowShapes {
  const used = new Set(graphs.filter(({ phase }) => phase === 'prompt').flatMap(({ places }) => [...places]));
  const shapes = infos.filter((_, index) => used.size === 0 || used.has(index)).map(({ rows }) => rows);
  return (
    shapes.find(({ kind }) => kind === 'buckets') ??
    shapes.find(({ kind }) => kind === 'grain') ?? { kind: 'any' }
  );
}
