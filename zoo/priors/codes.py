"""Codes: a latent level beside Normal ones, so that draws can fall into parts that do not touch."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.bounds import Count, Natural
from zoo.rows.rows import Rows
from zoo.table.codec import one_hot
from zoo.table.schema import Schema

LOUD = 4.0
"""What a level is multiplied by: a generator that hears it begins with as many parts as there are levels."""

FEW = 32
"""Levels that begin as a component each."""


class Codes(nn.Module):
    """cluster ~ Categorical(1 / components),  z ~ Normal(0, I),  u ~ Normal(0, I)

    Decoded is [4 one_hot(cluster), z, u]: a continuous map of a Normal cannot leave gaps, and tables have them
    (Gurumurthy et al. 2017; Khayatkhoei et al. 2018). The level and z can be inferred (Chen et al. 2016), u, of `noise`
    coordinates, is what is not.
    """

    def __init__(self, schema: Schema, dim: int, components: Count = 50, noise: Natural = 0):
        super().__init__()
        self.dim, self.components, self.noise = dim, components, noise
        self.width = components + dim + noise

    def forward(self, rows: Rows) -> Tensor:
        device = rows.given.device
        cluster = pyro.sample("cluster", dist.Categorical(logits=torch.zeros(self.components, device=device)))
        parts = [pyro.sample("z", dist.Normal(torch.zeros(self.dim, device=device), 1.0).to_event(1))]
        if self.noise:
            parts.append(pyro.sample("u", dist.Normal(torch.zeros(self.noise, device=device), 1.0).to_event(1)))
        return self.beside(cluster, torch.cat(parts, -1))

    def beside(self, cluster: Tensor, numbers: Tensor) -> Tensor:
        """What is decoded (..., n, width), of a level (..., n) and of z and u side by side (n, dim + noise)."""
        level = LOUD * one_hot(cluster, self.components)
        batch = torch.broadcast_shapes(level.shape[:-1], numbers.shape[:-1])
        return torch.cat([t.expand(*batch, -1) for t in (level, numbers)], -1)

    def parts(self) -> int:
        """Components of the mixture that a generator may begin as: a component that is heavy has several levels."""
        return self.components if self.components <= FEW else max(FEW, self.components // 4)
