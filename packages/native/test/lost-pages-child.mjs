/**
 * Reads mapped files that are cut short meanwhile, by one or two addons, in a process or in worker threads, for tests of what
 * becomes of the process. `addons` are paths of one addon, which are loaded as several.
 *
 *     node lost-pages-child.mjs '{"addons": ["..."], "folder": "/tmp/...", "scenario": "main"}'
 */
import { truncateSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { isMainThread, threadId, Worker, workerData } from 'node:worker_threads';

const { addons: paths, folder, scenario } = isMainThread ? JSON.parse(process.argv[2]) : workerData;
const load = createRequire(import.meta.url);
const byteLength = 300_000;

function newFile(name) {
  const path = join(folder, `${name}-${threadId}`);
  writeFileSync(path, new Uint8Array(byteLength).fill(1));
  return path;
}

/** What becomes of reading a file. */
function outcome(addon, file) {
  try {
    return addon.sumOf(file, 0, byteLength);
  } catch (error) {
    return JSON.parse(error.message).code;
  }
}

/** Every addon reads two files, of which one is cut short in between. */
function cutShort(addons) {
  const opened = addons.map((addon, i) => {
    const path = newFile(`cut${i}`);
    return { addon, path, cut: addon.openFile(path), whole: addon.openFile(newFile(`whole${i}`)) };
  });
  const seen = () => opened.map(({ addon, cut, whole }) => [outcome(addon, cut), outcome(addon, whole)]);
  const before = seen();
  for (const { path } of opened) truncateSync(path, 4096);
  return JSON.stringify([before, seen(), seen()]);
}

function inWorker(addons) {
  const worker = new Worker(new URL(import.meta.url), { workerData: { addons, folder, scenario: 'main' } });
  return new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject));
}

const foreign = () => {
  const path = join(folder, 'empty');
  writeFileSync(path, '');
  load(paths[0]).touchUnguarded(path);
};

const scenarios = {
  main: () => console.log(cutShort(paths.map((path) => load(path)))),
  // Each addon is unloaded with its worker, unless it knows better; the second one's handler leads to the first one's.
  workers: async () => {
    await Promise.all([inWorker(paths), inWorker(paths)]);
    for (const path of paths) await inWorker([path]);
    console.log(cutShort(paths.map((path) => load(path))));
  },
  'foreign, in the end': async () => {
    for (const path of paths) await inWorker([path]);
    foreign();
  },
  'foreign, caught': () => {
    load(paths[0]).catchBusErrors();
    console.log(cutShort(paths.map((path) => load(path))));
    foreign();
  },
};
await scenarios[scenario]();
