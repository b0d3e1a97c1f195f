import { describe, expect, it } from 'vitest';
import { HostTensor } from '../src/index.js';

describe('HostTensor', () => {
  it('shares its storage', () => {
    const bytes = new Uint8Array(20);
    const tensor = new HostTensor('f32', [2, 2], bytes, 4);
    tensor.floats.set([1, 2, 3, 4]);
    expect([...new Float32Array(bytes.buffer)]).toEqual([0, 1, 2, 3, 4]);
    expect([tensor.rows, tensor.columns, tensor.elements]).toEqual([2, 2, 4]);
    expect(tensor.denseBytes().buffer).toBe(bytes.buffer);
  });

  it('has rows that lie apart: a view of some columns', () => {
    const stored = HostTensor.f32([3, 4], [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]);
    const view = new HostTensor('f32', [2, 2], stored.bytes, 16 + 4, stored.rowStrideBytes);
    expect([...view.toFloats()]).toEqual([11, 12, 21, 22]);
    expect([...new Float32Array(view.denseBytes().slice().buffer)]).toEqual([11, 12, 21, 22]);
    expect(() => view.floats).toThrow(expect.objectContaining({ code: 'internal/invariant' }));
    // One row is dense whatever the stride.
    expect([...new HostTensor('f32', [1, 2], stored.bytes, 4, 16).floats]).toEqual([1, 2]);
  });

  it('decodes any dtype, at any byte', () => {
    // Two q8_0 blocks of scale 0.5 and 2 (f16 0x3800, 0x4000), at an odd address.
    const bytes = new Uint8Array(1 + 68);
    bytes.set([0x00, 0x38, ...Array.from({ length: 32 }, (_, i) => i)], 1);
    bytes.set([0x00, 0x40, ...Array.from({ length: 32 }, () => 255)], 35);
    const tensor = new HostTensor('q8_0', [2, 32], bytes.subarray(1));
    const out = new Float32Array(33);
    tensor.decodeRow(1, out, 1);
    expect([out[0], out[1], out[32]]).toEqual([0, -2, -2]);
    expect(tensor.toFloats()[3]).toBe(1.5);
  });

  it('refuses storage that is too small', () => {
    expect(() => new HostTensor('f32', [2, 2], new Uint8Array(15))).toThrow(
      expect.objectContaining({ code: 'usage/buffer-size', fields: expect.objectContaining({ needed: 16 }) }),
    );
    // No rows need no bytes.
    expect(new HostTensor('f32', [0, 8], new Uint8Array(0)).elements).toBe(0);
  });
});
