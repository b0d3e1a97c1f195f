/** What is known of one request, from its first step to its end: what its reader got, and how it ended. */
import { isUnicornError } from '@unicorn-exec/tensor';
import type { EndReason, FinishedRequest, FinishReason, GenerateRequest, Timings, Usage } from './request.js';

const noTimings: Timings = { queueMs: 0, ttftMs: 0, prefillTokensPerSecond: 0, decodeTokensPerSecond: 0 };

/** Families of the errors that refuse what was asked for; others tell of something that broke. */
const refusals: readonly string[] = ['usage', 'unsupported', 'resource'];

export class RequestRecord {
  /** Tokens that were handed to the reader. */
  delivered = 0;
  /** Set when the scheduler took it. */
  isAccepted = false;
  promptTokens = 0;
  cachedPromptTokens = 0;
  timings = noTimings;
  stopString: string | undefined;
  #reason: EndReason | undefined;
  #error: Error | undefined;

  constructor(private readonly request: GenerateRequest) {}

  get usage(): Usage {
    const { promptTokens, cachedPromptTokens, delivered: completionTokens } = this;
    return { promptTokens, cachedPromptTokens, completionTokens };
  }

  end(reason: FinishReason | 'left'): void {
    this.#reason ??= reason;
  }

  fail(error: unknown): void {
    const isRefusal = !this.isAccepted && isUnicornError(error) && refusals.includes(error.family);
    this.#reason ??= isRefusal ? 'refused' : 'failed';
    this.#error = error instanceof Error ? error : new Error(String(error));
    if (!this.isAccepted) this.promptTokens = 0;
  }

  /** The request as it is told of. */
  get finished(): FinishedRequest {
    return {
      request: this.request,
      reason: this.#reason ?? 'failed',
      usage: this.usage,
      timings: this.timings,
      ...(this.stopString === undefined ? {} : { stopString: this.stopString }),
      ...(this.#error ? { error: this.#error } : {}),
    };
  }
}
