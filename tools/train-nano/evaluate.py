"""Measures a trained model with stock transformers on the CPU in float32.

    python evaluate.py --model unicorn-nano --val data/val.npy

For the full model, each nested width and some mixes: parameters, validation loss, perplexity, and how often the
slice's next greedy token is the full model's, over text that the full model wrote (draft acceptance). Writes
matformer.json into the model folder. With --greedy it writes greedy continuations and their top-two logit margins
instead or as well, for tests of other engines.
"""

import argparse
import json
import math
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from model import slice_widths
from tokens import BOS, PAD, STOP
from train import targets_of
from widths import FRACTIONS, round_width, uniform

Sized = dict[str, tuple[list[int], PreTrainedModel]]  # name -> (width of each layer, the sliced model)

NAMES = {1.0: "full", 0.75: "three-quarters", 0.5: "half", 0.25: "quarter"}
MIXES = {  # fraction of the feed-forward units, layer by layer
    "mix-late": (0.5, 0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1, 1),
    "mix-early": (1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5),
    "mix-ramp": (0.25, 0.25, 0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 1, 1),
    "mix-light": (0.25, 0.25, 0.25, 0.5, 0.5, 0.25, 0.25, 0.5, 0.5, 0.5),
}

SAMPLES = [
    "Tell me a short story about a brave fox who finds a golden key.",
    "Who are you?",
    "Why is the sky blue?",
    "List three healthy snacks.",
    "How do I make a cup of tea?",
    "Write a short poem about the moon.",
]

ANSWER_TOKENS, SAMPLE_TOKENS = 160, 200  # the most that the full model writes for acceptance, and for a sample

# The full model answers these, and acceptance is measured on its answers.
WRITE = [
    "Tell me a story about a little robot who is afraid of the dark.",
    "Write a story about a kind baker named Rosa.",
    "Tell me a bedtime story about a sleepy bear.",
    "Can you tell me a story about an owl and a lost letter?",
    "What is a volcano?",
    "Explain gravity to a child.",
    "Why do cats purr?",
    "Tell me about elephants.",
    "How can I fall asleep?",
    "Give me simple steps to bake cookies.",
    "List five things to take on a trip.",
    "Write a poem about the sea.",
    "Describe a quiet village in winter.",
    "I feel sad today. What should I do?",
    "What is the difference between a lake and a river?",
    "Tell me a fun fact about penguins.",
    "Make up a story about two friends who build a boat.",
    "Write a paragraph about trees.",
    "Imagine a busy market. What do you see and hear?",
    "What do you think about music?",
]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    messages = [{"role": "user", "content": question}]
    chat = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return tokenizer(chat, add_special_tokens=False).input_ids


@torch.no_grad()
def greedy(
    model: PreTrainedModel, ids: Sequence[int], count: int, stop: Collection[int] = ()
) -> tuple[list[int], list[float]]:
    """Greedy tokens and, for each, the distance between its logit and the next best."""
    past, tokens, margins, step = None, [], [], torch.tensor([list(ids)])
    for _ in range(count):
        out = model(step, past_key_values=past, use_cache=True)
        past = out.past_key_values
        best = out.logits[0, -1].float().topk(2)
        tokens.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
        if tokens[-1] in stop:
            break
        step = torch.tensor([[tokens[-1]]])
    return tokens, margins


def documents_of(rows: np.ndarray) -> Iterator[Tensor]:
    """Splits packed rows back into documents: each is measured on its own, as a model would see it."""
    for packed in rows:
        row = packed[packed != PAD]
        starts = [*np.flatnonzero(row == BOS), len(row)]
        for first, end in zip(starts, starts[1:], strict=False):
            yield torch.from_numpy(row[first:end].astype(np.int64))


@torch.no_grad()
def validation_loss(model: PreTrainedModel, documents: Sequence[Tensor], batch: int = 16) -> tuple[float, int]:
    """Mean cross entropy per predicted token, and how many there were."""
    total, count = 0.0, 0
    for i in range(0, len(documents), batch):
        tokens = torch.nn.utils.rnn.pad_sequence(documents[i : i + batch], batch_first=True, padding_value=PAD)
        target = targets_of(tokens)
        logits = model(tokens, use_cache=False).logits.float()
        total += float(F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-1, reduction="sum"))
        count += int((target >= 0).sum())
    return total / count, count


@torch.no_grad()
def acceptance(model: PreTrainedModel, written: Sequence[tuple[list[int], list[int]]]) -> tuple[float, int]:
    """Share of positions where the model's greedy token is the one that the full model wrote, and their number."""
    same = count = 0
    for prompt, answer in written:
        logits = model(torch.tensor([prompt + answer]), use_cache=False).logits[0, len(prompt) - 1 : -1]
        same += int((logits.argmax(-1) == torch.tensor(answer)).sum())
        count += len(answer)
    return same / count, count


