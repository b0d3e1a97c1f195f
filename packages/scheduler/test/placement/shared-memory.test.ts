/** One memory under several buffers: the order of work is that of the bytes, whichever buffer names them. */
import { describe, expect, it } from 'vitest';
import {
  createNullBackend,
  GraphBuilder,
  referenceBackend,
  type Completion,
  type DeviceBuffer,
  type Graph,
} from '@unicorn-exec/tensor';
import { SplitDevice, type Place } from '../../src/placement/index.js';

/** `y` = 2 `x` on the device that the graph's name says. */
function scaling(name: '0' | '1'): Graph {
  const builder = new GraphBuilder(name);
  builder.output('y', builder.scale(builder.input('x', 'f32', [2]), 2));
  return builder.build();
}
const place: Place = ({ nodes, name }) => nodes.map(() => Number(name));

/** A device of two, the first of which ends nothing before it is told. */
async function bench() {
  let release = (): void => {};
  const log: string[] = [];
  const gate = new Promise<void>((resolve) => (release = resolve));
  const devices = await Promise.all([
    createNullBackend({
      info: { id: 'slow' },
      onSubmit: async () => {
        await gate;
        log.push('slow');
      },
    }).open(),
    createNullBackend({ info: { id: 'quick' }, onSubmit: () => void log.push('quick') }).open(),
  ]);
  const device = new SplitDevice({ devices, place, graphs: [] });
  const weights = await device.load([]);
  const options = { dims: {} };
  const [slow, quick] = [
    await device.compile(scaling('0'), weights, options),
    await device.compile(scaling('1'), weights, options),
  ];
  const submit = (executable: typeof slow, y: DeviceBuffer, x: DeviceBuffer | Float32Array): Completion =>
    executable.submit({ dims: {}, buffers: { x, y } });
  return { device, slow, quick, submit, release: () => release(), log };
}

const memory = new ArrayBuffer(64);
const at = (byteOffset: number, byteLength = 8): Uint8Array => new Uint8Array(memory, byteOffset, byteLength);
type Bench = Awaited<ReturnType<typeof bench>>;
const overlapping: [string, (device: Bench['device']) => [DeviceBuffer, DeviceBuffer]][] = [
  ['two imports of the same bytes', (device) => [device.importBuffer(at(8)), device.importBuffer(at(8))]],
  ['imports of parts that overlap', (device) => [device.importBuffer(at(8)), device.importBuffer(at(12))]],
  ['a part and the whole', (device) => [device.importBuffer(at(16)), device.importBuffer(at(16, 40))]],
  [
    'a buffer and an import of it',
    (device) => {
      const buffer = device.allocate(8);
      return [buffer, device.importBuffer(buffer)];
    },
  ],
  [
    'an import of an import, and the bytes',
    (device) => [device.importBuffer(device.importBuffer(at(32))), device.importBuffer(at(36))],
  ],
];

describe.each(overlapping)('%s', (_, buffersOf) => {
  it('are worked on in order by two devices', async () => {
    const { device, slow, quick, submit, release, log } = await bench();
    const [first, second] = buffersOf(device);
    const data = new Float32Array(2);
    const writer = submit(slow, first, data);
    const reader = submit(quick, device.allocate(8), second);
    const overwriter = submit(quick, second, data);
    const read = device.read(second, 0, 4);
    await new Promise(setImmediate);
    expect(log).toEqual([]);
    release();
    await Promise.all([writer.done, reader.done, overwriter.done, read]);
    expect(log).toEqual(['slow', 'quick', 'quick']);
    await device.close();
  });

  it('are refused as the two ranges of a copy', async () => {
    const backend = await referenceBackend.open();
    for (const device of [backend, (await bench()).device]) {
      const [buffer, other] = buffersOf(device as Bench['device']);
      expect(() => device.copy({ buffer, byteOffset: 0 }, { buffer: other, byteOffset: 0 }, 8)).toThrow(
        expect.objectContaining({ code: 'usage/range' }),
      );
    }
    await backend.close();
  });
});

it('neighbours in one memory do not wait for each other', async () => {
  const { device, slow, quick, submit, release, log } = await bench();
  const [first, second] = [device.importBuffer(at(8)), device.importBuffer(at(16))];
  const data = new Float32Array(2);
  const slowly = submit(slow, first, data);
  await submit(quick, second, data).done;
  expect(log).toEqual(['quick']);
  release();
  await slowly.done;
  await device.close();
});
