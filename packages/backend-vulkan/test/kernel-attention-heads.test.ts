/** Attention that does the heads of its row first gives the bits of the dispatches that it stands for, and stores the same. */
import { HostTensor } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { withChains } from '../src/dispatch/chain.js';
import { attention } from '../src/kernel/attention.js';
import { heads } from '../src/kernel/heads.js';
import type { Operand } from '../src/kernel/operand.js';
import type { AttentionCall } from '../src/kernel/attention-call.js';
import type { HeadPart, HeadsCall } from '../src/kernel/heads.js';
import { ropeTable } from '../src/kernel/rope.js';
import { attentionOperands } from './attention-operands.js';
import { kernelProblem, KernelRun } from './kernel-run.js';
import { normals } from './random.js';

interface Row {
  readonly queryHeads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly keys: number;
  /** Turned; none where 0. */
  readonly pairs: number;
  readonly layout?: 'half' | 'interleaved';
  /** Of queries, keys and values: `n` norm, `w` with a weight. */
  readonly norms: string;
  readonly window?: number;
  /** Where the row goes, the position that it asks from, and where its sequence begins, if not where they belong. */
  readonly slot?: number;
  readonly position?: number;
  readonly start?: number;
  readonly quantizes?: true;
}

const plain: Row = { queryHeads: 4, kvHeads: 2, headDim: 128, keys: 50, pairs: 64, norms: 'ww-' };

const rows: Record<string, Row> = {
  'one section': plain,
  'one section, left for products': { ...plain, quantizes: true },
  'no key but its own': { ...plain, keys: 1, norms: 'nnn' },
  'a whole section': { ...plain, keys: 128, norms: '---' },
  'five sections and a window': { ...plain, keys: 700, window: 400, norms: 'nwn', quantizes: true },
  'eight heads of 256': { ...plain, queryHeads: 8, kvHeads: 1, headDim: 256, pairs: 128, keys: 140 },
  'some of the pairs, interleaved': { ...plain, headDim: 64, pairs: 20, layout: 'interleaved', keys: 300 },
  'small heads that are not turned': { ...plain, queryHeads: 6, headDim: 16, pairs: 0, norms: '-wn' },
  'a slot beyond the pool': { ...plain, slot: 1_000_000 },
  'a slot before it': { ...plain, slot: -1 },
  'a slot that it does not see': { ...plain, slot: 3 },
  'the slot of another key': { ...plain, keys: 40, slot: 16 * 4 + 2 },
  'a position before all': { ...plain, position: -1 },
  'a position beyond the table': { ...plain, position: 100 },
  'a start beyond the row': { ...plain, start: 1 },
  'a start before the row': { ...plain, start: -1 },
};

const blockTokens = 16;

/** Strings are compared in no time, and told apart in a line. */
const hexOf = ({ bytes }: HostTensor): string => Buffer.from(bytes).toString('hex');

const problem = kernelProblem();

