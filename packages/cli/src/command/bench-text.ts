/** The forms in which `unicorn bench` prints its results. */
import type { BenchmarkReport, BenchmarkResult } from '@unicorn-exec/api/measure';
import { megabytes } from '../engine-session.js';
import { markdownTable } from '../table.js';
import { wrapped } from '../wrapped.js';
import { comparisonText, type EarlierReport } from './bench-comparison.js';

/** What was measured and on what, then a table of the tests: 80 columns. */
export function benchTable(report: BenchmarkReport, earlier: EarlierReport | undefined): string {
  const { machine, model, speed } = report;
  const copied =
    speed.kind === 'copy' ? `, copies ${(speed.bytesPerSecond / 1e9).toFixed(0)} GB/s, read and written` : '';
  const heading = [
    `${model.name} ${model.type}, ${megabytes(model.bytes)}, ${(model.parameters / 1e6).toFixed(1)} M parameters`,
    `${report.backend}: ${report.device}${copied}`,
    `${machine.cpu}, reads ${machine.readBandwidthGBs.toFixed(1)} GB/s (measured)`,
    `unicorn ${report.version}, ${report.date}`,
  ];
  const withThreads = report.results.some(({ threads }) => threads !== undefined);
  const header = [
    'test',
    ...(withThreads ? ['threads'] : []),
    't/s',
    'of bandwidth',
    ...(earlier ? ['against'] : []),
  ];
  const rows = report.results.map((result) => {
    const { mean, std } = result.tokensPerSecond;
    const { bandwidthShare: share } = result;
    return [
      result.test,
      ...(withThreads ? [String(result.threads ?? '')] : []),
      `${mean.toFixed(2)} ± ${std.toFixed(2)}`,
      share === undefined ? '' : `${(100 * share).toFixed(0)} %`,
      ...(earlier ? [againstText(result, earlier)] : []),
    ];
  });
  const { openMs, weightsMs, compileMs } = report.load;
  const footing = [
    ...(report.promptTokens > 0
      ? [
          `first token after ${report.timeToFirstTokenMs.toFixed(0)} ms of a prompt of ${report.promptTokens} tokens`,
        ]
      : []),
    `loaded in ${(openMs + weightsMs + compileMs).toFixed(0)} ms: device ${openMs.toFixed(0)}, ` +
      `weights ${weightsMs.toFixed(0)}, programs ${compileMs.toFixed(0)}`,
    ...(earlier ? comparisonNotes(report, earlier) : []),
  ];
  const paragraphs = (lines: readonly string[]): string => lines.map((line) => wrapped(line, 0)).join('');
  return `${paragraphs(heading)}\n${markdownTable(header, rows)}\n${paragraphs(footing)}`;
}

function againstText(result: BenchmarkResult, { results }: EarlierReport): string {
  const same = results.filter(({ test }) => test === result.test);
  const before =
    same.find(({ threads }) => threads === result.threads) ?? (same.length === 1 ? same[0] : undefined);
  return before ? comparisonText(result.tokensPerSecond, before.tokensPerSecond) : 'no such test';
}

function comparisonNotes({ backend }: BenchmarkReport, { file, backend: before }: EarlierReport): string[] {
  const notes = [
    `against ${file}; noise: within what the spread of the runs explains; unsure: fewer than two runs`,
  ];
  if (before !== undefined && before !== backend)
    notes.push(`${file} was measured on ${before}, this on ${backend}`);
  return notes;
}

/** A test with everything about it; null for what a device or a test does not have. */
export type BenchRecord = Readonly<Record<string, string | number | null>>;

/** One record for each test, with all that a reader needs to know about it. */
export function benchRecords(report: BenchmarkReport): BenchRecord[] {
  return report.results.map((result) => ({
    date: report.date,
    version: report.version,
    cpu: report.machine.cpu,
    model: report.model.name,
    type: report.model.type,
    bytes: report.model.bytes,
    parameters: report.model.parameters,
    backend: report.backend,
    device: report.device,
    threads: result.threads ?? null,
    test: result.test,
    tokens: result.tokens,
    depth: result.depth,
    runs: result.tokensPerSecond.samples.length,
    tokensPerSecond: result.tokensPerSecond.mean,
    std: result.tokensPerSecond.std,
    bandwidthShare: result.bandwidthShare ?? null,
  }));
}

/** Records as RFC 4180 has them, but for line ends, under a header. */
export function csvText(records: readonly BenchRecord[]): string {
  const cell = (value: string | number | null): string => {
    const text = String(value ?? '');
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const rows = [Object.keys(records[0] ?? {}), ...records.map((record) => Object.values(record))];
  return rows.map((row) => `${row.map(cell).join(',')}\n`).join('');
}
