"""Muon for the matrices inside the network, AdamW for everything else, and the schedule of their rates.

Muon: Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

# The quintic of the Muon paper: steep at zero, so that small singular values reach about one in five steps.
QUINTIC = (3.4445, -4.7750, 2.0315)
QUINTIC_STEPS = 5

ROUTER_RATE = 5  # times AdamW's: the routers are few, and their inputs are small


def orthogonal(g: Tensor) -> Tensor:
    """Newton-Schulz iteration: replaces the singular values of each matrix in [..., rows, columns] by about one."""
    a, b, c = QUINTIC
    x = g.to(torch.bfloat16 if g.is_cuda else torch.float32)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(QUINTIC_STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if tall else x).to(g.dtype)


class Muon:
    """Momentum, then an orthogonal update; matrices of one shape go through together."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.02) -> None:
        self.lr, self.base, self.momentum, self.decay = lr, lr, momentum, decay
        shapes: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for p in params:
            shapes.setdefault(tuple(p.shape), []).append(p)
        self.groups = [(ps, torch.zeros(len(ps), *shape, device=ps[0].device)) for shape, ps in shapes.items()]

    @torch.no_grad()
    def step(self) -> None:
        for params, buffer in self.groups:
            grad = torch.stack([p.grad for p in params])
            buffer.lerp_(grad, 1 - self.momentum)
            update = orthogonal(grad.lerp_(buffer, self.momentum))
            scale = max(1.0, params[0].shape[0] / params[0].shape[1]) ** 0.5
            torch._foreach_mul_(params, 1 - self.lr * self.decay)
            torch._foreach_add_(params, list(update), alpha=-self.lr * scale)


def make_optimizers(model: nn.Module, muon_lr: float, adam_lr: float) -> tuple[Muon, torch.optim.AdamW]:
    """Each parameter in one of the two; `base` in Muon and in AdamW's groups is the rate that the schedule scales."""
    matrices, tables, small, routers = [], [], [], []
    for name, p in model.named_parameters():
        if "modality_router" in name:
            routers.append(p)
        elif "embed_tokens" in name:
            tables.append(p)
        elif p.ndim == 2 and "_coefs" not in name:
            matrices.append(p)
        else:
            small.append(p)
    groups = [
        {"params": tables, "lr": adam_lr},
        {"params": small, "lr": adam_lr},
        {"params": routers, "lr": adam_lr * ROUTER_RATE},
    ]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0, fused=tables[0].is_cuda)
    for group in adam.param_groups:
        group["base"] = group["lr"]
    return Muon(matrices, muon_lr), adam


def schedule(progress: float, warm: float = 0.01, decay_from: float = 0.4, last: float = 0.02) -> float:
    """The share of the base rate at `progress` (0 to 1): a short rise, a plateau, a straight fall to `last`."""
    if progress < warm:
        return max(progress / warm, 0.01)
    if progress < decay_from:
        return 1.0
    return max(last, 1.0 - (1.0 - last) * (progress - decay_from) / (1.0 - decay_from))


def warmed_momentum(step: int) -> float:
    """Muon's momentum: 0.85 rising to 0.95 over 300 steps, since early gradients soon mislead."""
    return 0.85 + 0.10 * min(1.0, step / 300)
