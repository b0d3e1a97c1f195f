import { hostPool, nullBackend } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import {
  checkContext,
  chooseContext,
  memoryError,
  type ContextChoice,
} from '../src/machine/context-length.js';
import { poolsOf, purseOf } from '../src/machine/memory-pool.js';

const { info: nullInfo } = await nullBackend.open();
const MiB = 2 ** 20;
const kvBytes = (context: number): number => context * 1000;

interface Request {
  readonly requested?: number;
  readonly modelContext: number;
  readonly weightBytes: number;
  readonly kvBytes: (context: number) => number;
  readonly availableBytes: number;
}

/** On one device that has the host's memory, with the errors that a caller sees. */
function contextOn({
  requested,
  modelContext,
  weightBytes,
  kvBytes,
  availableBytes,
}: Request): ContextChoice {
  checkContext(requested, modelContext);
  const purse = { pool: 'host', availableBytes };
  const answer = chooseContext({
    requested,
    modelContext,
    shares: [{ purse, weightBytes, kvBytes }],
    pools: new Map([['host', availableBytes]]),
  });
  if (answer.kind === 'tooLarge') throw memoryError(answer);
  return answer.context;
}

describe('chooseContext', () => {
  it("takes the model's length when it fits", () => {
    const choice = contextOn({
      modelContext: 8192,
      weightBytes: MiB,
      kvBytes,
      availableBytes: 1024 * MiB,
    });
    expect(choice).toEqual({ contextLength: 8192, kvBytes: 8_192_000 });
  });

  it('shortens the default to what memory allows, and says so', () => {
    const availableBytes = 256 * MiB + 3_000_000;
    const choice = contextOn({ modelContext: 8192, weightBytes: 0, kvBytes, availableBytes });
    expect(choice.contextLength).toBe(2816);
    expect(choice.kvBytes).toBeLessThanOrEqual(3_000_000);
    expect(choice.limitedBy).toMatchObject({ availableBytes });
  });

  it('counts what else grows with the context', () => {
    const availableBytes = 256 * MiB + 3_000_000;
    const purse = { pool: 'host', availableBytes };
    const pools = new Map([['host', availableBytes]]);
    const contextOf = (historyBytes?: (context: number) => number): number => {
      const share = { purse, weightBytes: 0, kvBytes, ...(historyBytes ? { historyBytes } : {}) };
      const answer = chooseContext({ modelContext: 8192, shares: [share], pools });
      return answer.kind === 'fits' ? answer.context.contextLength : 0;
    };
    expect(contextOf()).toBe(2816);
    // Half of what there is.
    expect(contextOf(kvBytes)).toBe(1280);
  });

  it.each([0, 2 ** 34])('does not take a heap of %i bytes for all that a device has', (bytes) => {
    const heap = { name: 'host', bytes, pool: hostPool, hostVisible: true };
    const info = { ...nullInfo, heaps: [heap] };
    const owner = { info, availableBytes: undefined };
    const { availableBytes } = purseOf(owner, poolsOf([owner], 1024 * MiB));
    expect(availableBytes).toBe(1024 * MiB);
  });

  it('refuses a context asked for that does not fit, naming the largest that would', () => {
    const request = {
      requested: 8192,
      modelContext: 8192,
      weightBytes: 0,
      kvBytes,
      availableBytes: 256 * MiB + 3_000_000,
    };
    expect(() => contextOn(request)).toThrowError(
      expect.objectContaining({
        code: 'resource/memory',
        fields: expect.objectContaining({ largestContext: 2816 }),
      }),
    );
  });

  it("refuses more than the model's context and impossible numbers", () => {
    const request = { modelContext: 100, weightBytes: 0, kvBytes, availableBytes: 1024 * MiB };
    for (const requested of [101, 0, -1, 1.5, Number.NaN]) {
      expect(() => contextOn({ ...request, requested })).toThrowError(
        expect.objectContaining({ code: 'usage/context' }),
      );
    }
  });

  it('refuses weights that leave no room at all', () => {
    expect(() =>
      contextOn({ modelContext: 8192, weightBytes: 2048 * MiB, kvBytes, availableBytes: 1024 * MiB }),
    ).toThrowError(expect.objectContaining({ code: 'resource/memory' }));
  });
});
