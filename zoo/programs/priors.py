"""What programs with priors on their parameters have in common."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.programs import groups
from zoo.table.schema import Schema


class Prior(nn.Module):
    """Base of programs whose parameters are latents.

    base     (width,) where predictors are in the columns' own distributions; set by the start from data
    varies   what differs by group, in words, if anything does
    """

    base: Tensor

    def __init__(self, schema: Schema, width: int, varies: str = ""):
        super().__init__()
        if varies:
            groups.need_group(schema, varies)
        self.schema = schema
        self.register_buffer("base", torch.zeros(width, dtype=torch.float64))

    def full(self, *shape: int, value: float = 0.0) -> Tensor:
        """A constant, where the program lives."""
        return torch.full(shape, value, dtype=torch.float64, device=self.base.device)

    def slopes(self, width: int) -> Tensor:
        """slopes ~ Normal(0, 1) of `width` predictors in what is given (given, width)."""
        zeros = self.full(self.schema.given, width)
        return pyro.sample("slopes", dist.Normal(zeros, 1.0).to_event(2)) if self.schema.given else zeros

    def shift(self, name: str, width: int, spreads: int) -> Tensor:
        """Offsets (groups, width) of every group; see `zoo.programs.groups`."""
        return groups.offsets(self.schema, name, width, spreads, self.base)
