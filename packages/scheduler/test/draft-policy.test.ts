/** The choice of drafts on an invented machine: whatever its times, speculation must not cost more than it may. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AcceptanceRates } from '../src/acceptance-rates.js';
import { DraftPolicy } from '../src/draft-policy.js';
import { StepCosts } from '../src/step-costs.js';
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

describe('StepCosts', () => {
  it('takes the lower quartile, linear between what was measured and hopeful beyond', () => {
    const costs = new StepCosts();
    const add = (rows: number, ...times: number[]): void => times.forEach((ms) => costs.add(rows, ms));
    expect(costs.at(3)).toBeUndefined();
    add(1, 30);
    expect(costs.at(1)).toBeUndefined();
    add(1, 2, 1, 2, 90, 2, 40, 2);
    expect([0, 1, 5].map((rows) => costs.at(rows))).toEqual([2, 2, 2]);
    // Once measured, it says how far others may go, but not what it takes.
    add(5, 40);
    expect(costs.at(5)).toBe(2);
    expect(costs.reach).toBe(5);
    add(5, 4);
    expect([1, 3, 5, 9].map((rows) => costs.at(rows))).toEqual([2, 3, 4, 5]);
    add(8, 1, 1);
    expect(costs.at(12)).toBe(1);
    expect(costs.reach).toBe(8);
  });

  it('forgets what was not seen for long', () => {
    const costs = new StepCosts();
    costs.add(9, 50);
    costs.add(9, 50);
    for (let i = 0; i < 600; i++) costs.add(1, 1);
    expect(costs.knows(9)).toBe(false);
    expect(costs.at(9)).toBe(1);
    // It is not cold any more.
    costs.add(9, 4);
    expect(costs.at(9)).toBe(4);
  });
});

interface Machine {
  readonly draftMs: number;
  /** Of a step with so many rows. */
  readonly stepMs: (rows: number) => number;
  /** Chance that a guess is right, at a step. */
  readonly right: (step: number) => number;
  readonly noise?: number;
  readonly sequences?: number;
}

/** Runs some steps and compares the time with that of plain decoding. */
function simulate(machine: Machine, steps: number, seed = 1): { ratio: number; drafted: number } {
  const { stepMs, right, noise = 0, sequences = 1 } = machine;
  const policy = new DraftPolicy();
  const random = randomNumbers(seed);
  const noisy = (ms: number): number => ms * (1 + noise * (random() - 0.5) * 2);
  const rates = Array.from({ length: sequences }, () => policy.newRates('draft'));
  let spent = 0;
  let plain = 0;
  let drafted = 0;
  for (let step = 0; step < steps; step++) {
    const counts = policy.plan(
      'target',
      sequences,
      rates.map((own) => ({ rates: own, limit: 7, program: 'draft', adaptive: true })),
    );
    let draftMs = 0;
    let totalMs = 0;
    for (let depth = 0; depth < Math.max(...counts); depth++) {
      const ms = noisy(machine.draftMs);
      totalMs += ms;
      draftMs += policy.learnDraft('draft', counts.filter((count) => count > depth).length, ms);
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
    const chosen = new Set(rows > sequences ? ['draft'] : []);
    const ms = noisy(stepMs(rows));
    totalMs += ms;
    policy.learnStep({ target: 'target', sequences, rows, tokens, stepMs: ms, draftMs, chosen });
    spent += totalMs;
    plain += (tokens / sequences) * stepMs(sequences);
  }
  return { ratio: plain / spent, drafted };
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

  it('always drafts what is not left to it, and never touches its account for that', () => {
    const policy = new DraftPolicy();
    const candidate = {
      rates: policy.newRates('draft'),
      limit: 5,
      program: undefined,
      adaptive: false,
    };
    expect(policy.plan('target', 1, [candidate])).toEqual([5]);
    const report = { target: 'target', sequences: 1, rows: 6, tokens: 1, stepMs: 50, draftMs: 0 };
    for (let i = 0; i < 100; i++) policy.learnStep({ ...report, chosen: new Set<undefined>() });
    for (let i = 0; i < 3; i++)
      policy.learnStep({ ...report, rows: 1, stepMs: 1, chosen: new Set([undefined]) });
    for (let i = 0; i < 20; i++) policy.learnStep({ ...report, stepMs: 1, chosen: new Set<undefined>() });
    expect(policy.plan('target', 1, [{ ...candidate, adaptive: true }])).toEqual([5]);
  });
});
