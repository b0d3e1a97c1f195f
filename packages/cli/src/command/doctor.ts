/** `unicorn doctor`: what this machine can compute on, what is missing, and the fix for each lack. */
import { diagnose } from '@unicorn-exec/api';
import { megabytes } from '../engine-session.js';
import type { Terminal } from '../terminal.js';
import { ratesText } from './device-rates.js';

interface DoctorFlags {
  readonly build?: boolean;
  readonly json?: boolean;
}

export async function doctor(terminal: Terminal, flags: DoctorFlags): Promise<void> {
  if (flags.build) {
    const { buildNative } = await import('@unicorn-exec/api');
    const built = await buildNative((backend) =>
      terminal.note(`compiling the native part of ${backend} ...`),
    );
    for (const { backend, path, seconds } of built) {
      terminal.note(`${backend}: ${path} in ${seconds.toFixed(0)} s`);
    }
  }
  const diagnosis = await diagnose();
  if (flags.json) {
    terminal.writeJson(diagnosis);
    return;
  }
  const { cpu, memory } = diagnosis;
  terminal.write(`cpu     ${cpu.name}, ${cpu.cores} cores available\n`);
  terminal.write(`memory  ${megabytes(memory.totalBytes)}, ${megabytes(memory.availableBytes)} available\n`);
  terminal.write(`node    ${diagnosis.node}\n\n`);
  for (const backend of diagnosis.backends) {
    const mark = backend.available ? terminal.style('green', 'ok') : terminal.style('red', 'no');
    const opened = backend.openMs === undefined ? '' : `, opened in ${backend.openMs.toFixed(0)} ms`;
    terminal.write(
      `${mark}  ${backend.name.padEnd(10)} ${backend.devices.map(({ name }) => name).join(', ')}${opened}\n`,
    );
    for (const { info } of backend.devices) {
      if (info?.speed) terminal.write(`    ${' '.repeat(10)} ${ratesText(info.speed)}\n`);
    }
    if (backend.reason) terminal.write(`    ${' '.repeat(10)} ${backend.reason}\n`);
    if (backend.fix) terminal.write(`    ${' '.repeat(10)} fix: ${backend.fix}\n`);
  }
}
