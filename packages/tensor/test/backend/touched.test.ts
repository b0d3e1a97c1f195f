/** Which parts of bound buffers a submission touches: rows that slots and tables name, and what of them is written. */
import { describe, expect, it } from 'vitest';
import {
  graphSignature,
  GraphBuilder,
  HostBuffer,
  hostSync,
  rangesOverlap,
  resolveBindings,
  touchedBindings,
  type Bindings,
  type ByteRange,
} from '../../src/index.js';

const blocks = 6;
/** f32 [blocks, 2, 1 head, 2 tokens, 4] */
const blockBytes = 2 * 2 * 4 * 4;

function decoding() {
  const builder = new GraphBuilder('decoding');
  const [slots, positions, starts] = ['slots', 'positions', 'starts'].map((name) =>
    builder.input(name, 'i32', [1]),
  );
  const x = builder.input('x', 'f32', [1, 1, 4]);
  const state = builder.state('kv', 'f32', [blocks, 2, 1, 2, 4]);
  const written = builder.kvWrite(state, x, x, slots!);
  const table = builder.input('blocks', 'i32', [1, 3]);
  const inputs = { query: x, state: written, positions: positions!, starts: starts!, blocks: table };
  builder.output('y', builder.attention(inputs, { scale: 1 }));
  return builder.build();
}

const graph = decoding();
const buffer = (bytes: number): HostBuffer => HostBuffer.allocate(bytes, () => {});

function bound(kv: Bindings['buffers'][string], slots: Bindings['buffers'][string] = Int32Array.of(9)) {
  const buffers = {
    slots,
    positions: Int32Array.of(5),
    starts: Int32Array.of(0),
    x: new Float32Array(4),
    blocks: Int32Array.of(2, 0, 4),
    kv,
    y: buffer(16),
  };
  return resolveBindings(graphSignature(graph), {}, { dims: {}, buffers });
}

const ofBlocks = (first: number, count: number, begin = 0): ByteRange => ({
  byteOffset: begin + first * blockBytes,
  byteLength: count * blockBytes,
});

const state = (bindings: ReturnType<typeof bound>) =>
  touchedBindings(graph, bindings).find(({ binding }) => binding.name === 'kv')!;

describe('touchedBindings', () => {
  it('names the blocks of slots and tables, and writes those of slots alone', () => {
    const { ranges, written } = state(bound(buffer(blocks * blockBytes)));
    expect(ranges).toEqual([ofBlocks(0, 1), ofBlocks(2, 1), ofBlocks(4, 1)]);
    expect(written).toEqual([ofBlocks(4, 1)]);
  });

  it('counts from where a view begins', () => {
    const view = { buffer: buffer(64 + blocks * blockBytes), byteOffset: 64 };
    expect(state(bound(view)).written).toEqual([ofBlocks(4, 1, 64)]);
  });

  it('takes the whole state where only the device knows the rows', () => {
    const { ranges, written } = state(bound(buffer(blocks * blockBytes), buffer(4)));
    expect([ranges, written]).toEqual([[ofBlocks(0, blocks)], [ofBlocks(0, blocks)]]);
  });

  it('tells what is returned as written', () => {
    const all = touchedBindings(graph, bound(buffer(blocks * blockBytes)));
    expect(all.find(({ binding }) => binding.name === 'y')).toMatchObject({
      written: [{ byteOffset: 0, byteLength: 16 }],
    });
  });
});

it('hostSync gives back what was written and no more', () => {
  const memory = buffer(blocks * blockBytes);
  const seen: [string, readonly ByteRange[]][] = [];
  const kv = {
    byteLength: memory.byteLength,
    host: memory.host,
    sync: (direction: string, ranges: readonly ByteRange[]) => void seen.push([direction, ranges]),
    dispose: () => {},
  };
  const sync = hostSync(graph, bound(kv))!;
  sync.before();
  sync.after();
  expect(seen).toEqual([
    ['toHost', [ofBlocks(0, 1), ofBlocks(2, 1), ofBlocks(4, 1)]],
    ['toDevice', [ofBlocks(4, 1)]],
  ]);
  expect(hostSync(graph, bound(memory))).toBeUndefined();
});

it('rangesOverlap finds a byte in common', () => {
  const [a, b] = [[ofBlocks(0, 1), ofBlocks(3, 2)], [ofBlocks(1, 2)]];
  expect(rangesOverlap(a, b)).toBe(false);
  expect(rangesOverlap(a, [...b, ofBlocks(4, 1)])).toBe(true);
  expect(rangesOverlap(a, [])).toBe(false);
});
