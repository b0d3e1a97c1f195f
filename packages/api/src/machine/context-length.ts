/** How long a context may be on this machine: the model's own length, or less where memory is short. */
import { UnicornError } from '@unicorn-exec/tensor';
import { shortageOf, type DeviceShare, type PoolBytes, type Shortage } from './memory-pool.js';

export interface ContextRequest {
  /** Positions asked for; the default is the largest that fits. */
  readonly requested?: number | undefined;
  /** Positions that the model was made for. */
  readonly modelContext: number;
  /** The model on its devices: what each has to hold. */
  readonly shares: readonly DeviceShare[];
  readonly pools: PoolBytes;
}

export interface ContextChoice {
  readonly contextLength: number;
  /** Bytes of the KV cache on all devices together. */
  readonly kvBytes: number;
  /** Present when memory, not the model, set the length. */
  readonly limitedBy?: { readonly availableBytes: number; readonly neededBytes: number };
}

/** A context, or what is missing for the one asked for (without one: for the least that is useful). */
export type ContextAnswer =
  | { readonly kind: 'fits'; readonly context: ContextChoice }
  | {
      readonly kind: 'tooLarge';
      readonly contextLength: number;
      readonly shortage: Shortage;
      /** The largest useful context that would fit; undefined where none does. */
      readonly largestContext: number | undefined;
    };

/** A context below this answers nothing useful. */
const leastContext = 256;

/** @throws UnicornError `usage/context` for what is not a length, or more than the model has */
export function checkContext(requested: number | undefined, modelContext: number): void {
  if (requested === undefined) return;
  if (!Number.isSafeInteger(requested) || requested < 1) {
    throw new UnicornError('usage/context', `A context of ${requested} tokens is impossible.`, {
      fields: { requested },
      fix: 'Give a whole number of tokens.',
    });
  }
  if (requested > modelContext) {
    throw new UnicornError(
      'usage/context',
      `The model was made for ${modelContext} tokens of context; ${requested} were asked for.`,
      { fields: { requested, contextLength: modelContext }, fix: `Ask for at most ${modelContext}.` },
    );
  }
}

/** The context to allocate: what is asked for or nothing; without a wish as much as fits. */
export function chooseContext(request: ContextRequest): ContextAnswer {
  const { requested, modelContext, shares, pools } = request;
  const wanted = requested ?? modelContext;
  const shortage = shortageOf(shares, pools, wanted);
  const kvBytes = (context: number): number => shares.reduce((sum, share) => sum + share.kvBytes(context), 0);
  if (!shortage) return { kind: 'fits', context: { contextLength: wanted, kvBytes: kvBytes(wanted) } };
  const largest = largestContext(wanted, (context) => !shortageOf(shares, pools, context));
  if (requested !== undefined || largest < leastContext) {
    const largestUseful = largest >= leastContext ? largest : undefined;
    return { kind: 'tooLarge', contextLength: wanted, shortage, largestContext: largestUseful };
  }
  const { availableBytes, neededBytes } = shortage;
  const limitedBy = { availableBytes, neededBytes };
  return { kind: 'fits', context: { contextLength: largest, kvBytes: kvBytes(largest), limitedBy } };
}

/** What a caller is told who cannot have a context. */
export function memoryError(answer: ContextAnswer & { readonly kind: 'tooLarge' }): UnicornError {
  const { contextLength, largestContext } = answer;
  const { weightBytes, kvBytes, availableBytes } = answer.shortage;
  return new UnicornError(
    'resource/memory',
    `${weightBytes} bytes of weights and ${kvBytes} bytes of KV cache for ${contextLength} tokens do not fit in the ${availableBytes} bytes available.`,
    {
      fields: { weightBytes, kvBytes, availableBytes, largestContext: largestContext ?? 0 },
      fix:
        largestContext === undefined
          ? 'Use a smaller model or size.'
          : `Ask for a context of at most ${largestContext}.`,
    },
  );
}

/** Bisection, since the bytes grow with the context: a multiple of 256, or 0. */
function largestContext(wanted: number, fits: (context: number) => boolean): number {
  let [low, high] = [0, Math.floor(wanted / 256)];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(middle * 256)) low = middle;
    else high = middle - 1;
  }
  return low * 256;
}
