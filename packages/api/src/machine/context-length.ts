/** How long a context may be on this machine: the model's own length, or less where memory is short. */
import { freemem } from 'node:os';
import { UnicornError } from '@unicorn-exec/tensor';

export interface ContextRequest {
  /** Positions asked for; the default is the largest that fits. */
  readonly requested?: number | undefined;
  /** Positions that the model was made for. */
  readonly modelContext: number;
  /** Bytes of the weights that will be resident. */
  readonly weightBytes: number;
  /** Bytes of the KV cache for a context. */
  readonly kvBytes: (context: number) => number;
  /** Bytes that may be used. Default: what the operating system says is available. */
  readonly availableBytes?: number;
}

export interface ContextChoice {
  readonly contextLength: number;
  readonly kvBytes: number;
  /** Present when memory, not the model, set the length. */
  readonly limitedBy?: { readonly availableBytes: number; readonly neededBytes: number };
}

/** Process, scratch and file cache beside weights and KV: what one process took beyond both, rounded up. */
const reservedBytes = 256 * 2 ** 20;

/** A context below this answers nothing useful. */
const leastContext = 256;

/** Memory that this process may still take, cgroup limits included. */
export function availableMemoryBytes(): number {
  return process.availableMemory?.() ?? freemem();
}

/**
 * The context to allocate.
 *
 * @throws UnicornError `usage/context` when more is asked for than the model has, `resource/memory` when the weights
 * and the context asked for (or the least useful one) do not fit, with the largest that would
 */
export function chooseContext(request: ContextRequest): ContextChoice {
  const { requested, modelContext, weightBytes, kvBytes } = request;
  const availableBytes = request.availableBytes ?? availableMemoryBytes();
  if (requested !== undefined && (!Number.isSafeInteger(requested) || requested < 1)) {
    throw new UnicornError('usage/context', `A context of ${requested} tokens is impossible.`, {
      fields: { requested },
      fix: 'Give a whole number of tokens.',
    });
  }
  if (requested !== undefined && requested > modelContext) {
    throw new UnicornError(
      'usage/context',
      `The model was made for ${modelContext} tokens of context; ${requested} were asked for.`,
      { fields: { requested, contextLength: modelContext }, fix: `Ask for at most ${modelContext}.` },
    );
  }
  const budget = availableBytes - weightBytes - reservedBytes;
  const wanted = requested ?? modelContext;
  const wantedBytes = kvBytes(wanted);
  if (wantedBytes <= budget) return { contextLength: wanted, kvBytes: wantedBytes };
  const largest = largestContext(wanted, kvBytes, budget);
  if (requested !== undefined || largest < leastContext) {
    throw new UnicornError(
      'resource/memory',
      `${weightBytes} bytes of weights and ${wantedBytes} bytes of KV cache for ${wanted} tokens do not fit in the ${availableBytes} bytes available.`,
      {
        fields: { weightBytes, kvBytes: wantedBytes, availableBytes, largestContext: largest },
        fix:
          largest >= leastContext
            ? `Ask for a context of at most ${largest}.`
            : 'Use a smaller model or size.',
      },
    );
  }
  return {
    contextLength: largest,
    kvBytes: kvBytes(largest),
    limitedBy: { availableBytes, neededBytes: weightBytes + wantedBytes + reservedBytes },
  };
}

/** Bisection: the bytes grow with the context. A multiple of 256 where it is not the wanted one. */
function largestContext(wanted: number, kvBytes: (context: number) => number, budget: number): number {
  let [low, high] = [0, Math.floor(wanted / 256)];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (kvBytes(middle * 256) <= budget) low = middle;
    else high = middle - 1;
  }
  return low * 256;
}
