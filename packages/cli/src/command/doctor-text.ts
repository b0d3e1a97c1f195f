/** What `unicorn doctor` prints for people: a block for each part of the machine, which ends in what to do about its lacks. */
import type {
  DeviceNode,
  DiagnosedBackend,
  DiagnosedDevice,
  Diagnosis,
  Finding,
  GpuReport,
  NpuReport,
  PciDevice,
} from '@unicorn-exec/api';
import { megabytes } from '../engine-session.js';
import { wrapped } from '../wrapped.js';
import { ratesText } from './device-rates.js';

/** Blanks before the text of a block, below the mark and the name in front of its first line. */
const indent = 14;

type Mark = 'ok' | 'no' | '--';

/** `style` colours a mark for a terminal. */
export function doctorText(diagnosis: Diagnosis, style: (mark: Mark) => string): string {
  const { versions, cpu, memory, npu, gpus, backends } = diagnosis;
  const block = (
    mark: Mark,
    name: string,
    paragraphs: readonly string[],
    findings: readonly Finding[] = [],
  ) => {
    const body = [...paragraphs, ...findings.flatMap(findingLines)]
      .map((text) => wrapped(text, indent))
      .join('');
    return `${style(mark)}  ${name.padEnd(indent - 4)}${body.slice(indent) || '\n'}`;
  };
  const bytes = (value: number | undefined): string => (value === undefined ? 'unknown' : megabytes(value));
  const fact = (name: string, text: string): string =>
    `${name.padEnd(indent)}${wrapped(text, indent).slice(indent)}`;
  const linux = [
    versions.kernel === undefined ? 'kernel unknown' : `kernel ${versions.kernel}`,
    versions.system,
  ];
  return [
    fact(
      'versions',
      [`unicorn ${versions.unicorn}`, `Node ${versions.node}`, ...linux].filter(Boolean).join(', '),
    ),
    fact('processor', `${cpu.name}, ${cpu.cores} cores available`),
    fact('memory', `${bytes(memory.totalBytes)}, of which ${bytes(memory.availableBytes)} available`),
    diagnosis.hasProc
      ? ''
      : fact(
          '',
          '/proc is not mounted, so what is unknown here cannot be read. fix: sudo mount -t proc proc /proc',
        ),
    '\n',
    block(npuMark(npu), 'npu', npuLines(npu), npu.findings),
    ...(gpus.length === 0
      ? [block('--', 'gpu', ['none that the kernel shows (no render node in /dev/dri)'])]
      : gpus.map((gpu) => block(gpu.state === 'ready' ? 'ok' : 'no', 'gpu', gpuLines(gpu), gpu.findings))),
    ...(diagnosis.selfTests ?? []).map(({ backend, passed, device, reason, fix }) =>
      block(passed ? 'ok' : 'no', 'self-test', [
        device ? `${device.name} (${backend})` : backend,
        passed ? 'passed: auto takes it' : (reason ?? 'failed'),
        ...(fix ? [`fix: ${fix}`] : []),
      ]),
    ),
    ...backends.map((backend) => block(backend.available ? 'ok' : 'no', backend.name, backendLines(backend))),
  ].join('');
}

function findingLines({ reason, fix }: Finding): string[] {
  return [reason, `fix: ${fix}`];
}

const npuMark = ({ state }: NpuReport): Mark => (state === 'ready' ? 'ok' : state === 'absent' ? '--' : 'no');

function npuLines({ state, name, pci, node, driver, firmware, lockableBytes }: NpuReport): string[] {
  if (state === 'absent') return ['none: no NPU of AMD (XDNA) on the PCI bus'];
  if (!name) return [];
  const lockable =
    lockableBytes === undefined
      ? 'memlock unknown'
      : `memlock ${lockableBytes === 'unlimited' ? 'unlimited' : megabytes(lockableBytes)}`;
  const loaded = firmware?.version ?? (firmware?.file ? `in ${firmware.file}` : 'unknown');
  return [
    `${name}${pciText(pci)}`,
    [nodeText(node), driverText(driver), `firmware ${loaded}`, lockable].filter(Boolean).join(', '),
    'XRT is not needed. No backend of this release computes on it yet.',
  ];
}

function gpuLines({ name, pci, node, driver, gtt, vram }: GpuReport): string[] {
  const memory = [
    ...(vram ? [`${megabytes(vram.totalBytes)} of its own`] : []),
    ...(gtt ? [`${megabytes(gtt.totalBytes)} of the system's (GTT)`] : []),
  ];
  return [
    `${name}${pciText(pci)}`,
    [nodeText(node), driverText(driver)].filter(Boolean).join(', '),
    memory.length > 0 ? `memory: ${memory.join(', ')}` : '',
  ].filter(Boolean);
}

function backendLines({ devices, openMs, reason, fix }: DiagnosedBackend): string[] {
  const opened = openMs === undefined ? '' : `, opened in ${openMs.toFixed(0)} ms`;
  const lines = devices.flatMap((device, index) => [
    deviceText(device) + (index === 0 ? opened : ''),
    ...(device.isSoftware ? ['computes on the CPU in the place of a GPU, slower than the backend cpu'] : []),
    ...(device.info?.speed ? [ratesText(device.info.speed)] : []),
    // A backend with one device says below what it lacks.
    ...(device.reason && devices.length > 1 && device.reason !== reason ? findingLines(lackOf(device)) : []),
  ]);
  return [...lines, ...(reason ? [reason] : []), ...(fix ? [`fix: ${fix}`] : [])];
}

const lackOf = ({ reason = '', fix = 'unknown' }: DiagnosedDevice): Finding => ({ reason, fix });

/** `vulkan0: AMD Radeon 780M (...), 1002:15bf`. A device that is the CPU has the backend's name as its id. */
function deviceText({ id, name, info }: DiagnosedDevice): string {
  const hardware = info?.hardware;
  const ids = hardware ? `, ${hex(hardware.vendorId)}:${hex(hardware.deviceId)}, UUID ${hardware.uuid}` : '';
  return `${id === info?.backend ? '' : `${id}: `}${name}${ids}`;
}

const hex = (id: number): string => id.toString(16).padStart(4, '0');

function pciText(pci: PciDevice | undefined): string {
  if (!pci) return '';
  return ` (PCI ${pci.vendor}:${pci.device}${pci.address === undefined ? '' : ` at ${pci.address}`})`;
}

function nodeText(node: DeviceNode | undefined): string {
  if (!node) return '';
  return `${node.path} (group ${node.group ?? 'unknown'}${node.accessible ? '' : ', closed to this user'})`;
}

function driverText(driver: { readonly name: string; readonly version?: string } | undefined): string {
  if (!driver) return 'no driver';
  return `driver ${driver.name}${driver.version === undefined ? '' : ` ${driver.version}`}`;
}
