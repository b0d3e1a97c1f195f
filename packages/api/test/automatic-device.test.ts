/** What `auto` does about a GPU: on invented machines, with processes that end badly, and on the device that is there. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openModel } from '@unicorn-exec/models';
import { nullBackend, type Backend, type DeviceInfo } from '@unicorn-exec/tensor';
import { chooseGpu, kernelShowsGpu, selfTest } from '../src/machine/automatic-device.js';
import { knownBackends, type KnownBackend } from '../src/machine/backends.js';
import { SystemTree } from '../src/machine/hardware/system-tree.js';
import { placeModel } from '../src/machine/placement.js';
import { largestRowError } from '../src/machine/row-error.js';
import { runSelfTest, softwareKey, VerdictFile, type SelfTestVerdict } from '../src/machine/self-test.js';
import { locateModel } from '../src/model-location.js';
import { backends } from './shared.js';

const folder = mkdtempSync(join(tmpdir(), 'unicorn-automatic-'));
afterAll(() => rmSync(folder, { recursive: true }));
let folders = 0;
const freshFolder = (): string => join(folder, `verdicts-${folders++}`);

const hardware = { vendorId: 0x1002, deviceId: 0x1900, uuid: 'aa', driver: 'driver 1', isSoftware: false };
const passed: SelfTestVerdict = { passed: true, device: { uuid: 'aa', name: 'Card', driver: 'driver 1' } };
const failed: SelfTestVerdict = { passed: false, reason: 'It computes nonsense.', fix: 'Mend it.' };

/** A backend with one GPU, which computes as the null backend does. */
function invented(own: { driver?: string; more?: Partial<KnownBackend>; open?: Backend['open'] } = {}) {
  const opened: (string | undefined)[] = [];
  const info = async (): Promise<DeviceInfo> => {
    const { info } = await nullBackend.open();
    return {
      ...info,
      id: 'card0',
      name: 'Card',
      hardware: { ...hardware, driver: own.driver ?? 'driver 1' },
    };
  };
  const backend: Backend = {
    ...nullBackend,
    probe: async () => [{ id: 'card0', name: 'Card', usable: true, info: await info() }],
    open: async (id, options) => {
      opened.push(id);
      return own.open ? own.open(id, options) : nullBackend.open(undefined, options);
    },
  };
  const known: KnownBackend = {
    name: 'card',
    automatic: false,
    isHost: false,
    fix: '',
    load: async () => backend,
    ...own.more,
  };
  return { known, opened };
}

/** A test that gives these verdicts one after the other, the last one for ever, and counts. */
function testing(...verdicts: SelfTestVerdict[]) {
  const calls = { count: 0 };
  const test = async () => verdicts[Math.min(calls.count++, verdicts.length - 1)]!;
  return { calls, test };
}

const hasGpu = () => true;

describe('chooseGpu', () => {
  it('asks nothing where the kernel shows no GPU', async () => {
    const { calls, test } = testing(passed);
    const load = () => Promise.reject(new Error('loaded'));
    const known = { ...invented().known, load };
    expect(await chooseGpu({ hasGpu: () => false, backends: [known], test })).toEqual({});
    expect(calls.count).toBe(0);
  });

  it('takes a device that passed, and tests it once', async () => {
    const { known, opened } = invented();
    const { calls, test } = testing(passed);
    const options = { hasGpu, backends: [known], test, folder: freshFolder() };
    for (let time = 0; time < 2; time++) {
      const { device, choice } = await chooseGpu(options);
      expect(choice).toEqual({ taken: true, backend: 'card', device: 'Card' });
      await device!.close();
    }
    expect(opened).toEqual(['card0', 'card0']);
    expect(calls.count).toBe(1);
  });

  it('keeps a verdict of failure too, and never opens the device', async () => {
    const { known, opened } = invented();
    const { calls, test } = testing(failed, passed);
    const options = { hasGpu, backends: [known], test, folder: freshFolder() };
    const refused = { taken: false, backend: 'card', reason: failed.reason, fix: failed.fix };
    expect((await chooseGpu(options)).choice).toEqual(refused);
    expect((await chooseGpu(options)).choice).toEqual(refused);
    expect(opened).toEqual([]);
    expect(calls.count).toBe(1);
    expect(await selfTest(known, options, true)).toEqual(passed);
    const { device } = await chooseGpu(options);
    await device!.close();
  });

  it.each<[string, { driver?: string }, string | undefined]>([
    ['the driver that the backend names', { driver: 'driver 2' }, undefined],
    ['a driver file', {}, 'drivers'],
    ['the addon', {}, 'addon'],
  ])('tests again after a change of %s', async (what, own, file) => {
    const place = freshFolder();
    mkdirSync(place);
    const path = join(place, 'native');
    writeFileSync(path, '{"ICD":{"library_path":"./driver.so"}}');
    const more: Partial<KnownBackend> =
      file === 'drivers'
        ? { driverFolders: [place] }
        : file === 'addon'
          ? { nativeFile: async () => path }
          : {};
    const before = invented({ more }).known;
    const verdicts = join(place, 'verdicts');
    const options = { hasGpu, test: testing(passed).test, folder: verdicts };
    await (await chooseGpu({ ...options, backends: [before] })).device!.close();
    if (file) writeFileSync(path, '{"ICD":{"library_path":"./driver-2.so"}}');
    const { calls, test } = testing({
      passed: true,
      device: { ...passed.device!, driver: own.driver ?? 'driver 1' },
    });
    const after = invented({ ...own, more }).known;
    const { device } = await chooseGpu({ ...options, backends: [after], test });
    await device!.close();
    expect([what, calls.count]).toEqual([what, 1]);
  });

  it('says why a device that passed does not open', async () => {
    const { known } = invented({ open: () => Promise.reject(new Error('All of its memory is in use.')) });
    const { test } = testing(passed);
    const { device, choice } = await chooseGpu({ hasGpu, backends: [known], test, folder: freshFolder() });
    expect(device).toBeUndefined();
    expect(choice).toMatchObject({ taken: false, reason: 'All of its memory is in use.' });
  });
});

