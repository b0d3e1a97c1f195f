/**
 * What decoding would do on a Radeon 780M, projected from a run on another GPU: prints the Markdown table of
 * docs/measurements/radeon-780m.md. Nothing in it is measured on that device.
 *
 *     node tools/bench-gpu/project-780m.mjs results.json [--bandwidth 73] [--launch-us 5] [--write PAGE.md]
 *
 * A token takes the time of its bytes and that of its launches:
 *
 *     bytes / (bandwidth * efficiency) + launches * launch
 *
 * bytes       that a token reads, by the model's file
 * efficiency  of the run's profile, in which launches follow each other with barriers as they do on a 780M: the share of the
 *             copy bandwidth that remains when launches are taken off its time, so that they are not counted twice. At most 1.
 * launches    of the run, by its profile: the same programs run on any device, without what reads ahead on large ones
 *
 * The last column has an efficiency of 1 in its place. Kernels that are too small for the measured device, and so cost it
 * efficiency, fill one with a tenth of its compute units: large models are projected better than small ones.
 *
 * --bandwidth  GB/s: what a 780M with DDR5-5600 reads (of 89.6 nominal)
 * --launch-us  microseconds from one dispatch to the next behind a barrier: an assumption
 * --write      puts the table into a file, between the lines `<!-- 780m -->` and `<!-- /780m -->`
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

const { positionals, values: flags } = parseArgs({
  allowPositionals: true,
  options: {
    bandwidth: { type: 'string', default: '73' },
    'launch-us': { type: 'string', default: '5' },
    write: { type: 'string' },
  },
});
if (positionals.length !== 1) {
  console.error(
    'usage: node project-780m.mjs results.json [--bandwidth 73] [--launch-us 5] [--write PAGE.md]',
  );
  process.exit(2);
}
const { models, weights } = JSON.parse(readFileSync(positionals[0], 'utf8'));
const bytesPerSecond = Number(flags.bandwidth) * 1e9;
const launchSeconds = Number(flags['launch-us']) * 1e-6;

const rows = [
  [weights, 'GB a token', 'launches', 'efficiency', 'tok/s, projected', 'tok/s at full bandwidth'],
];
for (const [name, { ours }] of Object.entries(models)) {
  const decode = ours?.kernels?.phases.find(({ phase }) => phase === 'decode');
  if (decode?.launchesPerSubmission === undefined || !(decode.millisecondsPerSubmission > 0)) {
    console.error(
      `${name}: ${positionals[0]} has no profile of its decoding: measure with --kernels on a GPU`,
    );
    continue;
  }
  const { speed } = ours.kernels;
  const measured = decode.launchesPerSubmission;
  const seconds = decode.millisecondsPerSubmission / 1e3 - measured * (speed.launchSeconds ?? 0);
  const launches = measured - readsAhead(decode);
  const efficiency = Math.min(1, ours.bytesPerToken / speed.bytesPerSecond / seconds);
  const perToken = (share) => ours.bytesPerToken / (bytesPerSecond * share) + launches * launchSeconds;
  rows.push([
    name,
    (ours.bytesPerToken / 1e9).toFixed(2),
    launches.toFixed(0),
    `${(100 * efficiency).toFixed(0)} %`,
    (1 / perToken(efficiency)).toFixed(1),
    (1 / perToken(1)).toFixed(1),
  ]);
}
// As Prettier lays tables out: names to the left, numbers to the right.
const widths = rows[0].map((_, column) => Math.max(...rows.map((cells) => cells[column].length)));
const pad = (cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]));
const line = (cells) => `| ${cells.join(' | ')} |`;
const rule = widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
const lines = [rows[0].map(pad), rule, ...rows.slice(1).map((cells) => cells.map(pad))].map(line);
console.log(lines.join('\n'));
if (flags.write !== undefined) {
  const text = readFileSync(flags.write, 'utf8');
  const [begin, end] = ['<!-- 780m -->', '<!-- /780m -->'];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${flags.write} has no lines ${begin} and ${end}.`);
  writeFileSync(
    flags.write,
    `${text.slice(0, from + begin.length)}\n\n${lines.join('\n')}\n\n${text.slice(to)}`,
  );
}

/** Launches of a token that read ahead: integrated devices have none. */
function readsAhead({ rows }) {
  const each = rows.flatMap(({ callsPerSubmission, kernels }) =>
    kernels.map(({ name, launchesPerCall }) =>
      name === 'prefetch' ? callsPerSubmission * launchesPerCall : 0,
    ),
  );
  return each.reduce((sum, count) => sum + count, 0);
}
