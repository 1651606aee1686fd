"""One Gaussian over the numeric columns."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.em import fit as em
from zoo.rows.rows import Rows
from zoo.table.schema import Schema


class Gaussian(nn.Module):
    """A full-covariance Gaussian, and independent levels beside it.

    x_numeric  ~ Normal(loc, tril tril')
    x_discrete ~ p(. | levels)
    """

    def __init__(self, schema: Schema):
        super().__init__()
        self.notes: list[str] = []
        n = len(schema.numeric)
        self.loc = nn.Parameter(torch.zeros(n, dtype=torch.float64))
        self.spread = nn.Parameter(torch.zeros(n, n, dtype=torch.float64))
        self.levels = nn.Parameter(torch.zeros(schema.rest, dtype=torch.float64))

    def forward(self, rows: Rows) -> Tensor:
        with rows.plate():
            levels = rows.observe(self.levels.expand(rows.n, -1), columns="discrete")
            if not len(self.loc):
                return levels
            return rows.observe(dist.MultivariateNormal(self.loc, scale_tril=em.tril(self.spread)), columns="numeric")

    def initialise(self, rows: Rows) -> bool:
        start = em.fit(rows, components=1, covariance="full")
        self.notes = start.notes
        self.loc.copy_(start.loc[0])
        self.spread.copy_(start.spread[0])
        self.levels.copy_(start.rest[0])
        return True
