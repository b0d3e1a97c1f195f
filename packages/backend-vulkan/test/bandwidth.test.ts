/** What a device yields at best: figures that make sense, on whatever device the tests run on. */
import { describe, expect, it } from 'vitest';
import { measureCopyBandwidth, measureDevice } from '../src/index.js';
import { driver } from './lavapipe.js';

describe.skipIf(!driver.present)(`the speed of a device (${driver.need})`, () => {
  it('copies at less than any memory can, and launches in less than a millisecond', async () => {
    const { copyBytesPerSecond, launchSeconds, computeUnits } = await measureDevice();
    expect(copyBytesPerSecond).toBeGreaterThan(1e8);
    expect(copyBytesPerSecond).toBeLessThan(1e14);
    expect(launchSeconds).toBeGreaterThan(0);
    expect(launchSeconds).toBeLessThan(1e-2);
    expect(Number.isInteger(computeUnits)).toBe(true);
  });

  it('names the devices that there are when asked for another one', async () => {
    await expect(measureCopyBandwidth('vulkan99')).rejects.toMatchObject({ code: 'device/unavailable' });
  });
});
