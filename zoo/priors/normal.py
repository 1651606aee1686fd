"""The standard Normal."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.rows.rows import Rows
from zoo.table.schema import Schema


class StandardNormal(nn.Module):
    """z ~ Normal(0, I)"""

    def __init__(self, schema: Schema, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, rows: Rows) -> Tensor:
        return pyro.sample("z", dist.Normal(torch.zeros(self.dim, device=rows.given.device), 1.0).to_event(1))
