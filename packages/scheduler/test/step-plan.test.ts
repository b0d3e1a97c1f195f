/** The plan of a step by itself: descriptions go in, counts come out, and nothing runs. */
import { describe, expect, it } from 'vitest';
import type { RowShapes } from '@unicorn-exec/tensor';
import type { TokenSpan } from '../src/index.js';
import { fittingChunk, planStep, type PlannedSubmission, type StepCandidate } from '../src/step/step-plan.js';

interface Named extends StepCandidate {
  readonly name: string;
}

function decoding(name: string, guesses = 0, program = 'full'): Named {
  return { name, program, begin: 20, left: 1, decodes: true, guesses, spans: [] };
}

function prompt(name: string, left: number, program = 'full', spans: readonly TokenSpan[] = []): Named {
  return { name, program, begin: 0, left, decodes: false, guesses: 0, spans };
}

/** `full: a1 b4` for a submission of the program `full` with one token of `a` and four of `b`. */
function text(plan: readonly PlannedSubmission<Named>[]): string[] {
  return plan.map(({ program, portions }) => {
    return `${program}: ${portions.map(({ candidate, count }) => candidate.name + count).join(' ')}`;
  });
}

const any: RowShapes = { kind: 'any' };

function plan(candidates: readonly Named[], chunk = 8, room = 12, rows: RowShapes = any): string[] {
  return text(planStep(candidates, { chunk, tokensOf: () => room, rows }));
}

describe('planStep', () => {
  it('plans nothing for nobody', () => {
    expect(plan([])).toEqual([]);
  });

  it('takes one token of whoever decodes, then prompts in order up to the chunk', () => {
    expect(plan([prompt('a', 5), decoding('b'), prompt('c', 9), prompt('d', 2), decoding('e')])).toEqual([
      'full: b1 e1 a5 c3',
    ]);
  });

  it('makes one submission for each program, and shares the chunk among them', () => {
    expect(plan([decoding('a', 0, 'half'), prompt('b', 6), prompt('c', 6, 'half'), decoding('d')])).toEqual([
      'half: a1 c2',
      'full: d1 b6',
    ]);
  });

  it('takes guesses from the chunk', () => {
    expect(plan([decoding('a', 3), prompt('b', 9)])).toEqual(['full: a1 b5']);
  });

  it('lets wait whom no submission has room for', () => {
    expect(plan([prompt('a', 3), prompt('b', 9), prompt('c', 1)], 8, 4)).toEqual(['full: a3 b1']);
    expect(plan([decoding('a', 3), decoding('b', 2), decoding('c')], 8, 5)).toEqual(['full: a1 c1']);
  });

  it('tells a submission with a prompt from one without', () => {
    const submissions = planStep([decoding('a'), prompt('b', 3, 'half')], {
      chunk: 8,
      tokensOf: () => 12,
      rows: any,
    });
    expect(submissions.map(({ prompts }) => prompts)).toEqual([false, true]);
  });

  it('never cuts a span: it goes whole, or waits for the next step', () => {
    const image = [{ begin: 3, end: 9 }];
    expect(plan([prompt('a', 12, 'full', image)])).toEqual(['full: a3']);
    const later = { ...prompt('a', 9, 'full', image), begin: 3 };
    expect(plan([later, prompt('b', 9)])).toEqual(['full: a8']);
    expect(plan([prompt('b', 4), later])).toEqual(['full: b4']);
    expect(plan([prompt('a', 9, 'full', image)], 9)).toEqual(['full: a9']);
  });

  it('fills the rows of a device with buckets, and pads at the end of a prompt where that is little', () => {
    const buckets: RowShapes = { kind: 'buckets', buckets: [8, 64, 512] };
    const three = [decoding('x'), decoding('y'), decoding('z')];
    const one: RowShapes = { kind: 'buckets', buckets: [512] };
    expect(plan([...three, prompt('a', 512)], 512, 540, one)).toEqual(['full: x1 y1 z1 a509']);
    // The device computes 512 and 8 rows of these.
    expect(plan([...three, prompt('a', 512)], 512, 540, buckets)).toEqual(['full: x1 y1 z1 a512']);
    expect(plan([...three, prompt('a', 3)], 512, 540, buckets)).toEqual(['full: x1 y1 z1 a3']);
    expect(plan([prompt('a', 100)], 512, 540, buckets)).toEqual(['full: a64']);
    expect(plan([prompt('a', 400)], 512, 540, buckets)).toEqual(['full: a400']);
    expect(plan([prompt('a', 60), prompt('b', 20)], 512, 540, buckets)).toEqual(['full: a60 b4']);
    expect(plan([prompt('a', 64), prompt('b', 20)], 512, 540, buckets)).toEqual(['full: a64']);
    // A span is not cut for it.
    expect(plan([prompt('a', 100, 'full', [{ begin: 0, end: 80 }])], 512, 540, buckets)).toEqual([
      'full: a100',
    ]);
    expect(plan([prompt('a', 100, 'full', [{ begin: 50, end: 80 }])], 512, 540, buckets)).toEqual([
      'full: a50',
    ]);
  });
});

describe('fittingChunk', () => {
  const grain: RowShapes = { kind: 'grain', grain: 32 };

  it('wastes nothing in the middle of a prompt', () => {
    expect(fittingChunk(grain, 3, 512, true)).toBe(509);
    expect(fittingChunk(grain, 0, 500, true)).toBe(480);
    expect(fittingChunk({ kind: 'any' }, 3, 500, true)).toBe(500);
  });

  it('saves a submission at the end of one', () => {
    expect(fittingChunk(grain, 3, 100, false)).toBe(100);
    expect(fittingChunk(grain, 0, 33, false)).toBe(32);
  });

  it('always leaves something to compute', () => {
    for (const rows of [grain, { kind: 'buckets', buckets: [16, 64] } as const]) {
      for (let fixed = 0; fixed < 70; fixed++) {
        for (let chunk = 1; chunk < 200; chunk += 7) {
          for (const later of [false, true]) {
            const fitting = fittingChunk(rows, fixed, chunk, later);
            expect(fitting).toBeGreaterThan(0);
            expect(fitting).toBeLessThanOrEqual(chunk);
          }
        }
      }
    }
  });
});