describe.skipIf(problem !== undefined)(`attention with heads${problem ? ` (${problem})` : ''}`, () => {
  let run: KernelRun;
  beforeAll(() => {
    run = KernelRun.open();
  });
  afterAll(() => {
    expect(run.close()).toEqual([]);
  });

  const integer = (value: number): Promise<Operand> => run.tensor(HostTensor.i32([1], [value]));

  async function part(count: number, headDim: number, norm: string, seed: number, turned: boolean) {
    const floats = (shape: number[], own: number): Promise<Operand> =>
      run.tensor(
        HostTensor.f32(
          shape,
          normals(
            shape.reduce((a, b) => a * b, 1),
            own,
          ),
        ),
      );
    const made: HeadPart = {
      x: await floats([1, count, headDim], seed),
      normed: norm !== '-',
      ...(norm === 'w' ? { weight: await floats([headDim], seed + 10) } : {}),
      turned,
    };
    return made;
  }

  /** Both calls, over a state that is filled anew. */
  async function calls(row: Row): Promise<{ headsCall: HeadsCall; call: AttentionCall }> {
    const { queryHeads, kvHeads, headDim, keys, pairs, norms, layout = 'half' } = row;
    const tensors = attentionOperands({
      dtype: 'f16',
      heads: queryHeads,
      kvHeads,
      headDim,
      blockTokens,
      sequences: [{ keys, rows: 1 }],
    });
    const { columns } = tensors.blocks;
    const block = tensors.blocks.integers[Math.floor((keys - 1) / blockTokens)]!;
    const state = await run.tensor(tensors.state);
    const query = await run.operand('f32', [1, queryHeads, headDim]);
    const positions = await integer(row.position ?? keys - 1);
    const table = await run.operand('f32', [1, 2, Math.max(1, pairs)]);
    if (pairs > 0) {
      const frequencies = Array.from({ length: pairs }, (_, i) => 10_000 ** (-i / pairs));
      await run.run(
        ropeTable.dispatch(
          {
            positions: await integer(keys - 1),
            frequencies: await run.tensor(HostTensor.f32([pairs], frequencies)),
            out: table,
            magnitude: 1.5,
          },
          run.traits,
        ),
      );
    }
    const turned = pairs > 0;
    const headsCall: HeadsCall = {
      query: { ...(await part(queryHeads, headDim, norms[0]!, 1, turned)), out: query },
      stored: {
        key: await part(kvHeads, headDim, norms[1]!, 2, turned),
        value: await part(kvHeads, headDim, norms[2]!, 3, false),
        state,
        slots: await integer(row.slot ?? block * blockTokens + ((keys - 1) % blockTokens)),
      },
      epsilon: 1e-6,
      weightOffset: 1,
      ...(turned ? { rope: { table, layout } } : {}),
      faults: run.faults,
    };
    const base = {
      query,
      state,
      positions,
      starts: await integer(row.start ?? 0),
      blocks: await run.tensor(tensors.blocks),
      out: await run.operand('f32', [1, queryHeads, headDim]),
      ...(row.window === undefined ? {} : { window: row.window }),
      ...(row.quantizes ? { quantizes: true as const } : {}),
      scale: headDim ** -0.5,
      keys: columns * blockTokens,
      counters: await run.zeros(4096),
      faults: run.faults,
      scratch: run.faults,
    };
    return {
      headsCall,
      call: { ...base, scratch: await run.memory(attention.scratchBytes(base, run.traits)) },
    };
  }

  it.each(Object.entries(rows))('%s', async (_, row) => {
    // Heads of a KV head share a workgroup only where devices are hardware.
    for (const traits of [run.traits, { ...run.traits, software: false, computeUnits: 1 }]) {
      const results = [];
      for (const form of ['apart', 'together', 'chained'] as const) {
        const { headsCall, call } = await calls(row);
        expect(attention.takesHeads(call, headsCall, traits)).toBe(true);
        const together = attention.dispatch({ ...call, heads: headsCall }, traits);
        expect(together.map(({ pipeline }) => pipeline.shader)).toEqual([expect.stringContaining('-heads')]);
        if (form === 'apart')
          await run.run([...heads.dispatch(headsCall, traits), ...attention.dispatch(call, traits)]);
        else if (form === 'together') await run.run(together);
        // Alone it would not be in a chain.
        else await run.run(withChains([...together, ...together]));
        results.push({
          out: hexOf(await run.read(call.out)),
          state: hexOf(await run.read(call.state)),
          fault: await run.takeFault(),
        });
      }
      expect(results[1]).toEqual(results[0]);
      expect(results[2]).toEqual(results[0]);
    }
  });

  it('is not for several rows, other caches, heads of other sizes, or operands that its result lies upon', async () => {
    const { headsCall, call } = await calls(plain);
    const takes = (changed: Partial<AttentionCall>, heads: HeadsCall = headsCall): boolean =>
      attention.takesHeads({ ...call, ...changed }, heads, run.traits);
    expect(takes({})).toBe(true);
    expect(takes({ query: { ...call.query, shape: [2, 4, 128] } })).toBe(false);
    expect(takes({ starts: { ...call.starts, shape: [2] } })).toBe(false);
    expect(takes({ state: { ...call.state, dtype: 'q8_0' } })).toBe(false);
    expect(takes({ query: { ...call.query, shape: [1, 4, 96] } })).toBe(false);
    expect(takes({ query: { ...call.query, shape: [1, 4, 512] } })).toBe(false);
    expect(takes({ query: { ...call.query, shape: [1, 4, 8] } })).toBe(false);
    expect(takes({ softcap: 30 })).toBe(false);
    expect(takes({ reach: call.positions })).toBe(false);
    expect(takes({ out: headsCall.stored!.key.x })).toBe(false);
    expect(takes({ scratch: headsCall.query!.x.place })).toBe(false);
    const { query, ...withoutQuery } = headsCall;
    expect(query).toBeDefined();
    expect(takes({}, withoutQuery)).toBe(false);
    const value = { ...headsCall.stored!.value, weight: headsCall.stored!.value.x };
    expect(takes({}, { ...headsCall, stored: { ...headsCall.stored!, value } })).toBe(false);
  });
});
