/**
 * The conformance suite on the device of this machine, without a test framework: lines for what fails, and a closing
 * count. Exit 1 when anything failed.
 *
 *     node conform.mjs [--backend vulkan] [--only PATTERN] [--precision f32|fast]
 */
import { parseArgs } from 'node:util';
import { conformanceCases, contractCases, runCase, unsupportedReason } from '@unicorn-exec/conformance';

const { values: flags } = parseArgs({
  options: {
    backend: { type: 'string', default: 'vulkan' },
    only: { type: 'string', default: '' },
    precision: { type: 'string' },
  },
});
const backend = (await import(`@unicorn-exec/backend-${flags.backend}`))[`${flags.backend}Backend`];

const only = new RegExp(flags.only);
const counts = { passed: 0, failed: 0, skipped: 0 };
const description = (await backend.probe()).find(({ usable }) => usable);
if (description === undefined) {
  console.error(JSON.stringify(await backend.probe(), undefined, 1));
  process.exit(1);
}
const { id, info } = description;
console.log(info.name);

async function attempt(name, run) {
  if (!only.test(name)) return;
  try {
    await run();
    counts.passed++;
  } catch (error) {
    counts.failed++;
    console.log(`FAILED ${name}: ${error instanceof Error ? error.message : error}`);
  }
}

const context = { backend, id, info };
for (const test of contractCases) {
  if (test.refused(context) !== undefined) counts.skipped++;
  else await attempt(test.name, () => test.run(context));
}
const device = await backend.open(id);
const cases = conformanceCases(info);
for (const precision of flags.precision === undefined ? info.precisions : [flags.precision]) {
  for (const test of cases) {
    if (unsupportedReason(device, test, precision) !== undefined) counts.skipped++;
    else await attempt(`${precision}: ${test.name}`, () => runCase(device, test, precision));
  }
}
await device.close();
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed > 0 ? 1 : 0;
