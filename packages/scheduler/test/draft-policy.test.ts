/** The choice of drafts on an invented machine: whatever its times, speculation must not cost more than it may. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AcceptanceRates } from '../src/draft/acceptance-rates.js';
import { headStart, mostSaved, trialShare } from '../src/draft/draft-ledger.js';
import { DraftPolicy } from '../src/draft/draft-policy.js';
import { Pace, StepCosts } from '../src/draft/step-costs.js';
import { randomNumbers } from './toy-model.js';

describe('AcceptanceRates', () => {
  it('converges to the share of right guesses at each depth', () => {
    const rates = AcceptanceRates.of(AcceptanceRates.ofAll());
    for (let i = 0; i < 100; i++) rates.learn(3, 2);
    expect(rates.expectedTokens(0)).toBe(1);
    expect(rates.expectedTokens(2)).toBeCloseTo(3, 2);
    expect(rates.expectedTokens(3)).toBeCloseTo(3, 2);
    for (let i = 0; i < 100; i++) rates.learn(3, 0);
    expect(rates.expectedTokens(1)).toBeCloseTo(1, 2);
  });

  it('hands what it learned to those that come after, slowly', () => {
    const all = AcceptanceRates.ofAll();
    for (let i = 0; i < 200; i++) AcceptanceRates.of(all).learn(1, 0);
    expect(AcceptanceRates.of(all).expectedTokens(1)).toBeLessThan(1.05);
    const own = AcceptanceRates.of(all);
    for (let i = 0; i < 10; i++) own.learn(1, 1);
    expect(own.expectedTokens(1)).toBeGreaterThan(1.8);
    expect(AcceptanceRates.of(all).expectedTokens(1)).toBeLessThan(1.3);
  });
});

describe('Pace', () => {
  it('is the lower quartile of the last few, once the first is no longer alone', () => {
    const pace = new Pace();
    pace.add(90);
    expect(pace.ms).toBeUndefined();
    pace.add(2);
    expect(pace.ms).toBe(2);
    for (const ms of [2, 70, 2, 2, 2, 3, 3, 3, 50, 3]) pace.add(ms);
    expect(pace.ms).toBe(3);
  });
});

describe('StepCosts', () => {
  it('takes the lower quartile, linear between what was measured and hopeful beyond, or fearful', () => {
    const costs = new StepCosts(1);
    const add = (rows: number, ...shares: number[]): void => shares.forEach((one) => costs.add(rows, one));
    expect(new StepCosts().at(3)).toBeUndefined();
    add(1, 7, 7);
    expect([0, 1, 5].map((rows) => costs.at(rows))).toEqual([1, 1, 1]);
    // The first time is cold.
    add(5, 40);
    expect(costs.knows(5)).toBe(false);
    expect(costs.at(5)).toBe(1);
    add(5, 3, 90, 3);
    expect(costs.knows(5)).toBe(true);
    expect([1, 3, 5, 9].map((rows) => costs.at(rows))).toEqual([1, 2, 3, 4]);
    expect([3, 5, 9].map((rows) => costs.atMost(rows, 2))).toEqual([2, 3, 11]);
    expect(costs.reach).toBe(5);
    add(8, 1, 1);
    expect(costs.at(12)).toBe(1);
  });
});

interface Machine {
  readonly draftMs: number;
  /** Of a step with so many rows. */
  readonly stepMs: (rows: number) => number;
  /** Chance that a guess is right, at a step. */
  readonly right: (step: number) => number;
  readonly noise?: number;
  /** Chance that a step takes five times as long. */
  readonly heldUp?: (step: number) => number;
  readonly sequences?: number;
  /** How much slower than usual everything is, at a step. */
  readonly slowed?: (step: number) => number;
}

interface Simulated {
  readonly ratio: number;
  readonly drafted: number;
  /** After each step, what all steps so far took longer than plain ones, in plain steps. Held up ones count as others. */
  readonly lost: readonly number[];
}

