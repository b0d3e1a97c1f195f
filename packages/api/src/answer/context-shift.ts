/**
 * Going on past the context, only where a request asks for it: the oldest tokens are forgotten, what is left is
 * computed anew, and the answer continues. A sequence is refused or ended at the context otherwise.
 */
import type {
  GenerateRequest,
  Generation,
  GenerationEvent,
  Scheduler,
  Timings,
  Usage,
} from '@unicorn-exec/scheduler';

/**
 * First tokens that are never forgotten: attention settles on them whatever they say ("attention sinks", Xiao et al.
 * 2023, arXiv:2309.17453, who find four to be enough).
 */
const sinkTokens = 4;

/** The first tokens and the newest, together half a context: as much room again before the next shift. */
export function shiftTokens(tokens: readonly number[], contextLength: number): number[] {
  const kept = Math.max(2, Math.floor(contextLength / 2));
  if (tokens.length <= kept) return [...tokens];
  const sinks = Math.min(sinkTokens, kept - 1);
  return [...tokens.slice(0, sinks), ...tokens.slice(tokens.length - (kept - sinks))];
}

/** A request over a context's length. */
type ShiftingRequest = GenerateRequest & { readonly tokens: readonly number[] };

/**
 * As `scheduler.generate`, over as many sequences as it takes: one stream of tokens and one end, whose usage counts
 * the prompt as given. Presence and frequency penalties see the tokens since the last shift.
 *
 * @throws UnicornError at once, as `scheduler.generate`
 */
export function generateShifting(
  scheduler: Scheduler,
  request: ShiftingRequest,
  contextLength: number,
): AsyncGenerator<GenerationEvent, void, undefined> {
  const given = request.tokens.length;
  const tokens = given < contextLength ? [...request.tokens] : shiftTokens(request.tokens, contextLength);
  const first = scheduler.generate({ ...request, tokens });
  return goOn(scheduler, request, { contextLength, tokens, first });
}

async function* goOn(
  scheduler: Scheduler,
  request: ShiftingRequest,
  begun: { readonly contextLength: number; readonly tokens: number[]; readonly first: Generation },
): AsyncGenerator<GenerationEvent, void, undefined> {
  const { contextLength, first } = begun;
  let { tokens } = begun;
  let left = request.maxTokens ?? Number.POSITIVE_INFINITY;
  let usage: Usage | undefined;
  let timings: Timings | undefined;
  for (let events = first; ;) {
    for await (const event of events) {
      if (event.kind === 'token') {
        tokens.push(event.token);
        left--;
        yield event;
        continue;
      }
      usage = {
        promptTokens: request.tokens.length,
        cachedPromptTokens: usage?.cachedPromptTokens ?? event.usage.cachedPromptTokens,
        completionTokens: (usage?.completionTokens ?? 0) + event.usage.completionTokens,
      };
      // Computing the rest anew is part of going on, so it counts as decoding.
      timings = timings
        ? { ...timings, decodeMs: timings.decodeMs + event.timings.firstTokenMs + event.timings.decodeMs }
        : event.timings;
      if (event.finishReason !== 'length' || left <= 0) {
        yield { ...event, usage, timings };
        return;
      }
    }
    tokens = shiftTokens(tokens, contextLength);
    const limit = Number.isFinite(left) ? { maxTokens: left } : {};
    events = scheduler.generate({ ...request, ...limit, tokens });
  }
}
