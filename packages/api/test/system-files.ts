/** Trees of files in which Linux describes machines, written to a temporary folder. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { SystemTree, type FileOwner } from '../src/machine/hardware/system-tree.js';

/** Texts by path below the root. */
export type Files = Readonly<Record<string, string>>;

const renderGroup = 993;

/** A user of id 1000 in the groups of these ids. */
export const processOf = (groups: readonly number[], lockable = 'unlimited'): Files => ({
  'proc/self/status': `Name:\tnode\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nGroups:\t${groups.join(' ')} \nCapEff:\t0000000000000000\n`,
  'proc/self/limits': `Limit                     Soft Limit           Hard Limit           Units\nMax locked memory         ${lockable}              ${lockable}              bytes\n`,
});

const system: Files = {
  'etc/group': `root:x:0:\nvideo:x:44:\nrender:x:${renderGroup}:\n`,
  'etc/os-release': 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 24.04.3 LTS"\n',
  'proc/cpuinfo': 'processor\t: 0\nmodel name\t: AMD Ryzen 9 8945HS w/ Radeon 780M Graphics\n',
  'proc/sys/kernel/osrelease': '6.14.0-33-generic\n',
};

const gpuFiles = (folder: string): Files => ({
  [`${folder}/vendor`]: '0x1002\n',
  [`${folder}/device`]: '0x1900\n',
  [`${folder}/revision`]: '0xc4\n',
  [`${folder}/class`]: '0x030000\n',
  [`${folder}/uevent`]: 'DRIVER=amdgpu\nPCI_SLOT_NAME=0000:c5:00.0\n',
});

const npuFiles = (folder: string, driver = 'DRIVER=amdxdna\n'): Files => ({
  [`${folder}/vendor`]: '0x1022\n',
  [`${folder}/device`]: '0x1502\n',
  [`${folder}/revision`]: '0x00\n',
  [`${folder}/class`]: '0x118000\n',
  [`${folder}/uevent`]: `${driver}PCI_SLOT_NAME=0000:c6:00.1\n`,
});

const gpu: Files = {
  ...gpuFiles('sys/bus/pci/devices/0000:c5:00.0'),
  ...gpuFiles('sys/class/drm/renderD128/device'),
  'sys/class/drm/renderD128/device/mem_info_gtt_total': '33285996544\n',
  'sys/class/drm/renderD128/device/mem_info_gtt_used': '268435456\n',
  'sys/class/drm/renderD128/device/mem_info_vram_total': '4294967296\n',
  'dev/dri/renderD128': '',
};

const npu: Files = {
  ...npuFiles('sys/bus/pci/devices/0000:c6:00.1'),
  ...npuFiles('sys/class/accel/accel0/device'),
  'sys/class/accel/accel0/device/fw_version': '1.5.5.391\n',
  'sys/module/amdxdna/refcnt': '0\n',
  'lib/firmware/amdnpu/1502_00/npu.sbin.zst': '',
  'dev/accel/accel0': '',
};

/** A Ryzen 9 8945HS with its NPU and its Radeon 780M, all of it well, for a user of the group `render`. */
export const readyMachine: Files = { ...system, ...gpu, ...npu, ...processOf([renderGroup]) };

/** The same without a driver for the NPU. */
export const withoutNpuDriver: Files = {
  ...system,
  ...gpu,
  ...processOf([renderGroup]),
  ...npuFiles('sys/bus/pci/devices/0000:c6:00.1', ''),
};

const deviceFile: FileOwner = { uid: 0, gid: renderGroup, mode: 0o660 };

export function systemTree(files: Files): SystemTree {
  const root = mkdtempSync(join(tmpdir(), 'unicorn-system-'));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const owners = Object.fromEntries(
    Object.keys(files)
      .filter((path) => path.startsWith('dev/'))
      .map((path) => [path, deviceFile]),
  );
  return new SystemTree({ root, owners });
}
