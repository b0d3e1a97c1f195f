/**
 * The NPU of AMD's Ryzen AI processors (XDNA), as the kernel presents it: device, driver, firmware, access, limits. It reads
 * files and opens no device. XRT, AMD's own library, is not needed: the kernel's interface is enough.
 */
import type { Finding } from './finding.js';
import { listPciDevices, readPciEntry, withoutDriver, type PciDevice, type PciEntry } from './pci.js';
import type { SystemTree } from './system-tree.js';
import { accessFinding, readDeviceNode, type DeviceNode, type UserAccess } from './user-access.js';

export interface NpuReport {
  /** `absent`: the machine has none. `lacking`: it has one that cannot be used, see `findings`. */
  readonly state: 'ready' | 'lacking' | 'absent';
  /** For people: `AMD XDNA NPU of Phoenix or Hawk Point`. */
  readonly name?: string;
  readonly pci?: PciDevice;
  readonly node?: DeviceNode;
  /** The kernel module; its version is its own or, where it has none, that of the kernel that it came with. */
  readonly driver?: { readonly name: string; readonly version?: string };
  readonly firmware?: {
    /** What the driver has loaded. */
    readonly version?: string;
    /** The file on disk. */
    readonly file?: string;
  };
  /** Bytes that this process may lock; the driver's heap of 64 MiB is locked. Undefined where the system does not say. */
  readonly lockableBytes?: number | 'unlimited';
  readonly findings: readonly Finding[];
}

const vendor = '1022';

/** By device id; firmware lies in a folder named by id and revision. */
const npuNames: Readonly<Record<string, string>> = {
  '1502': 'AMD XDNA NPU of Phoenix or Hawk Point',
  '17f0': 'AMD XDNA 2 NPU of Strix, Strix Halo or Krackan',
};

/** The driver's heap, which it locks in memory. */
const heapBytes = 64 * 2 ** 20;

/** The first kernel with the driver in its own tree. */
const firstKernel: readonly [number, number] = [6, 14];

/** Processors that are sold with an NPU, by what `/proc/cpuinfo` calls them: 7x40 and 8x4x with graphics, and Ryzen AI. */
const npuProcessor = /Ryzen AI|Ryzen \d (?:PRO )?(?:7[4-9]40(?:HS|U)|8[4-9]4\d(?:HS|U)|8[67]00G)/;

export function inspectNpu(tree: SystemTree, user: UserAccess): NpuReport {
  const found = findNpu(tree);
  if (!found) return absent(tree);
  const { pci, entry } = found;
  const nodePath = entry === undefined ? undefined : `dev/accel/${entry}`;
  const node = nodePath === undefined ? undefined : readDeviceNode(tree, nodePath, user);
  const kernel = tree.read('proc/sys/kernel/osrelease');
  const version =
    tree.read('sys/module/amdxdna/version') ?? (pci.driver && kernel ? `of kernel ${kernel}` : undefined);
  const firmwareVersion =
    entry === undefined ? undefined : tree.read(`sys/class/accel/${entry}/device/fw_version`);
  const firmwareFile = findFirmware(tree, pci);
  const findings = [
    ...driverFindings(tree, pci, entry, firmwareFile, kernel),
    ...(nodePath !== undefined && !node ? [missingNode(`/${nodePath}`)] : []),
    ...(node && !node.accessible ? [accessFinding(node)] : []),
    ...lockFindings(user),
  ];
  return {
    state: findings.length === 0 ? 'ready' : 'lacking',
    name: npuNames[pci.device] ?? 'AMD NPU',
    pci: withoutDriver(pci),
    ...(node ? { node } : {}),
    ...(pci.driver ? { driver: { name: pci.driver, ...(version === undefined ? {} : { version }) } } : {}),
    ...(firmwareVersion !== undefined || firmwareFile !== undefined
      ? {
          firmware: {
            ...(firmwareVersion === undefined ? {} : { version: firmwareVersion }),
            ...(firmwareFile === undefined ? {} : { file: firmwareFile }),
          },
        }
      : {}),
    ...(user.lockableBytes === undefined ? {} : { lockableBytes: user.lockableBytes }),
    findings,
  };
}

