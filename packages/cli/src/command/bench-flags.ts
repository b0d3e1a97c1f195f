/** What of the benchmarks' flags names several numbers, where one is taken. */
import { UnicornError } from '@unicorn-exec/api/error';
import type { BenchFlags } from '../option.js';

/** The flags of one of the benchmarks that have one number of threads. */
export type OneBenchFlags = Omit<BenchFlags, 'threads'> & { readonly threads?: number | undefined };

/** @throws UnicornError `usage/flag` for a flag that names several numbers, of which a command takes one */
export function onlyNumber(numbers: readonly number[], flag: string): number {
  if (numbers.length === 1) return numbers[0]!;
  throw new UnicornError('usage/flag', `Here ${flag} takes one number, not ${numbers.length}.`, {
    fields: { flag },
    fix: `Give one number, as in ${flag} ${numbers[0]}.`,
  });
}

/** @throws UnicornError `usage/flag` where several numbers of threads were given */
export function withOneThreads(flags: BenchFlags): OneBenchFlags {
  return { ...flags, threads: flags.threads && onlyNumber(flags.threads, '--threads') };
}
