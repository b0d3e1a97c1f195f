/** What distinguishes one program from another, by value; it compiles nothing. */
import type { ElasticSize } from '@unicorn-exec/tensor';

/** What a step computes: everything that makes another executable necessary. Equal kinds have equal names. */
export interface ProgramKind {
  readonly name: string;
  /** `sample`: one token for each row in `rows`. `all`, `none`: logits of every row, or of none; nothing is sampled. */
  readonly result: 'sample' | 'all' | 'none';
  readonly hidden: boolean;
  /** Takes a mask of allowed tokens for each row. */
  readonly masked: boolean;
  /** Also samples behind the guesses of drafts, so its outputs have more rows. */
  readonly drafts: boolean;
  readonly size: ElasticSize | undefined;
}

/** One name for each size: equal slices have equal names. */
export function sizeName(size: ElasticSize | undefined): string {
  return size ? `${size.feedForward.join(',')}/${size.skip.join(',')}` : 'full';
}

export function programKind(
  result: ProgramKind['result'],
  options: {
    readonly hidden?: boolean | undefined;
    readonly masked?: boolean | undefined;
    readonly drafts?: boolean | undefined;
    readonly size?: ElasticSize | undefined;
  },
): ProgramKind {
  const { hidden = false, masked = false, drafts = false, size } = options;
  const flags = Object.entries({ hidden, masked, drafts }).flatMap(([flag, set]) => (set ? [flag] : []));
  const name = [result, ...flags, sizeName(size)].join(' ');
  return { name, result, hidden, masked, drafts, size };
}

/** The program that also samples behind guesses. */
export function checkingGuesses(kind: ProgramKind): ProgramKind {
  return programKind(kind.result, { ...kind, drafts: true });
}
