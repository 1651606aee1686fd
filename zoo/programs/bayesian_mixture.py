"""Mixtures whose parameters have priors: finite, Dirichlet-process and grouped."""

from __future__ import annotations

from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.em import fit as em
from zoo.errors import UserError
from zoo.programs import groups
from zoo.rows.rows import Rows
from zoo.table.schema import Schema

Vary = Literal["nothing", "weights", "means", "both"]


class BayesianMixture(nn.Module):
    """A mixture with a prior on every parameter; numbers in standard deviations of the column.

    weights    ~ Dirichlet(concentration / K), or sticks: v_k ~ Beta(1, concentration), weights_k = v_k prod(1 - v_<k)
    loc_k      ~ Normal(0, 2)
    scale_k    ~ LogNormal(-0.5, 1)
    corr_k     ~ LKJ(2)                             # a full covariance; else columns are independent in a cluster
    levels_k   ~ Normal(the column's own, 1)        # logits
    cluster    ~ Categorical(weights[group], given)
    x          ~ Normal(loc[cluster] + shift[group], ...), p(. | levels[cluster])

    components     most clusters; the start takes those that BIC says, the others are there to be filled
    vary           what differs by group (a --group column), partially pooled: log-weights, locations, both
    """

    base: Tensor

    def __init__(
        self,
        schema: Schema,
        components: int = 10,
        covariance: Literal["full", "diagonal"] = "full",
        weights: Literal["dirichlet", "sticks"] = "dirichlet",
        concentration: float = 1.0,
        vary: Vary = "nothing",
        restarts: int = 10,
    ):
        super().__init__()
        if components < 2:
            raise UserError(f"a mixture with priors cannot have components = {components}", "set it to at least 2")
        if vary != "nothing":
            groups.need_group(schema, vary if vary != "both" else "weights and means")
        self.schema, self.components, self.covariance, self.weights = schema, components, covariance, weights
        self.concentration, self.vary, self.restarts = concentration, vary, restarts
        self.register_buffer("base", torch.zeros(schema.rest, dtype=torch.float64))

    def forward(self, rows: Rows) -> Tensor:
        k, n, schema = self.components, len(self.schema.numeric), self.schema
        logits = self._log_weights()
        if schema.given:
            slopes = torch.zeros(schema.given, k, dtype=torch.float64, device=self.base.device)
            logits = logits + rows.given.double() @ pyro.sample("slopes", dist.Normal(slopes, 1.0).to_event(2))
        if self.vary in ("weights", "both"):
            logits = logits + groups.offsets(schema, "weights", k, 1, self.base)[rows.group]
        prior = self.base.expand(k, -1)
        levels = pyro.sample("levels", dist.Normal(prior, 1.0).to_event(2)) if schema.rest else prior
        zeros = torch.zeros(k, n, dtype=torch.float64, device=self.base.device)
        if n:
            loc = pyro.sample("loc", dist.Normal(zeros, 2.0).to_event(2))
            scale = pyro.sample("scale", dist.LogNormal(zeros - 0.5, 1.0).to_event(2))
        shift = torch.zeros(1, n, dtype=torch.float64, device=self.base.device)
        if n and self.vary in ("means", "both"):
            shift = groups.offsets(schema, "means", n, n, self.base)[rows.group]
        full = self.covariance == "full" and n > 1
        if full:
            two = torch.full((k,), 2.0, dtype=torch.float64, device=self.base.device)
            tril = scale[..., None] * pyro.sample("corr", dist.LKJCholesky(n, two).to_event(1))
        with rows.plate():
            cluster = pyro.sample("cluster", dist.Categorical(logits=logits))
            if not n:
                return rows.observe(levels[cluster], columns="discrete")
            here = loc[cluster] + shift
            beside = levels[cluster].expand(*here.shape[:-1], -1)
            if not full:
                return rows.observe(torch.cat([here, beside, scale[cluster].log().expand(here.shape)], -1))
            rows.observe(levels[cluster], columns="discrete")
            return rows.observe(dist.MultivariateNormal(here, scale_tril=tril[cluster]), columns="numeric")

    def _log_weights(self) -> Tensor:
        k, options = self.components, {"dtype": torch.float64, "device": self.base.device}
        if self.weights == "dirichlet":
            prior = dist.Dirichlet(torch.full((k,), self.concentration / k, **options))  # type: ignore[call-overload]
            weights: Tensor = pyro.sample("weights", prior).clamp_min(1e-12).log()
            return weights
        one = torch.ones(k - 1, **options)  # type: ignore[call-overload]
        sticks = pyro.sample("sticks", dist.Beta(one, self.concentration).to_event(1)).clamp(1e-6, 1 - 1e-6)
        return torch.cat([sticks.log(), one.new_zeros(1)]) + torch.cat(
            [one.new_zeros(1), torch.log1p(-sticks).cumsum(0)]
        )

    def initialise(self, rows: Rows) -> dict[str, Tensor]:
        """Where the guide begins: maximum likelihood of as many components as BIC says, largest first."""
        covariance = "full" if self.covariance == "full" and len(self.schema.numeric) > 1 else "diagonal"
        start = em.fit_bic(rows, self.components, covariance, self.restarts)
        order = start.log_weights.argsort(descending=True)
        used, k, n = len(order), self.components, len(self.schema.numeric)
        self.base.copy_(em.fit(rows, 1, "diagonal").rest[0])
        weights = torch.full((k,), 1e-3, dtype=torch.float64)
        weights[:used] += start.log_weights[order].exp()
        weights = weights / weights.sum()
        loc, scale = 0.5 * torch.randn(k, n, dtype=torch.float64), torch.ones(k, n, dtype=torch.float64)
        corr = torch.eye(n, dtype=torch.float64).repeat(k, 1, 1)
        levels = self.base.cpu().repeat(k, 1)
        loc[:used], levels[:used] = start.loc[order], start.rest[order]
        if covariance == "full":
            factor = em.tril(start.spread[order])
            scale[:used] = factor.square().sum(-1).sqrt()
            corr[:used] = factor / scale[:used, :, None]
        else:
            scale[:used] = start.spread[order].clamp(-5, 5).exp()
        rest = torch.cat([weights.new_zeros(1), weights.cumsum(0)[:-2]])
        values = {"weights": weights, "sticks": (weights[:-1] / (1 - rest)).clamp(1e-4, 1 - 1e-4), "levels": levels}
        return values | {"loc": loc, "scale": scale.clamp(1e-3, 1e3), "corr": corr}
