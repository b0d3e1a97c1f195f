/** Products in a chain: few workgroups take many runs of rows, and give the bits of products with barriers. */
import { randomWeight } from '@unicorn-exec/conformance';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chainHead, withChains } from '../src/dispatch/chain.js';
import type { Argument, DeviceTraits, Dispatch, Place } from '../src/dispatch/dispatch.js';
import { chainedTile } from '../src/kernel/chained-tile.js';
import { int8Tile } from '../src/kernel/lane-tile.js';
import { matmul } from '../src/kernel/matmul.js';
import type { Operand } from '../src/kernel/operand.js';
import type { MatmulCall, ProductCall } from '../src/kernel/matmul-call.js';
import { KernelRunner } from '../src/measure/kernel-runner.js';
import { diagnoseAddon } from '../src/load-addon.js';
import { card } from './card.js';
import { driver } from './lavapipe.js';
import { normals } from './random.js';

const addon = driver.present ? diagnoseAddon().loaded?.addon : undefined;

/** `parts` of `matmul-int8.comp`. */
const partsConstant = 7;

describe('chainedTile', () => {
  const tiles = (rows: number, columns: number, banks: 1 | 2, traits = card) => {
    const shape = { dtype: 'q4_0', rows, columns, banks, tokens: 1 } as const;
    const own = int8Tile(shape, traits);
    return { own, inChain: chainedTile(own, shape, traits) };
  };

  it.each([
    ['a long gated pair', 21_504, 5376, 2],
    ['a short gated pair', 6912, 1152, 2],
    ['rows that subgroups share', 5376, 21_504, 1],
    ['many rows', 8192, 5376, 1],
    ['few rows', 1152, 1024, 1],
  ] as const)(
    'has the lanes of the product by itself, and resident workgroups alone: %s',
    (_, rows, columns, banks) => {
      const { own, inChain } = tiles(rows, columns, banks);
      expect(inChain.lanes).toBe(own.lanes);
      expect(inChain.tokens).toBe(1);
      expect(inChain.workgroup * inChain.workgroups).toBeLessThanOrEqual(1024 * card.computeUnits);
      expect(inChain.rows * banks).toBeLessThanOrEqual(4);
    },
  );

  it('leaves the workgroups of a device that does not tell its compute units', () => {
    expect(tiles(8192, 5376, 1, { ...card, computeUnits: 0 }).inChain.workgroups).toBe(Infinity);
  });
});

describe.skipIf(!addon)(`products in a chain (${driver.need})`, () => {
  let runner: KernelRunner;
  let traits: DeviceTraits;
  beforeAll(() => {
    runner = KernelRunner.open(addon!);
    // A compute unit: two workgroups of 512 invocations are resident.
    traits = { ...runner.traits, software: false, computeUnits: 1, maxInvocations: 1024 };
  });
  afterAll(() => runner.close());

  const product = async (rows: number, columns: number, gated = false): Promise<ProductCall> => {
    const weight = (name: string) =>
      runner.weight('q4_0', rows, columns, randomWeight('q4_0', rows, columns, `${name} ${rows}`));
    return {
      weight: await weight('weight'),
      ...(gated ? { gated: { up: await weight('up'), activation: 'relu' as const } } : {}),
      out: await runner.floats([1, rows]),
      posts: [],
    };
  };

  it.each([
    ['three products, of which runs change from one to the next', 256, [700, 90, 33], false],
    ['rows that several subgroups share', 2048, [1501], false],
    ['a gated pair that they share', 1280, [611], true],
    ['a gated pair within a subgroup', 160, [2003], true],
  ] as const)('have the bits of products with barriers: %s', async (name, columns, rows, gated) => {
    const x: Operand = await runner.floats([1, columns], normals(columns, 1));
    const products = await Promise.all(rows.map((count) => product(count, columns, gated)));
    const nowhere = runner.memory(0);
    const call: MatmulCall = { x, fast: true, products, scratch: nowhere, counters: nowhere };
    const scratch = runner.memory(matmul.scratchBytes(call, traits));
    const dispatches = matmul.dispatch({ ...call, scratch }, traits);
    const chain = withChains(dispatches);
    expect(chain.map(({ isChained }) => isChained)).toEqual([true, true]);
    const [, workgroups] = chain[1]!.groups;
    expect(workgroups).toBeLessThanOrEqual(4);
    expect(workgroups).toBeLessThan(dispatches[1]!.groups[1]);

    // The plain shader with the chain's cut; and the chain's own, but for what Mesa compiles wrongly (`chainsOn`).
    const { constants, ...pipeline } = chain[1]!.pipeline;
    const cut = {
      ...dispatches[1]!,
      pipeline: { ...dispatches[1]!.pipeline, constants },
      groups: chain[1]!.groups,
    };
    const isShared = constants[partsConstant]! > 1;
    expect(pipeline.shader).toBe('matmul-int8-q4_0-chained');
    expect(isShared).toBe(/share/.test(name));
    const head = runner.memory(24);
    const chained = chain.map((one) => withHead(one, head));
    const results: Float32Array[][] = [];
    for (const all of [dispatches, [dispatches[0]!, cut], ...(isShared ? [] : [chained])]) {
      for (const { out } of products) await runner.write(out.place, new Float32Array(out.shape[1]!));
      await runner.write(head, chainHead(0n, runner.traits));
      await runner.run(all);
      results.push(await Promise.all(products.map(({ out }) => runner.readFloats(out))));
    }
    expect(results[0]!.every((values) => values.some((value) => value !== 0))).toBe(true);
    for (const result of results) expect(result).toEqual(results[0]);
    runner.clear();
  });

  /** What a submission brings along lies in memory of the test. */
  function withHead(dispatch: Dispatch, head: Place): Dispatch {
    const own = (argument: Argument): Argument =>
      argument.kind === 'address' && argument.place.storage.kind === 'inputs'
        ? { ...argument, place: head }
        : argument;
    return { ...dispatch, arguments: dispatch.arguments.map(own) };
  }
});
