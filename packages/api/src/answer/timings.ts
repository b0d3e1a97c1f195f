/** From the times that a scheduler measured to the speeds that a caller is told. */
import type { Timings as ScheduledTimings } from '@unicorn-exec/scheduler';
import type { Timings, Usage } from './request.js';

export function summarizeTimings(scheduled: ScheduledTimings, usage: Usage): Timings {
  return {
    queueMs: scheduled.queueMs,
    ttftMs: scheduled.firstTokenMs,
    prefillTokensPerSecond: perSecond(usage.promptTokens - usage.cachedPromptTokens, scheduled.prefillMs),
    decodeTokensPerSecond: perSecond(usage.completionTokens - 1, scheduled.decodeMs),
  };
}

function perSecond(count: number, ms: number): number {
  return ms > 0 && count > 0 ? (count / ms) * 1000 : 0;
}
