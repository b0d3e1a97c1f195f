/** The processor's name, and how much of it the process may use by its affinity and its control group. */
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';

/** Reads a small file; undefined where there is none (other systems, sandboxes). */
export type ReadText = (path: string) => string | undefined;

const readText: ReadText = (path) => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
};

/** `0-3,8` to [0, 1, 2, 3, 8]. */
export function parseCpuList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [first, last] = part.split('-').map(Number) as [number, number | undefined];
      return Array.from({ length: (last ?? first) - first + 1 }, (_, i) => first + i);
    });
}

/** The processors' share that the control group grants, in whole processors; undefined: no limit. */
function cgroupProcessors(read: ReadText): number | undefined {
  const unified = read('/sys/fs/cgroup/cpu.max')?.trim().split(/\s+/);
  const [quota, period] = unified ?? [
    read('/sys/fs/cgroup/cpu/cpu.cfs_quota_us')?.trim(),
    read('/sys/fs/cgroup/cpu/cpu.cfs_period_us')?.trim(),
  ];
  const share = Number(quota) / Number(period);
  // A fraction of a processor still runs one thread; two threads on one and a half would wait for each other.
  return share > 0 && Number.isFinite(share) ? Math.max(1, Math.floor(share)) : undefined;
}

/**
 * Physical cores that the process may run on: hyper-threads of one core count once, processors outside the affinity
 * mask not at all, and no more than the control group's quota.
 */
export function availableCores(read: ReadText = readText): number {
  const allowed = /^Cpus_allowed_list:\s*(.*)$/m.exec(read('/proc/self/status') ?? '')?.[1];
  const cores = new Set<string>();
  for (const cpu of allowed === undefined ? [] : parseCpuList(allowed)) {
    const siblings = read(`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`);
    cores.add(siblings?.trim() ?? `cpu${cpu}`);
  }
  const physical = cores.size > 0 ? cores.size : availableParallelism();
  return Math.max(1, Math.min(physical, cgroupProcessors(read) ?? physical));
}

/** Bytes of memory that the process may use. */
export function availableMemory(read: ReadText = readText): number {
  const text = read('/sys/fs/cgroup/memory.max') ?? read('/sys/fs/cgroup/memory/memory.limit_in_bytes');
  const limit = Number(text?.trim());
  return limit > 0 && limit < totalmem() ? limit : totalmem();
}

/** `AMD EPYC 9B14`, or the architecture where the system does not say. */
export function processorName(): string {
  const model = cpus()[0]?.model.trim().replace(/\s+/g, ' ');
  return model === undefined || model === '' || model === 'unknown' ? process.arch : model;
}
