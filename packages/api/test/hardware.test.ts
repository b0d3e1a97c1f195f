/** What is said of a machine by the files in which Linux describes it. */
import { describe, expect, it } from 'vitest';
import { shellQuoted } from '../src/machine/hardware/finding.js';
import { inspectHardware } from '../src/machine/hardware/hardware.js';
import { plannableBytes, readMemory } from '../src/machine/hardware/memory.js';
import { processOf, readyMachine, systemTree, withoutNpuDriver, type Files } from './system-files.js';

const inspect = (files: Files) => inspectHardware(systemTree(files));
const without = (files: Files, ...paths: readonly string[]): Files =>
  Object.fromEntries(Object.entries(files).filter(([path]) => !paths.some((one) => path.startsWith(one))));
const reasons = ({ findings }: { readonly findings: readonly { readonly reason: string }[] }): string =>
  findings.map(({ reason }) => reason).join(' ');
const fixes = ({ findings }: { readonly findings: readonly { readonly fix: string }[] }): string =>
  findings.map(({ fix }) => fix).join(' ');

describe('a machine with an NPU and an integrated GPU', () => {
  it('is described whole where all is well', () => {
    expect(inspect(readyMachine)).toEqual({
      kernel: '6.14.0-33-generic',
      system: 'Ubuntu 24.04.3 LTS',
      processor: 'AMD Ryzen 9 8945HS w/ Radeon 780M Graphics',
      hasProc: true,
      npu: {
        state: 'ready',
        name: 'AMD XDNA NPU of Phoenix or Hawk Point',
        pci: { vendor: '1022', device: '1502', revision: '00', address: '0000:c6:00.1' },
        node: { path: '/dev/accel/accel0', group: 'render', accessible: true },
        driver: { name: 'amdxdna', version: 'of kernel 6.14.0-33-generic' },
        firmware: { version: '1.5.5.391', file: '/lib/firmware/amdnpu/1502_00/npu.sbin.zst' },
        lockableBytes: 'unlimited',
        findings: [],
      },
      gpus: [
        {
          state: 'ready',
          name: 'AMD Radeon 780M or 760M (integrated)',
          isIntegrated: true,
          pci: { vendor: '1002', device: '1900', revision: 'c4', address: '0000:c5:00.0' },
          node: { path: '/dev/dri/renderD128', group: 'render', accessible: true },
          driver: { name: 'amdgpu' },
          gtt: { totalBytes: 33285996544, usedBytes: 268435456 },
          vram: { totalBytes: 4294967296 },
          findings: [],
        },
      ],
    });
  });

  it('whose user is not in the group says how to join it', () => {
    const { npu, gpus } = inspect({ ...readyMachine, ...processOf([1000]) });
    for (const device of [npu, gpus[0]!]) {
      expect(device.state).toBe('lacking');
      expect(device.node?.accessible).toBe(false);
      expect(device.findings).toEqual([
        {
          reason: expect.stringContaining('belongs to the group render'),
          fix: 'sudo usermod -aG render "$USER", then log out and in again',
        },
      ]);
    }
  });

  it('whose user may lock 8 MB says how much is wanted', () => {
    const { npu, gpus } = inspect({ ...readyMachine, ...processOf([993], '8388608') });
    expect(npu).toMatchObject({ state: 'lacking', lockableBytes: 8388608 });
    expect(reasons(npu)).toBe('This user may lock 8 MiB of memory (memlock); the NPU needs 64 MiB and more.');
    expect(fixes(npu)).toContain('/etc/security/limits.d/99-amdxdna.conf');
    expect(gpus[0]!.state).toBe('ready');
  });

  it('lets whoever may lock memory freely do so', () => {
    const limited = processOf([993], '8388608');
    const status = limited['proc/self/status']!.replace(
      'CapEff:\t0000000000000000',
      'CapEff:\t000001ffffffffff',
    );
    expect(inspect({ ...readyMachine, ...limited, 'proc/self/status': status }).npu.lockableBytes).toBe(
      'unlimited',
    );
  });
});

