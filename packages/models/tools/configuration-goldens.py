#!/usr/bin/env python3
"""What Hugging Face transformers makes of configurations: of absent keys, and of rope in all its spellings.

usage: configuration-goldens.py OUT.json      (needs transformers and torch)

Each case has the text model's part of a config.json, and what the configuration class holds once it has read it, with
the frequencies and the magnitude of rope in full and in sliding layers. `error` stands where transformers refuses.
"""
import copy, importlib, json, sys
import transformers

# Explicit values that differ from the class's, such that each key can be left out alone.
DENSE = dict(vocab_size=1000, hidden_size=1024, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=8,
             num_key_value_heads=2, max_position_embeddings=4096, rms_norm_eps=1e-5, head_dim=64)
GEMMA = dict(DENSE, hidden_activation="silu", sliding_window=256, tie_word_embeddings=False)
CLASSES = {
    "llama": ("Llama", dict(DENSE, hidden_act="gelu_pytorch_tanh", rope_theta=5e5, tie_word_embeddings=True)),
    "smollm3": ("SmolLM3", dict(DENSE, hidden_act="gelu_pytorch_tanh", rope_theta=5e5, tie_word_embeddings=False,
                                use_sliding_window=True, sliding_window=128, no_rope_layer_interval=3,
                                no_rope_layers=[1, 0, 1] * 4)),
    "qwen2": ("Qwen2", dict({k: v for k, v in DENSE.items() if k != "head_dim"}, num_attention_heads=64, hidden_act="gelu_pytorch_tanh",
                            rope_theta=1e6, tie_word_embeddings=True, use_sliding_window=True, sliding_window=128,
                            max_window_layers=5)),
    "qwen3": ("Qwen3", dict(DENSE, num_attention_heads=64, hidden_act="gelu_pytorch_tanh",
                     rope_theta=1e6, tie_word_embeddings=True,
                            use_sliding_window=True, sliding_window=128, max_window_layers=5)),
    "gemma2": ("Gemma2", dict(GEMMA, rope_theta=5e4, query_pre_attn_scalar=144, attn_logit_softcapping=40.0,
                              final_logit_softcapping=20.0)),
    "gemma3_text": ("Gemma3", dict(GEMMA, rope_theta=5e5, rope_local_base_freq=2e4, query_pre_attn_scalar=144,
                                   sliding_window_pattern=4, attn_logit_softcapping=40.0, final_logit_softcapping=20.0)),
    "gemma3n_text": ("Gemma3n", dict(GEMMA, num_hidden_layers=20, rope_theta=5e5, rope_local_base_freq=2e4,
                                     final_logit_softcapping=20.0,
                                     num_kv_shared_layers=4, laurel_rank=32, hidden_size_per_layer_input=128,
                                     vocab_size_per_layer_input=900, altup_num_inputs=3, altup_active_idx=1,
                                     altup_correct_scale=False, activation_sparsity_pattern=[0.5] * 20)),
}
KEPT = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "hidden_act", "hidden_activation",
        "tie_word_embeddings", "sliding_window", "layer_types", "no_rope_layers", "query_pre_attn_scalar", "attn_logit_softcapping",
        "final_logit_softcapping", "num_kv_shared_layers", "laurel_rank", "hidden_size_per_layer_input",
        "vocab_size_per_layer_input", "altup_num_inputs", "altup_active_idx", "altup_correct_scale",
        "activation_sparsity_pattern"]

