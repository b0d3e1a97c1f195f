/** Parsers of option values, and the option groups that several commands share. */
import { InvalidArgumentError, Option, type Command } from 'commander';
import { backendNames, type BackendName } from '@unicorn-exec/api/backends';
import { parseJson } from '@unicorn-exec/api/error';

/** Commander shows the sentence behind the flag's name and exits with 2. */
function number(text: string, what: string, fits: (value: number) => boolean): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!fits(value)) throw new InvalidArgumentError(`It must be ${what}.`);
  return value;
}

export const positiveInteger = (text: string): number =>
  number(text, 'a whole number above 0', (value) => Number.isSafeInteger(value) && value > 0);

export const nonNegativeInteger = (text: string): number =>
  number(text, 'a whole number, 0 or more', (value) => Number.isSafeInteger(value) && value >= 0);

export const nonNegativeNumber = (text: string): number =>
  number(text, 'a number, 0 or more', (value) => Number.isFinite(value) && value >= 0);

export const fraction = (text: string): number =>
  number(text, 'a number from 0 to 1', (value) => value >= 0 && value <= 1);

export const finiteNumber = (text: string): number => number(text, 'a number', Number.isFinite);

/** 64-bit seeds exceed what a double holds. */
export function seed(text: string): bigint {
  if (!/^\d{1,20}$/.test(text) || BigInt(text) >= 2n ** 64n) {
    throw new InvalidArgumentError('It must be a whole number from 0 to 2^64 - 1.');
  }
  return BigInt(text);
}

/** `--gpu-layers`. */
export function gpuLayers(text: string): number | 'auto' | 'all' {
  if (text === 'auto' || text === 'all') return text;
  return number(
    text,
    'a whole number, `all` or `auto`',
    (value) => Number.isSafeInteger(value) && value >= 0,
  );
}

/** Numbers that one flag may name. */
const mostNumbers = 1000;

/**
 * Numbers as llama-bench takes them: `128,512`, ranges (`1-8`), with a step (`0-8192+2048`) or a factor (`128-4096*2`).
 *
 * @param least the smallest that is allowed
 */
export const numberList =
  (least: number) =>
  (text: string): number[] => {
    const numbers = text.split(',').flatMap((part) => numberRange(part.trim()));
    if (numbers.some((value) => !Number.isSafeInteger(value) || value < least)) {
      throw new InvalidArgumentError(
        `It must be whole numbers from ${least}, as in 128,512 or 1-8 or 0-8192+2048 or 128-4096*2.`,
      );
    }
    if (numbers.length > mostNumbers) {
      throw new InvalidArgumentError(`It names more than ${mostNumbers} numbers.`);
    }
    return [...new Set(numbers)];
  };

/** The numbers of one part; NaN for what is none. */
function numberRange(text: string): number[] {
  const match = /^(\d+)(?:-(\d+)(?:([+*])(\d+))?)?$/.exec(text);
  if (!match) return [Number.NaN];
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  const step = Number(match[4] ?? 1);
  const isFactor = match[3] === '*';
  // A range that goes nowhere has no end.
  if (last < first || step < 1 || (isFactor && (step < 2 || first < 1))) return [Number.NaN];
  const numbers: number[] = [];
  for (let value = first; value <= last && numbers.length <= mostNumbers;) {
    numbers.push(value);
    value = isFactor ? value * step : value + step;
  }
  return numbers;
}

/** For repeatable flags. */
export const collect = (text: string, earlier: readonly string[] = []): string[] => [...earlier, text];

/** `ID=BIAS`, repeatable. */
export function logitBias(
  text: string,
  earlier: Readonly<Record<number, number>> = {},
): Record<number, number> {
  const match = /^(\d+)[=:](-?\d+(?:\.\d+)?)$/.exec(text);
  if (!match) throw new InvalidArgumentError('It must be ID=BIAS, for example 42=-100.');
  return { ...earlier, [Number(match[1])]: Number(match[2]) };
}

/** `KEY=VALUE`; the value is JSON where it parses as such, else text. */
export function keyValue(
  text: string,
  earlier: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It must be KEY=VALUE.');
  const value = text.slice(at + 1);
  let parsed: unknown = value;
  try {
    parsed = parseJson(value);
  } catch {
    // Plain text needs no quotes.
  }
  return { ...earlier, [text.slice(0, at)]: parsed };
}

/** The parsers of options that may be given several times. */
export const repeatableParsers: ReadonlySet<unknown> = new Set([collect, logitBias, keyValue]);

export interface ModelFlags {
  readonly model?: string;
  readonly json?: boolean;
}

export interface EngineFlags extends ModelFlags {
  readonly backend: BackendName;
  readonly device?: string;
  readonly gpuLayers?: number | 'auto' | 'all';
  readonly threads?: number | undefined;
  readonly context?: number;
  readonly kvType?: 'f32' | 'f16' | 'q8_0';
  readonly elastic?: string;
  readonly forceElastic?: boolean;
}

export interface DraftFlags {
  readonly draft?: string;
}

