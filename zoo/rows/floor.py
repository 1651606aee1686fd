"""The floor that keeps one outlying cell from ruining a mean."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.rows.cells import NARROW, Family

TAIL_SHARE = 1e-3


class Floored:
    """(1 - s) family + s Cauchy(0, 1): a value never seen costs a few nats, not a million.

    Draws are the family's: the floor stands for what is not known, and a table of drawn rows with cells at a thousand
    deviations would serve nobody.
    """

    def __init__(self, family: Family, share: float = TAIL_SHARE):
        self.family, self.share = family, share

    def log_average(self, x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
        return torch.logaddexp(
            self.family.log_average(x, lo, hi) + math.log1p(-self.share), _log_cauchy(x, lo, hi) + math.log(self.share)
        )

    def sample(self) -> Tensor:
        return self.family.sample()

    def mean(self) -> Tensor:
        return self.family.mean()


def _log_cauchy(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    density = -math.log(math.pi) - torch.log1p(x.square())
    if lo is hi:
        return density
    width = hi - lo
    wide = width > NARROW
    # atan(hi) - atan(lo) in one arctangent, exact in the tails too
    mass = torch.atan2(torch.where(wide, width, 1.0), 1 + lo * hi) / math.pi
    average = mass.log() - torch.where(wide, width, 1.0).log()
    return torch.where(wide, average, density)
