/** What `unicorn doctor` prints of machines that are described. */
import { describe, expect, it } from 'vitest';
import type { Diagnosis } from '@unicorn-exec/api';
import { doctorText } from '../src/command/doctor-text.js';

const wholesome: Diagnosis = {
  versions: { unicorn: '0.1.0', node: 'v24.1.0', kernel: '6.14.0-33-generic', system: 'Ubuntu 24.04.3 LTS' },
  cpu: { name: 'AMD Ryzen 9 8945HS w/ Radeon 780M Graphics', cores: 8, architecture: 'x64' },
  memory: { totalBytes: 64e9, availableBytes: 50e9 },
  hasProc: true,
  npu: {
    state: 'ready',
    name: 'AMD XDNA NPU of Phoenix or Hawk Point',
    pci: { vendor: '1022', device: '1502', address: '0000:c6:00.1' },
    node: { path: '/dev/accel/accel0', group: 'render', accessible: true },
    driver: { name: 'amdxdna', version: 'of kernel 6.14.0-33-generic' },
    firmware: { version: '1.5.5.391' },
    lockableBytes: 'unlimited',
    findings: [],
  },
  gpus: [
    {
      state: 'ready',
      name: 'AMD Radeon 780M or 760M (integrated)',
      pci: { vendor: '1002', device: '1900' },
      node: { path: '/dev/dri/renderD128', group: 'render', accessible: true },
      driver: { name: 'amdgpu' },
      gtt: { totalBytes: 33285996544 },
      findings: [],
    },
  ],
  backends: [
    {
      name: 'vulkan',
      available: true,
      devices: [{ id: 'vulkan0', name: 'software rasterizer llvmpipe', isSoftware: true }],
      openMs: 3,
    },
  ],
};

const print = (diagnosis: Diagnosis): string => doctorText(diagnosis, (mark) => mark);
const words = (text: string): string => text.replace(/\s+/g, ' ');

describe('doctor', () => {
  it('names each part with its ids, and a software rasterizer as one', () => {
    const text = words(print(wholesome));
    for (const part of [
      'unicorn 0.1.0, Node v24.1.0, kernel 6.14.0-33-generic, Ubuntu 24.04.3 LTS',
      'ok npu AMD XDNA NPU of Phoenix or Hawk Point (PCI 1022:1502 at 0000:c6:00.1)',
      '/dev/accel/accel0 (group render), driver amdxdna of kernel 6.14.0-33-generic, firmware 1.5.5.391, memlock unlimited',
      'ok gpu AMD Radeon 780M or 760M (integrated) (PCI 1002:1900)',
      "33.29 GB of the system's (GTT)",
      'software rasterizer llvmpipe, opened in 3 ms',
      'computes on the CPU in the place of a GPU',
    ]) {
      expect(text).toContain(part);
    }
    expect(text).not.toContain('fix:');
  });

  it('ends in the fix for what is not well, in 80 columns', () => {
    const text = print({
      ...wholesome,
      npu: {
        ...wholesome.npu,
        state: 'lacking',
        findings: [{ reason: 'The driver amdxdna is not loaded.', fix: 'sudo modprobe amdxdna' }],
      },
    });
    expect(words(text)).toContain('no npu AMD XDNA');
    expect(words(text)).toContain('The driver amdxdna is not loaded. fix: sudo modprobe amdxdna ok gpu');
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  it('says of what is unknown that it is', () => {
    const text = words(
      print({
        ...wholesome,
        versions: { unicorn: '0.1.0', node: 'v24' },
        memory: {},
        hasProc: false,
        gpus: [],
      }),
    );
    expect(text).toContain('kernel unknown');
    expect(text).toContain('memory unknown, of which unknown available');
    expect(text).toContain('/proc is not mounted');
    expect(text).toContain('-- gpu none that the kernel shows');
    expect(text).not.toContain('0 bytes');
  });
});