export type BenchFormat = 'md' | 'csv' | 'jsonl';

export interface BenchFlags extends Omit<EngineFlags, 'threads'>, DraftFlags {
  readonly prompt: readonly number[];
  readonly generate: readonly number[];
  readonly depth: readonly number[];
  readonly threads?: readonly number[];
  readonly output: BenchFormat;
  readonly repetitions: number;
  readonly compare?: string;
  readonly machine?: boolean;
  readonly kernels?: boolean;
  readonly tune?: boolean;
  readonly tuneSeconds: number;
}

export interface SamplingFlags {
  readonly seed?: bigint;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly typical?: number;
  readonly repeatPenalty?: number;
  readonly presencePenalty?: number;
  readonly frequencyPenalty?: number;
  readonly logitBias?: Record<number, number>;
  readonly maxTokens?: number;
  readonly stop?: string[];
  readonly hideThinking?: boolean;
  readonly contextShift?: boolean;
}

export function withModelFlags(command: Command): Command {
  return command
    .option(
      '-m, --model <model>',
      'a .gguf file, a Hugging Face directory, or a bundled name (default: nano)',
    )
    .option('--json', 'print JSON on stdout');
}

/** @param threads parser of `--threads`: a command that measures takes several numbers */
export function withEngineFlags(
  command: Command,
  threads: (text: string) => number | number[] = positiveInteger,
): Command {
  return withModelFlags(command)
    .addOption(new Option('--backend <name>', 'where to compute').choices(backendNames).default('auto'))
    .option(
      '--device <id>',
      'a device of the backend, as `unicorn doctor` lists them (default: the first that is usable)',
    )
    .option(
      '--gpu-layers <n|all|auto>',
      'layers on the GPU, the last ones; the CPU has the others (default: auto, as many as fit)',
      gpuLayers,
    )
    .option('-t, --threads <n>', 'CPU threads (default: the physical cores available)', threads)
    .option(
      '-c, --context <tokens>',
      "context length (default: the model's, or what memory allows)",
      positiveInteger,
    )
    .addOption(
      new Option('--kv-type <type>', 'element type of the KV cache (default: f16; eval: f32)').choices([
        'f32',
        'f16',
        'q8_0',
      ]),
    )
    .option(
      '--elastic <size>',
      'MatFormer size: a preset, a fraction, or one width or `skip` per layer (default: full)',
    )
    .option(
      '--force-elastic',
      'take a size also of a model that was not trained for it, and answers with nonsense',
    );
}

export function withDraftFlag(command: Command): Command {
  return command.option(
    '--draft <size|ngram>',
    'guess ahead with a smaller MatFormer size, or by repetition (default: neither)',
  );
}

/** An answer is the same with and without guesses. */
export function speculationFrom({ draft }: DraftFlags): { readonly draft: string } | undefined {
  return draft === undefined ? undefined : { draft };
}

export function withSamplingFlags(command: Command): Command {
  return command
    .option('--seed <n>', 'makes sampling reproducible (default: a new one each time)', seed)
    .option(
      '--temperature <t>',
      "0 always takes the best token (default: the model's own)",
      nonNegativeNumber,
    )
    .option(
      '--top-k <n>',
      "sample among the n best tokens, 0 among all (default: the model's own)",
      nonNegativeInteger,
    )
    .option('--top-p <p>', "nucleus sampling (default: the model's own)", fraction)
    .option('--min-p <p>', "drop tokens below p times the best (default: the model's own)", fraction)
    .option('--typical <p>', "locally typical sampling (default: the model's own)", fraction)
    .option(
      '--repeat-penalty <x>',
      "above 1 discourages tokens seen before (default: the model's own)",
      nonNegativeNumber,
    )
    .option(
      '--presence-penalty <x>',
      "subtracted once from a token of the answer (default: the model's own)",
      finiteNumber,
    )
    .option(
      '--frequency-penalty <x>',
      "subtracted for each time a token is in the answer (default: the model's own)",
      finiteNumber,
    )
    .option('--logit-bias <id=bias>', "added to a token's logit, repeatable (default: none)", logitBias)
    .option(
      '-n, --max-tokens <n>',
      'tokens to generate at most (default: what the context has room for)',
      positiveInteger,
    )
    .option('--hide-thinking', 'do not show what the model thinks before it answers')
    .option(
      '--stop <text>',
      "a text that ends the answer, repeatable (default: the model's own end alone)",
      collect,
    );
}

/** The flags as sampling parameters; what was not given stays absent, so that the model's defaults hold. */
export function samplingFrom(flags: SamplingFlags): Record<string, unknown> {
  const parameters = {
    seed: flags.seed,
    temperature: flags.temperature,
    topK: flags.topK,
    topP: flags.topP,
    minP: flags.minP,
    typicalP: flags.typical,
    repetitionPenalty: flags.repeatPenalty,
    presencePenalty: flags.presencePenalty,
    frequencyPenalty: flags.frequencyPenalty,
    logitBias: flags.logitBias,
  };
  return Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== undefined));
}