/** Runs some steps and compares the time with that of plain decoding. */
function simulate(machine: Machine, steps: number, seed = 1): Simulated {
  const { stepMs, right, noise = 0, heldUp = () => 0, slowed = () => 1, sequences = 1 } = machine;
  const policy = new DraftPolicy();
  const random = randomNumbers(seed);
  const noisy = (ms: number): number => ms * (1 + noise * (random() - 0.5) * 2);
  const rates = Array.from({ length: sequences }, () => policy.newRates('draft'));
  let spent = 0;
  let plain = 0;
  let drafted = 0;
  let rest = 0;
  const lost: number[] = [];
  for (let step = 0; step < steps; step++) {
    let counts: readonly number[] = rates.map(() => 0);
    if (rest > 0) rest--;
    else {
      ({ counts, rest } = policy.plan(
        'target',
        sequences,
        rates.map((own) => ({ rates: own, limit: 7, program: 'draft', adaptive: true })),
      ));
    }
    let totalMs = 0;
    for (let depth = 0; depth < Math.max(...counts); depth++) {
      const ms = noisy(machine.draftMs);
      totalMs += ms;
      const drafting = counts.filter((count) => count > depth).length;
      policy.learnDraft('target', 'draft', drafting, ms * slowed(step));
    }
    let tokens = sequences;
    counts.forEach((count, index) => {
      let accepted = 0;
      while (accepted < count && random() < right(step)) accepted++;
      if (count > 0) rates[index]!.learn(count, accepted);
      tokens += accepted;
      drafted += count;
    });
    const rows = counts.reduce((sum, count) => sum + count, sequences);
    const chosen = rows > sequences ? new Set(['draft']) : undefined;
    const usualMs = noisy(stepMs(rows));
    const ms = usualMs * slowed(step) * (random() < heldUp(step) ? 5 : 1);
    totalMs += usualMs;
    policy.learnStep({ target: 'target', sequences, rows, tokens, stepMs: ms, chosen });
    spent += totalMs;
    plain += (tokens / sequences) * stepMs(sequences);
    lost.push((spent - plain) / stepMs(sequences));
  }
  return { ratio: plain / spent, drafted, lost };
}

