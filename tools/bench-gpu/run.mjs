/**
 * One table of this engine against llama.cpp on the GPU of this machine: makes models with random weights (speed depends
 * on shapes, not on values), measures each with both, and prints Markdown. Every row is measured, in this run.
 *
 *     node run.mjs [--shapes gemma3-1b,qwen2.5-7b,gemma3-27b] [--weights Q4_0] [--backend vulkan] [--repetitions 5]
 *                  [--sequences 32] [--speculate SHAPE=SIZE] [--models /tmp/unicorn-models] [--peer FOLDER]
 *                  [--peer-gpu vulkan] [--limit SECONDS] [--json FILE] [--tune SECONDS] [--cache FOLDER] [--no-kernels]
 *
 * --sequences  also that many sequences together, on the second shape; 0 leaves it out
 * --speculate  for example gemma3n-e4b=e2b: what guessing costs there when no guess is right
 * --peer       a folder with node_modules/node-llama-cpp; by default the one that the kit brought, if it did
 * --limit      begins no measurement after that many seconds; what was measured until then is printed
 * --json       writes results after each measurement, so that none is lost
 * --tune       tunes each model for so long before it is measured
 * --cache      where compiled pipelines and tunings are kept; by default a new folder, so that the first load of each model
 *              is a cold one, which is measured in a process of its own
 * --no-kernels leaves out where the time goes, for which each model is loaded once more
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = dirname(fileURLToPath(import.meta.url));
const { values: flags } = parseArgs({
  options: {
    shapes: { type: 'string', default: 'gemma3-1b,qwen2.5-7b,gemma3-27b' },
    weights: { type: 'string', default: 'Q4_0' },
    backend: { type: 'string', default: 'vulkan' },
    repetitions: { type: 'string', default: '5' },
    sequences: { type: 'string', default: '32' },
    speculate: { type: 'string' },
    models: { type: 'string', default: '/tmp/unicorn-models' },
    peer: { type: 'string', default: join(dirname(here), 'peer') },
    'peer-gpu': { type: 'string', default: 'vulkan' },
    limit: { type: 'string', default: '540' },
    json: { type: 'string' },
    tune: { type: 'string', default: '0' },
    cache: { type: 'string' },
    'no-kernels': { type: 'boolean', default: false },
  },
});
const began = performance.now();
const seconds = () => (performance.now() - began) / 1000;
const resolvePackage = createRequire(import.meta.url).resolve;
const shapes = flags.shapes.split(',');
const [speculativeShape, speculativeSize] = flags.speculate?.split('=') ?? [];
const withPeer = existsSync(join(flags.peer, 'node_modules', 'node-llama-cpp'));
const results = { machine: await describeMachine(), weights: flags.weights, models: {} };

process.env.UNICORN_VULKAN_CACHE = flags.cache ?? mkdtempSync(join(tmpdir(), 'unicorn-cache-'));
mkdirSync(flags.models, { recursive: true });
await makeModels([...shapes, ...(speculativeShape === undefined ? [] : [speculativeShape])]);
for (const [position, shape] of shapes.entries()) {
  const entry = (results.models[shape] = { bytes: statSync(modelPath(shape)).size });
  // The second: large enough to be bound by memory, small enough to hold many sequences anywhere.
  const sequences = position === Math.min(1, shapes.length - 1) ? flags.sequences : '0';
  const repeat = ['--repetitions', flags.repetitions];
  const own = ['--backend', flags.backend, '--sequences', sequences, ...repeat];
  const backend = ['--backend', flags.backend];
  const cold = await measurement('measure.mjs', [modelPath(shape), ...backend, '--load-only']);
  if (Number(flags.tune) > 0) {
    const tuning = ['--load-only', '--tune', flags.tune];
    entry.tuning = (await measurement('measure.mjs', [modelPath(shape), ...backend, ...tuning])).tuning;
  }
  const kernels = flags['no-kernels'] ? [] : ['--kernels'];
  entry.ours = await measurement('measure.mjs', [modelPath(shape), ...own, ...kernels]);
  entry.ours.coldLoad = cold.load;
  if (withPeer) {
    const peer = ['--modules', flags.peer, '--gpu', flags['peer-gpu'], ...repeat];
    entry.peer = await measurement('measure-peer.mjs', [modelPath(shape), ...peer]);
  }
  keep();
}
if (speculativeShape !== undefined) {
  const options = [
    '--backend',
    flags.backend,
    '--repetitions',
    flags.repetitions,
    '--speculate',
    speculativeSize,
  ];
  results.speculation = await measurement('measure.mjs', [modelPath(speculativeShape), ...options]);
  keep();
}
print();

function modelPath(shape) {
  return join(flags.models, `${shape}-${flags.weights}.gguf`);
}

/** Card, driver, clocks, and the bandwidth of a copy in this run, where the backend can tell. */
async function describeMachine() {
  const query = ['--query-gpu=name,driver_version,clocks.sm,clocks.mem', '--format=csv,noheader'];
  const { stdout } = spawnSync('nvidia-smi', query, { encoding: 'utf8' });
  const machine = { cpu: cpus()[0]?.model.trim(), gpu: stdout?.trim() || undefined };
  try {
    const { measureCopyBandwidth } = await import(`@unicorn-exec/backend-${flags.backend}`);
    if (measureCopyBandwidth) machine.copyBytesPerSecond = await measureCopyBandwidth();
  } catch (error) {
    machine.problem = error instanceof Error ? error.message : String(error);
  }
  return machine;
}

