/** Flags, comparison and forms of `unicorn bench`, on results that are given. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { BenchmarkReport, Samples } from '@unicorn-exec/api/measure';
import { comparisonText, expectSameModel, readEarlier } from '../src/command/bench-comparison.js';
import { benchRecords, benchTable, csvText } from '../src/command/bench-text.js';
import { numberList } from '../src/option.js';
import { temporaryFolder } from './command.js';

const folder = temporaryFolder();

const samples = (mean: number, std: number, count = 5): Samples => ({
  mean,
  std,
  samples: Array.from({ length: count }, () => mean),
});

const report: BenchmarkReport = {
  version: '0.1.0',
  date: '2026-01-02T03:04:05.678Z',
  machine: { cpu: 'AMD Ryzen 9 8945HS w/ Radeon 780M Graphics', cores: 8, readBandwidthGBs: 61.2 },
  speed: { kind: 'read', bytesPerSecond: 61.2e9 },
  load: { openMs: 6, weightsMs: 20, compileMs: 12 },
  model: { name: 'Gemma 3n "E4B" it', bytes: 4.5e9, parameters: 6.87e9, type: 'Q4_0' },
  backend: 'cpu',
  device: 'AMD Ryzen 9 8945HS w/ Radeon 780M Graphics (8 threads, avx512vnni)',
  threads: 8,
  promptTokens: 512,
  timeToFirstTokenMs: 2100,
  results: [
    {
      test: 'pp512 @ d16384',
      tokens: 512,
      depth: 16384,
      threads: 8,
      tokensPerSecond: samples(12345.678, 123.456),
    },
    {
      test: 'tg128',
      tokens: 128,
      depth: 0,
      threads: 8,
      tokensPerSecond: samples(12.3, 0.1),
      bandwidthShare: 0.82,
    },
  ],
};

function written(name: string, value: unknown): string {
  const file = join(folder, name);
  writeFileSync(file, typeof value === 'string' ? value : JSON.stringify(value));
  return file;
}

describe('numbers of a flag', () => {
  it.each([
    ['512', [512]],
    ['128,512', [128, 512]],
    ['1-4', [1, 2, 3, 4]],
    ['0-8192+4096', [0, 4096, 8192]],
    ['128-1000*2', [128, 256, 512]],
    ['4,1-2,2', [4, 1, 2]],
  ])('%s', (text, numbers) => expect(numberList(0)(text)).toEqual(numbers));

  it.each([
    '',
    'x',
    '1,',
    '-1',
    '1.5',
    '8-1',
    '1-8+0',
    '1-8*1',
    '0-8*2',
    '1-',
    '0-1000000',
    '1-9007199254740993',
  ])('refuses %j', (text) => expect(() => numberList(0)(text)).toThrow(/It (must be|names)/));

  it('refuses 0 where it means nothing', () => expect(() => numberList(1)('0,1')).toThrow('from 1'));
});

describe('a comparison', () => {
  it('tells a difference from noise', () => {
    expect(comparisonText(samples(110, 1), samples(100, 1))).toBe('1.10x');
    expect(comparisonText(samples(101, 5), samples(100, 5))).toBe('1.01x noise');
    expect(comparisonText(samples(110, 0, 1), samples(100, 1))).toBe('1.10x unsure');
  });

  it('reads what bench --json has written', async () => {
    const earlier = await readEarlier(written('before.json', report));
    expect(() => expectSameModel(earlier, report.model)).not.toThrow();
    const table = benchTable(report, earlier);
    expect(table).toContain('1.00x noise');
    expect(Math.max(...table.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  it.each(['name', 'type', 'bytes', 'parameters'] as const)(
    'refuses another model by its %s',
    async (key) => {
      const value = key === 'name' || key === 'type' ? 'other' : 17;
      const file = written('other.json', { ...report, model: { ...report.model, [key]: value } });
      const earlier = await readEarlier(file);
      expect(() => expectSameModel(earlier, report.model)).toThrow(/is of another model/);
    },
  );

  it.each<readonly [string, unknown]>([
    ['null', null],
    ['a number', 17],
    ['an array', [report]],
    ['an empty object', {}],
    ['no results', { ...report, results: [] }],
    ['results of another kind', { ...report, results: {} }],
    ['a result that is null', { ...report, results: [null] }],
    [
      'a mean that is text',
      { ...report, results: [{ test: 'pp1', tokensPerSecond: { mean: '1', std: 0, samples: [] } }] },
    ],
    ['a mean of 0', { ...report, results: [{ test: 'pp1', tokensPerSecond: samples(0, 0) }] }],
    ['no model', { ...report, model: undefined }],
    ['a model without a name', { ...report, model: { bytes: 1 } }],
  ])('refuses %s', async (_what, value) => {
    await expect(readEarlier(written('junk.json', value))).rejects.toMatchObject({
      code: 'usage/comparison',
    });
  });

  it('refuses what is not JSON', async () => {
    await expect(readEarlier(written('junk.txt', '| test | t/s |'))).rejects.toMatchObject({
      code: 'usage/json',
    });
  });
});

it('prints a record for each test as CSV', () => {
  const records = benchRecords(report);
  expect(records).toHaveLength(2);
  expect(records[1]).toMatchObject({
    date: report.date,
    version: '0.1.0',
    test: 'tg128',
    depth: 0,
    threads: 8,
  });
  const [header, first, , end] = csvText(records).split('\n');
  expect(header).toMatch(/^date,version,cpu,model,/);
  expect(first).toContain(',"Gemma 3n ""E4B"" it",Q4_0,');
  expect(end).toBe('');
});
