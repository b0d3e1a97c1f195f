/** Where time goes: figures of a real profile, and reasons that follow from figures. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../src/index.js';
import { benchmark, profileKernels, type KernelProfile } from '../src/measure/index.js';
import { slownessReason } from '../src/measure/kernel-profile.js';

describe('profileKernels', () => {
  let engine: Engine;
  let profile: KernelProfile;
  beforeAll(async () => {
    engine = await Engine.load({ context: 128, maxSequences: 1, profile: true });
    profile = await profileKernels(engine, { promptTokens: 37, generateTokens: 9, repetitions: 2 });
  });
  afterAll(() => engine.close());

  it('tells prefill from decode, and both in submissions', () => {
    expect(profile.phases.map(({ phase, tokens, submissions }) => ({ phase, tokens, submissions }))).toEqual([
      { phase: 'prefill', tokens: 37, submissions: 2 },
      { phase: 'decode', tokens: 1, submissions: expect.any(Number) },
    ]);
    expect(profile.speed).toMatchObject({ kind: 'read', bytesPerSecond: expect.any(Number) });
  });

  it('is of no figures where it was cancelled, as no measurement is', async () => {
    const reason = { code: 'usage/cancelled' };
    for (const delayMs of [0, 30]) {
      const signal = AbortSignal.timeout(delayMs);
      const options = { signal, promptTokens: 32, generateTokens: 64, repetitions: 1e6 };
      await expect(profileKernels(engine, options)).rejects.toMatchObject(reason);
      await expect(benchmark(engine, options)).rejects.toMatchObject(reason);
    }
  });

  it('accounts for all of the time, the longest step first', () => {
    for (const { rows, millisecondsPerSubmission } of profile.phases) {
      expect(rows.reduce((sum, { timeShare }) => sum + timeShare, 0)).toBeCloseTo(1, 6);
      expect(rows.map(({ timeShare }) => timeShare)).toEqual(
        rows.map(({ timeShare }) => timeShare).sort((a, b) => b - a),
      );
      const sum = rows.reduce((us, row) => us + row.microsecondsPerCall * row.callsPerSubmission, 0);
      expect(sum / 1e3).toBeCloseTo(millisecondsPerSubmission, 6);
    }
  });

  it('tells products of one name apart by the weights that they read, and says why one is slow', () => {
    const decode = profile.phases[1]!;
    const products = decode.rows.filter(({ detail }) => detail.includes('q8_0['));
    expect(new Set(products.map(({ detail }) => detail)).size).toBeGreaterThan(3);
    for (const { bandwidthShare, reason } of decode.rows) {
      expect(reason === undefined).toBe(bandwidthShare >= 0.6);
    }
  });

  it('refuses an engine that was not loaded for it', async () => {
    const plain = await Engine.load({ context: 64, maxSequences: 1 });
    await expect(profileKernels(plain, { promptTokens: 3, generateTokens: 0 })).rejects.toMatchObject({
      code: 'usage/profile',
    });
    await plain.close();
  });
});

describe('slownessReason', () => {
  const speed = { kind: 'copy', bytesPerSecond: 1e12, launchSeconds: 4e-6, computeUnits: 100 } as const;
  const entry = (seconds: number, bytes: number, flops: number, workgroups: number) => ({
    device: 'gpu0',
    step: 'matmul',
    calls: 1,
    seconds,
    bytes,
    flops,
    kernels: [{ name: 'matmul', launches: 1, seconds, workgroups }],
  });

  it('follows from the figures', () => {
    expect(slownessReason(entry(5e-6, 14_000, 0, 4), speed, 1e14)).toBe(
      'waits for a launch: moves only 14 kB',
    );
    expect(slownessReason(entry(1e-3, 1e7, 9e10, 500), speed, 1e14)).toBe(
      'bound by arithmetic: 90.0 TFLOP/s',
    );
    expect(slownessReason(entry(1e-4, 1e6, 1e6, 28), speed, 1e14)).toBe(
      'few workgroups: 28 on 100 compute units',
    );
    expect(slownessReason(entry(1e-3, 1e7, 1e10, 500), speed, 1e14)).toBe(
      'computes at 10.0 TFLOP/s, the best step of the phase at 100.0 TFLOP/s',
    );
    expect(slownessReason(entry(1e-4, 1e7, 1e6, 1000), speed, 1e14)).toBe(
      'waits for loads that depend on each other, or computes between them: 10.0 MB, 10 kB for each of 1000 workgroups',
    );
  });
});
