/** `unicorn bench --kernels`: where the time of prefill and decode goes, against the bandwidth measured in the same run. */
import {
  expectedShare,
  profileKernels,
  type KernelProfile,
  type PhaseProfile,
} from '@unicorn-exec/api/measure';
import { measuringOptions, withEngine } from '../engine-session.js';
import type { BenchFlags } from '../option.js';
import { markdownTable } from '../table.js';
import type { Terminal } from '../terminal.js';
import { onlyNumber, withOneThreads } from './bench-flags.js';

export async function benchKernels(terminal: Terminal, flags: BenchFlags): Promise<void> {
  const promptTokens = onlyNumber(flags.prompt, '--prompt');
  const generateTokens = onlyNumber(flags.generate, '--generate');
  const context = flags.context ?? Math.max(promptTokens, generateTokens) + 1;
  const options = {
    ...measuringOptions(withOneThreads(flags), terminal),
    context,
    maxSequences: 1,
    profile: true,
  };
  await withEngine(terminal, options, async ({ engine }) => {
    const profile = await profileKernels(engine, {
      promptTokens,
      generateTokens,
      repetitions: flags.repetitions,
      signal: terminal.signal,
    });
    if (flags.json) terminal.writeJson(profile);
    else print(terminal, profile);
  });
}

function print(terminal: Terminal, { backend, model, speed, phases }: KernelProfile): void {
  const bandwidth = `${speed.kind === 'copy' ? 'copies' : 'reads'} ${gigabytes(speed.bytesPerSecond)} GB/s`;
  const launch =
    speed.launchSeconds === undefined ? '' : `, launches in ${(speed.launchSeconds * 1e6).toFixed(1)} us`;
  terminal.write(`${backend.device}: ${bandwidth}${launch} (measured)\n`);
  for (const phase of phases) printPhase(terminal, model, phase);
}

function printPhase(terminal: Terminal, model: string, phase: PhaseProfile): void {
  const { tokens, submissions, millisecondsPerSubmission, launchesPerSubmission, rows } = phase;
  const launches =
    launchesPerSubmission === undefined
      ? ''
      : `, ${launchesPerSubmission.toFixed(0)} launches, none beside another`;
  terminal.write(
    `\n${phase.phase} of ${model}: ${millisecondsPerSubmission.toFixed(3)} ms on the device for ` +
      `${tokens} token${tokens === 1 ? '' : 's'}${launches}; mean of ${submissions} submissions\n\n`,
  );
  const header = ['step', 'calls', 'us', 'GB/s', 'of bandwidth', 'TFLOP/s', 'of time'];
  const cells = rows.flatMap((row) => {
    const work = [
      gigabytes(row.bytesPerSecond),
      percent(row.bandwidthShare),
      (row.flopsPerSecond / 1e12).toFixed(2),
    ];
    const name = row.detail === '' ? row.step : `${row.step} ${row.detail}`;
    const whole = [
      name,
      count(row.callsPerSubmission),
      row.microsecondsPerCall.toFixed(1),
      ...work,
      percent(row.timeShare),
    ];
    // One launch under the step's own name would only repeat it.
    const parts = row.kernels.length > 1 ? row.kernels : [];
    return [
      whole,
      ...parts.map(({ name: kernel, launchesPerCall, microsecondsPerLaunch }) => [
        `  ${kernel}`,
        count(launchesPerCall * row.callsPerSubmission),
        microsecondsPerLaunch.toFixed(1),
        ...['', '', '', ''],
      ]),
    ];
  });
  terminal.write(markdownTable(header, cells));
  const slow = rows.filter(({ reason }) => reason !== undefined);
  if (slow.length === 0) return;
  terminal.write(`\nbelow ${percent(expectedShare)} of the bandwidth:\n`);
  for (const { step, detail, reason } of slow) {
    terminal.write(`  ${detail === '' ? step : `${step} ${detail}`}: ${reason}\n`);
  }
}

const count = (value: number): string => (Number.isInteger(value) ? String(value) : value.toFixed(1));
const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
const gigabytes = (bytesPerSecond: number): string => {
  const value = bytesPerSecond / 1e9;
  return value.toFixed(value < 100 ? 1 : 0);
};
