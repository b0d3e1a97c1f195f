/** An engine for the length of one command: loaded with a bar, its announcements printed, closed at the end. */
import { Engine, type LoadOptions } from '@unicorn-exec/api';
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
    threads: flags.threads,
    context: flags.context,
    kvType: flags.kvType,
    signal: terminal.signal,
  };
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
    return await work({ engine, loadMs: performance.now() - started });
  } finally {
    await engine.close();
  }
}

/** A fallback and a shortened context announce themselves. */
function announce(terminal: Terminal, engine: Engine): void {
  const { fallback, name } = engine.backend;
  if (fallback) {
    terminal.warn(
      `the ${fallback.from} backend is not usable, so ${name} answers, slowly: ${fallback.reason}`,
    );
    // The library can only name a script by its path; whoever has the command has a shorter way.
    const fix = fallback.fix?.replace(/node \S+build-native\.mjs/, 'unicorn doctor --build');
    terminal.note(`  fix: ${fix ?? 'unicorn doctor'}`);
  }
  const { limitedBy, contextLength } = engine.context;
  if (limitedBy) {
    terminal.warn(
      `the context is ${contextLength} tokens instead of the model's ${engine.model.contextLength}: ` +
        `${megabytes(limitedBy.neededBytes)} would be needed, ${megabytes(limitedBy.availableBytes)} are available.`,
    );
  }
}

export function megabytes(bytes: number): string {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}