describe('DraftPolicy', () => {
  it('drafts where it pays', () => {
    const { ratio } = simulate({ draftMs: 0.2, stepMs: () => 1, right: () => 0.9 }, 400);
    // Drafts of 6: (1 - 0.9^7) / 0.1 = 5.2 tokens in 2.2 ms are the best there is.
    expect(ratio).toBeGreaterThan(2.1);
  });

  it('drafts deeper the more rows are free', () => {
    const wide = simulate({ draftMs: 0.05, stepMs: () => 1, right: () => 0.95 }, 300);
    const narrow = simulate({ draftMs: 0.05, stepMs: (rows) => rows ** 1.2, right: () => 0.95 }, 300);
    expect(wide.drafted).toBeGreaterThan(300 * 5);
    expect(narrow.drafted).toBeLessThan(50);
    expect(narrow.ratio).toBeGreaterThan(0.97);
  });

  it('turns itself off when guesses turn bad, and on again when they are good', () => {
    const machine = { draftMs: 0.3, stepMs: (rows: number) => 0.9 + 0.1 * rows };
    const turned = simulate({ ...machine, right: (step) => (step < 300 ? 0.9 : 0) }, 4000);
    const never = simulate({ ...machine, right: () => 0 }, 4000);
    expect(never.ratio).toBeGreaterThan(0.98);
    expect(never.drafted).toBeLessThan(100);
    expect(turned.ratio).toBeGreaterThan(1);
    const back = simulate({ ...machine, right: (step) => (step < 2000 ? 0 : 0.9) }, 6000);
    expect(back.ratio).toBeGreaterThan(1.15);
  });

  it('waits for nobody: guesses that delay other sequences must pay for them too', () => {
    const costly = { draftMs: 0.5, stepMs: (rows: number) => 0.8 + 0.2 * rows, right: () => 0.7 };
    expect(simulate(costly, 2000).ratio).toBeGreaterThan(0.985);
    const crowded = simulate({ ...costly, sequences: 4 }, 2000);
    expect(crowded.ratio).toBeGreaterThan(0.985);
    expect(crowded.drafted).toBeLessThan(2000);
  });

  it('never loses more than its account and the share of trials, on any machine', () => {
    const steps = 2000;
    fc.assert(
      fc.property(
        fc.record({
          draftMs: fc.double({ min: 0, max: 3, noNaN: true }),
          slope: fc.double({ min: 0, max: 2, noNaN: true }),
          right: fc.double({ min: 0, max: 1, noNaN: true }),
          noise: fc.double({ min: 0, max: 0.3, noNaN: true }),
          sequences: fc.integer({ min: 1, max: 4 }),
          seed: fc.integer(),
        }),
        ({ draftMs, slope, right, noise, sequences, seed }) => {
          const stepMs = (rows: number): number => 1 + slope * (rows - 1);
          const { ratio } = simulate({ draftMs, stepMs, right: () => right, noise, sequences }, steps, seed);
          return ratio > 0.97;
        },
      ),
      { numRuns: 100, seed: 5 },
    );
  });

  it('leaves a spell of bad luck and a disturbed measurement behind', () => {
    // Guesses are always right, but for a long time every other step is held up, some for very long.
    const machine = { draftMs: 0.2, stepMs: (rows: number) => 0.9 + 0.1 * rows, right: () => 0.95 };
    const calm = simulate(machine, 2000).ratio;
    expect(calm).toBeGreaterThan(1.9);
    for (let seed = 1; seed <= 5; seed++) {
      const held = simulate({ ...machine, heldUp: (step) => (step < 200 ? 0.5 : 0.05) }, 2000, seed);
      expect(held.ratio).toBeGreaterThan(0.7 * calm);
    }
  });

  it('knows what rows take however long fewer sequences are there', () => {
    const stepMs = (rows: number): number => 0.7 + 0.075 * rows + 0.045 * Math.max(0, rows - 4);
    for (let seed = 1; seed <= 5; seed++) {
      const policy = new DraftPolicy();
      const random = randomNumbers(seed);
      const step = (sequences: number, rows: number): void => {
        const ms = stepMs(rows) * (1 + 0.6 * (random() - 0.5));
        policy.learnStep({ target: 'target', sequences, rows, tokens: rows, stepMs: ms });
      };
      for (let i = 0; i < 20; i++) for (const rows of [4, 4, 5, 8]) step(4, rows);
      for (let i = 0; i < 2000; i++) step(3, 3);
      const rates = policy.newRates('draft');
      for (let i = 0; i < 20; i++) rates.learn(5, 5);
      const candidate = { rates, limit: 5, program: undefined, adaptive: true };
      expect(policy.plan('target', 3, [candidate]).counts, `seed ${seed}`).toEqual([5]);
    }
  });

  it('gets over what it measured while the machine was slow, where one guess alone does not pay', () => {
    // Rows are computed eight at a time: in calm, drafts make it 2.7 times as fast.
    const stepMs = (rows: number): number => (rows <= 4 ? 1 : 0.85 + 0.4 * Math.ceil(rows / 8));
    const slowed = (step: number): number => (step % 300 < 60 ? 2.5 : 1);
    const machine = { draftMs: 0, stepMs, right: () => 0.95, noise: 0.1, sequences: 4, slowed };
    for (let seed = 1; seed <= 5; seed++) {
      expect(simulate(machine, 3000, seed).ratio, `seed ${seed}`).toBeGreaterThan(2.2);
    }
  });

  it('spends no more than its ledger has, whatever guesses turn out to be', () => {
    const steps = 1500;
    fc.assert(
      fc.property(
        fc.record({
          draftMs: fc.double({ min: 0, max: 1, noNaN: true }),
          slope: fc.double({ min: 0, max: 1, noNaN: true }),
          // The chance of a right guess, for a spell of steps each.
          spells: fc.array(
            fc.record({ steps: fc.integer({ min: 1, max: 200 }), right: fc.constantFrom(0, 0.5, 0.9, 1) }),
            { minLength: 1, maxLength: 12 },
          ),
          sequences: fc.integer({ min: 1, max: 4 }),
          seed: fc.integer(),
        }),
        ({ draftMs, slope, spells, sequences, seed }) => {
          const chances = spells.flatMap((spell) => Array<number>(spell.steps).fill(spell.right));
          const { lost } = simulate(
            {
              draftMs,
              stepMs: (rows) => 1 + slope * (rows - 1),
              right: (step) => chances[step % chances.length]!,
              sequences,
            },
            steps,
            seed,
          );
          // From any step to any later one: what the ledger may hold, and the share that it is given for trials.
          let worst = 0;
          let most = 0;
          lost.forEach((sum, step) => {
            most = Math.min(most, sum - trialShare * step);
            worst = Math.max(worst, sum - trialShare * step - most);
          });
          expect(worst).toBeLessThan(mostSaved + 0.01);
          expect(Math.max(...lost.map((sum, step) => sum - trialShare * step))).toBeLessThan(
            headStart + 0.01,
          );
        },
      ),
      { numRuns: 200, seed: 5 },
    );
  });

  it('always drafts what is not left to it, and never touches its account for that', () => {
    const policy = new DraftPolicy();
    const candidate = {
      rates: policy.newRates('draft'),
      limit: 5,
      program: undefined,
      adaptive: false,
    };
    expect(policy.plan('target', 1, [candidate]).counts).toEqual([5]);
    const report = { target: 'target', sequences: 1, rows: 6, tokens: 1, stepMs: 50 };
    for (let i = 0; i < 100; i++) policy.learnStep({ ...report, chosen: undefined });
    for (let i = 0; i < 3; i++)
      policy.learnStep({ ...report, rows: 1, stepMs: 1, chosen: new Set([undefined]) });
    for (let i = 0; i < 20; i++) policy.learnStep({ ...report, stepMs: 1, chosen: undefined });
    expect(policy.plan('target', 1, [{ ...candidate, adaptive: true }]).counts).toEqual([5]);
  });
});
