"""Feed-forward widths: how many of a layer's units a nested model uses, a list with an entry for each layer."""

import random
from collections.abc import Sequence

FRACTIONS = (0.25, 0.5, 0.75, 1.0)  # the widths trained for, in any mix
MULTIPLE = 64  # whole blocks of the quantized formats of 32, and whole tiles of a matrix unit


def round_width(full: int, fraction: float) -> int:
    return max(MULTIPLE, int(full * fraction) // MULTIPLE * MULTIPLE)


def uniform(sizes: Sequence[int], fraction: float) -> list[int]:
    """The same fraction of every layer; `sizes` are the full widths."""
    return [round_width(full, fraction) for full in sizes]


def random_widths(sizes: Sequence[int], r: random.Random) -> list[int]:
    """The widths of a training step: half (35%), a quarter (20%), three quarters (15%), or a mix by layer (30%)."""
    kind = r.random()
    for limit, fraction in ((0.35, 0.5), (0.55, 0.25), (0.70, 0.75)):
        if kind < limit:
            return uniform(sizes, fraction)
    return [round_width(full, r.choice(FRACTIONS)) for full in sizes]
