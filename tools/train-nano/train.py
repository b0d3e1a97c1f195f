"""Trains Unicorn Nano: one Gemma 3n whose feed-forward layers nest (MatFormer, arXiv:2310.07707).

    python train.py --data data --out unicorn-nano

Every step runs the full model on a batch and one nested width pattern on part of it. The loss is the full model's
cross entropy plus, for the nested pass, cross entropy and the distance to the full model's distribution. Writes the
checkpoint, log.jsonl (losses and validation as they come) and training.json (a summary).
"""

import argparse
import json
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from transformers import Gemma3nForCausalLM

from model import NanoForward, head, nano_config, new_model
from optimizer import make_optimizers, schedule, warmed_momentum
from tokens import BOS, PAD
from widths import FRACTIONS, random_widths, uniform

# 2.5 million parameters, most of them embeddings: to try the script on a CPU.
TINY = {
    "hidden_size": 64,
    "hidden_size_per_layer_input": 16,
    "intermediate_size": 256,
    "head_dim": 32,
    "num_attention_heads": 2,
    "laurel_rank": 8,
}

# One compiled version of the feed-forward for each width and each kind of layer, under training and validation.
RECOMPILES, ALL_RECOMPILES = 64, 512
REPORT_STEPS = 50
SAVE_SECONDS = 120


class Rows:
    """Packed rows on the device, visited in a fresh order every epoch."""

    def __init__(self, rows: Tensor, seed: int) -> None:
        self.rows = rows
        self.random, self.order, self.at, self.epoch = np.random.default_rng(seed), np.empty(0, int), 0, 0

    def batch(self, n: int) -> Tensor:
        """The next n rows, [n, length]; what is left of an epoch with fewer is skipped."""
        if self.at + n > len(self.order):
            self.order, self.at = self.random.permutation(len(self.rows)), 0
            self.epoch += 1
        index = torch.from_numpy(self.order[self.at : self.at + n]).to(self.rows.device)
        self.at += n
        return self.rows[index].long()


def load_rows(path: Path, device: str) -> Tensor:
    return torch.from_numpy(np.load(path).astype(np.int32)).to(device)


def targets_of(tokens: Tensor) -> Tensor:
    """Next tokens [B, T]; -1 where there is nothing to predict (padding, start of the next document)."""
    target = F.pad(tokens[:, 1:], (0, 1), value=PAD)
    return target.masked_fill((target == PAD) | (target == BOS), -1)


def summed_loss(x: Tensor, table: Tensor, target: Tensor, cap: float) -> Tensor:
    """Sum of cross entropies over real targets. x: [B, T, hidden]."""
    return F.cross_entropy(head(x, table, cap).flatten(0, 1), target.flatten(), ignore_index=-1, reduction="sum")


