/**
 * Opens the toy addon's device in a process or a worker thread of its own, for tests of what happens when that ends.
 *
 *     node toy-child.mjs '{"addon": "...", "scenario": "idle"}'
 */
import { createRequire } from 'node:module';
import { isMainThread, workerData } from 'node:worker_threads';

const { addon: path, scenario } = isMainThread ? JSON.parse(process.argv[2]) : workerData;
const addon = createRequire(import.meta.url)(path);
const device = addon.openDevice((job, ended) => {
  if (ended && scenario === 'pending') process.stdout.write('told\n');
});

// Nothing else keeps the process alive while the job is pending.
if (scenario === 'pending') addon.count(device, 3, 20);
// Ends with jobs in flight, of the device and in the background.
if (scenario === 'leave') {
  for (let i = 0; i < 100; i++) addon.add(device, i, i, new BigInt64Array(1));
  for (let i = 0; i < 3; i++) addon.count(device, 1_000_000, 1);
  process.exit(0);
}
