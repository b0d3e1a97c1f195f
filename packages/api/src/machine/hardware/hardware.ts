/** What the system says of this machine's devices and programs: all that `unicorn doctor` tells besides the backends. */
import { cpus, release } from 'node:os';
import { inspectGpus, type GpuReport } from './gpus.js';
import { inspectNpu, type NpuReport } from './npu.js';
import { SystemTree } from './system-tree.js';
import { readUserAccess } from './user-access.js';

export interface HardwareReport {
  readonly npu: NpuReport;
  /** Empty where the kernel shows none. */
  readonly gpus: readonly GpuReport[];
  /** False in a container without `/proc`: what follows from it is then unknown. */
  readonly hasProc: boolean;
  /** The release of the kernel; undefined where the system does not say. */
  readonly kernel?: string;
  /** For people: `Ubuntu 24.04.3 LTS`. */
  readonly system?: string;
  /** For people. */
  readonly processor?: string;
}

export function inspectHardware(tree = new SystemTree()): HardwareReport {
  const user = readUserAccess(tree);
  const kernel = tree.read('proc/sys/kernel/osrelease') ?? (tree.isThisMachine ? release() : undefined);
  const system = /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(tree.read('etc/os-release') ?? '')?.[1];
  const processor =
    /^model name\s*:\s*(.*)$/m.exec(tree.read('proc/cpuinfo') ?? '')?.[1]?.trim() ??
    (tree.isThisMachine ? cpus()[0]?.model.trim() : undefined);
  return {
    npu: inspectNpu(tree, user),
    gpus: inspectGpus(tree, user),
    hasProc: tree.exists('proc/self/status'),
    ...(kernel === undefined ? {} : { kernel }),
    ...(system === undefined ? {} : { system }),
    ...(processor ? { processor } : {}),
  };
}
