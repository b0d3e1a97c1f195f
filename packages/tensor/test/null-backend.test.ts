import { describe, expect, it } from 'vitest';
import { createNullBackend, GraphBuilder, nullBackend, type NullSubmission } from '../src/index.js';

function doubling() {
  const builder = new GraphBuilder('doubling');
  builder.output('y', builder.scale(builder.input('x', 'f32', ['rows', 3]), 2));
  return builder.build();
}

describe('the null backend', () => {
  it('lists one device and opens no other', async () => {
    const [description] = await nullBackend.probe();
    expect(description).toMatchObject({ id: 'null', usable: true });
    await expect(nullBackend.open('gpu0')).rejects.toMatchObject({ code: 'device/unavailable' });
  });

  it('checks bindings, reports submissions in order, and computes nothing', async () => {
    const seen: NullSubmission[] = [];
    const device = await createNullBackend({ onSubmit: (submission) => void seen.push(submission) }).open();
    const weights = await device.load([]);
    const executable = await device.compile(doubling(), weights, { dims: { rows: { max: 4 } } });
    const y = device.allocate(4 * 3 * 4);
    const x = Float32Array.of(1, 2, 3);
    const first = executable.submit({ dims: { rows: 1 }, buffers: { x, y } });
    x.fill(9);
    const second = executable.submit({ dims: { rows: 1 }, buffers: { x, y } }, { after: first });
    await second.done;
    const sent = seen.map(({ bindings }) => {
      const { source } = bindings.find(({ name }) => name === 'x')!;
      return source.kind === 'host' ? [...new Float32Array(source.bytes.buffer)] : [];
    });
    expect(sent).toEqual([
      [1, 2, 3],
      [9, 9, 9],
    ]);
    expect(new Uint8Array(await device.read(y, 0, y.byteLength))).toEqual(new Uint8Array(y.byteLength));
    expect(() => executable.submit({ dims: { rows: 5 }, buffers: { x, y } })).toThrow(/rows/);
    expect(() => executable.submit({ dims: { rows: 1 }, buffers: { x } })).toThrow(/not bound/);
    expect(() => executable.submit({ dims: { rows: 2 }, buffers: { x, y } })).toThrow(/24 bytes/);
  });

  it('fails one submission and goes on with the next', async () => {
    let submissions = 0;
    const backend = createNullBackend({
      onSubmit() {
        if (submissions++ === 0) throw new Error('burnt');
      },
    });
    const device = await backend.open();
    const executable = await device.compile(doubling(), await device.load([]), { dims: { rows: 1 } });
    const bindings = { dims: { rows: 1 }, buffers: { x: new Float32Array(3), y: device.allocate(12) } };
    await expect(executable.submit(bindings).done).rejects.toThrow('burnt');
    await executable.submit(bindings).done;
    await device.close();
    await device.close();
    expect(() => executable.submit(bindings)).toThrow(/closed/);
    expect(() => device.allocate(4)).toThrow(/closed/);
  });
});
