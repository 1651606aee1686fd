"""Mixtures of factor analysers and of probabilistic PCA."""

from __future__ import annotations

from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.bounds import Count
from zoo.em import fit as em
from zoo.errors import UserError
from zoo.rows.rows import Rows
from zoo.table.schema import Schema


class FactorMixture(nn.Module):
    """Clusters that each vary mostly along a few directions of their own.

    cluster    ~ Categorical(weights(given))
    x_numeric  ~ Normal(loc[cluster], W[cluster] W[cluster]' + noise[cluster])     # W of `dim` columns
    x_discrete ~ p(. | levels[cluster])

    noise      "column", one for each numeric column (factor analysers), or "isotropic", one for all (PPCA)
    """

    def __init__(
        self,
        schema: Schema,
        components: Count = 10,
        dim: Count = 2,
        noise: Literal["column", "isotropic"] = "column",
        restarts: Count = 10,
    ):
        super().__init__()
        self.notes: list[str] = []
        n = len(schema.numeric)
        if n and dim >= max(2, n):
            raise UserError(
                f"dim = {dim} directions in each cluster need more than {dim} numeric columns; this table has {n}",
                f"set program.dim below {max(2, n)}",
            )
        self.components, self.dim, self.noise, self.restarts = components, dim, noise, restarts
        self.weights = nn.Linear(schema.given, components)
        self.loc = nn.Parameter(torch.randn(components, n, dtype=torch.float64))
        self.loadings = nn.Parameter(0.1 * torch.randn(components, n, dim, dtype=torch.float64))
        width = n if noise == "column" else min(n, 1)
        self.log_noise = nn.Parameter(torch.zeros(components, width, dtype=torch.float64))
        self.levels = nn.Parameter(0.1 * torch.randn(components, schema.rest, dtype=torch.float64))
        nn.init.zeros_(self.weights.bias)

    def forward(self, rows: Rows) -> Tensor:
        with rows.plate():
            cluster = pyro.sample("cluster", dist.Categorical(logits=self.weights(rows.given)))
            observed = rows.observe(self.levels[cluster], columns="discrete")
            if not self.loc.shape[-1]:
                return observed
            tril = torch.linalg.cholesky(self.covariance())[cluster]
            return rows.observe(dist.MultivariateNormal(self.loc[cluster], scale_tril=tril), columns="numeric")

    def covariance(self) -> Tensor:
        """(K, Dn, Dn), numeric columns in codec units."""
        variance = (2 * self.log_noise.clamp(-10, 10)).exp().expand(self.loc.shape)
        return self.loadings @ self.loadings.mT + torch.diag_embed(variance)

    def initialise(self, rows: Rows) -> bool:
        kind = "isotropic" if self.noise == "isotropic" else "factors"
        start = em.fit(rows, self.components, kind, self.restarts, dim=self.dim)
        self.notes = start.notes
        self.levels.copy_(start.rest)
        self.weights.bias.copy_(start.log_weights)
        nn.init.zeros_(self.weights.weight)
        if self.loc.shape[-1]:
            noise, loadings = start.theta.noise, start.theta.loadings
            assert noise is not None
            assert loadings is not None
            self.loc.copy_(start.loc)
            self.loadings.zero_()[..., : loadings.shape[-1]].copy_(loadings[0].flip(-1))
            self.log_noise.copy_(0.5 * noise[0, :, : self.log_noise.shape[-1]].log())
        return not rows.given.shape[-1]
