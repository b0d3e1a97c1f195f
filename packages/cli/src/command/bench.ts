/** `unicorn bench`: prefill and decode speed, llama-bench's table. */
import { benchmark, describeMachine, measureRates, type BenchmarkReport } from '@unicorn-exec/api/measure';
import { elasticFrom, measuringOptions, megabytes, withEngine } from '../engine-session.js';
import { readJsonFile } from '../input.js';
import { speculationFrom, type BenchFlags } from '../option.js';
import { ProgressBar } from '../progress.js';
import { markdownTable } from '../table.js';
import type { Terminal } from '../terminal.js';
import { ratesText } from './device-rates.js';

export async function bench(terminal: Terminal, flags: BenchFlags): Promise<void> {
  if (flags.machine) {
    return benchMachine(terminal, flags);
  }
  if (flags.tune) return (await import('./bench-tune.js')).benchTune(terminal, flags);
  if (flags.kernels) return (await import('./bench-kernels.js')).benchKernels(terminal, flags);
  const earlier =
    flags.compare === undefined
      ? undefined
      : ((await readJsonFile(flags.compare)) as Partial<BenchmarkReport>);
  const context = flags.context ?? flags.prompt + flags.generate + 1;
  await withEngine(
    terminal,
    { ...measuringOptions(flags, terminal), context, maxSequences: 1 },
    async ({ engine, loadMs }) => {
      const bar = new ProgressBar(terminal, 'measuring');
      const report = await benchmark(engine, {
        promptTokens: flags.prompt,
        generateTokens: flags.generate,
        repetitions: flags.repetitions,
        elastic: elasticFrom(engine, flags),
        speculation: speculationFrom(flags),
        signal: terminal.signal,
        onProgress: (done, total) => bar.update(done, total),
      });
      bar.end();
      if (flags.json) {
        terminal.writeJson({ ...report, loadMs });
        return;
      }
      print(terminal, report, earlier);
    },
  );
}

/** The host's memory, and the rates of each device, which are kept for planning. */
async function benchMachine(terminal: Terminal, flags: BenchFlags): Promise<void> {
  const machine = await describeMachine(flags.threads);
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

function print(
  terminal: Terminal,
  report: BenchmarkReport,
  earlier: Partial<BenchmarkReport> | undefined,
): void {
  const { machine, model } = report;
  terminal.write(
    `${machine.cpu}, ${report.threads ?? '-'} threads, reads ${machine.readBandwidthGBs.toFixed(1)} GB/s (measured)\n`,
  );
  if (report.speed.kind === 'copy') {
    const copied = (report.speed.bytesPerSecond / 1e9).toFixed(0);
    terminal.write(`${report.device}, copies ${copied} GB/s, read and written (measured)\n`);
  }
  terminal.write('\n');
  const header = [
    'model',
    'size',
    'params',
    'backend',
    'test',
    't/s',
    'of bandwidth',
    ...(earlier ? ['against'] : []),
  ];
  const rows = report.results.map((result) => {
    const before = earlier?.results?.find(({ test }) => test === result.test)?.tokensPerSecond.mean;
    const { mean, std } = result.tokensPerSecond;
    return [
      `${model.name} ${model.type}`,
      megabytes(model.bytes),
      `${(model.parameters / 1e6).toFixed(1)} M`,
      report.backend,
      result.test,
      `${mean.toFixed(2)} ± ${std.toFixed(2)}`,
      result.bandwidthShare === undefined ? '' : `${(100 * result.bandwidthShare).toFixed(0)} %`,
      ...(earlier ? [before === undefined ? '' : `${(mean / before).toFixed(2)}x`] : []),
    ];
  });
  terminal.write(markdownTable(header, rows));
  terminal.write(
    `\nfirst token after ${report.timeToFirstTokenMs.toFixed(0)} ms of a prompt of ${report.promptTokens} tokens\n`,
  );
  const { openMs, weightsMs, compileMs } = report.load;
  terminal.write(
    `loaded in ${(openMs + weightsMs + compileMs).toFixed(0)} ms: ` +
      `device ${openMs.toFixed(0)}, weights ${weightsMs.toFixed(0)}, programs ${compileMs.toFixed(0)}\n`,
  );
}
