/**
 * What decoding would do on a Radeon 780M, projected from a run on another GPU: prints the Markdown table of the Vulkan
 * backend's README. Nothing in it is measured on that device.
 *
 *     node tools/bench-gpu/project-780m.mjs results.json [--bandwidth 73] [--launch-us 5]
 *
 * A token takes the time of its bytes and that of its launches:
 *
 *     bytes / (bandwidth * efficiency) + launches * launch
 *
 * bytes       that a token reads, by the model's file
 * efficiency  of the run: the share of the copy bandwidth that remains when its launches are taken off its time, so that
 *             launches are not counted twice. At most 1.
 * launches    of the run, by its profile: the same programs run on any device
 *
 * --bandwidth  GB/s: what a 780M with DDR5-5600 reads (of 89.6 nominal)
 * --launch-us  microseconds from one dispatch to the next behind a barrier: an assumption
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

const { positionals, values: flags } = parseArgs({
  allowPositionals: true,
  options: {
    bandwidth: { type: 'string', default: '73' },
    'launch-us': { type: 'string', default: '5' },
  },
});
if (positionals.length !== 1) {
  console.error('usage: node project-780m.mjs results.json [--bandwidth 73] [--launch-us 5]');
  process.exit(2);
}
const { models, weights } = JSON.parse(readFileSync(positionals[0], 'utf8'));
const bytesPerSecond = Number(flags.bandwidth) * 1e9;
const launchSeconds = Number(flags['launch-us']) * 1e-6;

const row = (cells) => console.log(`| ${cells.join(' | ')} |`);
row([weights, 'GB a token', 'launches', 'efficiency', 'tok/s, projected', 'tok/s at full bandwidth']);
row(['---', '---:', '---:', '---:', '---:', '---:']);
for (const [name, { ours }] of Object.entries(models)) {
  const decode = ours?.kernels?.phases.find(({ phase }) => phase === 'decode');
  if (!decode || !(ours.decode > 0)) {
    console.error(`${name}: no decode rate, or no kernels, in ${positionals[0]}`);
    continue;
  }
  const { speed } = ours.kernels;
  const launches = decode.launchesPerSubmission;
  const seconds = 1 / ours.decode - launches * (speed.launchSeconds ?? 0);
  const efficiency = Math.min(1, ours.bytesPerToken / speed.bytesPerSecond / seconds);
  const time = ours.bytesPerToken / (bytesPerSecond * efficiency) + launches * launchSeconds;
  row([
    name,
    (ours.bytesPerToken / 1e9).toFixed(2),
    launches.toFixed(0),
    `${(100 * efficiency).toFixed(0)} %`,
    (1 / time).toFixed(1),
    (bytesPerSecond / ours.bytesPerToken).toFixed(1),
  ]);
}
