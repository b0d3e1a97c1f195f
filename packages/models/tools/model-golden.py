#!/usr/bin/env python3
"""A tiny checkpoint with random weights, and what Hugging Face transformers computes with it in float32 on the CPU.

usage: model-golden.py CONFIG.json FOLDER [--seed N] [--embedding STD]      (needs transformers and torch)

CONFIG.json is a configuration as it is published, with its `architectures`, and small dims. FOLDER gets config.json,
config.v5.json (as transformers 5 writes it), model.safetensors, io.safetensors and meta.json. Layers and logits are those
of whole prompts; greedy continuations were made through the cache and again without it.
"""
import argparse, json, warnings, zlib
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

PROMPTS = {"a": 37, "b0": 11, "b1": 29}
STEPS = 24

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_grad_enabled(False)
torch.set_num_threads(1)


def rng(seed, name):
    """Of the thing's name, so that a further thing changes no other."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def fill(model, seed, embedding):
    """Weights that keep activations near 1, norms near neutral but not neutral, and no bias zero."""
    one_plus_weight = {id(m.weight) for m in model.modules() if type(m).__name__ in ("Gemma2RMSNorm", "Gemma3RMSNorm")}
    for name, p in model.named_parameters():
        if p.ndim == 1:
            neutral = 0.0 if id(p) in one_plus_weight or name.endswith("bias") else 1.0
            values = rng(seed, name).normal(neutral, 0.1, p.shape)
        else:
            std = embedding if "embed_tokens" in name else 1.6 / np.sqrt(p.shape[-1])
            values = rng(seed, name).normal(0, std, p.shape)
        p.copy_(torch.from_numpy(values.astype(np.float32)))


def arrays(model):
    tied = model.config.get_text_config().tie_word_embeddings
    return {k: v.numpy() for k, v in model.state_dict().items() if not (tied and k == "lm_head.weight")}


def greedy(model, ids):
    """Ids and, for each, the logits of the best two."""
    cache, step, found, best = transformers.DynamicCache(config=model.config), [ids], [], []
    for _ in range(STEPS):
        logits = model(input_ids=torch.tensor(step), past_key_values=cache, use_cache=True).logits[0, -1]
        best.append(logits.topk(2).values)
        found.append(int(logits.argmax()))
        step = [[found[-1]]]
    whole = model(input_ids=torch.tensor([ids + found[:-1]]), use_cache=False).logits[0, -STEPS:]
    assert whole.argmax(-1).tolist() == found, "with and without the cache the continuation differs"
    return np.array(found, np.int32), torch.stack(best).numpy()


def run(model, ids, layers):
    out = {"input_ids": np.array(ids, np.int32)}
    result = model(input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=layers)
    out["logits"] = result.logits[0].numpy()
    # The last of them has gone through the final norm, and is no layer's output.
    for i, hidden in enumerate((result.hidden_states or ())[1:-1]):
        out[f"layer.{i}"] = hidden[0].numpy()
    out["greedy.ids"], out["greedy.top2_logits"] = greedy(model, ids)
    return out


def distance_to_double(model, ids, logits):
    twin = type(model)._from_config(model.config, dtype=torch.float32, attn_implementation="eager").double().eval()
    twin.load_state_dict({k: v.double() for k, v in model.state_dict().items()})
    exact = twin(input_ids=torch.tensor([ids]), use_cache=False).logits[0].numpy()
    return float(f"{np.abs(exact - logits).max():.3g}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--embedding", type=float, default=0.4,
                        help="standard deviation of the table; less where the model scales it, or it repeats one token")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    published = json.loads(args.config.read_text())
    (args.folder / "config.json").write_text(json.dumps(published, indent=1) + "\n")
    config = transformers.AutoConfig.from_pretrained(args.folder)
    (args.folder / "config.v5.json").write_text(config.to_json_string())
    kind = getattr(transformers, published["architectures"][0])
    model = kind._from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    fill(model, args.seed, args.embedding)
    save_file(arrays(model), args.folder / "model.safetensors", {"format": "pt"})
    # What is written is what is read: the published file has to hold every weight.
    model, info = kind.from_pretrained(args.folder, dtype=torch.float32, output_loading_info=True,
                                       attn_implementation="eager")
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    model.eval()
    io, checks = {}, {}
    for name, length in PROMPTS.items():
        ids = rng(args.seed, f"prompt {name}").integers(3, config.vocab_size, length).tolist()
        outputs = run(model, ids, layers=name == "a")
        io |= {f"{name}.{key}": np.ascontiguousarray(value) for key, value in outputs.items()}
        checks[name] = {"logits_std": float(f"{outputs['logits'].std():.3g}"),
                        "greedy_distinct": len(set(outputs["greedy.ids"].tolist())),
                        "greedy_margin_min": float(f"{np.abs(np.diff(outputs['greedy.top2_logits'])).min():.3g}"),
                        "f32_vs_f64_max_abs": distance_to_double(model, ids, outputs["logits"])}
        assert checks[name]["greedy_distinct"] > 3, f"{name} repeats itself: choose another --embedding or --seed"
    save_file(io, args.folder / "io.safetensors")
    meta = {"transformers": transformers.__version__, "seed": args.seed, "embedding": args.embedding,
            "prompts": PROMPTS, "greedy_steps": STEPS, "checks": checks}
    (args.folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    print(json.dumps(checks, indent=1))


main()
