/** Nested sizes: what may be asked for, what it becomes, and what is said about the rest. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isUnicornError } from '@unicorn-exec/tensor';
import {
  openModel,
  resolveSize,
  type ElasticSpec,
  type Model,
  type ModelDefinition,
} from '../../src/index.js';
import { findHuggingFaceArchitecture } from '../../src/architecture/index.js';
import { ConfigFields } from '../../src/config/config-fields.js';
import { parseSize, type ElasticModel } from '../../src/elastic.js';
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
    // Those rows are all that is read of what stays out of device memory.
    expect(half.hostBytesPerToken).toBe(4 * 8 * 32);
    expect(model.hostBytes).toBe(4 * 445 * 8 * 32);
  });
});

describe('a model that was not trained for sizes', () => {
  let model: Model;
  beforeAll(async () => (model = await openModel(goldenFolder('qwen3'))));
  afterAll(() => model.close());

  it.each(['half', '0.5', 0.5, '0.9999', '1,1'])(
    '%s: refused, since a part of it answers with nonsense',
    (spec) => {
      expect(model.isNested).toBe(false);
      expect(() => resolveSize(model, spec)).toThrow(
        expect.objectContaining({ code: 'usage/elastic', message: expect.stringContaining('has no sizes') }),
      );
    },
  );

  it.each(['full', '1', 1])('%s is all of it', (spec) => {
    expect(resolveSize(model, spec).parameters).toBe(model.parameters);
  });

  it('is cut where somebody insists', () => {
    const half = model.resolveSize(0.5, { force: true });
    expect(half.parameters).toBeLessThan(model.parameters);
    const { feedForward, skip } = half;
    expect(resolveSize(model, { feedForward, skip })).toMatchObject({ feedForward, skip });
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

describe('sizes of Gemma 3n E4B', () => {
  /** The published text configuration, as far as it is about shapes. */
  const e4b = {
    vocab_size: 262_400,
    max_position_embeddings: 32_768,
    hidden_size: 2048,
    intermediate_size: new Array<number>(35).fill(16_384),
    num_attention_heads: 8,
    num_key_value_heads: 2,
    head_dim: 256,
    num_hidden_layers: 35,
    num_kv_shared_layers: 15,
    rms_norm_eps: 1e-6,
    hidden_activation: 'gelu_pytorch_tanh',
    sliding_window: 512,
    altup_num_inputs: 4,
    laurel_rank: 64,
    hidden_size_per_layer_input: 256,
    vocab_size_per_layer_input: 262_144,
  };
  const define = (config: object): ModelDefinition =>
    findHuggingFaceArchitecture('gemma3n_text', 'config.json').fromHuggingFace(
      ConfigFields.fromJson('config.json', config),
    );
  const quantized = ({ config }: ModelDefinition): ElasticModel => ({ config, downDType: () => 'q4_k' });

  /** Elements of a layer's three matrices for a width. */
  const matrices = (width: number): number => 3 * 2048 * width;

  it('are those that its makers published, legal in blocks of 256', () => {
    const definition = define(e4b);
    expect([...definition.presets!.keys()]).toEqual(['e4b', 'e2.54b', 'e1.96b', 'e2b']);
    for (const size of definition.presets!.values())
      expect(parseSize(quantized(definition), size)).toEqual(size);
    const elements = (name: string): number =>
      definition.presets!.get(name)!.feedForward.reduce((sum, width) => sum + matrices(width), 0);
    expect(definition.presets!.get('e2b')).toEqual({
      feedForward: new Array<number>(30).fill(8192),
      skip: [20, 21, 22, 23, 24],
    });
    expect(definition.presets!.get('e1.96b')!.feedForward[4]).toBe(16_384);
    // The names say the billions of effective parameters, to two digits: between these two only one width differs.
    expect((elements('e1.96b') - elements('e2b')) / 1e9).toBeCloseTo(1.96 - 1.91, 2);
    // 3.98 in the data set.
    expect((elements('e4b') - elements('e2.54b')) / 1e9).toBeCloseTo(3.98 - 2.54, 1);
  });

  it('are not offered by a model of another shape', () => {
    const e2b = { ...e4b, num_hidden_layers: 30, num_kv_shared_layers: 10, intermediate_size: 8192 };
    expect(define(e2b).presets!.size).toBe(0);
    // Layers 20 to 24 own keys and values here.
    expect(define({ ...e4b, num_kv_shared_layers: 5 }).presets!.size).toBe(0);
  });

  it('round a fraction to blocks, and name the nearest widths otherwise', () => {
    const model = quantized(define(e4b));
    expect(parseSize(model, 0.3).feedForward[0]).toBe(4864);
    const widths = new Array<number>(35).fill(8192);
    expect(() => parseSize(model, { feedForward: widths.with(3, 8200) })).toThrow(
      /Layer 3: 8200 .* are 8192 and 8448/,
    );
    // The layers that share read 18 and 19, the last of either kind that own keys and values.
    expect(() => parseSize(model, { feedForward: widths.slice(1), skip: [19] })).toThrow(
      /Layer 19 cannot be left out: layer 24 reads/,
    );
    expect(parseSize(model, { feedForward: widths.slice(1), skip: [17] }).skip).toEqual([17]);
  });
});
