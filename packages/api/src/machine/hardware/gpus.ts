/**
 * The GPUs of a machine as the kernel presents them, before any Vulkan driver is asked: render node, driver, access, and
 * how much of the system's memory an integrated one may use (GTT). It reads files and opens no device.
 */
import type { Finding } from './finding.js';
import { listPciDevices, readPciEntry, withoutDriver, type PciDevice, type PciEntry } from './pci.js';
import type { SystemTree } from './system-tree.js';
import { accessFinding, readDeviceNode, type DeviceNode, type UserAccess } from './user-access.js';

export interface GpuReport {
  readonly state: 'ready' | 'lacking';
  /** For people: `AMD Radeon 780M (integrated)`. */
  readonly name: string;
  /** Whether it computes in the system's memory; undefined where its numbers do not tell. */
  readonly isIntegrated?: boolean;
  readonly pci?: PciDevice;
  /** The render node, by which programs compute. */
  readonly node?: DeviceNode;
  readonly driver?: { readonly name: string; readonly version?: string };
  /** System memory that an AMD GPU may use, and what it has used of it. */
  readonly gtt?: { readonly totalBytes: number; readonly usedBytes?: number };
  /** Its own memory, or what the firmware has carved out of the system's. */
  readonly vram?: { readonly totalBytes: number; readonly usedBytes?: number };
  readonly findings: readonly Finding[];
}

/** Integrated GPUs of AMD's processors, by device id. */
const amdIntegrated: Readonly<Record<string, string>> = {
  '15bf': 'AMD Radeon 780M, 760M or 740M',
  '15c8': 'AMD Radeon 740M',
  '1900': 'AMD Radeon 780M or 760M',
  '1901': 'AMD Radeon 740M',
  '150e': 'AMD Radeon 890M or 880M',
  '1586': 'AMD Radeon 8060S or 8050S',
  '1114': 'AMD Radeon 860M or 840M',
  '1681': 'AMD Radeon 680M or 660M',
  '164e': 'AMD Radeon of Ryzen 7000',
  '13c0': 'AMD Radeon of Ryzen 9000',
};

const vendors: Readonly<Record<string, string>> = { '1002': 'AMD', '10de': 'NVIDIA', '8086': 'Intel' };

/** The kernel's driver for each vendor's GPUs. */
const drivers: Readonly<Record<string, string>> = { '1002': 'amdgpu', '10de': 'nvidia', '8086': 'i915' };

export function inspectGpus(tree: SystemTree, user: UserAccess): GpuReport[] {
  const reports: GpuReport[] = [];
  const seen = new Set<string>();
  for (const node of tree.list('sys/class/drm', 'renderD')) {
    const folder = `sys/class/drm/${node}/device`;
    const pci = readPciEntry(tree, folder);
    if (pci?.address !== undefined) seen.add(pci.address);
    reports.push(describeGpu(tree, user, { node, folder, pci }));
  }
  for (const pci of listPciDevices(tree)) {
    const isDisplay =
      pci.class.startsWith('0300') || pci.class.startsWith('0302') || pci.class.startsWith('0380');
    // Adapters of virtual machines have no vendor that makes GPUs, and nothing to compute with.
    if (isDisplay && pci.vendor in vendors && !seen.has(pci.address!))
      reports.push(describeGpu(tree, user, { pci }));
  }
  return reports;
}

interface Found {
  /** The render node's name: `renderD128`. */
  readonly node?: string;
  /** The device's folder in sysfs. */
  readonly folder?: string;
  readonly pci: PciEntry | undefined;
}

function describeGpu(tree: SystemTree, user: UserAccess, { node, folder, pci }: Found): GpuReport {
  const path = node === undefined ? undefined : `dev/dri/${node}`;
  const file = path === undefined ? undefined : readDeviceNode(tree, path, user);
  const name = nameOf(pci);
  const findings: Finding[] = [];
  if (path === undefined) findings.push(noNode(name, pci));
  else if (!file) findings.push(missingNode(`/${path}`));
  else if (!file.accessible) findings.push(accessFinding(file));
  const module = pci?.driver;
  const version = module === undefined ? undefined : tree.read(`sys/module/${module}/version`);
  const memory = (kind: 'gtt' | 'vram'): GpuReport['gtt'] => {
    const totalBytes = folder === undefined ? undefined : tree.readNumber(`${folder}/mem_info_${kind}_total`);
    if (totalBytes === undefined) return undefined;
    const usedBytes = tree.readNumber(`${folder}/mem_info_${kind}_used`);
    return { totalBytes, ...(usedBytes === undefined ? {} : { usedBytes }) };
  };
  const gtt = memory('gtt');
  const vram = memory('vram');
  const isIntegrated = integrated(pci);
  return {
    state: findings.length === 0 ? 'ready' : 'lacking',
    name: isIntegrated ? `${name} (integrated)` : name,
    ...(isIntegrated === undefined ? {} : { isIntegrated }),
    ...(pci ? { pci: withoutDriver(pci) } : {}),
    ...(file ? { node: file } : {}),
    ...(module === undefined
      ? {}
      : { driver: { name: module, ...(version === undefined ? {} : { version }) } }),
    ...(gtt ? { gtt } : {}),
    ...(vram ? { vram } : {}),
    findings,
  };
}

function nameOf(pci: PciEntry | undefined): string {
  if (!pci) return 'GPU';
  if (pci.vendor === '1002' && amdIntegrated[pci.device]) return amdIntegrated[pci.device]!;
  return `${vendors[pci.vendor] ?? `vendor ${pci.vendor}`} GPU`;
}

function integrated(pci: PciEntry | undefined): boolean | undefined {
  if (pci?.vendor === '1002' && Object.hasOwn(amdIntegrated, pci.device)) return true;
  return pci?.vendor === '10de' ? false : undefined;
}

function noNode(name: string, pci: PciEntry | undefined): Finding {
  const wanted = drivers[pci?.vendor ?? ''] ?? 'its driver';
  if (pci?.driver === undefined) {
    const fix =
      wanted === 'nvidia'
        ? "Install NVIDIA's driver (Ubuntu: sudo ubuntu-drivers install)."
        : `sudo modprobe ${wanted}. Where it fails, install the package linux-firmware and remove nomodeset from the kernel command line.`;
    return { reason: `${name} has no driver: ${wanted} is not loaded.`, fix };
  }
  if (pci.driver === wanted || pci.driver === 'xe' || pci.driver === 'nouveau') {
    return {
      reason: `${name} has the driver ${pci.driver}, but there is no render node in /dev/dri.`,
      fix: 'In a container pass it on: --device /dev/dri. Else read why: sudo dmesg | grep -i drm',
    };
  }
  return {
    reason: `${name} is kept by the driver ${pci.driver}, which gives no render node.`,
    fix: `Leave it to ${wanted}: remove what binds it to ${pci.driver}, then start anew.`,
  };
}

function missingNode(path: string): Finding {
  return {
    reason: `The driver has the device, but there is no ${path}.`,
    fix: 'In a container pass it on: --device /dev/dri. Else: sudo udevadm trigger --subsystem-match=drm',
  };
}
