/** Opening models that are well, in each spelling, and models that are not. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSafetensors, writeGguf, writeSafetensors } from '@unicorn-exec/checkpoint';
import { isUnicornError, type UnicornError } from '@unicorn-exec/tensor';
import { openModel, openTextSide } from '../../src/index.js';
import { goldenFolder, ownGoldens } from './golden-model.js';

let scratch: string;
let made = 0;
beforeAll(async () => (scratch = await mkdtemp(join(tmpdir(), 'unicorn-models-'))));
afterAll(() => rm(scratch, { recursive: true }));

/** A copy of a golden model whose configuration is changed. */
async function copyOf(
  name: string,
  change: Record<string, unknown> = {},
  config = 'config.json',
): Promise<string> {
  const folder = join(scratch, `copy-${made++}`);
  await cp(goldenFolder(name), folder, { recursive: true, filter: (path) => !/\/io/.test(path) });
  const json = JSON.parse(await readFile(join(folder, config), 'utf8')) as Record<string, unknown>;
  await writeFile(join(folder, 'config.json'), JSON.stringify({ ...json, ...change }));
  return folder;
}

/** The same with the tensors' names changed, or some left out. */
async function renamed(folder: string, rename: (name: string) => string | undefined): Promise<string> {
  const path = join(folder, 'model.safetensors');
  const file = await openSafetensors(path);
  const tensors = [];
  for (const { name, dtype, shape } of file.tensors) {
    const next = rename(name);
    if (next !== undefined)
      tensors.push({ name: next, dtype: dtype!, shape, data: await file.readTensor(name) });
  }
  await file.close();
  await writeSafetensors(path, tensors);
  return folder;
}

async function failure(path: string): Promise<UnicornError> {
  try {
    await (await openModel(path)).close();
  } catch (error) {
    if (isUnicornError(error)) return error;
    throw error;
  }
  throw new Error('the model opened');
}

describe('a configuration of transformers 5', () => {
  for (const name of ownGoldens) {
    it(`of ${name} means the same as the classic one`, async () => {
      const classic = await openModel(goldenFolder(name));
      const modern = await openModel(await copyOf(name, {}, 'config.v5.json'));
      expect(modern.definition.config).toEqual(classic.definition.config);
      expect(modern.endOfTurnIds).toEqual(classic.endOfTurnIds);
      for (const model of [classic, modern]) await model.close();
    });
  }
});

it('tells a softcap that is switched off from one that is not named', async () => {
  const softcap = async (change: Record<string, unknown>): Promise<number | undefined> => {
    const model = await openModel(await copyOf('gemma3n-text', change));
    await model.close();
    return model.definition.config.logitSoftcap;
  };
  expect(await softcap({ final_logit_softcapping: null })).toBeUndefined();
  expect(await softcap({ final_logit_softcapping: undefined })).toBe(30);
  expect(await softcap({ final_logit_softcapping: 20 })).toBe(20);
});

describe('names of tensors', () => {
  for (const prefix of ['model.language_model.', 'language_model.model.', '']) {
    it(`may begin with "${prefix}"`, async () => {
      const folder = await renamed(await copyOf('llama'), (name) => name.replace('model.', prefix));
      const model = await openModel(folder);
      expect(model.parameters).toBeGreaterThan(0);
      await model.close();
    });
  }

  it('may have a text model inside a multimodal configuration', async () => {
    const text = JSON.parse(
      await readFile(join(goldenFolder('gemma3n-text'), 'config.json'), 'utf8'),
    ) as object;
    const folder = join(scratch, `copy-${made++}`);
    await cp(goldenFolder('gemma3n-text'), folder, { recursive: true });
    await writeFile(
      join(folder, 'config.json'),
      JSON.stringify({ model_type: 'gemma3n', text_config: text, eos_token_id: [1, 106] }),
    );
    await renamed(folder, (name) => name.replace('model.', 'model.language_model.'));
    const model = await openModel(folder);
    expect(model.architecture).toBe('gemma3n');
    expect(model.endOfTurnIds).toEqual([1, 106]);
    await model.close();
  });

  it('does not load keys and values that shared layers never use', async () => {
    const folder = await renamed(await copyOf('gemma3n-text'), (name) =>
      /layers\.[567]\.self_attn\.(k_proj|v_proj|k_norm)/.test(name) ? undefined : name,
    );
    const model = await openModel(folder);
    const names = model.weights().map(({ name }) => name);
    expect(names).toContain('layers.4.attention.key');
    expect(names).not.toContain('layers.5.attention.key');
    expect(model.weights().find(({ name }) => name === 'perLayer.embed')?.residency).toBe('host');
    await model.close();
  });
});