def joint_losses(
    full: Tensor, nested: Tensor, table: Tensor, target: Tensor, cap: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Cross entropy of both passes and KL(full || nested), each a mean over real targets.

    full: [B, T, hidden]; the nested pass may cover only the first rows of the batch.
    """
    valid = target >= 0
    index = target.clamp(min=0)[..., None]
    n = nested.shape[0]
    log_full = F.log_softmax(head(full, table, cap), -1)
    log_nested = F.log_softmax(head(nested, table, cap), -1)
    fixed = log_full[:n].detach()
    distance = (fixed.exp() * (fixed - log_nested)).sum(-1)

    def mean(x: Tensor, keep: Tensor) -> Tensor:
        return torch.where(keep, x, 0.0).sum() / keep.sum()

    return (
        mean(-log_full.gather(-1, index)[..., 0], valid),
        mean(-log_nested.gather(-1, index[:n])[..., 0], valid[:n]),
        mean(distance, valid[:n]),
    )


def save(model: Gemma3nForCausalLM, path: Path) -> None:
    """Writes config.json and model.safetensors, in bf16."""
    path.mkdir(parents=True, exist_ok=True)
    model.config.architectures, model.config.dtype = ["Gemma3nForCausalLM"], torch.bfloat16
    model.config.save_pretrained(path)
    state = {n: p.detach().to(torch.bfloat16).contiguous().cpu() for n, p in model.named_parameters()}
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})


class Training:
    """A model, its data and its optimizers; `run` takes it through all steps."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        device = "cuda" if torch.cuda.is_available() else "cpu"
        config = nano_config(args.sparse_layers, **(TINY if args.tiny else {}))
        self.model = new_model(config, args.seed).float().to(device).train()
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.forward = NanoForward(self.model, dtype, compiled=args.compile)
        self.losses: Callable[..., tuple[Tensor, Tensor, Tensor]] = joint_losses
        self.summed_loss: Callable[..., Tensor] = summed_loss
        if args.compile:
            self.losses = torch.compile(joint_losses, dynamic=False)
            self.summed_loss = torch.compile(summed_loss, dynamic=False)
        self.rows = Rows(load_rows(args.data / "train.npy", device), args.seed)
        self.validation = load_rows(args.data / "val.npy", device)
        for name, rows, needed in (("train", self.rows.rows, args.rows), ("val", self.validation, args.nested_rows)):
            if len(rows) < needed:
                raise SystemExit(f"{args.data / name}.npy has {len(rows)} rows; a step needs {needed}.")
        self.muon, self.adam = make_optimizers(self.model, args.muon_lr, args.adam_lr)
        self.sizes = config.intermediate_size
        self.cap = config.final_logit_softcapping
        self.parameters = sum(p.numel() for p in self.model.parameters())
        args.out.mkdir(parents=True, exist_ok=True)
        self.log_file = open(args.out / "log.jsonl", "w")
        length = self.rows.rows.shape[1]
        print(f"{self.parameters:,} parameters, {len(self.rows.rows):,} rows of {length}, {device}", flush=True)

    def log(self, **values: Any) -> None:
        self.log_file.write(json.dumps(values) + "\n")
        self.log_file.flush()

    def forward_backward(self, tokens: Tensor, widths: list[int]) -> Tensor:
        """Adds to the gradients; returns the three losses of `joint_losses`."""
        args, forward = self.args, self.forward
        some, target = tokens[: args.nested_rows], targets_of(tokens)
        full = forward.hidden(tokens, forward.masks(tokens), uniform(self.sizes, 1.0))
        part = forward.hidden(some, forward.masks(some), widths)
        ce, nested, distance = self.losses(full, part, forward.table, target, self.cap)
        nested_loss = (1 - args.distill) * nested + args.distill * distance
        (ce + args.nested_weight * nested_loss).backward()
        return torch.stack([ce.detach(), nested.detach(), distance.detach()])

    def validate(self, rows: Tensor, widths: list[int]) -> float:
        """Mean cross entropy per real target. Keeps autograd on to reuse the compiled graphs."""
        batch = self.args.nested_rows
        total, count = 0.0, 0
        for i in range(0, len(rows) - batch + 1, batch):
            tokens = rows[i : i + batch].long()
            target = targets_of(tokens)
            x = self.forward.hidden(tokens, self.forward.masks(tokens), widths)
            total += float(self.summed_loss(x, self.forward.table, target, self.cap).detach())
            count += int((target >= 0).sum())
        return total / count

    def update(self, step: int, rate: float) -> None:
        """One step of both optimizers at `rate` times their base rates."""
        self.muon.lr = self.muon.base * rate
        self.muon.momentum = warmed_momentum(step)
        for group in self.adam.param_groups:
            group["lr"] = group["base"] * rate
        torch.nn.utils.clip_grad_norm_([p for g in self.adam.param_groups for p in g["params"]], 1.0)
        self.muon.step()
        self.adam.step()
        self.model.zero_grad(set_to_none=True)

    def warm_up(self) -> None:
        """Compiles every width before the clock starts."""
        start = time.time()
        for fraction in FRACTIONS:
            self.forward_backward(self.rows.rows[: self.args.rows].long(), uniform(self.sizes, fraction))
        self.model.zero_grad()
        print(f"compiled in {time.time() - start:.0f} s", flush=True)

    def run(self) -> None:
        args = self.args
        chooser = random.Random(args.seed)
        tokens_per_step = args.rows * self.rows.rows.shape[1]
        self.warm_up()
        mean = torch.zeros(3, device=self.rows.rows.device)
        start = saved = time.time()
        step = 0
        while True:
            elapsed = time.time() - start
            progress = elapsed / (args.minutes * 60) if args.minutes else step / args.steps
            last = progress >= 1.0
            if last or step > 0 and step % args.eval_every == 0:
                some = self.validation if last else self.validation[: max(args.eval_rows, args.nested_rows)]
                scores = {str(f): self.validate(some, uniform(self.sizes, f)) for f in FRACTIONS}
                print(f"step {step} val " + " ".join(f"{f}:{s:.4f}" for f, s in scores.items()), flush=True)
                self.log(step=step, seconds=elapsed, val=scores)
                if time.time() - saved > SAVE_SECONDS:
                    save(self.model, args.out)
                    saved = time.time()
            if last:
                break
            rate = schedule(progress)
            mean += self.forward_backward(self.rows.batch(args.rows), random_widths(self.sizes, chooser))
            self.update(step, rate)
            step += 1
            if step % REPORT_STEPS == 0:
                ce, nested, distance = (mean / REPORT_STEPS).tolist()
                mean.zero_()
                if not math.isfinite(ce):
                    raise SystemExit("the loss is not finite")
                seconds = time.time() - start
                print(
                    f"step {step} {progress:5.1%} epoch {self.rows.epoch} loss {ce:.4f} nested {nested:.4f} "
                    f"distance {distance:.4f} lr {rate:.3f} {step * tokens_per_step / seconds:,.0f} tok/s",
                    flush=True,
                )
                self.log(step=step, seconds=seconds, loss=ce, nested=nested, distance=distance, rate=rate)

        save(self.model, args.out)
        summary = {
            "parameters": self.parameters,
            "val": scores,
            "steps": step,
            "tokens": step * tokens_per_step,
            "seconds": time.time() - start,
            "epochs": step * args.rows / len(self.rows.rows),
            "arguments": {k: str(v) for k, v in vars(args).items()},
        }
        (args.out / "training.json").write_text(json.dumps(summary, indent=1))
        print(json.dumps(summary), flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with train.npy and val.npy")
    add("--out", type=Path, required=True, help="folder to write the checkpoint to")
    add("--steps", type=int, default=8940, help="(%(default)s)")
    add("--minutes", type=float, help="let the clock, not --steps, drive the schedule")
    add("--rows", type=int, default=64, help="rows per step (%(default)s)")
    add("--nested-rows", type=int, default=32, help="rows of the nested pass and of a validation batch (%(default)s)")
    add("--muon-lr", type=float, default=0.02, help="learning rate of the matrices (%(default)s)")
    add("--adam-lr", type=float, default=3e-3, help="learning rate of everything else (%(default)s)")
    add("--nested-weight", type=float, default=0.7, help="weight of the nested loss (%(default)s)")
    add("--distill", type=float, default=0.6, help="share of the distance in the nested loss (%(default)s)")
    add("--sparse-layers", type=int, default=3, help="first layers with sparse activations (%(default)s)")
    add("--seed", type=int, default=1, help="(%(default)s)")
    add("--eval-every", type=int, default=500, help="steps between validations (%(default)s)")
    add("--eval-rows", type=int, default=256, help="rows of a validation on the way (%(default)s)")
    add("--tiny", action="store_true", help="a model of 2.5 million parameters, to try the script")
    add("--no-compile", dest="compile", action="store_false", help="plain PyTorch: slower, but starts at once")
    return parser.parse_args()


def main() -> None:
    torch.set_float32_matmul_precision("high")
    torch._dynamo.config.recompile_limit = RECOMPILES
    torch._dynamo.config.accumulated_recompile_limit = ALL_RECOMPILES
    Training(parse_arguments()).run()


if __name__ == "__main__":
    main()
