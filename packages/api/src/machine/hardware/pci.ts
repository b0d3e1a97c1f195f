/** Devices on the PCI bus, as sysfs lists them. */
import type { SystemTree } from './system-tree.js';

export interface PciDevice {
  /** Hexadecimal without `0x`: `1002`. */
  readonly vendor: string;
  readonly device: string;
  readonly revision?: string;
  /** Where it sits: `0000:c5:00.1`. */
  readonly address?: string;
}

/** What sysfs says of one device in its folder. */
export interface PciEntry extends PciDevice {
  /** Six hexadecimal digits: `030000` is a display controller. */
  readonly class: string;
  /** The kernel module that drives it; undefined where none does. */
  readonly driver?: string;
}

/** @param folder of the device: `sys/bus/pci/devices/0000:c5:00.1`, or the `device` of a class's entry */
export function readPciEntry(tree: SystemTree, folder: string): PciEntry | undefined {
  const hex = (name: string): string | undefined =>
    tree.read(`${folder}/${name}`)?.replace(/^0x/, '').toLowerCase();
  const event = new Map(
    (tree.read(`${folder}/uevent`) ?? '').split('\n').map((line) => line.split('=', 2) as [string, string]),
  );
  const vendor = hex('vendor');
  const device = hex('device');
  if (vendor === undefined || device === undefined) return undefined;
  const revision = hex('revision');
  const address = event.get('PCI_SLOT_NAME');
  const driver = event.get('DRIVER');
  return {
    vendor,
    device,
    ...(revision === undefined ? {} : { revision }),
    ...(address === undefined ? {} : { address }),
    class: hex('class') ?? '',
    ...(driver === undefined ? {} : { driver }),
  };
}

export function listPciDevices(tree: SystemTree): PciEntry[] {
  return tree.list('sys/bus/pci/devices').flatMap((name) => {
    const entry = readPciEntry(tree, `sys/bus/pci/devices/${name}`);
    return entry ? [{ ...entry, address: entry.address ?? name }] : [];
  });
}

/** The numbers alone, as tools print them: `1002:15bf`. */
export const pciNumbers = ({ vendor, device }: PciDevice): string => `${vendor}:${device}`;

export function withoutDriver({ vendor, device, revision, address }: PciEntry): PciDevice {
  return {
    vendor,
    device,
    ...(revision === undefined ? {} : { revision }),
    ...(address === undefined ? {} : { address }),
  };
}