/** The NPU, and its name in the class `accel` where a driver has made it one. */
function findNpu(tree: SystemTree): { pci: PciEntry; entry?: string } | undefined {
  for (const entry of tree.list('sys/class/accel', 'accel')) {
    const pci = readPciEntry(tree, `sys/class/accel/${entry}/device`);
    if (pci && isNpu(pci)) return { pci, entry };
  }
  const pci = listPciDevices(tree).find(isNpu);
  return pci && { pci };
}

const isNpu = ({ vendor: maker, device }: PciDevice): boolean => maker === vendor && device in npuNames;

/** No such device on the bus: none in the machine, or one that the firmware keeps off. */
function absent(tree: SystemTree): NpuReport {
  const processor = /^model name\s*:\s*(.*)$/m.exec(tree.read('proc/cpuinfo') ?? '')?.[1];
  if (processor === undefined || !npuProcessor.test(processor)) return { state: 'absent', findings: [] };
  const isHidden = tree.list('sys/bus/pci/devices').length === 0;
  return {
    state: 'lacking',
    findings: [
      {
        reason: `${processor} has an NPU, but there is none on the PCI bus${isHidden ? ', of which this system shows nothing' : ''}.`,
        fix: isHidden
          ? 'In a container or virtual machine, pass the device on: for example docker run --device /dev/accel/accel0'
          : 'Enable it in the firmware setup (IPU, NPU or "Signal Processing Device"), then start anew.',
      },
    ],
  };
}

function driverFindings(
  tree: SystemTree,
  pci: PciEntry,
  entry: string | undefined,
  firmwareFile: string | undefined,
  kernel: string | undefined,
): Finding[] {
  if (entry !== undefined) return [];
  if (pci.driver === undefined && !tree.exists('sys/module/amdxdna')) {
    if (kernel !== undefined && isOlder(kernel, firstKernel)) {
      return [
        {
          reason: `Kernel ${kernel} comes without the driver amdxdna, which is part of Linux from ${firstKernel.join('.')} on.`,
          fix: `Install a kernel from ${firstKernel.join('.')} on (Ubuntu 24.04: sudo apt-get install linux-generic-hwe-24.04).`,
        },
      ];
    }
    return [{ reason: 'The driver amdxdna is not loaded.', fix: 'sudo modprobe amdxdna' }];
  }
  const noFirmware = firmwareFile === undefined;
  return [
    noFirmware
      ? {
          reason: `The driver amdxdna has not started the device: its firmware is not in /lib/firmware/amdnpu/${firmwareFolder(pci)}.`,
          fix: 'Install the package linux-firmware (Debian: firmware-amd-graphics and firmware-misc-nonfree), then start anew.',
        }
      : {
          reason: 'The driver amdxdna is loaded and has not started the device.',
          fix: 'Read why: sudo dmesg | grep -i -e amdxdna -e iommu. It needs the IOMMU: no amd_iommu=off and no iommu=off on the kernel command line, and enabled in the firmware setup.',
        },
  ];
}

function missingNode(path: string): Finding {
  return {
    reason: `The driver has the device, but there is no ${path}.`,
    fix: `Load udev's devices anew: sudo udevadm trigger --subsystem-match=accel. In a container pass it on: --device ${path}`,
  };
}

function lockFindings({ lockableBytes }: UserAccess): Finding[] {
  if (typeof lockableBytes !== 'number' || lockableBytes >= heapBytes) return [];
  return [
    {
      reason: `This user may lock ${Math.floor(lockableBytes / 2 ** 20)} MiB of memory (memlock); the NPU needs ${heapBytes / 2 ** 20} MiB and more.`,
      fix: `echo "$USER - memlock unlimited" | sudo tee /etc/security/limits.d/99-amdxdna.conf, then log out and in again`,
    },
  ];
}

const firmwareFolder = ({ device, revision = '00' }: PciDevice): string =>
  `${device}_${revision.padStart(2, '0')}`;

/** Distributions store it plain or packed. */
function findFirmware(tree: SystemTree, pci: PciDevice): string | undefined {
  const folder = `lib/firmware/amdnpu/${firmwareFolder(pci)}`;
  const file = tree.list(folder, 'npu')[0];
  return file && `/${folder}/${file}`;
}

function isOlder(kernel: string, [major, minor]: readonly [number, number]): boolean {
  const match = /^(\d+)\.(\d+)/.exec(kernel);
  if (!match) return false;
  const [own, ownMinor] = [Number(match[1]), Number(match[2])];
  return own < major || (own === major && ownMinor < minor);
}
