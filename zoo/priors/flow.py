"""A normalizing flow as the density of latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from zoo.flows.autoregressive import Spline
from zoo.flows.moved import Pulled
from zoo.rows.rows import Rows
from zoo.table.schema import Schema


class Flow(nn.Module):
    """u ~ Normal(0, I),  z = T^-1(u, given)"""

    def __init__(self, schema: Schema, dim: int, flow: Callable[[int, int], nn.Module] = Spline):
        super().__init__()
        self.dim, self.flow = dim, flow(dim, schema.given)

    def forward(self, rows: Rows) -> Tensor:
        transform: Any = self.flow(rows.given if rows.given.shape[-1] else None)
        return pyro.sample("z", Pulled(transform, torch.zeros(self.dim, device=rows.given.device)))
