/** Tuning the bundled model, on Mesa's driver for CPUs where it is installed: what is found is kept and used. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../src/index.js';
import { profileKernels, tuneModel, type TuneProgress } from '../src/measure/index.js';

const lavapipe = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d']
  .filter((folder) => existsSync(folder))
  .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
  .find((path) => /lvp_icd.*\.json$/.test(path));

describe.skipIf(lavapipe === undefined)(
  'a model on lavapipe (needs mesa-vulkan-drivers)',
  { timeout: 180_000 },
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'unicorn-tuning-'));
    const variables = {
      VK_DRIVER_FILES: lavapipe!,
      VK_ICD_FILENAMES: lavapipe!,
      UNICORN_VULKAN_CACHE: folder,
    };
    const before = Object.fromEntries(Object.keys(variables).map((name) => [name, process.env[name]]));
    beforeAll(() => {
      Object.assign(process.env, variables);
    });
    afterAll(() => {
      for (const [name, value] of Object.entries(before)) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
      rmSync(folder, { recursive: true });
    });

    it('is tuned until it is told to stop', async () => {
      const seen: TuneProgress[] = [];
      const stop = new AbortController();
      const report = await tuneModel({
        backend: 'vulkan',
        tokens: [1, 3],
        signal: stop.signal,
        onProgress(progress) {
          seen.push(progress);
          if (progress.done > 0) stop.abort();
        },
      });
      expect(report.products.length).toBeGreaterThan(0);
      // The widest of single tokens comes first.
      expect(report.products[0]).toMatchObject({ form: 'int8', shape: { dtype: 'q8_0', tokens: 1 } });
      expect(seen.at(-1)).toMatchObject({ done: report.products.length });
      expect(report.complete).toBe(false);
      expect(report.path!.startsWith(folder)).toBe(true);
    });

    it('refuses a backend that has nothing to tune', async () => {
      await expect(tuneModel({ backend: 'cpu' })).rejects.toMatchObject({ code: 'unsupported/tuning' });
    });

    it('says which kernels ran, how often, and against which copy', async () => {
      const options = { context: 64, maxSequences: 1, profile: true, backend: 'vulkan' } as const;
      const engine = await Engine.load(options);
      const { phases, speed } = await profileKernels(engine, {
        promptTokens: 5,
        generateTokens: 3,
        repetitions: 1,
      });
      await engine.close();
      expect(speed).toMatchObject({
        kind: 'copy',
        bytesPerSecond: expect.any(Number),
        launchSeconds: expect.any(Number),
      });
      expect(phases.map(({ phase }) => phase)).toEqual(['prefill', 'decode']);
      for (const { rows, launchesPerSubmission } of phases) {
        expect(launchesPerSubmission).toBeGreaterThan(20);
        const launches = rows.flatMap(({ kernels, callsPerSubmission }) =>
          kernels.map(({ launchesPerCall }) => launchesPerCall * callsPerSubmission),
        );
        expect(launches.reduce((sum, count) => sum + count, 0)).toBeCloseTo(launchesPerSubmission!, 6);
        expect(rows.some(({ detail }) => detail.includes('q8_0['))).toBe(true);
      }
    });
  },
);
