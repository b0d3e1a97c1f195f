/** Cases about probing, opening and closing a device, and about its memory. */
import { backendApiVersion, dtypes } from '@unicorn-exec/tensor';
import { importOrRefuse } from './foreign-memory.js';
import {
  compileProgram,
  expectError,
  expectThat,
  expectThrow,
  onDevice,
  rowByteLength,
  withoutPrograms,
  withPrograms,
  type ContractCase,
} from './contract-case.js';
import { isExact, productFormat } from '../product-format.js';
import { doubling, width } from './program.js';

export const deviceCases: readonly ContractCase[] = [
  withoutPrograms('probe lists the device, the same each time', async ({ backend, id }) => {
    expectThat(backend.apiVersion === backendApiVersion, `The API version is ${backend.apiVersion}.`);
    const lists = [await backend.probe(), await backend.probe()];
    for (const list of lists) {
      const description = list.find((device) => device.id === id);
      expectThat(description?.usable, `A probe does not list "${id}" as usable.`);
    }
    expectThat(JSON.stringify(lists[0]) === JSON.stringify(lists[1]), 'Two probes differ.');
  }),
  withoutPrograms('unusable devices say why', async ({ backend }) => {
    for (const device of await backend.probe()) {
      expectThat(device.usable || device.reason.length > 0, `"${device.id}" is unusable without a reason.`);
    }
  }),
  withoutPrograms('info is sane', async ({ info, backend, id }) => {
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
    expectThat(info.heaps.length > 0, 'There is no heap.');
    for (const { name, pool, bytes } of info.heaps) {
      expectThat(pool.length > 0, `The heap "${name}" has no pool.`);
      expectThat(bytes > 0, `The heap "${name}" has ${bytes} bytes.`);
    }
    expectThat(info.precisions.length > 0, 'There is no precision.');
    for (const precision of info.precisions) {
      const format = productFormat(info, precision);
      expectThat(precision !== 'f32' || isExact(format), 'At precision f32 products lose bits.');
    }
    const { prompt, token } = info.numerics;
    expectThat(prompt.length > 0 && token.length > 0, 'A class of numerics has no name.');
    const { rows } = info;
    const sizes = rows.kind === 'any' ? [1] : rows.kind === 'grain' ? [rows.grain] : rows.buckets;
    const ascend = sizes.every((size, i) => Number.isSafeInteger(size) && size > (sizes[i - 1] ?? 0));
    expectThat(sizes.length > 0 && ascend, `The rows are ${JSON.stringify(rows)}.`);
  }),
  withoutPrograms('an unknown device id is refused', ({ backend }) =>
    expectError('open', 'device/unavailable', () => backend.open('there is no such device')),
  ),
  onDevice('bytes may change as soon as they are handed over', {}, async (device) => {
    const [buffer, other] = [device.allocate(16), device.allocate(16)];
    // A copy of the same length keeps the queue busy, so that the second write has to wait.
    const at = (view: typeof buffer) => ({ buffer: view, byteOffset: 0 });
    const copied = device.copy(at(buffer), at(other), 16);
    // `slice` of a Node.js Buffer shares its memory.
    const data = Buffer.from(Uint8Array.of(1, 2, 3, 4));
    const written = device.write(buffer, 0, data);
    data.fill(9);
    await Promise.all([copied.done, written]);
    const read = await device.read(buffer, 0, 4);
    expectThat(
      [...read].join() === '1,2,3,4',
      `Bytes that changed after the call were written: ${[...read].join()}.`,
    );
    buffer.dispose();
    other.dispose();
  }),
  withoutPrograms('threads are as asked for', async ({ backend, id, info }) => {
    if (info.threads === undefined) return;
    const device = await backend.open(id, { threads: 1 });
    const { threads } = device.info;
    await device.close();
    expectThat(threads === 1, `A device opened with 1 thread has ${threads}.`);
  }),
  withoutPrograms('two devices live side by side', async ({ backend, id }) => {
    const [first, second] = [await backend.open(id), await backend.open(id)];
    const buffer = second.allocate(4);
    await first.close();
    await second.write(buffer, 0, Uint8Array.of(1, 2, 3, 4));
    const bytes = await second.read(buffer, 0, 4);
    expectThat(bytes[3] === 4, 'Closing one device disturbed the other.');
    await second.close();
  }),
  withPrograms('close is idempotent and ends everything', { doubling }, async (programs, { backend, id }) => {
    const device = await backend.open(id);
    const { executable, weights } = await compileProgram(device, programs.doubling);
    const buffer = device.allocate(rowByteLength);
    const bindings = { dims: { tokens: 1 }, buffers: { x: new Float32Array(width), y: buffer } };
    const pending = executable.submit(bindings);
    await device.close();
    await device.close();
    // Close waits for what was in flight.
    await pending.done;
    await expectThrow('submit', 'device/closed', () => executable.submit(bindings));
    await expectThrow('allocate', 'device/closed', () => device.allocate(4));
    await expectThrow('importBuffer', 'device/closed', () => device.importBuffer(new Uint8Array(4096)));
    await expectError('load', 'device/closed', () => device.load([]));
    await expectError('read', 'device/closed', () => device.read(buffer, 0, 4));
    await expectError('write', 'device/closed', () => device.write(buffer, 0, new Uint8Array(4)));
    await expectError('copy', 'device/closed', () => {
      const view = (byteOffset: number) => ({ buffer, byteOffset });
      return device.copy(view(0), view(64), 4).done;
    });
    await expectError('compile', 'device/closed', () =>
      device.compile(programs.doubling.graph, weights, { dims: { tokens: 1 } }),
    );
    // Buffers that are left may still be disposed of.
    executable.dispose();
    weights.dispose();
    buffer.dispose();
  }),
  onDevice('allocated memory is zero, also where other content was before', {}, async (device) => {
    for (let round = 0; round < 3; round++) {
      const buffer = device.allocate(10_007);
      const bytes = await device.read(buffer, 0, buffer.byteLength);
      expectThat(buffer.byteLength === 10_007, `The buffer has ${buffer.byteLength} bytes.`);
      expectThat(bytes.length === 10_007 && bytes.every((byte) => byte === 0), 'Fresh memory is not zero.');
      await device.write(buffer, 0, bytes.fill(255));
      buffer.dispose();
    }
  }),
  onDevice('what is written is read back, at any offset', {}, async (device) => {
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
    buffer.sync?.('toHost', [{ byteOffset: 8, byteLength: 1 }]);
    if (buffer.host) expectThat(buffer.host[8] === 102, 'The host does not see what was written.');
    // The answer is the caller's: changing it changes nothing here.
    bytes.fill(0);
    expectThat((await device.read(buffer, 8, 1))[0] === 102, 'The result of a read shares the buffer.');
  }),
  onDevice('transfers outside a buffer are refused', {}, async (device) => {
    const buffer = device.allocate(16);
    await expectError('write', 'usage/range', () => device.write(buffer, 13, new Uint8Array(4)));
    await expectError('read', 'usage/range', () => device.read(buffer, 0, 17));
    await expectError('read', 'usage/range', () => device.read(buffer, -1, 4));
  }),
  onDevice('memory returns to its start', { doubling }, async (device, programs) => {
    const start = JSON.stringify(device.memory());
    const buffers = [device.allocate(1000), device.allocate(2 * rowByteLength)];
    const during = device.memory();
    const allocated = 1000 + 2 * rowByteLength;
    expectThat(
      during.bufferBytes >= allocated,
      `${allocated} bytes are allocated; memory() says ${during.bufferBytes}.`,
    );
    const compiled = await compileProgram(device, programs.doubling);
    const [x, y] = buffers;
    await compiled.executable.submit({ dims: { tokens: 2 }, buffers: { x: x!, y: y! } }).done;
    compiled.dispose();
    compiled.dispose();
    for (const buffer of [...buffers, ...buffers]) buffer.dispose();
    const end = JSON.stringify(device.memory());
    expectThat(start === end, `Memory was ${start}, and is ${end} after everything was disposed of.`);
  }),
  onDevice('an impossible allocation is a resource error', {}, async (device, _, { info }) => {
    const tooMuch = Math.min(info.maxBufferBytes + 4096, Number.MAX_SAFE_INTEGER);
    await expectThrow('allocate', 'resource/memory', () => device.allocate(tooMuch));
  }),
  onDevice('memory of the host is imported without a copy, or refused', {}, async (device) => {
    const memory = new Uint8Array(4096);
    const buffer = importOrRefuse(device, memory);
    if (!buffer) return;
    await device.write(buffer, 5, Uint8Array.of(77));
    buffer.sync?.('toHost', [{ byteOffset: 5, byteLength: 1 }]);
    expectThat(memory[5] === 77, 'The imported memory is a copy.');
    buffer.dispose();
  }),
];
