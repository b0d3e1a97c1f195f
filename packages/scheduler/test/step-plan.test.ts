/** The plan of a step by itself: descriptions go in, counts come out, and nothing runs. */
import { describe, expect, it } from 'vitest';
import { planStep, type PlannedSubmission, type StepCandidate } from '../src/step/step-plan.js';

interface Named extends StepCandidate {
  readonly name: string;
}

function decoding(name: string, guesses = 0, program = 'full'): Named {
  return { name, program, left: 1, decodes: true, guesses };
}

function prompt(name: string, left: number, program = 'full'): Named {
  return { name, program, left, decodes: false, guesses: 0 };
}

/** `full: a1 b4` for a submission of the program `full` with one token of `a` and four of `b`. */
function text(plan: readonly PlannedSubmission<Named>[]): string[] {
  return plan.map(({ program, parts }) => {
    return `${program}: ${parts.map(({ candidate, count }) => candidate.name + count).join(' ')}`;
  });
}

function plan(candidates: readonly Named[], chunk = 8, room = 12): string[] {
  return text(planStep(candidates, { chunk, tokensOf: () => room }));
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
    const submissions = planStep([decoding('a'), prompt('b', 3, 'half')], { chunk: 8, tokensOf: () => 12 });
    expect(submissions.map(({ prompts }) => prompts)).toEqual([false, true]);
  });
});
