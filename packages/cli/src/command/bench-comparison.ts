/** An earlier result of `unicorn bench --json`, checked, and what of a difference to it is more than noise. */
import { UnicornError } from '@unicorn-exec/api/error';
import type { BenchmarkReport, Samples } from '@unicorn-exec/api/measure';
import { readJsonFile } from '../input.js';

export interface EarlierResult {
  readonly test: string;
  /** Absent in results of a device that is not the CPU. */
  readonly threads?: number;
  readonly tokensPerSecond: Samples;
}

/** What is read of an earlier report. */
export interface EarlierReport {
  readonly file: string;
  readonly model: BenchmarkReport['model'];
  readonly backend?: string;
  readonly results: readonly EarlierResult[];
}

/** Differences of fewer standard errors than this are noise: about one in twenty is larger by chance. */
const noiseErrors = 2.3;

/** @throws UnicornError `usage/file`, `usage/json`, `usage/comparison` for what is not a result of `bench --json` */
export async function readEarlier(file: string): Promise<EarlierReport> {
  const value = await readJsonFile(file);
  const model = isRecord(value) ? value.model : undefined;
  const results = isRecord(value) && Array.isArray(value.results) ? (value.results as unknown[]) : [];
  if (!isModel(model) || results.length === 0 || !results.every(isResult)) {
    throw new UnicornError('usage/comparison', `${file} is not a result of \`unicorn bench --json\`.`, {
      fields: { file },
      fix: 'Write one: `unicorn bench --json > before.json`',
    });
  }
  const { backend } = value as { backend?: unknown };
  return { file, model, ...(typeof backend === 'string' ? { backend } : {}), results };
}

/** @throws UnicornError `usage/comparison` where the earlier result is of another model */
export function expectSameModel(
  { file, model: earlier }: EarlierReport,
  model: BenchmarkReport['model'],
): void {
  const keys = ['name', 'type', 'bytes', 'parameters'] as const;
  const other = keys.find((key) => earlier[key] !== model[key]);
  if (other === undefined) return;
  throw new UnicornError(
    'usage/comparison',
    `${file} is of another model: its ${other} is ${earlier[other]}, and not ${model[other]}. Their speeds do not compare.`,
    {
      fields: { file, differs: other, earlier: earlier[other], now: model[other] },
      fix: 'Compare with a result of the same model file.',
    },
  );
}

/** The ratio of two means, and whether their spread explains the difference. */
export function comparisonText(now: Samples, before: Samples): string {
  const ratio = `${(now.mean / before.mean).toFixed(2)}x`;
  if (now.samples.length < 2 || before.samples.length < 2) return `${ratio} unsure`;
  const variance = ({ std, samples }: Samples): number => std ** 2 / samples.length;
  const error = Math.sqrt(variance(now) + variance(before));
  return Math.abs(now.mean - before.mean) <= noiseErrors * error ? `${ratio} noise` : ratio;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isPositive = (value: unknown): value is number => Number.isFinite(value) && (value as number) > 0;

function isModel(value: unknown): value is BenchmarkReport['model'] {
  if (!isRecord(value) || typeof value.name !== 'string' || typeof value.type !== 'string') return false;
  return isPositive(value.bytes) && isPositive(value.parameters);
}

function isResult(value: unknown): value is EarlierResult {
  if (!isRecord(value) || typeof value.test !== 'string' || !isRecord(value.tokensPerSecond)) return false;
  const { mean, std, samples } = value.tokensPerSecond;
  return isPositive(mean) && Number.isFinite(std) && Array.isArray(samples);
}