describe('what lies beside the weights', () => {
  it('is read from generation_config.json', async () => {
    const folder = await copyOf('llama');
    await writeFile(
      join(folder, 'generation_config.json'),
      JSON.stringify({
        eos_token_id: [7, 2],
        bos_token_id: 3,
        temperature: 0.5,
        top_k: 40,
        top_p: 0.9,
        min_p: null,
      }),
    );
    const model = await openModel(folder);
    expect(model.endOfTurnIds).toEqual([7, 2]);
    expect(model.bosId).toBe(3);
    expect(model.samplingDefaults).toEqual({ temperature: 0.5, topK: 40, topP: 0.9 });
    await model.close();
  });

  it('means greedy where sampling is off', async () => {
    const folder = await copyOf('llama');
    await writeFile(join(folder, 'generation_config.json'), JSON.stringify({ do_sample: false, top_k: 40 }));
    const model = await openModel(folder);
    expect(model.samplingDefaults).toEqual({ temperature: 0 });
    await model.close();
  });

  it('may lack a tokenizer until it is asked for', async () => {
    const model = await openModel(goldenFolder('llama'));
    await expect(model.tokenizer()).rejects.toMatchObject({ code: 'usage/file' });
    await expect(model.chatTemplate()).resolves.toBeUndefined();
    await model.close();
    await expect(openTextSide(goldenFolder('llama'))).rejects.toMatchObject({ code: 'usage/file' });
  });

  it('is listed when presets of sizes come with the model', async () => {
    const folder = await copyOf('gemma3n-text');
    const half = new Array<number>(8).fill(80);
    await writeFile(
      join(folder, 'matformer.json'),
      JSON.stringify({
        granularities: {
          half: { intermediate_size: half },
          short: { intermediate_size: half.slice(1), skip: [7] },
        },
      }),
    );
    const model = await openModel(folder);
    expect(model.sizes.map(({ name, skip }) => [name, skip])).toEqual([
      ['full', []],
      ['half', []],
      ['short', [7]],
    ]);
    expect(model.resolveSize('short').feedForward).toEqual(half.slice(1));
    await model.close();
  });
});

