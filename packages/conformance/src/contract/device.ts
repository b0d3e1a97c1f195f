/** Probing, opening, closing, and the memory of a device. */
import {
  backendApiVersion,
  dtypes,
  isUnicornError,
  type Device,
  type DeviceBuffer,
} from '@unicorn-exec/tensor';
import {
  compileAlone,
  doubling,
  expectError,
  expectThat,
  expectThrow,
  onDevice,
  type ContractCase,
} from './contract-case.js';

/** Undefined when the device cannot address that memory. */
function importOrRefuse(device: Device, memory: Uint8Array): DeviceBuffer | undefined {
  try {
    return device.importBuffer(memory);
  } catch (error) {
    if (isUnicornError(error) && error.code === 'unsupported/import') return undefined;
    throw error;
  }
}

export const deviceCases: readonly ContractCase[] = [
  {
    name: 'probe lists the device, the same each time',
    async run({ backend, id }) {
      expectThat(backend.apiVersion === backendApiVersion, `The API version is ${backend.apiVersion}.`);
      const lists = [await backend.probe(), await backend.probe()];
      for (const list of lists) {
        const description = list.find((device) => device.id === id);
        expectThat(description?.usable, `A probe does not list "${id}" as usable.`);
      }
      expectThat(JSON.stringify(lists[0]) === JSON.stringify(lists[1]), 'Two probes differ.');
    },
  },
  {
    name: 'unusable devices say why',
    async run({ backend }) {
      for (const device of await backend.probe()) {
        expectThat(device.usable || device.reason.length > 0, `"${device.id}" is unusable without a reason.`);
      }
    },
  },
  {
    name: 'info is sane',
    async run({ info, backend, id }) {
      expectThat(
        info.backend === backend.name && info.id === id,
        `The info is of "${info.backend}/${info.id}".`,
      );
      const { alignmentBytes } = info;
      const power = Number.isInteger(Math.log2(alignmentBytes));
      expectThat(power && alignmentBytes >= 4, `The alignment is ${alignmentBytes}.`);
      for (const dtype of [...info.dtypes.weights, ...info.dtypes.kv]) {
        expectThat((dtypes as readonly string[]).includes(dtype), `There is no dtype "${dtype}".`);
      }
      expectThat(
        new Set(info.dtypes.weights).size === info.dtypes.weights.length,
        'A weight dtype is listed twice.',
      );
      expectThat(info.maxBufferBytes > 0, 'No buffer can be allocated.');
    },
  },
  {
    name: 'an unknown device id is refused',
    run: ({ backend }) =>
      expectError('open', 'device/unavailable', () => backend.open('there is no such device')),
  },
  {
    name: 'threads are as asked for',
    async run({ backend, id, info }) {
      if (info.threads === undefined) return;
      const device = await backend.open(id, { threads: 1 });
      const { threads } = device.info;
      await device.close();
      expectThat(threads === 1, `A device opened with 1 thread has ${threads}.`);
    },
  },
  {
    name: 'two devices live side by side',
    async run({ backend, id }) {
      const [first, second] = [await backend.open(id), await backend.open(id)];
      const buffer = second.allocate(4);
      await first.close();
      await second.write(buffer, 0, Uint8Array.of(1, 2, 3, 4));
      const bytes = await second.read(buffer, 0, 4);
      expectThat(bytes[3] === 4, 'Closing one device disturbed the other.');
      await second.close();
    },
  },
  {
    name: 'close is idempotent and ends everything',
    async run({ backend, id }) {
      const device = await backend.open(id);
      const { executable, weights } = await compileAlone(device, doubling());
      const buffer = device.allocate(12);
      const bindings = { dims: { tokens: 1 }, buffers: { x: new Float32Array(3), y: buffer } };
      const pending = executable.submit(bindings);
      await device.close();
      await device.close();
      // Close waits for what was in flight.
      await pending.done;
      await expectThrow('submit', 'device/closed', () => executable.submit(bindings));
      await expectThrow('allocate', 'device/closed', () => device.allocate(4));
      await expectError('load', 'device/closed', () => device.load([]));
      await expectError('read', 'device/closed', () => device.read(buffer, 0, 4));
      await expectError('write', 'device/closed', () => device.write(buffer, 0, new Uint8Array(4)));
      await expectError('compile', 'device/closed', () =>
        device.compile(doubling(), weights, { dims: { tokens: 1 } }),
      );
      // What is left may still be disposed of.
      executable.dispose();
      weights.dispose();
      buffer.dispose();
    },
  },
  onDevice('allocated memory is zero, also where other content was before', async (device) => {
    for (let round = 0; round < 3; round++) {
      const buffer = device.allocate(10_007);
      const bytes = await device.read(buffer, 0, buffer.byteLength);
      expectThat(buffer.byteLength === 10_007, `The buffer has ${buffer.byteLength} bytes.`);
      expectThat(bytes.length === 10_007 && bytes.every((byte) => byte === 0), 'Fresh memory is not zero.');
      await device.write(buffer, 0, bytes.fill(255));
      buffer.dispose();
    }
  }),
  onDevice('what is written is read back, at any offset', async (device) => {
    const buffer = device.allocate(64);
    await device.write(
      buffer,
      0,
      Uint8Array.from({ length: 64 }, (_, i) => i),
    );
    await device.write(buffer, 7, Uint8Array.of(101, 102, 103));
    await device.write(buffer, 64, new Uint8Array(0));
    const bytes = await device.read(buffer, 5, 7);
    expectThat([...bytes].join(' ') === '5 6 101 102 103 10 11', `Read ${[...bytes].join(' ')}.`);
    if (buffer.host) expectThat(buffer.host[8] === 102, 'The host does not see what was written.');
    // The answer is the caller's: changing it changes nothing here.
    bytes.fill(0);
    expectThat((await device.read(buffer, 8, 1))[0] === 102, 'The result of a read shares the buffer.');
  }),
  onDevice('transfers outside a buffer are refused', async (device) => {
    const buffer = device.allocate(16);
    await expectError('write', 'usage/range', () => device.write(buffer, 13, new Uint8Array(4)));
    await expectError('read', 'usage/range', () => device.read(buffer, 0, 17));
    await expectError('read', 'usage/range', () => device.read(buffer, -1, 4));
  }),
  onDevice('memory returns to its start', async (device) => {
    const start = JSON.stringify(device.memory());
    const buffers = [device.allocate(1000), device.allocate(24)];
    const during = device.memory();
    expectThat(during.bufferBytes >= 1024, `1,024 bytes are allocated; memory() says ${during.bufferBytes}.`);
    const compiled = await compileAlone(device, doubling());
    const [x, y] = buffers;
    await compiled.executable.submit({ dims: { tokens: 2 }, buffers: { x: x!, y: y! } }).done;
    compiled.dispose();
    compiled.dispose();
    for (const buffer of [...buffers, ...buffers]) buffer.dispose();
    const end = JSON.stringify(device.memory());
    expectThat(start === end, `Memory was ${start}, and is ${end} after everything was disposed of.`);
  }),
  onDevice('an impossible allocation is a resource error', async (device, { info }) => {
    const tooMuch = Math.min(info.maxBufferBytes + 4096, Number.MAX_SAFE_INTEGER);
    await expectThrow('allocate', 'resource/memory', () => device.allocate(tooMuch));
  }),
  onDevice('memory of the host is imported without a copy, or refused', async (device) => {
    const memory = new Uint8Array(4096);
    const buffer = importOrRefuse(device, memory);
    if (!buffer) return;
    await device.write(buffer, 5, Uint8Array.of(77));
    expectThat(memory[5] === 77, 'The imported memory is a copy.');
    buffer.dispose();
  }),
];