/** All that are missing, at once: each is made by one thread. */
async function makeModels(names) {
  const tool = join(dirname(resolvePackage('@unicorn-exec/models/package.json')), 'tools', 'random-gguf.mjs');
  const missing = [...new Set(names)].filter((shape) => !existsSync(modelPath(shape)));
  const made = await Promise.all(
    missing.map((shape) => child(tool, [shape, flags.weights, modelPath(shape)])),
  );
  for (const { code, output } of made) if (code !== 0) throw new Error(output);
  if (missing.length > 0) console.log(`made ${missing.join(', ')} after ${seconds().toFixed(0)} s`);
}

/** What a script prints last, as JSON; or why there is nothing, so that one failure costs one cell. */
async function measurement(script, args) {
  if (seconds() > Number(flags.limit)) return { problem: 'not begun: out of time' };
  const { code, output, last } = await child(join(here, script), args);
  console.log(
    `${script} ${args[0]}: ${code === 0 ? 'done' : `exit ${code}`} after ${seconds().toFixed(0)} s`,
  );
  if (code === 0) return JSON.parse(last);
  console.log(output);
  const lines = output.trim().split('\n');
  return { problem: lines.find((line) => /Error/.test(line)) ?? `${lines.at(-1)} (exit ${code})` };
}

function child(script, args) {
  return new Promise((resolve) => {
    const started = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let [output, text] = ['', ''];
    started.stdout.on('data', (data) => ((output += data), (text += data)));
    started.stderr.on('data', (data) => (output += data));
    started.on('close', (code) => resolve({ code: code ?? 1, output, last: text.trim().split('\n').at(-1) }));
  });
}

function keep() {
  if (flags.json !== undefined) writeFileSync(flags.json, `${JSON.stringify(results, undefined, 2)}\n`);
}