describe('what cannot be opened is refused', () => {
  it('when a preset of sizes does not fit', async () => {
    const folder = await copyOf('gemma3n-text');
    const granularities = { odd: { intermediate_size: [161, 1, 1, 1, 1, 1, 1, 1] } };
    await writeFile(join(folder, 'matformer.json'), JSON.stringify({ granularities }));
    expect(await failure(folder)).toMatchObject({ code: 'format/config', fields: { size: 'odd', layer: 0 } });
  });

  it('when there is nothing', async () => {
    expect(await failure(join(scratch, 'nothing'))).toMatchObject({
      code: 'usage/file',
      family: 'usage',
    });
  });

  it('when a directory has no configuration', async () => {
    const folder = await copyOf('llama');
    await rm(join(folder, 'config.json'));
    const error = await failure(folder);
    expect(error.code).toBe('usage/model-directory');
    expect(error.fix).toMatch(/config\.json/);
  });

  it('when the configuration is no JSON, or no object', async () => {
    const folder = await copyOf('llama');
    await writeFile(join(folder, 'config.json'), '{"hidden_size": 64');
    expect((await failure(folder)).code).toBe('format/json');
    await writeFile(join(folder, 'config.json'), '[]');
    expect((await failure(folder)).code).toBe('format/json');
  });

  it('when the architecture is not known, with the list of those that are', async () => {
    const error = await failure(await copyOf('llama', { model_type: 'mamba' }));
    expect(error.code).toBe('unsupported/architecture');
    expect(error.fix).toMatch(/llama.*gemma3n/);
    const path = join(scratch, 'unknown.gguf');
    await writeGguf(path, {
      metadata: [['general.architecture', { type: 'string', value: 'rwkv7' }]],
      tensors: [],
    });
    expect(await failure(path)).toMatchObject({
      code: 'unsupported/architecture',
      fields: { architecture: 'rwkv7' },
    });
  });

  it('when a GGUF file lacks its tensors', async () => {
    const path = join(scratch, 'empty.gguf');
    await writeGguf(path, {
      metadata: [
        ['general.architecture', { type: 'string', value: 'llama' }],
        ['llama.embedding_length', { type: 'u32', value: 64 }],
        ['llama.attention.head_count', { type: 'u32', value: 4 }],
      ],
      tensors: [],
    });
    expect(await failure(path)).toMatchObject({
      code: 'format/missing-tensor',
      fields: { tensor: 'token_embd.weight' },
    });
  });

  it('when a tensor is missing, by name', async () => {
    const folder = await renamed(await copyOf('llama'), (name) =>
      name.includes('layers.1.mlp.up') ? undefined : name,
    );
    expect(await failure(folder)).toMatchObject({
      code: 'format/missing-tensor',
      fields: { tensor: 'model.layers.1.mlp.up_proj.weight', expected: [160, 64] },
    });
  });

  it('when a tensor has another shape, by name with both shapes', async () => {
    const error = await failure(await copyOf('llama', { intermediate_size: 161 }));
    expect(error).toMatchObject({
      code: 'format/tensor-shape',
      fields: { expected: [161, 64], found: [160, 64] },
    });
    expect(error.message).toContain('model.layers.0.mlp.gate_proj.weight');
  });

  it('when loading was cancelled', async () => {
    const signal = AbortSignal.abort();
    await expect(openModel(goldenFolder('llama'), { signal })).rejects.toMatchObject({
      code: 'usage/cancelled',
    });
  });

  const hostile: [key: string, value: unknown, code: string][] = [
    ['num_hidden_layers', 2 ** 40, 'format/config'],
    ['num_hidden_layers', 0, 'format/config'],
    ['num_hidden_layers', 1.5, 'format/config'],
    ['num_hidden_layers', '3', 'format/config'],
    ['num_hidden_layers', null, 'format/config'],
    ['num_hidden_layers', 4, 'format/missing-tensor'],
    ['hidden_size', -64, 'format/config'],
    ['hidden_size', 1e300, 'format/config'],
    ['vocab_size', 2 ** 53, 'format/config'],
    ['vocab_size', 508, 'format/tensor-shape'],
    ['num_attention_heads', 3, 'format/config'],
    ['num_key_value_heads', 3, 'format/config'],
    ['head_dim', 15, 'format/config'],
    ['rms_norm_eps', 'small', 'format/config'],
    ['rope_theta', 0, 'format/config'],
    ['rope_theta', [1e4], 'format/config'],
    ['rope_scaling', { rope_type: 'longrope', factor: 4 }, 'unsupported/config'],
    ['rope_scaling', { type: 'linear' }, 'format/config'],
    ['rope_scaling', 'linear', 'format/config'],
    ['hidden_act', 'relu2', 'unsupported/config'],
    ['max_position_embeddings', 2 ** 40, 'format/config'],
    ['tie_word_embeddings', 'yes', 'format/config'],
    ['eos_token_id', -1, 'format/config'],
    ['model_type', 7, 'format/config'],
    ['text_config', [], 'format/config'],
  ];
  for (const [key, value, code] of hostile) {
    it(`when "${key}" is ${JSON.stringify(value)}`, async () => {
      expect((await failure(await copyOf('llama', { [key]: value }))).code).toBe(code);
    });
  }

  const hostileGemma: [key: string, value: unknown, code: string][] = [
    ['num_kv_shared_layers', 8, 'format/config'],
    ['num_kv_shared_layers', 7, 'format/config'],
    ['layer_types', ['sliding_attention'], 'format/config'],
    ['layer_types', new Array(8).fill('linear_attention'), 'unsupported/config'],
    ['activation_sparsity_pattern', new Array(8).fill(1), 'format/config'],
    ['altup_num_inputs', 2 ** 20, 'format/config'],
    ['altup_num_inputs', 3, 'format/tensor-shape'],
    ['altup_active_idx', 9, 'format/config'],
    ['intermediate_size', [160], 'format/config'],
    ['vocab_size_per_layer_input', 444, 'format/tensor-shape'],
  ];
  for (const [key, value, code] of hostileGemma) {
    it(`when Gemma 3n's "${key}" is ${JSON.stringify(value)}`, async () => {
      expect((await failure(await copyOf('gemma3n-text', { [key]: value }))).code).toBe(code);
    });
  }
});

describe('SmolLM3', () => {
  const withoutRope = async (change: Record<string, unknown>): Promise<number[]> => {
    const model = await openModel(await copyOf('smollm3', change));
    await model.close();
    return model.definition.config.layers.flatMap(({ rope }, layer) => (rope === 'none' ? [layer] : []));
  };

  it('has no rope where its list has a 0, else in every n-th layer', async () => {
    expect(await withoutRope({})).toEqual([3]);
    expect(await withoutRope({ no_rope_layers: [0, 1, 1, 1, 0, 0] })).toEqual([0, 4]);
    expect(await withoutRope({ no_rope_layers: null, no_rope_layer_interval: 2 })).toEqual([1, 3]);
    expect(await withoutRope({ no_rope_layers: null, no_rope_layer_interval: undefined })).toEqual([3]);
  });

  it.each([
    ['no_rope_layers', [1, 1, 1, 0], 'format/config'],
    ['no_rope_layers', [1, 1, 1, 0, 2], 'format/config'],
    ['no_rope_layers', 4, 'format/config'],
    ['layer_types', new Array(5).fill('sliding_attention'), 'format/config'],
    ['embedding_multiplier', 12, 'unsupported/config'],
  ])('is refused where "%s" is %j', async (key, value, code) => {
    expect((await failure(await copyOf('smollm3', { [key]: value }))).code).toBe(code);
  });

  it('is refused where its interval is 0', async () => {
    const change = { no_rope_layers: null, no_rope_layer_interval: 0 };
    expect((await failure(await copyOf('smollm3', change))).code).toBe('format/config');
  });
});

