/** Nested sizes: what may be asked for, what it becomes, and what is said about the rest. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isUnicornError } from '@unicorn-exec/tensor';
import { openModel, resolveSize, type ElasticSpec, type Model } from '../../src/index.js';
import { goldenFolder } from './golden-model.js';

const nanoPath = fileURLToPath(new URL('../../../model-nano/nano.gguf', import.meta.url));

describe('sizes of an unquantized model', () => {
  let model: Model;
  beforeAll(async () => (model = await openModel(goldenFolder('gemma3n-text'))));
  afterAll(() => model.close());

  it('take any width', () => {
    expect(resolveSize(model, '160,96,64,128,31,160,96,1').feedForward).toEqual([
      160, 96, 64, 128, 31, 160, 96, 1,
    ]);
    expect(resolveSize(model, { feedForward: new Array<number>(8).fill(7) }).feedForward[0]).toBe(7);
  });

  it('round a fraction', () => {
    expect(resolveSize(model, 0.5).feedForward).toEqual(new Array(8).fill(80));
    expect(resolveSize(model, '0.333').feedForward).toEqual(new Array(8).fill(53));
    expect(resolveSize(model, '0.0001').feedForward).toEqual(new Array(8).fill(1));
    expect(resolveSize(model, 1)).toMatchObject({ skip: [], feedForward: new Array(8).fill(160) });
  });

  it('leave out layers whose keys and values nobody reads', () => {
    const size = resolveSize(model, '160,160,160,160,160,160,skip,80');
    expect(size.skip).toEqual([6]);
    expect(size.feedForward).toEqual([160, 160, 160, 160, 160, 160, 80]);
    expect(size.parameters).toBeLessThan(model.parameters);
    // Layer 0 is sliding, but the shared sliding layer reads layer 4.
    expect(resolveSize(model, { feedForward: new Array<number>(7).fill(160), skip: [0] }).skip).toEqual([0]);
  });

  it('count what they read', () => {
    const half = resolveSize(model, 0.5);
    // Half of three matrices of 160 x 64 in each of 8 layers.
    expect(model.parameters - half.parameters).toBe(8 * 3 * 80 * 64);
    expect(model.bytesPerToken - half.bytesPerToken).toBe(4 * 8 * 3 * 80 * 64);
    // Of the per-layer table one row of 445, of the tied embedding all rows: it is the head.
    expect(model.bytesPerToken).toBe(4 * (model.parameters - 444 * 8 * 32));
  });
});

describe('sizes of a Q8_0 model', () => {
  let model: Model;
  beforeAll(async () => (model = await openModel(nanoPath)));
  afterAll(() => model.close());

  it('come with the file', () => {
    expect(model.sizes.map(({ name }) => name)).toEqual(
      'full three-quarters half quarter mix-late mix-early mix-ramp mix-light'.split(' '),
    );
    expect(resolveSize(model, 'mix-ramp').feedForward).toEqual([
      384, 384, 768, 768, 768, 1152, 1152, 1152, 1536, 1536,
    ]);
    expect(model.sizes.map(({ parameters }) => parameters).slice(0, 4)).toEqual([
      23_449_216, 19_762_816, 16_076_416, 12_390_016,
    ]);
  });

  it('round a fraction to whole blocks', () => {
    expect(resolveSize(model, 0.34).feedForward[0]).toBe(512);
    expect(resolveSize(model, 0.001).feedForward[0]).toBe(32);
  });

  const refused: [spec: ElasticSpec, what: RegExp][] = [
    ['1536,100,1536,1536,1536,1536,1536,1536,1536,1536', /Layer 1: 100 .* 96 and 128\./],
    ['1536,1,1536,1536,1536,1536,1536,1536,1536,1536', /Layer 1: 1 .* is 32\./],
    ['1568,1536,1536,1536,1536,1536,1536,1536,1536,1536', /Layer 0: 1568 .* is 1536\./],
    ['1536,0,1536,1536,1536,1536,1536,1536,1536,1536', /Layer 1: 0 /],
    ['1536,-5,1536,1536,1536,1536,1536,1536,1536,1536', /neither a width nor "skip"/],
    ['768,768', /2 entries; the model has 10 layers/],
    ['huge', /no size named "huge"/],
    ['', /no size named/],
    ['1.5', /neither a fraction up to 1 nor a list/],
    [0, /neither a fraction/],
    [Number.NaN, /no size named "NaN"/],
    ['skip,skip,skip,skip,skip,skip,skip,skip,skip,skip', /at least one layer/],
    ['768,768,768,768,skip,768,768,768,768,768', /Layer 4 cannot be left out: layer 9 reads/],
    ['768,768,768,768,768,skip,768,768,768,768', /Layer 5 cannot be left out: layer 6 reads/],
    [{ feedForward: [768], skip: [] }, /1 widths for 10 kept layers/],
    [{ feedForward: [], skip: [99] }, /no layer 99/],
    [{ feedForward: new Array<number>(10).fill(33.3) }, /Layer 0: 33\.3/],
  ];
  for (const [spec, what] of refused) {
    it(`refuses ${JSON.stringify(spec)}`, () => {
      try {
        resolveSize(model, spec);
        expect.unreachable();
      } catch (error) {
        expect(isUnicornError(error) && error.code).toBe('usage/elastic');
        expect((error as Error).message).toMatch(what);
        expect((error as { fix?: string }).fix).toBeTruthy();
      }
    });
  }

  it('lists the presets to those who misspell one', () => {
    expect(() => resolveSize(model, 'hlaf')).toThrow(
      expect.objectContaining({ fix: expect.stringContaining('mix-ramp') as string }) as Error,
    );
  });
});
