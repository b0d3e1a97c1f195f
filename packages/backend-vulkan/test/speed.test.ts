/** Measured rates: figures that make sense, kept for one driver and version, and what planners then estimate. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GraphBuilder, type DeviceSpeed } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cacheVariable, vulkanBackend } from '../src/index.js';
import { SpeedFile } from '../src/measure/speed-file.js';
import { driver } from './lavapipe.js';

const device = { uuid: 'a', pipelineCacheUuid: 'b', vendorId: 1, deviceId: 2, driver: 'c 1' };
const speed: DeviceSpeed = {
  bytesPerSecond: 5e10,
  flopsPerSecond: { f32: 1e12, fast: 3e12 },
  submitSeconds: 4e-5,
  stepSeconds: 5e-6,
  basis: 'measured',
};

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'unicorn-speed-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('the file of measured rates', () => {
  it('gives back what was written, to the same driver of the same device', async () => {
    const file = new SpeedFile(device, folder);
    expect(file.read()).toBeUndefined();
    expect(await file.write(speed)).toBe(file.path);
    expect(file.read()).toEqual(speed);
    expect(new SpeedFile({ ...device, driver: 'c 2' }, folder).read()).toBeUndefined();
    expect(new SpeedFile({ ...device, uuid: 'other' }, folder).read()).toBeUndefined();
  });

  it('is as none when it is damaged, or a rate in it is not one', async () => {
    const file = new SpeedFile(device, folder);
    await file.write(speed);
    const content = JSON.parse(readFileSync(file.path!, 'utf8')) as { speed: object };
    for (const text of [
      '{',
      'null',
      JSON.stringify({ ...content, speed: { ...content.speed, stepSeconds: 0 } }),
      JSON.stringify({ ...content, speed: undefined }),
    ]) {
      writeFileSync(file.path!, text);
      expect(file.read()).toBeUndefined();
    }
  });

  it('is not there when nothing is to be kept', async () => {
    const file = new SpeedFile(device, '');
    expect(await file.write(speed)).toBeUndefined();
    expect(file.read()).toBeUndefined();
  });
});

describe.skipIf(!driver.present)(`measured rates (${driver.need})`, () => {
  it('are kept, found by the next probe, and what estimates stand on', async () => {
    const before = process.env[cacheVariable];
    process.env[cacheVariable] = join(folder, 'cache');
    try {
      const b = new GraphBuilder('product');
      const weight = b.weight('w', { dtype: 'q4_0', shape: [4096, 4096] });
      b.output('y', b.matmul(b.input('x', 'f32', ['tokens', 4096]), weight));
      const segment = { graph: b.build(), nodes: [0] };
      const estimate = async () => {
        const [first] = await vulkanBackend.probe();
        if (!first?.usable) throw new Error('There is no usable device.');
        const planned = vulkanBackend
          .planner(first.info)
          .estimate(segment, { precision: 'fast', dims: { tokens: 1 } });
        return { ...planned, speed: first.info.speed };
      };
      expect(await estimate()).toMatchObject({ basis: 'modelled', speed: undefined });
      const measured = await vulkanBackend.measure();
      const { bytesPerSecond, flopsPerSecond, submitSeconds, stepSeconds } = measured;
      for (const [rate, least, most] of [
        [bytesPerSecond, 1e6, 1e14],
        [flopsPerSecond.f32!, 1e6, 1e16],
        [flopsPerSecond.fast!, 1e6, 1e17],
        [submitSeconds, 1e-6, 1],
        [stepSeconds, 1e-8, 1e-1],
      ] as const) {
        expect(rate).toBeGreaterThanOrEqual(least);
        expect(rate).toBeLessThan(most);
      }
      expect(await estimate()).toMatchObject({ basis: 'measured', speed: measured });
    } finally {
      if (before === undefined) delete process.env[cacheVariable];
      else process.env[cacheVariable] = before;
    }
  });
});
