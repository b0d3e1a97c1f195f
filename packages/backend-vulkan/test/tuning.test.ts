/** Tunings as data and on disk: which rule holds, what a file may say, and what becomes of a hostile one. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { defaultTiler } from '../src/kernel/tiler.js';
import type { ProductShape } from '../src/kernel/product-shape.js';
import type { DeviceTraits } from '../src/dispatch/dispatch.js';
import { mergeTunings, noTuning, tunedTiler, tuningFromJson, tuningToJson } from '../src/tuning/tuning.js';
import type { TileRule, Tuning } from '../src/tuning/tuning.js';
import { shippedTunings } from '../src/tuning/shipped-tunings.js';
import { TuningFile, type TunedDevice } from '../src/tuning/tuning-file.js';

const traits: DeviceTraits = {
  subgroupSize: 64,
  minSubgroupSize: 32,
  maxSubgroupSize: 64,
  computeUnits: 12,
  sharedMemoryBytes: 65_536,
  maxInvocations: 1024,
  integerDot: true,
  cooperativeMatrix: [{ m: 16, n: 16, k: 16, a: 'f16', result: 'f32', scope: 'subgroup' }],
  float16: true,
  software: false,
};

const shape = (tokens: number, more: Partial<ProductShape> = {}): ProductShape => ({
  dtype: 'q4_0',
  rows: 3584,
  columns: 3584,
  banks: 1,
  ...more,
  tokens,
});

const ruled = (tiles: TileRule[]): Tuning => ({ lanes: [], tiles });

describe('tunedTiler', () => {
  it('takes the rule that says most, and among its tokens the next larger ones', () => {
    const tiler = tunedTiler(
      [
        ruled([
          { form: 'int8', tile: { depth: 1 } },
          { form: 'int8', columns: 3584, tokens: 1, tile: { depth: 2 } },
          { form: 'int8', columns: 3584, tokens: 8, tile: { depth: 3 } },
        ]),
      ],
      defaultTiler,
    );
    const depth = (tokens: number, columns = 3584): number =>
      tiler.int8(shape(tokens, { columns }), traits).depth;
    expect([1, 2, 8, 9, 400].map((tokens) => depth(tokens))).toEqual([2, 3, 3, 3, 3]);
    expect(depth(1, 1024)).toBe(1);
  });

  it('asks one tuning after the other, and the rules last', () => {
    const own = ruled([{ form: 'int8', rows: 3584, tile: { depth: 5 } }]);
    const tiler = tunedTiler([own, ruled([{ form: 'int8', tile: { depth: 7 } }])], defaultTiler);
    expect(tiler.int8(shape(1), traits).depth).toBe(5);
    expect(tiler.int8(shape(1, { rows: 512 }), traits).depth).toBe(7);
    expect(tiler.float(shape(1), traits)).toEqual(defaultTiler.float(shape(1), traits));
    expect(tunedTiler([], defaultTiler).f16(shape(512), traits)).toEqual(
      defaultTiler.f16(shape(512), traits),
    );
  });

  it('never decides which form a product takes', () => {
    const tiler = tunedTiler([ruled([{ form: 'f16', tile: { rows: 64 } }])], defaultTiler);
    expect(tiler.f16(shape(1), traits)).toBeUndefined();
    expect(tiler.f16(shape(512), { ...traits, cooperativeMatrix: [] })).toBeUndefined();
  });

  it('gives the same lanes for every number of rows, whatever the tiles say', () => {
    const tuning: Tuning = {
      lanes: [{ form: 'int8', dtype: 'q4_0', columns: 3584, lanes: 16 }],
      tiles: [1, 2, 4, 8, 16].map((tokens) => ({
        form: 'int8' as const,
        tokens,
        // Lanes among the fields are not taken, even where something put them there.
        tile: { workgroup: tokens === 4 ? 48 : 64 * tokens, lanes: 2 * tokens } as never,
      })),
    };
    const tiler = tunedTiler([tuning], defaultTiler);
    for (let tokens = 1; tokens <= 40; tokens++) {
      expect(tiler.int8(shape(tokens), traits).lanes).toBe(16);
      expect(tiler.int8(shape(tokens, { rows: 512, banks: 2 }), traits).lanes).toBe(16);
    }
  });

  it('falls back on the rule for a tile that the device cannot run', () => {
    const wild: TileRule['tile'][] = [
      { workgroup: 65 },
      { workgroup: 2 ** 40 },
      { rows: 3 },
      { rows: 1024 },
      { depth: 1e9 },
    ];
    for (const tile of wild) {
      const tiler = tunedTiler([ruled([{ form: 'int8', tile }])], defaultTiler);
      expect(tiler.int8(shape(1), traits)).toEqual(defaultTiler.int8(shape(1), traits));
    }
    for (const tile of [
      { rows: 1e6 },
      { tokens: 256 },
      { subgroupRows: 8 },
      { depth: 48 },
      { depth: 4096 },
    ]) {
      const tiler = tunedTiler([ruled([{ form: 'f16', tile }])], defaultTiler);
      expect(tiler.f16(shape(512), traits)).toEqual(defaultTiler.f16(shape(512), traits));
    }
    const lanes = { lanes: [{ form: 'int8' as const, lanes: 2 ** 20 }], tiles: [] };
    expect(tunedTiler([lanes], defaultTiler).int8(shape(1), traits)).toEqual(
      defaultTiler.int8(shape(1), traits),
    );
  });

  it('widens a workgroup that is too small for the lanes', () => {
    const tuning: Tuning = { lanes: [{ form: 'int8', lanes: 256 }], tiles: [] };
    const tile = tunedTiler([tuning], defaultTiler).int8(shape(1), traits);
    expect(tile.workgroup % tile.lanes).toBe(0);
  });
});

describe('tunings as JSON', () => {
  const tuning: Tuning = {
    lanes: [{ form: 'int8', dtype: 'q4_0', columns: 3584, lanes: 32 }],
    tiles: [
      { form: 'int8', ...shape(1), tile: { workgroup: 64, rows: 2, depth: 4, workgroups: Infinity } },
      { form: 'f16', tile: { rows: 64, tokens: 128, depth: 64, subgroupRows: 16, subgroupTokens: 64 } },
    ],
  };

  it('come back as they went', () => {
    expect(tuningFromJson(JSON.parse(JSON.stringify(tuningToJson(tuning))))).toEqual(tuning);
    expect(tuningFromJson(tuningToJson(noTuning))).toEqual(noTuning);
  });

  it('are refused when they say what a tuning cannot', () => {
    const tile = { workgroup: 64 };
    const hostile: unknown[] = [
      null,
      [],
      'tuning',
      {},
      { lanes: [], tiles: {} },
      { lanes: [{ form: 'f16', lanes: 8 }], tiles: [] },
      { lanes: [{ form: 'int8', lanes: -8 }], tiles: [] },
      { lanes: [{ form: 'int8', lanes: 8, tokens: 4 }], tiles: [] },
      { lanes: [], tiles: [null] },
      { lanes: [], tiles: [{ form: 'int4', tile }] },
      { lanes: [], tiles: [{ form: 'int8' }] },
      { lanes: [], tiles: [{ form: 'int8', tile: { lanes: 8 } }] },
      { lanes: [], tiles: [{ form: 'int8', tile: { workgroup: '64' } }] },
      { lanes: [], tiles: [{ form: 'int8', tile: { workgroup: null } }] },
      { lanes: [], tiles: [{ form: 'int8', tile: { workgroup: 1.5 } }] },
      { lanes: [], tiles: [{ form: 'int8', dtype: 'q9', tile }] },
      { lanes: [], tiles: [{ form: 'int8', rows: -1, tile }] },
      { lanes: [], tiles: [{ form: 'int8', banks: 3, tile }] },
      { lanes: [], tiles: [{ form: 'f16', tile: { slices: 4 } }] },
      { lanes: [], tiles: Array.from({ length: 30_000 }, () => ({ form: 'int8', tile })) },
    ];
    for (const value of hostile) expect(tuningFromJson(value)).toBeUndefined();
  });

  it('of a newer search replace those of an older one, rule by rule', () => {
    const newer = ruled([{ form: 'int8', ...shape(1), tile: { depth: 1 } }]);
    const merged = mergeTunings(tuning, newer);
    expect(merged.tiles).toHaveLength(2);
    expect(merged.tiles[0]).toEqual(newer.tiles[0]);
    expect(merged.lanes).toEqual(tuning.lanes);
  });
});

describe('TuningFile', () => {
  const folder = mkdtempSync(join(tmpdir(), 'unicorn-tuning-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const device: TunedDevice = {
    uuid: 'aa',
    pipelineCacheUuid: 'bb',
    vendorId: 1,
    deviceId: 2,
    driver: 'driver 1',
    name: 'a device',
  };
  const tuning = ruled([{ form: 'int8', tile: { depth: 2, workgroups: Infinity } }]);
  const readAll = (file: TuningFile): { tuning: Tuning; notices: string[] } => {
    const notices: string[] = [];
    return { tuning: file.read((notice) => notices.push(notice)), notices };
  };

  it('is read back by the same device, driver and shaders, and by no other', async () => {
    const file = new TuningFile(device, 'hash', folder);
    expect(readAll(file)).toEqual({ tuning: noTuning, notices: [] });
    expect(await file.write(tuning)).toBe(file.path);
    expect(readAll(file)).toEqual({ tuning, notices: [] });
    const others = [
      new TuningFile({ ...device, driver: 'driver 2' }, 'hash', folder),
      new TuningFile({ ...device, pipelineCacheUuid: 'cc' }, 'hash', folder),
      new TuningFile({ ...device, deviceId: 3 }, 'hash', folder),
      new TuningFile(device, 'another hash', folder),
    ];
    for (const other of others) {
      const result = readAll(other);
      expect(result.tuning).toEqual(noTuning);
      expect(result.notices).toHaveLength(1);
      expect(result.notices[0]).toMatch(/is ignored: it was made for another .*--tune/);
    }
    expect(readAll(new TuningFile({ ...device, uuid: 'dd' }, 'hash', folder)).notices).toEqual([]);
  });

  it('adds to what is there, whole or not at all', async () => {
    const file = new TuningFile(device, 'hash', folder);
    await file.write(ruled([{ form: 'float', tile: { rows: 2 } }]));
    expect(file.read().tiles).toHaveLength(2);
    expect(readdirSync(folder)).toEqual(['tuning-aa.json']);
  });

  it('is ignored with a notice when it is broken', () => {
    const file = new TuningFile(device, 'hash', folder);
    const good = readFileSync(file.path!, 'utf8');
    const broken = [
      '',
      '{',
      'null',
      '[]',
      '"tuning"',
      good.slice(0, good.length / 2),
      good.replace('"depth": 2', '"depth": "2"'),
      good.replace('"tiles"', '"files"'),
      good.replace('"version": 1', '"version": 2'),
    ];
    for (const text of broken) {
      writeFileSync(file.path!, text);
      const result = readAll(file);
      expect(result.tuning, text).toEqual(noTuning);
      expect(result.notices, text).toHaveLength(1);
    }
    writeFileSync(file.path!, good);
    expect(readAll(file).notices).toEqual([]);
  });

  it('that cannot be written says so', async () => {
    const file = new TuningFile(device, 'hash', join(folder, 'tuning-aa.json', 'no-folder'));
    await expect(file.write(tuning)).rejects.toMatchObject({ code: 'usage/file' });
    expect(await new TuningFile(device, 'hash', '').write(tuning)).toBeUndefined();
  });
});

describe('what is shipped', () => {
  it('holds for Radeon 780M: every rule is a tile that such a device can run', () => {
    const [tuning] = shippedTunings({ vendorId: 0x1002, deviceId: 0x15bf });
    const tiler = tunedTiler([tuning!], defaultTiler);
    for (const banks of [1, 2] as const) {
      expect(tiler.int8(shape(1, { banks }), traits)).toMatchObject(
        tuning!.tiles.find((rule) => rule.form === 'int8' && rule.banks === banks)!.tile,
      );
      for (const [tokens, limit] of [
        [17, 32],
        [64, 64],
        [512, undefined],
      ] as const) {
        const rule = tuning!.tiles.find(
          (one) => one.form === 'f16' && one.banks === banks && one.tokens === limit,
        )!;
        expect(tiler.f16(shape(tokens, { banks }), traits)).toMatchObject(rule.tile);
      }
    }
    expect(shippedTunings({ vendorId: 0x10de, deviceId: 0x15bf })).toEqual([]);
  });
});