def write_greedy(
    path: Path, tokenizer: PreTrainedTokenizerBase, models: Sized, prompts: Sequence[str], count: int
) -> None:
    """Writes what other engines compare with: prompts, their ids, and each size's greedy tokens and margins."""
    cases = []
    for question in prompts:
        ids = prompt_ids(tokenizer, question)
        case: dict[str, Any] = {"prompt": question, "input_ids": ids, "greedy": {}}
        for name, (_, model) in models.items():
            tokens, margins = greedy(model, ids, count)
            case["greedy"][name] = {
                "tokens": tokens,
                "margins": [round(m, 5) for m in margins],
                "text": tokenizer.decode(tokens),
            }
        cases.append(case)
    value = {
        "note": f"{count} greedy tokens, transformers in float32 on the CPU; tokens after <end_of_turn> are the "
        "model's own continuation; margins are the distances between the two best logits",
        "intermediate_size": {name: widths for name, (widths, _) in models.items()},
        "cases": cases,
    }
    path.write_text(json.dumps(value, indent=1) + "\n")


def measure(tokenizer: PreTrainedTokenizerBase, models: Sized, rows: np.ndarray) -> dict[str, Any]:
    """The content of matformer.json."""
    full = models["full"][1]
    written = []
    for question in WRITE:
        prompt = prompt_ids(tokenizer, question)
        written.append((prompt, greedy(full, prompt, ANSWER_TOKENS, STOP)[0]))
    documents = sorted(documents_of(rows), key=len)
    tokens = sum(len(answer) for _, answer in written)
    print(f"{len(documents)} validation documents, {tokens} tokens written by the full model", flush=True)
    result: dict[str, Any] = {
        "file": "model.safetensors",
        "rule": "layer i uses the first intermediate_size[i] rows of gate_proj and up_proj and the first "
        "intermediate_size[i] columns of down_proj; everything else is shared",
        "granularities": {},
    }
    for name, (widths, model) in models.items():
        start = time.time()
        loss, count = validation_loss(model, documents)
        accepted, positions = acceptance(model, written)
        parameters = sum(p.numel() for p in model.parameters())
        result["granularities"][name] = {
            "intermediate_size": widths,
            "parameters": parameters,
            "validation_loss": round(loss, 4),
            "perplexity": round(math.exp(loss), 3),
            "greedy_acceptance": round(accepted, 4),
        }
        print(
            f"{name}: {parameters:,} parameters, loss {loss:.4f}, perplexity {math.exp(loss):.3f}, "
            f"acceptance {accepted:.4f} ({time.time() - start:.0f} s)",
            flush=True,
        )
    result["validation_tokens"], result["acceptance_tokens"] = count, positions

    def answer(name: str, question: str) -> str:
        tokens, _ = greedy(models[name][1], prompt_ids(tokenizer, question), SAMPLE_TOKENS, STOP)
        return tokenizer.decode(tokens, skip_special_tokens=True)

    result["samples"] = [
        {"prompt": question, **{name: answer(name, question) for name in ("full", "half", "quarter")}}
        for question in SAMPLES
    ]
    return result


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", type=Path, required=True, help="folder with the checkpoint and its tokenizer")
    add("--val", type=Path, help="packed validation rows; writes matformer.json")
    add("--rows", type=int, default=100, help="validation rows to use (%(default)s)")
    add("--greedy", type=Path, nargs="*", default=[], help="files to write greedy continuations to")
    add("--prompts", type=Path, nargs="*", default=[], help="for each of them, a JSON list of prompts")
    add("--tokens", type=int, default=48, help="length of a greedy continuation (%(default)s)")
    args = parser.parse_args()
    if len(args.greedy) != len(args.prompts):
        parser.error("--greedy and --prompts must name equally many files")
    return args


def main() -> None:
    args = parse_arguments()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    full = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()
    sizes = full.config.intermediate_size
    widths = {NAMES[f]: uniform(sizes, f) for f in sorted(FRACTIONS, reverse=True)}
    widths |= {name: [round_width(m, f) for m, f in zip(sizes, mix, strict=True)] for name, mix in MIXES.items()}
    models: Sized = {name: (w, slice_widths(full, w)) for name, w in widths.items()}

    for path, prompts in zip(args.greedy, args.prompts, strict=True):
        chosen = {name: models[name] for name in ("full", "half", "mix-ramp")}
        write_greedy(path, tokenizer, chosen, json.loads(prompts.read_text()), args.tokens)
        print(f"wrote {path}", flush=True)
    if args.val:
        result = measure(tokenizer, models, np.load(args.val)[: args.rows])
        (args.model / "matformer.json").write_text(json.dumps(result, indent=1) + "\n")
        for sample in result["samples"]:
            print("\n".join(f"[{k}] {v}" for k, v in sample.items()) + "\n", flush=True)


if __name__ == "__main__":
    main()