describe('kernelShowsGpu', () => {
  it.each([
    ['dev/dri/renderD128', true],
    ['dev/nvidia0', true],
    ['dev/dxg', true],
    ['dev/dri/card0', false],
    ['dev/nvidiactl', false],
    ['dev/null', false],
  ])('%s: %s', (path, shown) => {
    const root = freshFolder();
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), '');
    expect(kernelShowsGpu(new SystemTree({ root }))).toBe(shown);
  });
});

describe('runSelfTest', () => {
  const stage =
    'console.log(JSON.stringify({stage: "computing", device: {uuid: "a", name: "Card", driver: "d"}}));';
  it.each([
    [
      'a crash',
      `${stage} process.kill(process.pid, 'SIGSEGV'); setTimeout(() => {}, 1e6)`,
      /Card was ended by the signal SIGSEGV while computing/,
    ],
    ['an exit', `${stage} process.exit(3)`, /ended with exit code 3 while computing/],
    ['a hang', `${stage} setInterval(() => {}, 1e6)`, /did not end within \d+ s while computing/],
    ['an endless loop', `${stage} for (;;);`, /did not end within/],
    ['junk', 'console.log("{}\\n{\\n[]\\nnull")', /while starting/],
    ['a flood', 'process.stdout.write("x".repeat(1e7))', /while starting/],
  ])('survives %s', async (name, code, reason) => {
    const program = join(folder, `${name.replaceAll(' ', '-')}.mjs`);
    writeFileSync(program, code);
    const verdict = await runSelfTest('card', { program, timeoutMs: 4000 });
    expect(verdict).toMatchObject({ passed: false, reason: expect.stringMatching(reason) });
  });

  it('reads the verdict among what a driver prints', async () => {
    const program = join(folder, 'pass.mjs');
    writeFileSync(
      program,
      `console.log('MESA: hello'); console.log('${JSON.stringify({ verdict: passed })}')`,
    );
    expect(await runSelfTest('card', { program })).toEqual(passed);
  });
});

describe('VerdictFile', () => {
  it('leaves no half file, and treats junk and other software as absent', async () => {
    const place = freshFolder();
    const file = new VerdictFile('card', 'key', place);
    expect(file.read()).toBeUndefined();
    await Promise.all(Array.from({ length: 8 }, () => file.write(passed)));
    expect(readdirSync(place)).toEqual(['card.json']);
    expect(file.read()).toEqual(passed);
    expect(new VerdictFile('card', 'other', place).read()).toBeUndefined();
    const whole = readFileSync(file.path!, 'utf8');
    for (const text of ['', 'null', '[]', '{"key":"key"}', whole.slice(0, -9)]) {
      writeFileSync(file.path!, text);
      expect(file.read()).toBeUndefined();
    }
  });

  it('keeps nothing where it cannot', async () => {
    const occupied = freshFolder();
    writeFileSync(occupied, '');
    const file = new VerdictFile('card', 'key', occupied);
    await file.write(passed);
    expect(file.read()).toBeUndefined();
  });
});

it('measures rows against each other', () => {
  const rows = Float32Array.of(3, 4, 1, 0);
  expect(largestRowError(rows, rows, 2)).toBe(0);
  expect(largestRowError(Float32Array.of(3, 4, 0, 1), rows, 2)).toBeCloseTo(Math.SQRT2);
  expect(largestRowError(Float32Array.of(3, 4, Number.NaN, 1), rows, 2)).toBe(Infinity);
});

const gpu = knownBackends.find(({ isHost }) => !isHost)!;
const usable = backends.find(({ name }) => name === gpu.name)!.usable;

describe.skipIf(!usable)('the device that is there (mesa-vulkan-drivers will do)', () => {
  const options = { hasGpu, folder: freshFolder(), acceptSoftware: true };

  it('passes, and a model is placed on it', async () => {
    const model = await openModel(await locateModel(undefined));
    const placement = await placeModel(model, { kvType: 'f16', maxSequences: 1 } as never, options);
    try {
      expect(placement.gpu).toMatchObject({ taken: true, backend: gpu.name });
      expect(placement.device.info.backend).toBe(gpu.name);
    } finally {
      await placement.device.close();
      await model.close();
    }
    const verdict = new VerdictFile(gpu.name, await softwareKey(gpu), options.folder).read();
    expect(verdict).toMatchObject({ passed: true });
  }, 120_000);
});
