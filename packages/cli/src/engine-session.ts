/** An engine for the length of one command: loaded with a bar, its announcements printed, closed at the end. */
import { Engine, type ElasticSpec, type LoadOptions } from '@unicorn-exec/api';
import type { EngineFlags } from './option.js';
import { ProgressBar } from './progress.js';
import type { Terminal } from './terminal.js';

export interface EngineSession {
  readonly engine: Engine;
  /** From the start of loading to readiness. */
  readonly loadMs: number;
}

export function loadOptions(flags: EngineFlags, terminal: Terminal): LoadOptions {
  return {
    model: flags.model,
    backend: flags.backend,
    device: flags.device,
    gpuLayers: flags.gpuLayers,
    threads: flags.threads,
    context: flags.context,
    kvType: flags.kvType,
    signal: terminal.signal,
  };
}

/**
 * The size that was asked for, checked. `--force-elastic` cuts a model that was not trained for it.
 *
 * @throws UnicornError `usage/elastic`
 */
export function elasticFrom(
  { model }: Engine,
  { elastic, forceElastic = false }: EngineFlags,
): ElasticSpec | undefined {
  if (elastic === undefined) return undefined;
  const size = model.resolveSize(elastic, { force: forceElastic });
  return forceElastic ? size : elastic;
}

/** As {@link loadOptions}, for what measures: nothing is measured on a device that took over. */
export function measuringOptions(flags: EngineFlags, terminal: Terminal): LoadOptions {
  return { ...loadOptions(flags, terminal), deviceLoss: 'fail' };
}

/** Runs `work` with an engine and closes it, whatever happens. */
export async function withEngine<T>(
  terminal: Terminal,
  options: LoadOptions,
  work: (session: EngineSession) => Promise<T>,
): Promise<T> {
  const started = performance.now();
  const bar = new ProgressBar(terminal, 'loading');
  let engine: Engine;
  try {
    engine = await Engine.load({
      ...options,
      onProgress: ({ loadedBytes, totalBytes }) => bar.update(loadedBytes, totalBytes, megabytes(totalBytes)),
    });
  } finally {
    bar.end();
  }
  try {
    announce(terminal, engine);
    announceThreads(terminal, engine, options.threads);
    announceMoves(terminal, engine);
    announceFiles(terminal, engine);
    return await work({ engine, loadMs: performance.now() - started });
  } finally {
    await engine.close();
  }
}

function announceThreads(
  terminal: Terminal,
  { backend: { threads } }: Engine,
  asked: number | undefined,
): void {
  if (asked === undefined || threads === undefined || threads >= asked) return;
  terminal.warn(`${threads} instead of ${asked} threads: the process may use no more processors.`);
}

/** A fallback and a shortened context announce themselves. */
function announce(terminal: Terminal, engine: Engine): void {
  const { fallback, name } = engine.backend;
  if (fallback) {
    terminal.warn(
      `the ${fallback.from} backend is not usable, so ${name} answers, slowly: ${fallback.reason}`,
    );
    // The library can only name a script by its path; whoever has the command has a shorter way.
    const fix = fallback.fix?.replace(/node (?:'[^']+|\S+)build-native\.mjs'?/, 'unicorn doctor --build');
    terminal.note(`  fix: ${fix ?? 'unicorn doctor'}`);
  }
  announceGpu(terminal, engine);
  announceSplit(terminal, engine);
  const { limitedBy, contextLength } = engine.context;
  if (limitedBy) {
    terminal.warn(
      `the context is ${contextLength} tokens instead of the model's ${engine.model.contextLength}: ` +
        `${megabytes(limitedBy.neededBytes)} would be needed, ${megabytes(limitedBy.availableBytes)} are available.`,
    );
  }
}

/** What `auto` did about a GPU, where there is one. */
function announceGpu(terminal: Terminal, { backend: { gpu, name } }: Engine): void {
  if (!gpu) return;
  const { taken, device = `the GPU (${gpu.backend})`, reason, fix } = gpu;
  if (taken) terminal.note(`${device} answers: it passed its self-test`);
  else terminal.note(`${name} answers, not ${device}: ${reason}${fix === undefined ? '' : ` fix: ${fix}`}`);
}

/** A device that was lost, and who goes on in its place, in the middle of an answer too. */
function announceMoves(terminal: Terminal, engine: Engine): void {
  engine.on('moved', ({ device, fallback }) => {
    if (fallback)
      terminal.warn(`the ${fallback.from} device was lost, so ${device} goes on: ${fallback.reason}`);
    else terminal.note(`${device} is back`);
  });
}

/** What the files say and was not taken at its word; of the tokenizer once it is read, since ids alone need none. */
function announceFiles(terminal: Terminal, { model }: Engine): void {
  for (const warning of model.warnings) terminal.warn(warning);
  model.tokenizer().then(
    ({ warnings }) => warnings.forEach((warning) => terminal.warn(warning)),
    () => {},
  );
}

/** Which layers run where: a warning when memory parted them, a note when the caller did. */
function announceSplit(terminal: Terminal, { backend: { split } }: Engine): void {
  if (!split) return;
  const { places, limitedBy } = split;
  const where = places
    .map(({ device, layers, weightBytes, kvBytes }) => {
      const what = layers === 1 ? '1 layer' : `${layers} layers`;
      return `${what} (${megabytes(weightBytes + kvBytes)}) on ${device}`;
    })
    .join(', ');
  if (!limitedBy) return terminal.note(`layers: ${where}`);
  const { neededBytes, availableBytes } = limitedBy;
  terminal.warn(
    `the model does not fit on the device: ${megabytes(neededBytes)} would be needed, ` +
      `${megabytes(availableBytes)} are available. ${where}.`,
  );
}

export function megabytes(bytes: number): string {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}
