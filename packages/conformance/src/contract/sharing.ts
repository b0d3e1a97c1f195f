/** Cases about memory that several devices address: a device's own memory, imports, and copies between devices. */
import { referenceBackend, type DeviceBuffer } from '@unicorn-exec/tensor';
import {
  compileProgram,
  expectError,
  expectNumbers,
  expectThat,
  expectThrow,
  floatBytes,
  onDevice,
  ramp,
  readFloats,
  rowByteLength,
  type ContractCase,
} from './contract-case.js';
import { forEachForeign, hostMemoryOf, importOrRefuse, watchedMemory } from './foreign-memory.js';
import { cacheBlockTokens, cacheWrite, doubling, width } from './program.js';
import { filledState, writeState } from './foreign.js';

const oneRow = { tokens: 1 };

/** All bytes of a buffer by its host, synchronized before they are read. */
function hostBytes(buffer: DeviceBuffer): Uint8Array {
  buffer.sync?.('toHost', [{ byteOffset: 0, byteLength: buffer.byteLength }]);
  return buffer.host!.slice(0, buffer.byteLength);
}

export const sharingCases: readonly ContractCase[] = [
  onDevice(
    'memory that the host must address has a host, or is refused',
    { doubling },
    async (device, programs) => {
      const buffer = hostMemoryOf(device, 1000);
      if (!buffer) return;
      const visible = device.info.heaps.some(({ hostVisible }) => hostVisible);
      expectThat(visible, 'There is memory that the host can address, in no heap that says so.');
      expectThat(buffer.byteLength === 1000, `The buffer has ${buffer.byteLength} bytes.`);
      expectThat(buffer.host !== undefined, "A buffer that was asked for with host: 'required' has no host.");
      expectThat(buffer.host.byteLength === 1000, `The host has ${buffer.host.byteLength} bytes.`);
      expectThat(
        hostBytes(buffer).every((byte) => byte === 0),
        'Fresh memory is not zero.',
      );
      await device.write(buffer, 10, Uint8Array.of(1, 2, 3));
      expectThat(hostBytes(buffer).subarray(9, 14).join() === '0,1,2,3,0', 'The host does not see a write.');
      buffer.host.set([7, 8], 500);
      buffer.sync?.('toDevice', [{ byteOffset: 500, byteLength: 2 }]);
      const seen = await device.read(buffer, 499, 4);
      expectThat(seen.join() === '0,7,8,0', `The device reads ${seen.join()} where the host wrote 0,7,8,0.`);

      const { executable, dispose } = await compileProgram(device, programs.doubling);
      const [x, y] = [
        device.allocate(rowByteLength, { host: 'required' }),
        hostMemoryOf(device, rowByteLength)!,
      ];
      x.host!.set(floatBytes(ramp()));
      x.sync?.('toDevice', [{ byteOffset: 0, byteLength: rowByteLength }]);
      await executable.submit({ dims: oneRow, buffers: { x, y } }).done;
      // The outputs are in the host's memory when the submission is done.
      expectNumbers('by the host', new Float32Array(hostBytes(y).buffer), ramp(2));
      expectThat(device.memory().copiedBytes === 0, 'Copies of its own memory are counted.');
      dispose();
    },
  ),
  onDevice('its memory serves other devices in every role', { doubling }, async (device, programs) => {
    const kv = hostMemoryOf(device, filledState('f32').bytes.byteLength);
    if (!kv) return;
    const [x, y, z] = [0, 1, 2].map(() => device.allocate(rowByteLength, { host: 'required' }));
    const reference = await referenceBackend.open();
    try {
      const here = await compileProgram(device, programs.doubling);
      const there = await compileProgram(reference, doubling.options(reference.info)[0]!);
      await device.write(x!, 0, floatBytes(ramp()));
      const first = here.executable.submit({ dims: oneRow, buffers: { x: x!, y: y! } });
      const second = there.executable.submit({ dims: oneRow, buffers: { x: y!, y: z! } }, { after: first });
      const third = here.executable.submit({ dims: oneRow, buffers: { x: z!, y: x! } }, { after: second });
      await third.done;
      expectNumbers('of the device', await readFloats(device, y!, width), ramp(2));
      expectNumbers('of the other device', await readFloats(device, z!, width), ramp(4));
      expectNumbers('of the device again', await readFloats(device, x!, width), ramp(8));

      const program = cacheWrite.options(reference.info).find(({ dtype }) => dtype === 'f32')!;
      const writing = await compileProgram(reference, program, { dims: { tokens: 1, pool: { max: 24 } } });
      const wanted = filledState('f32');
      await device.write(kv, 0, wanted.bytes.slice());
      const slots = Int32Array.of(3 * cacheBlockTokens + 2);
      const buffers = { kv, key: ramp(5), value: ramp(6), slots };
      await writing.executable.submit({ dims: { tokens: 1, pool: 24 }, buffers }).done;
      writeState(wanted, ramp(5), ramp(6), slots);
      const now = await device.read(kv, 0, kv.byteLength);
      const at = now.findIndex((byte, i) => byte !== wanted.bytes[i]);
      expectThat(at < 0, `Of a state that another device wrote to, byte ${at} is wrong.`);
      for (const compiled of [here, there, writing]) compiled.dispose();
    } finally {
      await reference.close();
    }
  }),
  onDevice(
    'memory of other devices is imported without a copy, or copied and counted',
    { doubling },
    async (device, programs, context) => {
      const { executable, dispose } = await compileProgram(device, programs.doubling);
      // A page, which is as much as may have to be imported.
      const byteLength = 4096;
      await forEachForeign(context, byteLength, async (foreign) => {
        // What is written afterwards must be seen: an import is not a snapshot.
        const imported = importOrRefuse(device, foreign.buffer);
        const content = new Uint8Array(byteLength);
        content.set(floatBytes(ramp()));
        await foreign.write(content);
        const start = device.memory();
        const y = device.allocate(rowByteLength);
        const bindings = { dims: oneRow, buffers: { x: foreign.buffer, y } };
        foreign.permit(programs.doubling.graph, executable, bindings);
        await executable.submit(imported ? { dims: oneRow, buffers: { x: imported, y } } : bindings).done;
        expectNumbers(`of ${foreign.owner}`, await readFloats(device, y, width), ramp(2));
        const copied = device.memory().copiedBytes - start.copiedBytes;
        if (imported) {
          expectThat(copied === 0, `${copied} bytes of what was imported from ${foreign.owner} were copied.`);
          imported.dispose();
          expectThat(
            (await foreign.read())[4] === content[4],
            'Disposing of what was imported freed its memory.',
          );
        } else {
          const counted = copied >= rowByteLength && copied < byteLength;
          expectThat(counted, `${copied} bytes are counted as copied; ${rowByteLength} were touched.`);
        }
        y.dispose();
      });
      dispose();
    },
  ),
  onDevice('copies go to and from other devices', {}, async (device, _, context) => {
    const own = device.allocate(1024);
    await forEachForeign(context, 1024, async (foreign) => {
      const content = Uint8Array.from({ length: 1024 }, (__, i) => (i * 7) % 251);
      await foreign.write(content.slice());
      await device.write(own, 0, new Uint8Array(1024));
      const view = (byteOffset: number) => ({ buffer: foreign.buffer, byteOffset });
      if ('permitRange' in foreign) {
        const watched = foreign as ReturnType<typeof watchedMemory>;
        watched.permitRange('toHost', { byteOffset: 256, byteLength: 128 });
        watched.permitRange('toDevice', { byteOffset: 768, byteLength: 64 });
        watched.permitRange('toHost', { byteOffset: 768, byteLength: 64 });
      }
      const start = device.memory().copiedBytes;
      await device.copy(view(256), { buffer: own, byteOffset: 512 }, 128).done;
      const bytes = await device.read(own, 448, 256);
      const wanted = new Uint8Array(256);
      wanted.set(content.subarray(256, 384), 64);
      expectThat(bytes.join() === wanted.join(), `A copy from ${foreign.owner} brings other bytes.`);
      await device.copy({ buffer: own, byteOffset: 512 }, view(768), 64).done;
      content.copyWithin(768, 256, 320);
      const now = await foreign.read();
      const at = now.findIndex((byte, i) => byte !== content[i]);
      expectThat(at < 0, `A copy to ${foreign.owner} leaves byte ${at} wrong.`);
      expectThat(foreign.excess() === undefined, `In a copy of ${foreign.owner}, ${foreign.excess()}.`);
      expectThat(device.memory().copiedBytes === start, 'Copies that were asked for are counted.');
    });
  }),
  onDevice('impossible copies are refused', {}, async (device) => {
    const [a, b] = [device.allocate(256), device.allocate(256)];
    const strange = { byteLength: 256, dispose: () => {} };
    const copy = (from: DeviceBuffer, at: number, to: DeviceBuffer, toAt: number, count: number) =>
      device.copy({ buffer: from, byteOffset: at }, { buffer: to, byteOffset: toAt }, count).done;
    await expectError('past the end of the source', 'usage/range', () => copy(a, 200, b, 0, 64));
    await expectError('past the end of the target', 'usage/range', () => copy(a, 0, b, 252, 8));
    await expectError('before the start', 'usage/range', () => copy(a, -4, b, 0, 8));
    await expectError('onto itself', 'usage/range', () => copy(a, 0, a, 60, 64));
    await expectError('from where the host cannot see', 'usage/binding', () => copy(strange, 0, b, 0, 64));
    await expectError('to where the host cannot see', 'usage/binding', () => copy(a, 0, strange, 0, 64));
    await device.write(a, 0, Uint8Array.of(1, 2, 3, 4));
    await copy(a, 0, a, 64, 64);
    expectThat(
      (await device.read(a, 64, 4)).join() === '1,2,3,4',
      'A copy within a buffer brings other bytes.',
    );
  }),
  onDevice('what a device imports must have a host', {}, async (device) => {
    const strange = { byteLength: 4096, dispose: () => {} };
    await expectThrow('importBuffer', 'unsupported/import', () => device.importBuffer(strange));
  }),
];
