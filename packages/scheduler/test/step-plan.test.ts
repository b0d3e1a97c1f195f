/** The plan of a step by itself: descriptions go in, counts come out, and nothing runs. */
import fc from 'fast-check';
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

  it('takes one token of whoever decodes, then prompts up to the chunk', () => {
    expect(plan([prompt('a', 5), decoding('b'), prompt('c', 9), decoding('e')])).toEqual([
      'full: b1 e1 a5 c3',
    ]);
  });

  // Of a chunk of eight tokens four go to prompts in order, four to those with the fewest tokens left.
  it.each<[string, Named[], string]>([
    ['one alone takes all', [prompt('a', 20)], 'a8'],
    ['a short one gets through', [prompt('a', 20), prompt('b', 20), prompt('c', 1)], 'a7 c1'],
    ['several short ones do', [prompt('a', 20), prompt('b', 2), prompt('c', 1)], 'a5 b2 c1'],
    ['the shortest first', [prompt('a', 20), prompt('b', 9), prompt('c', 3)], 'a4 b1 c3'],
    ['of equals the older', [prompt('a', 20), prompt('b', 5), prompt('c', 5)], 'a4 b4'],
    [
      'the oldest keeps half',
      [prompt('a', 20), ...'bcdefg'.split('').map((x) => prompt(x, 1))],
      'a4 b1 c1 d1 e1',
    ],
    [
      'what the oldest leaves of half is the next ones',
      [prompt('a', 1), prompt('b', 20), prompt('c', 4)],
      'a1 b3 c4',
    ],
    ['decoding neighbours ride along', [decoding('x'), prompt('a', 20), prompt('b', 1)], 'x1 a7 b1'],
  ])('shares the chunk: %s', (_, candidates, expected) => {
    expect(plan(candidates, 8, 20)).toEqual([`full: ${expected}`]);
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
    expect(plan([prompt('a', 3), prompt('b', 9), prompt('c', 1)], 8, 4)).toEqual(['full: a3 c1']);
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
    expect(plan([prompt('a', 60), prompt('b', 20)], 512, 540, buckets)).toEqual(['full: a44 b20']);
    expect(plan([prompt('a', 64), prompt('b', 20)], 512, 540, buckets)).toEqual(['full: a44 b20']);
    // A span is not cut for it.
    expect(plan([prompt('a', 100, 'full', [{ begin: 0, end: 80 }])], 512, 540, buckets)).toEqual([
      'full: a100',
    ]);
    expect(plan([prompt('a', 100, 'full', [{ begin: 50, end: 80 }])], 512, 540, buckets)).toEqual([
      'full: a50',
    ]);
  });
});

describe('planStep over many steps', () => {
  const arrival = fc.record({
    step: fc.nat(20),
    left: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 90 })),
    program: fc.constantFrom('full', 'full', 'half'),
    span: fc.option(fc.record({ begin: fc.nat(30), length: fc.integer({ min: 2, max: 16 }) }), {
      nil: undefined,
    }),
  });
  const shapes: RowShapes[] = [any, { kind: 'grain', grain: 4 }, { kind: 'buckets', buckets: [4, 16, 64] }];

  it('starves nobody, cuts no span, keeps to the chunk, and lets everybody decode in every step', () => {
    fc.assert(
      fc.property(
        fc.array(arrival, { minLength: 1, maxLength: 12 }),
        fc.constantFrom(...shapes),
        fc.nat(3),
        (arrivals, rows, neighbours) => {
          const chunk = 16;
          const waiting = arrivals.map((one, name) => ({ ...one, name: String(name), begin: 0 }));
          const total = waiting.reduce((all, { left }) => all + left, 0);
          const spansOf = ({ span }: (typeof waiting)[number]): TokenSpan[] =>
            span ? [{ begin: span.begin, end: span.begin + span.length }] : [];
          let step = 0;
          for (; waiting.some(({ left }) => left > 0); step++) {
            expect(step).toBeLessThan(21 + total);
            const running = waiting.filter((one) => one.left > 0 && one.step <= step);
            const candidates = [
              ...running.map(({ name, left, begin, program, ...one }) => ({
                ...prompt(name, left, program, spansOf({ name, left, begin, program, ...one })),
                begin,
              })),
              ...Array.from({ length: neighbours }, (_, index) => decoding(`d${index}`)),
            ];
            const planned = planStep(candidates, { chunk, tokensOf: () => chunk + neighbours, rows });
            const portions = planned.flatMap((one) => one.portions);
            expect(portions.filter(({ candidate }) => candidate.decodes).length).toBe(neighbours);
            const chunks = portions.filter(({ candidate }) => !candidate.decodes);
            expect(chunks.reduce((all, { count }) => all + count, 0)).toBeLessThanOrEqual(chunk);
            if (running.length > 0)
              expect(chunks.map(({ candidate }) => candidate.name)).toContain(running[0]!.name);
            for (const { candidate, count } of chunks) {
              const one = waiting[Number(candidate.name)]!;
              expect(count).toBeGreaterThan(0);
              one.begin += count;
              one.left -= count;
              for (const { begin, end } of spansOf(one)) {
                expect(one.left > 0 && begin < one.begin && one.begin < end).toBe(false);
              }
            }
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  it('takes at most twice the steps of serving in order, whoever comes later', () => {
    const old = [
      { ...prompt('a', 50), left: 50 },
      { ...prompt('b', 70), left: 70 },
    ];
    let steps = 0;
    while (old[1]!.left > 0) {
      steps++;
      const candidates = [
        ...old.filter(({ left }) => left > 0),
        ...[1, 2, 3].map((left) => prompt('new', 2 * left)),
      ];
      for (const { candidate, count } of planStep(candidates, { chunk: 8, tokensOf: () => 12, rows: any })[0]!
        .portions) {
        const one = old.find(({ name }) => name === candidate.name);
        if (one) one.left -= count;
      }
    }
    expect(steps).toBeLessThanOrEqual((2 * (50 + 70)) / 8);
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