describe('a checkpoint that would compute something else', () => {
  it.each([
    ['use_bidirectional_attention', true],
    ['num_local_experts', 8],
    ['alibi', true],
    ['residual_multiplier', 0.22],
    ['no_rope_layers', [0, 1]],
  ])('is refused by its switch: "%s" is %j', async (key, value) => {
    const error = await failure(await copyOf('llama', { [key]: value }));
    expect(error.code).toBe('unsupported/config');
    expect(error.fields.field).toBe(key);
  });

  it('opens where its switches change nothing', async () => {
    const harmless = {
      use_bidirectional_attention: false,
      num_local_experts: 1,
      alibi: null,
      residual_multiplier: 1,
    };
    await (await openModel(await copyOf('llama', harmless))).close();
  });

  it.each([
    ['GPTQ', { quantization_config: { quant_method: 'gptq', bits: 4 } }],
    ['AWQ', { quantization_config: { quant_method: 'awq' } }],
    ['bitsandbytes', { quantization_config: { quant_method: 'bitsandbytes', load_in_4bit: true } }],
    ['bitsandbytes', { quantization_config: { load_in_4bit: true } }],
    ['FP8', { quantization_config: { quant_method: 'fp8' } }],
    ['compressed-tensors', { quantization_config: { quant_method: 'compressed-tensors' } }],
    ['MLX', { quantization: { group_size: 64, bits: 4 } }],
    ['newest', { quantization_config: { quant_method: 'newest' } }],
  ])('is refused by its quantizer: %s', async (method, change) => {
    const error = await failure(await copyOf('llama', change));
    expect(error.code).toBe('unsupported/quantization');
    expect(error.message).toContain(method);
    expect(error.fix).toContain('GGUF');
  });

  it.each([
    'weight_scale',
    'weight_scale_inv',
    'scales',
    'qweight',
    'weight.absmax',
    'weight.quant_state.bitsandbytes__nf4',
    'weight_packed',
  ])('is refused by what lies beside its weights: %s', async (part) => {
    const folder = await copyOf('llama');
    const path = join(folder, 'model.safetensors');
    const file = await openSafetensors(path);
    const tensors = [];
    for (const { name, dtype, shape } of file.tensors) {
      tensors.push({ name, dtype: dtype!, shape, data: await file.readTensor(name) });
    }
    await file.close();
    const name = `model.layers.0.mlp.up_proj.${part}`;
    tensors.push({ name, dtype: 'f32' as const, shape: [1], data: new Uint8Array(4) });
    await writeSafetensors(path, tensors);
    expect(await failure(folder)).toMatchObject({
      code: 'unsupported/quantization',
      fields: { tensor: name },
    });
  });
});

describe('a head that is tied in the configuration, beside a table', () => {
  async function withHead(change: (data: Uint8Array) => void): Promise<string> {
    const folder = await copyOf('qwen2', { tie_word_embeddings: true });
    const path = join(folder, 'model.safetensors');
    const file = await openSafetensors(path);
    const tensors = [];
    for (const { name, dtype, shape } of file.tensors) {
      if (name === 'lm_head.weight') continue;
      const data = await file.readTensor(name);
      tensors.push({ name, dtype: dtype!, shape, data });
      if (!name.endsWith('embed_tokens.weight')) continue;
      const head = data.slice();
      change(head);
      tensors.push({ name: 'lm_head.weight', dtype: dtype!, shape, data: head });
    }
    await file.close();
    await writeSafetensors(path, tensors);
    return folder;
  }

  it('is the table where both are the same', async () => {
    const model = await openModel(await withHead(() => {}));
    expect(model.definition.config.tiedHead).toBe(true);
    expect(model.warnings).toEqual([]);
    await model.close();
  });

  it('is a matrix of its own where they differ, with a warning', async () => {
    const model = await openModel(await withHead((data) => (data[data.length - 1]! ^= 1)));
    expect(model.definition.config.tiedHead).toBe(false);
    expect(model.weights().map(({ name }) => name)).toContain('head');
    expect(model.warnings).toEqual([expect.stringContaining('both are used')]);
    await model.close();
  });
});