function print() {
  const { machine, models, speculation } = results;
  const copy = machine.copyBytesPerSecond;
  const number = (value, digits = 0) => (Number.isFinite(value) ? value.toFixed(digits) : '');
  const ratio = (a, b) => (Number.isFinite(a / b) ? `${(a / b).toFixed(2)}x` : '');
  const share = ({ decode, bytesPerToken }) =>
    Number.isFinite((decode * bytesPerToken) / copy)
      ? `${((100 * decode * bytesPerToken) / copy).toFixed(0)} %`
      : '';
  const row = (cells) => console.log(`| ${cells.join(' | ')} |`);
  console.log(`\n${machine.gpu ?? ''} (${machine.cpu})`);
  if (copy !== undefined) console.log(`copies ${(copy / 1e9).toFixed(0)} GB/s, read and written (measured)`);
  if (machine.problem !== undefined) console.log(machine.problem);
  console.log('');
  const head = ['prefill 512', 'decode 128', 'TTFT 512', 'TTFT 128', 'load', 'of copy bandwidth', 'problem'];
  row([`${results.weights}, tok/s, ms`, 'engine', ...head]);
  row(Array.from({ length: head.length + 2 }, () => '---'));
  for (const [shape, { ours = {}, peer }] of Object.entries(models)) {
    for (const [name, it] of [
      ['unicorn', ours],
      ['llama.cpp', peer],
    ]) {
      if (it === undefined) continue;
      const cells = [
        number(it.prefill),
        number(it.decode, 1),
        number(it.ttftMs, 1),
        number(it.shortTtftMs, 1),
      ];
      row([shape, name, ...cells, number(it.loadMs), it === ours ? share(it) : '', it.problem ?? '']);
    }
    if (peer === undefined) continue;
    const against = [ratio(ours.prefill, peer.prefill), ratio(ours.decode, peer.decode)];
    const waits = [ratio(peer.ttftMs, ours.ttftMs), ratio(peer.shortTtftMs, ours.shortTtftMs)];
    row([shape, 'ratio', ...against, ...waits, ratio(peer.loadMs, ours.loadMs), '', '']);
  }
  console.log('');
  row(['ms', 'device opened', 'weights', 'programs', 'ready', 'launches a token', 'device a token']);
  row(Array.from({ length: 7 }, () => '---'));
  for (const [shape, { ours = {} }] of Object.entries(models)) {
    const decode = ours.kernels?.phases.find(({ phase }) => phase === 'decode');
    for (const [name, load] of [
      ['cold', ours.coldLoad],
      ['warm', ours.load],
    ]) {
      if (load === undefined) continue;
      const times = [load.openMs, load.weightsMs, load.compileMs, load.allMs].map((value) => number(value));
      const device =
        name === 'warm'
          ? [number(decode?.launchesPerSubmission), number(decode?.millisecondsPerSubmission, 3)]
          : ['', ''];
      row([`${shape}, ${name}`, ...times, ...device]);
    }
  }
  for (const [shape, { ours = {} }] of Object.entries(models)) {
    const decode = ours.kernels?.phases.find(({ phase }) => phase === 'decode');
    const slow =
      decode?.rows.filter(({ reason, timeShare }) => reason !== undefined && timeShare >= 0.01) ?? [];
    if (slow.length > 0)
      console.log(`\n${shape}, steps of decode below 60 % of the measured bandwidth, above 1 % of the time:`);
    for (const { step, detail, timeShare, bandwidthShare, reason } of slow) {
      const shares = `${number(100 * timeShare)} % of the time, ${number(100 * bandwidthShare)} % of bandwidth`;
      console.log(`- ${step} ${detail}: ${shares}: ${reason}`);
    }
  }
  for (const [shape, { ours = {} }] of Object.entries(models)) {
    if (ours.batchDecode === undefined) continue;
    const gain = ratio(ours.batchDecode, ours.decode);
    console.log(
      `\n${shape}: ${flags.sequences} sequences together ${number(ours.batchDecode)} tok/s, ${gain} one alone;`,
    );
    console.log(`loaded again in ${number(ours.loadAgainMs)} ms`);
  }
  if (speculation?.speculativeRatio !== undefined) {
    const cost = `${speculation.speculativeRatio.toFixed(3)}x plain decode`;
    console.log(`\n${speculativeShape}, guessing with "${speculativeSize}", no guess right: ${cost}`);
  }
}
