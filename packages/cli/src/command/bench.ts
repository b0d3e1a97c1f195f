/** `unicorn bench`: prefill and decode speed, llama-bench's tests. */
import {
  benchmark,
  benchmarkContext,
  describeMachine,
  measureRates,
  type BenchmarkReport,
} from '@unicorn-exec/api/measure';
import { elasticFrom, measuringOptions, withEngine } from '../engine-session.js';
import { speculationFrom, type BenchFlags } from '../option.js';
import { ProgressBar } from '../progress.js';
import { visible, type Terminal } from '../terminal.js';
import { expectSameModel, readEarlier, type EarlierReport } from './bench-comparison.js';
import { withOneThreads, type OneBenchFlags } from './bench-flags.js';
import { benchRecords, benchTable, csvText } from './bench-text.js';
import { ratesText } from './device-rates.js';

export async function bench(terminal: Terminal, flags: BenchFlags): Promise<void> {
  if (flags.machine) return benchMachine(terminal, flags);
  if (flags.tune) return (await import('./bench-tune.js')).benchTune(terminal, flags);
  if (flags.kernels) return (await import('./bench-kernels.js')).benchKernels(terminal, flags);
  const earlier = flags.compare === undefined ? undefined : await readEarlier(flags.compare);
  const reports: (BenchmarkReport & { loadMs: number })[] = [];
  // The threads belong to a device: each number opens one.
  for (const threads of flags.threads ?? [undefined]) {
    reports.push(await measure(terminal, { ...flags, threads }, earlier));
  }
  const report = { ...reports[0]!, results: reports.flatMap(({ results }) => results) };
  if (flags.json) terminal.writeJson(report);
  else if (flags.output === 'csv') terminal.write(csvText(benchRecords(report)));
  else if (flags.output === 'jsonl') {
    for (const record of benchRecords(report)) terminal.writeJson(record, { lines: true });
  } else terminal.write(visible(benchTable(report, earlier)));
}

async function measure(
  terminal: Terminal,
  flags: OneBenchFlags,
  earlier: EarlierReport | undefined,
): Promise<BenchmarkReport & { loadMs: number }> {
  const tests = { promptTokens: flags.prompt, generateTokens: flags.generate, depth: flags.depth };
  const context = flags.context ?? benchmarkContext(tests);
  const options = { ...measuringOptions(flags, terminal), context, maxSequences: 1 };
  return withEngine(terminal, options, async ({ engine, loadMs }) => {
    const { name, weightBytes: bytes, parameters, weightType: type } = engine.model;
    if (earlier) expectSameModel(earlier, { name, bytes, parameters, type });
    const bar = new ProgressBar(terminal, 'measuring');
    try {
      const report = await benchmark(engine, {
        ...tests,
        repetitions: flags.repetitions,
        elastic: elasticFrom(engine, flags),
        speculation: speculationFrom(flags),
        signal: terminal.signal,
        onProgress: (done, total) => bar.update(done, total),
      });
      return { ...report, loadMs };
    } finally {
      bar.end();
    }
  });
}

/** The host's memory, and the rates of each device, which are kept for planning. */
async function benchMachine(terminal: Terminal, flags: BenchFlags): Promise<void> {
  const machine = await describeMachine(withOneThreads(flags).threads);
  if (!flags.json) {
    terminal.write(
      `${machine.cpu}, ${machine.cores} cores: reads ${machine.readBandwidthGBs.toFixed(1)} GB/s (measured)\n`,
    );
  }
  const rates = await measureRates({
    backend: flags.backend,
    onStart: ({ name }) => terminal.note(`measuring ${name} ...`),
  });
  if (flags.json) terminal.writeJson({ machine, rates });
  else for (const { device, speed } of rates) terminal.write(`${device}: ${ratesText(speed)}\n`);
}
