/** Imports that a device in plain JavaScript cannot view as elements. */
import { describe, expect, it } from 'vitest';
import { nullBackend, referenceBackend } from '../../src/index.js';

describe.each([referenceBackend, nullBackend])('$name', (backend) => {
  it('refuses memory that begins between two elements', async () => {
    const device = await backend.open();
    const memory = new Uint8Array(12);
    expect(() => device.importBuffer(memory.subarray(1, 9))).toThrow(
      expect.objectContaining({ code: 'unsupported/import' }),
    );
    expect(device.importBuffer(memory.subarray(4)).byteLength).toBe(8);
    await device.close();
  });
});
