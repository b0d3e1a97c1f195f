/**
 * The kit from end to end: an addon is built with it, loaded with it, and asked for everything that the headers offer.
 * Needs a C++ compiler and CMake; UNICORN_TOY_ADDON names a build to take instead (one with a sanitizer).
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { UnicornError } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { diagnoseAddon, guarded, JobTable, loadAddon } from '../src/index.js';
import { describeLostPages } from './lost-pages.js';
import { builtToy, toyConfig, type Handle, type ToyAddon } from './toy-addon.js';

const built = await builtToy();

/** What a call throws. */
const thrown = (call: () => unknown): UnicornError => {
  try {
    guarded(call);
  } catch (error) {
    if (error instanceof UnicornError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

const need = 'missing' in built ? built.missing : 'built';

describe.skipIf('missing' in built)(`the toy addon (${need})`, () => {
  let addon: ToyAddon;
  beforeAll(() => {
    addon = loadAddon(toyConfig);
  });

  it('is loaded once, and is the one that was built', () => {
    expect(loadAddon(toyConfig)).toBe(addon);
    expect(addon.version).toBe(toyConfig.version);
    expect(diagnoseAddon(toyConfig).loaded!.path).toBe((built as { path: string }).path);
  });

  it('is refused by a package that wants another version, or whose check it fails', () => {
    const { path } = built as { path: string };
    const another = diagnoseAddon({ ...toyConfig, version: 9 }, path);
    expect(another.attempts).toMatchObject([{ reason: 'it is of version 8, and this package wants 9' }]);
    const check = (): never => {
      throw new Error('it lacks\nsomething');
    };
    expect(diagnoseAddon({ ...toyConfig, check }, path).attempts).toMatchObject([{ reason: 'it lacks' }]);
  });

  it('fails with errors that carry code, fields and fix, and the stack of the caller', () => {
    const error = thrown(() => addon.fail('odd "kind"\n'));
    expect(error).toMatchObject({
      code: 'usage/kind',
      message: 'There is no failure "odd "kind"\n".',
      fields: { kind: 'odd "kind"\n', length: 11 },
      fix: 'Use another one.',
    });
    expect(error.stack).toContain('toy-addon.test');
    expect(thrown(() => addon.fail('memory')).code).toBe('resource/memory');
    expect(thrown(() => addon.fail('range'))).toMatchObject({
      code: 'internal/invariant',
      message: 'position 7',
    });
    expect(thrown(() => addon.fail('other'))).toMatchObject({
      code: 'internal/native',
      message: 'something else',
    });
    expect(thrown(() => addon.fail('number')).code).toBe('internal/native');
    expect(() => guarded(() => addon.fail('javascript'))).toThrow(TypeError);
  });

  describe('takes arguments', () => {
    const good = [7, new Uint8Array(3), new Uint32Array(5), [1, 2], true] as const;

    it('of the right kind', () => {
      expect(addon.describe(...good)).toBe('7 3 5 2 yes');
      expect(addon.describe(0, new Float32Array(3).subarray(1), new Uint32Array(0), [], false)).toBe(
        '0 8 0 0 no',
      );
      const detached = new Uint8Array(3);
      structuredClone(detached.buffer, { transfer: [detached.buffer] });
      expect(addon.describe(7, detached, ...(good.slice(2) as [unknown, unknown, unknown]))).toContain(
        '7 0 ',
      );
    });

    const bad: readonly (readonly [at: number, value: unknown])[] = [
      ...[-1, 1.5, 1001, NaN, Infinity, 2 ** 53, '7', undefined].map((value) => [0, value] as const),
      ...[undefined, new ArrayBuffer(8), 'bytes', {}].map((value) => [1, value] as const),
      ...[new Int32Array(1), new Uint8Array(4), []].map((value) => [2, value] as const),
      ...[undefined, { length: 1 }, 'ab'].map((value) => [3, value] as const),
      ...[1, 'true', undefined].map((value) => [4, value] as const),
    ];
    it.each(bad)('and refuses argument %i as %s', (at, value) => {
      const wrong: unknown[] = [...good];
      wrong[at] = value;
      const call = (): unknown => addon.describe(...(wrong as Parameters<ToyAddon['describe']>));
      expect(thrown(call).code).toBe('internal/invariant');
    });
  });

  describe('maps files', () => {
    const folder = mkdtempSync(join(tmpdir(), 'unicorn-native-'));
    afterAll(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'bytes');
    const bytes = Uint8Array.from({ length: 10_000 }, (_, i) => i % 251);
    writeFileSync(path, bytes);

    it('and reads what lies in them', () => {
      const file = addon.openFile(path);
      for (const [offset, byteLength] of [
        [0, 10_000],
        [4097, 5000],
        [9999, 1],
        [10_000, 0],
      ] as const) {
        const expected = bytes.subarray(offset, offset + byteLength).reduce((sum, byte) => sum + byte, 0);
        expect(addon.sumOf(file, offset, byteLength)).toBe(expected);
      }
      addon.dispose(file);
      expect(thrown(() => addon.sumOf(file, 0, 1)).code).toBe('usage/disposed');
    });

    it('and says where they end', () => {
      const file = addon.openFile(path);
      for (const [offset, byteLength] of [
        [0, 10_001],
        [10_001, 0],
        [2 ** 52, 2 ** 52],
      ] as const) {
        expect(thrown(() => addon.sumOf(file, offset, byteLength))).toMatchObject({
          code: 'format/truncated',
          message: `${path} ends inside the tensor "numbers".`,
          fields: { file: path, field: 'numbers', offset: 10_000, needed: offset + byteLength },
        });
      }
    });

    it('and knows the pages around a range', () => {
      const file = addon.openFile(path);
      const [offset, byteLength] = addon.pagesAround(file, 5000, 10, 1);
      expect(offset % 4096).toBe(0);
      expect(offset).toBeLessThanOrEqual(5000);
      expect(offset + byteLength).toBeGreaterThanOrEqual(5010);
      // Beyond the mapping.
      expect(addon.pagesAround(file, 5000, 10, 1 << 30)).toEqual([0, 0]);
    });

    it('that are empty', () => {
      const empty = join(folder, 'empty');
      writeFileSync(empty, '');
      expect(addon.sumOf(addon.openFile(empty), 0, 0)).toBe(0);
    });

    it('or says why not', () => {
      expect(thrown(() => addon.openFile(join(folder, 'nothing')))).toMatchObject({
        code: 'usage/file',
        fields: { file: join(folder, 'nothing') },
        fix: 'Check the path and that the file may be read.',
      });
    });
  });

  it('refuses what is not a handle of the wanted type', () => {
    const jobs = new JobTable();
    const device = addon.openDevice(jobs.listener);
    const file = addon.openFile(fileURLToPath(import.meta.url));
    for (const wrong of [device, {}, null, undefined, 5] as Handle[]) {
      expect(thrown(() => addon.sumOf(wrong, 0, 1)).code).toBe('internal/invariant');
    }
    for (const wrong of [file, {}, undefined] as Handle[]) {
      expect(thrown(() => addon.count(wrong, 1, 1)).code).toBe('internal/invariant');
      expect(thrown(() => addon.closeDevice(wrong)).code).toBe('internal/invariant');
    }
    expect(thrown(() => addon.openDevice(undefined as never)).code).toBe('internal/invariant');
    addon.closeDevice(device);
  });

  describe('has jobs', () => {
    const open = (): { device: Handle; jobs: JobTable } => {
      const jobs = new JobTable();
      const device: Handle = addon.openDevice(jobs.listener);
      return { device, jobs };
    };

    it('whose results are there when they have ended, in the order in which they were begun', async () => {
      const { device, jobs } = open();
      const order: number[] = [];
      const sums = Array.from({ length: 50 }, () => new BigInt64Array(1));
      expect(jobs.isIdle).toBe(true);
      await Promise.all(
        sums.map(async (sum, i) => {
          await jobs.settled(addon.add(device, i, 1000, sum));
          expect(sum[0]).toBe(BigInt(1000 + i));
          order.push(i);
        }),
      );
      expect(order).toEqual(sums.map((_, i) => i));
      expect(jobs.isIdle).toBe(true);
      addon.closeDevice(device);
    });

    it('whose times are told before they settle', async () => {
      const { device, jobs } = open();
      const told: unknown[] = [];
      const job = addon.add(device, 1, 1, new BigInt64Array(1));
      const ended = (...news: unknown[]): void => void told.push(...news);
      const settled = jobs.settled(job, { ended }).then(() => told.push('settled'));
      await settled;
      expect(told).toEqual([undefined, job + 0.25, job + 0.5, 'settled']);
      const negative = addon.add(device, -1, 0, new BigInt64Array(1));
      const failure: unknown = await jobs.settled(negative, { ended }).catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: 'usage/negative' });
      expect(told.slice(4)).toEqual([failure, negative + 0.25, negative + 0.5]);
      addon.closeDevice(device);
    });

    it('that fail by themselves', async () => {
      const { device, jobs } = open();
      const sum = BigInt64Array.of(5n);
      const good = jobs.settled(addon.add(device, 1, 1, new BigInt64Array(1)));
      const bad = jobs.settled(addon.add(device, -3, 1, sum));
      await expect(bad).rejects.toMatchObject({
        code: 'usage/negative',
        message: 'The sum of "a" and "b"\nis negative.',
        fields: { a: -3, b: 1, device: 'toy' },
        fix: 'Use larger numbers.',
      });
      await good;
      expect(sum[0]).toBe(5n);
      addon.closeDevice(device);
    });

    it('in the background, which report and fail', async () => {
      const { device, jobs } = open();
      const seen: number[] = [];
      const counting = jobs.settled(addon.count(device, 5, 1), { progress: (bytes) => seen.push(bytes) });
      // Not behind the other.
      const failing = jobs.settled(addon.count(device, 0, 0));
      await expect(failing).rejects.toMatchObject({ code: 'internal/native', message: 'nothing to count' });
      await counting;
      expect(seen).toEqual([1, 2, 3, 4, 5]);
      addon.closeDevice(device);
    });

    it('of which none is left when one could not be begun', () => {
      const { device, jobs } = open();
      expect(thrown(() => addon.refuse(device)).code).toBe('usage/refused');
      expect(jobs.isIdle).toBe(true);
      addon.closeDevice(device);
    });

    it('that one can wait for together', async () => {
      const { device, jobs } = open();
      let ended = 0;
      const failing = jobs.settled(addon.count(device, 0, 0)).catch(() => ended++);
      const counting = jobs.settled(addon.count(device, 3, 1)).then(() => ended++);
      await jobs.idle();
      expect(jobs.isIdle).toBe(true);
      await Promise.all([failing, counting]);
      expect(ended).toBe(2);
      await jobs.idle();
      addon.closeDevice(device);
    });

    it('that end when the device is closed', async () => {
      const { device, jobs } = open();
      const counting = jobs.settled(addon.count(device, 1_000_000, 1));
      addon.closeDevice(device);
      addon.closeDevice(device);
      await expect(counting).rejects.toMatchObject({ code: 'device/closed' });
      expect(thrown(() => addon.count(device, 1, 1)).code).toBe('device/closed');
    });
  });

  describe('lets', () => {
    const child = fileURLToPath(new URL('toy-child.mjs', import.meta.url));
    const task = (scenario: string): string =>
      JSON.stringify({ addon: 'path' in built ? built.path : '', scenario });

    it.each([
      ['an idle device not keep the process alive', 'idle', ''],
      ['a pending job keep it alive', 'pending', 'told\n'],
      ['the process end with jobs in flight', 'leave', ''],
    ])('%s', (_, scenario, output) => {
      const { status, stdout, stderr } = spawnSync(process.execPath, [child, task(scenario)], {
        encoding: 'utf8',
        timeout: 30_000,
      });
      expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: output, stderr: '' });
    });

    it.each(['idle', 'leave'])('a worker thread end: %s', async (scenario) => {
      const worker = new Worker(child, { workerData: JSON.parse(task(scenario)) as unknown });
      const code = await new Promise((resolve, reject) => {
        worker.on('exit', resolve);
        worker.on('error', reject);
      });
      expect(code).toBe(0);
    });
  });
});

describeLostPages(built);