yarn = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=1024)
llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=1024)
ROPES = {
    "theta at the top, none in rope_parameters": dict(rope_theta=1e5, rope_parameters=dict(rope_type="default")),
    "theta in both": dict(rope_theta=1e5, rope_parameters=dict(rope_type="default", rope_theta=2e5)),
    "rope_parameters of null": dict(rope_theta=1e5, rope_parameters=None),
    "rope_parameters that are empty": dict(rope_theta=1e5, rope_parameters={}),
    "rope_scaling of null": dict(rope_theta=1e5, rope_scaling=None),
    "linear": dict(rope_theta=1e5, rope_scaling=dict(rope_type="linear", factor=8.0)),
    "linear by its old name": dict(rope_theta=1e5, rope_scaling=dict(type="linear", factor=8.0)),
    "scaling with its own theta": dict(rope_theta=1e5, rope_scaling=dict(rope_type="linear", factor=8.0, rope_theta=3e5)),
    "scaling and parameters": dict(rope_theta=1e5, rope_scaling=dict(rope_type="linear", factor=8.0),
                                   rope_parameters=dict(rope_type="default", rope_theta=2e5)),
    "llama3": dict(rope_theta=5e5, rope_scaling=llama3),
    "llama3 without its context": dict(rope_theta=5e5, rope_scaling={k: v for k, v in llama3.items() if k[0] != "o"}),
    "yarn": dict(rope_theta=1e5, rope_scaling=yarn),
    "yarn in parameters": dict(rope_parameters=dict(yarn, rope_theta=1e5)),
    "yarn without its context": dict(rope_theta=1e5, rope_scaling=dict(rope_type="yarn", factor=4.0)),
    "yarn with a context at the top": dict(rope_theta=1e5, rope_scaling=yarn, original_max_position_embeddings=2048),
    "yarn with mscale": dict(rope_theta=1e5, rope_scaling=dict(yarn, mscale=0.7, mscale_all_dim=1.3)),
    "yarn with mscale alone": dict(rope_theta=1e5, rope_scaling=dict(yarn, mscale=0.7)),
    "yarn with mscale of 0": dict(rope_theta=1e5, rope_scaling=dict(yarn, mscale=0.7, mscale_all_dim=0.0)),
    "yarn with an attention factor": dict(rope_theta=1e5, rope_scaling=dict(yarn, attention_factor=1.25, mscale=0.7,
                                                                            mscale_all_dim=1.3)),
    "yarn with betas": dict(rope_theta=1e5, rope_scaling=dict(yarn, beta_fast=16.0, beta_slow=2.0)),
    "yarn with betas of null": dict(rope_theta=1e5, rope_scaling=dict(yarn, beta_fast=None, beta_slow=None)),
    "yarn that is not truncated": dict(rope_theta=1e5, rope_scaling=dict(yarn, truncate=False)),
    "yarn that shrinks": dict(rope_theta=1e5, rope_scaling=dict(yarn, factor=0.5)),
}
types = lambda full, sliding: dict(full_attention=full, sliding_attention=sliding)
NESTED = {
    "groups": dict(rope_parameters=types(dict(yarn, rope_theta=1e5), dict(rope_type="default", rope_theta=3e4))),
    "groups without theta": dict(rope_theta=1e5, rope_parameters=types(dict(rope_type="linear", factor=8.0), {})),
    "groups and scaling": dict(rope_theta=1e5, rope_scaling=dict(rope_type="linear", factor=4.0),
                               rope_parameters=types(dict(rope_type="default", rope_theta=2e5),
                                                     dict(rope_type="default", rope_theta=3e4))),
}


def plain(value):
    return json.loads(json.dumps(value, default=str))


def frequencies(name, config):
    module = importlib.import_module(f"transformers.models.{name.lower()}.modeling_{name.lower()}")
    rotary = getattr(module, f"{name}RotaryEmbedding")(config)
    if hasattr(rotary, "full_attention_inv_freq"):
        ropes = {kind: (getattr(rotary, f"{kind}_attention_inv_freq"), getattr(rotary, f"{kind}_attention_attention_scaling"))
                 for kind in ("full", "sliding")}
    else:
        ropes = {"full": (rotary.inv_freq, rotary.attention_scaling)}
    # As f32, in the fewest digits that tell them apart.
    short = lambda freq: [float(str(number)) for number in freq.float().numpy()]
    return {kind: dict(frequencies=short(freq), magnitude=float(scale)) for kind, (freq, scale) in ropes.items()}


def case(title, model_type, name, given):
    suffix = "TextConfig" if name in ("Gemma3", "Gemma3n") else "Config"
    entry = dict(name=f"{model_type}: {title}", config=dict(model_type=model_type, **plain(given)))
    try:
        config = getattr(transformers, name + suffix)(**copy.deepcopy(given))
        read = config.to_dict()
        entry["expected"] = dict(plain({key: read[key] for key in KEPT if key in read}), rope=frequencies(name, config))
    except Exception as error:  # what transformers refuses
        entry["error"] = type(error).__name__
    return entry


cases = []
for model_type, (name, explicit) in CLASSES.items():
    cases.append(case("everything", model_type, name, explicit))
    cases.append(case("nothing", model_type, name, {}))
    for key in explicit:
        cases.append(case(f"no {key}", model_type, name, {k: v for k, v in explicit.items() if k != key}))
    shape = {k: v for k, v in explicit.items() if not k.startswith("rope")}
    # Groups are for classes whose layers have ropes of their own; the others see no group.
    for title, rope in {**ROPES, **NESTED}.items():
        if title in NESTED and model_type in ("qwen2", "qwen3", "gemma2"):
            continue
        given = dict(shape, **rope)
        cases.append(case(title, model_type, name, given))
lines = ",\n".join(json.dumps(entry) for entry in cases)
with open(sys.argv[1], "w") as out:
    out.write(f'{{"transformers": "{transformers.__version__}", "cases": [\n{lines}\n]}}\n')
print(len(cases), "cases,", sum("error" in entry for entry in cases), "refused")