describe('an NPU that has not started', () => {
  it.each<readonly [string, Files, string, string]>([
    ['without its driver loaded', withoutNpuDriver, 'not loaded', 'sudo modprobe amdxdna'],
    [
      'on a kernel without the driver',
      { ...withoutNpuDriver, 'proc/sys/kernel/osrelease': '6.8.0-85-generic\n' },
      'Kernel 6.8.0-85-generic comes without the driver amdxdna',
      'Install a kernel from 6.14 on',
    ],
    [
      'without firmware',
      { ...withoutNpuDriver, 'sys/module/amdxdna/refcnt': '0' },
      'firmware is not in /lib/firmware/amdnpu/1502_00',
      'linux-firmware',
    ],
    [
      'with driver and firmware',
      {
        ...withoutNpuDriver,
        'sys/module/amdxdna/refcnt': '0',
        'lib/firmware/amdnpu/1502_00/npu.sbin.xz': '',
      },
      'has not started the device',
      'dmesg',
    ],
    [
      'that the firmware setup keeps off',
      without(withoutNpuDriver, 'sys/bus/pci/devices/0000:c6'),
      'none on the PCI bus',
      'firmware setup',
    ],
    ['in a container that hides the bus', without(withoutNpuDriver, 'sys/'), 'shows nothing', '--device'],
    [
      'without its device file',
      without(readyMachine, 'dev/accel'),
      'there is no /dev/accel/accel0',
      'udevadm',
    ],
  ])('%s', (_what, files, reason, fix) => {
    const { npu } = inspect(files);
    expect(npu.state).toBe('lacking');
    expect(reasons(npu)).toContain(reason);
    expect(fixes(npu)).toContain(fix);
  });

  it('is absent where there is none', () => {
    const files = {
      ...without(readyMachine, 'sys/', 'dev/'),
      'proc/cpuinfo': 'model name\t: AMD Ryzen 7 5800X 8-Core Processor\n',
    };
    expect(inspect(files)).toMatchObject({ npu: { state: 'absent', findings: [] }, gpus: [] });
  });
});

describe('a GPU', () => {
  const bus = 'sys/bus/pci/devices/0000:c5:00.0/uevent';
  const noNode = without(readyMachine, 'sys/class/drm', 'dev/dri');

  it.each<readonly [string, Files, string, string]>([
    [
      'without a driver',
      { ...noNode, [bus]: 'PCI_SLOT_NAME=0000:c5:00.0' },
      'amdgpu is not loaded',
      'sudo modprobe amdgpu',
    ],
    ['without a render node', noNode, 'no render node in /dev/dri', '--device /dev/dri'],
    [
      'kept by another driver',
      { ...noNode, [bus]: 'DRIVER=vfio-pci' },
      'kept by the driver vfio-pci',
      'amdgpu',
    ],
    [
      'without its device file',
      without(readyMachine, 'dev/dri'),
      'there is no /dev/dri/renderD128',
      '--device /dev/dri',
    ],
  ])('%s says so', (_what, files, reason, fix) => {
    const [gpu] = inspect(files).gpus;
    expect(gpu!.state).toBe('lacking');
    expect(reasons(gpu!)).toContain(reason);
    expect(fixes(gpu!)).toContain(fix);
  });

  it('of a virtual machine is none', () => {
    const folder = 'sys/bus/pci/devices/0000:00:02.0';
    const files = {
      [`${folder}/vendor`]: '0x1234',
      [`${folder}/device`]: '0x1111',
      [`${folder}/class`]: '0x030000',
    };
    expect(inspect(files).gpus).toEqual([]);
  });
});

describe('a container without /proc', () => {
  it('leaves unknown what it hides', () => {
    const { hasProc, kernel, processor, npu } = inspect(without(readyMachine, 'proc/'));
    expect({ hasProc, kernel, processor }).toEqual({
      hasProc: false,
      kernel: undefined,
      processor: undefined,
    });
    expect(npu.lockableBytes).toBeUndefined();
    expect(npu.driver).toEqual({ name: 'amdxdna' });
  });

  it('does not plan with 0 bytes', () => {
    const memory = (available: number | undefined, free: number, total: number) =>
      readMemory({ available: () => available, free: () => free, total: () => total });
    expect(memory(0, 5e9, 8e9)).toEqual({ totalBytes: 8e9, availableBytes: 5e9 });
    expect(memory(undefined, 0, 8e9)).toEqual({ totalBytes: 8e9 });
    expect(memory(0, Number.NaN, 0)).toEqual({});
    expect(plannableBytes({ totalBytes: 8e9, availableBytes: 5e9 })).toBe(5e9);
    expect(plannableBytes({ totalBytes: 8e9 })).toBe(4e9);
    expect(plannableBytes({})).toBe(Number.POSITIVE_INFINITY);
  });
});

it.each([
  [['node', '/opt/my apps/build.mjs'], "node '/opt/my apps/build.mjs'"],
  [['node', "/it's/a.mjs"], "node '/it'\\''s/a.mjs'"],
  [['usermod', '-aG', 'render'], 'usermod -aG render'],
])('quotes %j for a shell', (words, quoted) => {
  expect(shellQuoted(...words)).toBe(quoted);
});
