"""Mixtures: one program for every covariance and any columns."""

from __future__ import annotations

import math
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.bounds import Count, Weight
from zoo.em import fit as em
from zoo.rows.rows import Rows
from zoo.table.schema import Schema

START_DF = 5.0
Covariance = Literal["full", "tied", "diagonal", "spherical"]


class Mixture(nn.Module):
    """A finite mixture over any columns.

    cluster    ~ Categorical(weights(given))
    x_numeric  ~ Normal(loc[cluster], spread[cluster])     # full, tied, diagonal or spherical
                 or Student's t, with degrees of freedom of each cluster (and column)
    x_discrete ~ p(. | levels[cluster])

    A full or tied covariance is a joint density of the numeric columns; a diagonal or spherical one is a likelihood
    for each column, with exact cells of rounded columns.

    resolution  no component is narrower than this share of a column's standard deviation
    pool        rows that the components' common covariance weighs in each component's own
    """

    def __init__(
        self,
        schema: Schema,
        components: Count = 10,
        covariance: Covariance = "diagonal",
        tails: Literal["normal", "student-t"] = "normal",
        restarts: Count = 10,
        resolution: Weight = 0.0,
        pool: Weight = 0.0,
    ):
        super().__init__()
        self.notes: list[str] = []
        n = len(schema.numeric)
        shape = em.spread_shape(covariance, components, n)
        self.components, self.covariance, self.restarts = components, covariance, restarts
        self.resolution, self.pool = resolution, pool
        dense = covariance in ("full", "tied")
        start = torch.full((components, min(n, 1) if dense else n), math.log(START_DF - 1), dtype=torch.float64)
        self.log_df = nn.Parameter(start) if tails == "student-t" and n else None
        self.weights = nn.Linear(schema.given, components)
        self.loc = nn.Parameter(torch.randn(components, n, dtype=torch.float64))
        self.spread = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
        self.levels = nn.Parameter(0.1 * torch.randn(components, schema.rest, dtype=torch.float64))
        nn.init.zeros_(self.weights.bias)

    def forward(self, rows: Rows) -> Tensor:
        with rows.plate():
            cluster = pyro.sample("cluster", dist.Categorical(logits=self.weights(rows.given)))
            loc, levels = self.loc[cluster], self.levels[cluster]
            if not loc.shape[-1]:
                return rows.observe(levels, columns="discrete")
            df = None if self.log_df is None else 1 + self.log_df[cluster].clamp(-20, 20).exp()
            if self.spread.dim() == 2:
                spread = self.spread[cluster].expand(loc.shape)
                return rows.observe(torch.cat([loc, levels, spread], -1), df=df)
            scale_tril = em.tril(self.spread)
            tril = scale_tril[cluster] if len(scale_tril) > 1 else scale_tril.expand(*cluster.shape, -1, -1)
            rows.observe(levels, columns="discrete")
            if df is not None:
                return rows.observe(dist.MultivariateStudentT(df[..., 0], loc, tril), columns="numeric")
            return rows.observe(dist.MultivariateNormal(loc, scale_tril=tril), columns="numeric")

    def initialise(self, rows: Rows) -> bool:
        start = em.fit(
            rows, self.components, self.covariance, self.restarts, resolution=self.resolution, pool=self.pool
        )
        self.notes = start.notes
        self.loc.copy_(start.loc)
        self.spread.copy_(start.spread)
        self.levels.copy_(start.rest)
        self.weights.bias.copy_(start.log_weights)
        nn.init.zeros_(self.weights.weight)
        exact = self.spread.dim() == 3 or not start.approximate
        return exact and not rows.given.shape[-1] and self.log_df is None
