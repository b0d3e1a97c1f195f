/** A request's events gathered into one value. */
import type { GenerateRequest, GenerationEvent, Scheduler } from '../src/index.js';

export interface Answer {
  readonly tokens: number[];
  readonly end: Extract<GenerationEvent, { kind: 'end' }>;
}

export async function answer(scheduler: Scheduler, request: GenerateRequest): Promise<Answer> {
  const tokens: number[] = [];
  for await (const event of scheduler.generate(request)) {
    if (event.kind === 'end') return { tokens, end: event };
    tokens.push(event.token);
  }
  throw new Error('the generation had no end');
}

/** `count` ids below 37, other ones for each `salt`. */
export function promptOf(count: number, salt = 0): number[] {
  return Array.from({ length: count }, (_, i) => (i * (11 + salt) + 3 + 5 * salt) % 37);
}
