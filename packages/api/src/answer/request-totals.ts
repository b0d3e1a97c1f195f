/** What an engine's requests come to: how many were begun, how they ended, and what was delivered. */
import type { EndReason, EngineStats, FinishedRequest } from './request.js';

export class RequestTotals {
  #requests = 0;
  readonly #ends: Record<EndReason, number> = {
    stop: 0,
    length: 0,
    cancelled: 0,
    deadline: 0,
    left: 0,
    refused: 0,
    failed: 0,
  };
  readonly #usage = { promptTokens: 0, cachedPromptTokens: 0, completionTokens: 0 };

  begin(): void {
    this.#requests++;
  }

  end({ reason, usage }: Pick<FinishedRequest, 'reason' | 'usage'>): void {
    this.#ends[reason]++;
    this.#usage.promptTokens += usage.promptTokens;
    this.#usage.cachedPromptTokens += usage.cachedPromptTokens;
    this.#usage.completionTokens += usage.completionTokens;
  }

  get stats(): Pick<EngineStats, 'requests' | 'active' | 'ends' | keyof FinishedRequest['usage']> {
    const ended = Object.values(this.#ends).reduce((sum, count) => sum + count, 0);
    return {
      requests: this.#requests,
      active: this.#requests - ended,
      ends: { ...this.#ends },
      ...this.#usage,
    };
  }
}
