/** Cores and memory that the process may use, from the files in which Linux says so. */
import { describe, expect, it } from 'vitest';
import { availableCores, availableMemory, parseCpuList } from '../src/processor.js';

const machine =
  (files: Record<string, string>) =>
  (path: string): string | undefined =>
    files[path];

/** Four cores of two threads each: 0 and 4, 1 and 5, ... */
const topology = Object.fromEntries(
  Array.from({ length: 8 }, (_, cpu) => [
    `/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`,
    `${cpu % 4},${(cpu % 4) + 4}\n`,
  ]),
);

const status = (list: string): Record<string, string> => ({
  '/proc/self/status': `Name:\tnode\nCpus_allowed:\tff\nCpus_allowed_list:\t${list}\nMems_allowed_list:\t0\n`,
});

describe('availableCores', () => {
  it('counts the two threads of a core once', () => {
    expect(availableCores(machine({ ...topology, ...status('0-7') }))).toBe(4);
  });

  it('counts no processor outside the affinity mask', () => {
    expect(availableCores(machine({ ...topology, ...status('1,5-6') }))).toBe(2);
  });

  it('obeys the quota of a control group, of version 2 and 1', () => {
    const files = { ...topology, ...status('0-7') };
    expect(availableCores(machine({ ...files, '/sys/fs/cgroup/cpu.max': '250000 100000\n' }))).toBe(2);
    expect(availableCores(machine({ ...files, '/sys/fs/cgroup/cpu.max': 'max 100000\n' }))).toBe(4);
    expect(availableCores(machine({ ...files, '/sys/fs/cgroup/cpu.max': '50000 100000\n' }))).toBe(1);
    const first = {
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '300000\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
    };
    expect(availableCores(machine({ ...files, ...first }))).toBe(3);
    const unlimited = { ...first, '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n' };
    expect(availableCores(machine({ ...files, ...unlimited }))).toBe(4);
  });

  it('takes processors for cores where the topology is hidden', () => {
    expect(availableCores(machine(status('0-2')))).toBe(3);
  });

  it('finds at least one on any system', () => {
    expect(availableCores(machine({}))).toBeGreaterThanOrEqual(1);
    expect(availableCores()).toBeGreaterThanOrEqual(1);
  });
});

describe('availableMemory', () => {
  it('obeys the limit of a control group', () => {
    expect(availableMemory(machine({ '/sys/fs/cgroup/memory.max': '123456789\n' }))).toBe(123456789);
    expect(availableMemory(machine({ '/sys/fs/cgroup/memory.max': 'max\n' }))).toBe(
      availableMemory(machine({})),
    );
  });
});

describe('parseCpuList', () => {
  it('reads ranges and single processors', () => {
    expect(parseCpuList('0-3,8,10-11\n')).toEqual([0, 1, 2, 3, 8, 10, 11]);
    expect(parseCpuList('\n')).toEqual([]);
  });
});
