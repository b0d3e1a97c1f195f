/** What this process may open and lock: user, groups and the limit on locked memory, as `/proc/self` tells them. */
import { shellQuoted, type Finding } from './finding.js';
import type { SystemTree } from './system-tree.js';

export interface UserAccess {
  /** Undefined where the system does not say. */
  readonly uid?: number;
  /** Ids of all groups, the user's own included. */
  readonly groups: readonly number[];
  /** Bytes that the process may lock in memory; undefined where the system does not say. */
  readonly lockableBytes?: number | 'unlimited';
}

/** CAP_IPC_LOCK: whoever has it locks as much as it likes. */
const lockCapability = 1n << 14n;

export function readUserAccess(tree: SystemTree): UserAccess {
  const status = tree.read('proc/self/status') ?? '';
  const line = (name: string): string | undefined =>
    new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1]?.trim();
  const numbers = (name: string): number[] => (line(name) ?? '').split(/\s+/).filter(Boolean).map(Number);
  const own = tree.isThisMachine ? { uid: process.geteuid?.(), gid: process.getegid?.() } : {};
  // Real, effective, saved and file system ids, in this order.
  const uid = numbers('Uid')[1] ?? own.uid;
  const gid = numbers('Gid')[1] ?? own.gid;
  const listed =
    line('Groups') === undefined && tree.isThisMachine ? process.getgroups?.() : numbers('Groups');
  const groups = new Set([...(gid === undefined ? [] : [gid]), ...(listed ?? [])]);
  const capabilities = line('CapEff');
  const locksFreely =
    capabilities !== undefined &&
    /^[\da-f]+$/i.test(capabilities) &&
    (BigInt(`0x${capabilities}`) & lockCapability) !== 0n;
  const limit = /^Max locked memory\s+(\S+)/m.exec(tree.read('proc/self/limits') ?? '')?.[1];
  const lockableBytes =
    locksFreely || limit === 'unlimited' ? 'unlimited' : limit === undefined ? undefined : Number(limit);
  return {
    ...(uid === undefined ? {} : { uid }),
    groups: [...groups],
    ...(lockableBytes === undefined ? {} : { lockableBytes }),
  };
}

/** A device file and whether the process may use it. */
export interface DeviceNode {
  /** `/dev/accel/accel0`. */
  readonly path: string;
  /** The group that it belongs to; its number where the group has no name. */
  readonly group?: string;
  readonly accessible: boolean;
}

/** @returns undefined where there is no such file */
export function readDeviceNode(tree: SystemTree, path: string, user: UserAccess): DeviceNode | undefined {
  const owner = tree.owner(path);
  if (!owner) return undefined;
  const group = groupName(tree, owner.gid);
  const shift = user.uid === owner.uid ? 6 : user.groups.includes(owner.gid) ? 3 : 0;
  const accessible = tree.isThisMachine
    ? tree.mayOpen(path)
    : user.uid === 0 || ((owner.mode >> shift) & 6) === 6;
  return { path: `/${path}`, group, accessible };
}

/** What a device file that the process may not open needs. */
export function accessFinding({ path, group = 'render' }: DeviceNode): Finding {
  return {
    reason: `This user may not open ${path}, which belongs to the group ${group}.`,
    fix:
      /^\d+$/.test(group) || group === 'root'
        ? `Give the device file to a group of this user: sudo chgrp render ${shellQuoted(path)} && sudo chmod g+rw ${shellQuoted(path)}`
        : `sudo usermod -aG ${shellQuoted(group)} "$USER", then log out and in again`,
  };
}

function groupName(tree: SystemTree, gid: number): string {
  for (const line of (tree.read('etc/group') ?? '').split('\n')) {
    const [name, , id] = line.split(':');
    if (name && Number(id) === gid) return name;
  }
  return String(gid);
}
