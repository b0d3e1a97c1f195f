/**
 * How prompts share the rows of a step: a pure function of what is left of each. It knows no decoding sequences and no
 * devices.
 *
 * Half of the rows go to prompts in order of admission. So whatever arrives later, a prompt is computed after at most
 * twice the steps that it would take if everybody were served in order, and nobody starves. The other half goes to those
 * with the fewest tokens left, so a short prompt does not wait behind long ones: up to half a chunk of the shortest is
 * computed by the next step. Of equals the older comes first, so of two long prompts one is answered early and neither
 * later than if they took turns.
 */
import { leastCount, uncutCount, type TokenSpan } from '../kv/token-span.js';

/** A prompt as its share sees it. */
export interface SharingPrompt {
  /** Name of the program that computes it. */
  readonly program: string;
  /** Position of its first token that is not computed. */
  readonly begin: number;
  /** Tokens from there on, at least 1. */
  readonly left: number;
  /** Positions that one submission computes together, or none. */
  readonly spans: readonly TokenSpan[];
}

/**
 * Tokens of each prompt, in the order given; 0 for one that waits.
 *
 * @param prompts in order of admission
 * @param chunk tokens of all together
 * @param roomOf tokens that a program takes at most
 */
export function shareChunk(
  prompts: readonly SharingPrompt[],
  chunk: number,
  roomOf: (program: string) => number,
): number[] {
  const counts = new Array<number>(prompts.length).fill(0);
  const rooms = new Map<string, number>();
  for (const { program } of prompts) if (!rooms.has(program)) rooms.set(program, roomOf(program));
  let left = chunk;
  /** Raises a prompt's tokens by at most `most`, as far as no span is cut. Returns by how many. */
  const give = (index: number, most: number): number => {
    const prompt = prompts[index]!;
    const had = counts[index]!;
    const programRoom = rooms.get(prompt.program)!;
    const room = had + Math.min(most, left, programRoom);
    const count = prompt.left <= room ? prompt.left : uncutCount(prompt.spans, prompt.begin, room);
    if (count <= had) return 0;
    counts[index] = count;
    left -= count - had;
    rooms.set(prompt.program, programRoom - (count - had));
    return count - had;
  };
  if (prompts.length > 1) {
    let half = Math.ceil(chunk / 2);
    const halves = new Map([...rooms].map(([program, room]) => [program, Math.ceil(room / 2)]));
    for (let index = 0; index < prompts.length && half > 0; index++) {
      const { program, spans, begin } = prompts[index]!;
      const programHalf = halves.get(program)!;
      let given = give(index, Math.min(half, programHalf));
      // A span that is longer than half a chunk would wait for ever.
      if (given === 0 && index === 0) given = give(index, leastCount(spans, begin));
      half -= given;
      halves.set(program, programHalf - given);
    }
  }
  const missing = (index: number): number => prompts[index]!.left - counts[index]!;
  const byMissing = [...prompts.keys()];
  if (prompts.length > 1) byMissing.sort((a, b) => missing(a) - missing(b) || a - b);
  for (const index of byMissing) {
    if (left <= 0) break;
    give(index, left);
  }
  return counts;
}
