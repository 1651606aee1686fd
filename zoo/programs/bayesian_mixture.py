"""Mixtures whose parameters have priors: finite, Dirichlet-process and grouped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from zoo.bounds import Count, Positive
from zoo.em import fit as em
from zoo.errors import UserError
from zoo.programs.priors import Prior
from zoo.rows.rows import Rows
from zoo.table.schema import Schema

Vary = Literal["nothing", "weights", "means", "both"]
VARIES = {"nothing": "", "weights": "weights", "means": "means", "both": "weights and means"}


class BayesianMixture(Prior):
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

    def __init__(
        self,
        schema: Schema,
        components: Count = 10,
        covariance: Literal["full", "diagonal"] = "full",
        weights: Literal["dirichlet", "sticks"] = "dirichlet",
        concentration: Positive = 1.0,
        vary: Vary = "nothing",
        restarts: Count = 10,
    ):
        super().__init__(schema, schema.rest, VARIES[vary])
        if components < 2:
            raise UserError(f"a mixture with priors cannot have components = {components}", "set it to at least 2")
        self.components, self.covariance, self.weights = components, covariance, weights
        self.concentration, self.vary, self.restarts = concentration, vary, restarts

    def forward(self, rows: Rows) -> Tensor:
        k, n, schema = self.components, len(self.schema.numeric), self.schema
        logits = self._log_weights()
        if schema.given:
            logits = logits + rows.given.double() @ self.slopes(k)
        if self.vary in ("weights", "both"):
            logits = logits + self.shift("weights", k, 1)[rows.group]
        prior = self.base.expand(k, -1)
        levels = pyro.sample("levels", dist.Normal(prior, 1.0).to_event(2)) if schema.rest else prior
        zeros = self.full(k, n)
        if n:
            loc = pyro.sample("loc", dist.Normal(zeros, 2.0).to_event(2))
            scale = pyro.sample("scale", dist.LogNormal(zeros - 0.5, 1.0).to_event(2))
        shift = self.full(1, n)
        if n and self.vary in ("means", "both"):
            shift = self.shift("means", n, n)[rows.group]
        full = self.covariance == "full" and n > 1
        if full:
            tril = scale[..., None] * pyro.sample("corr", dist.LKJCholesky(n, self.full(k, value=2.0)).to_event(1))
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
        k = self.components
        if self.weights == "dirichlet":
            prior = dist.Dirichlet(self.full(k, value=self.concentration / k))
            weights: Tensor = pyro.sample("weights", prior).clamp_min(1e-12).log()
            return weights
        one = self.full(k - 1, value=1.0)
        sticks = pyro.sample("sticks", dist.Beta(one, self.concentration).to_event(1)).clamp(1e-6, 1 - 1e-6)
        return torch.cat([sticks.log(), one.new_zeros(1)]) + torch.cat(
            [one.new_zeros(1), torch.log1p(-sticks).cumsum(0)]
        )

    def summaries(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is the same however the clusters are numbered, of draws (S, ...) of the parameters, in the units of the
        fit: the largest weight, their entropy, the mean and the standard deviation of each column (of a row of the
        population), the mean log-scale and correlation of clusters by weight, and the spreads of groups."""
        if "sticks" in values:
            v = values["sticks"]
            rest = torch.cat([torch.ones_like(v[:, :1]), (1 - v).cumprod(1)], 1)
            weights = torch.cat([v, torch.ones_like(v[:, :1])], 1) * rest
        else:
            weights = values["weights"]
        w = weights.clamp_min(1e-300)
        out = {"largest weight": w.amax(1), "entropy of weights": -(w * w.log()).sum(1)}
        if "loc" in values:
            loc, scale, w = values["loc"], values["scale"], w[..., None]
            mean = (w * loc).sum(1)
            out["mean of column"] = mean
            out["deviation of column"] = ((w * (loc.square() + scale.square())).sum(1) - mean.square()).sqrt()
            out["log-scale inside a cluster"] = (w * scale.log()).sum(1).mean(1)
        if "corr" in values:
            corr = values["corr"] @ values["corr"].mT
            out["correlation inside a cluster"] = (w[..., 0] * corr[..., 1, 0]).sum(1)
        if "levels" in values:
            out["logit of level"] = values["levels"].mean(1)
        return out | {name: value for name, value in values.items() if name.endswith("_spread") or name == "slopes"}

    def initialise(self, rows: Rows) -> dict[str, Tensor]:
        """Where the guide begins: maximum likelihood of as many components as AIC says, largest first."""
        covariance = "full" if self.covariance == "full" and len(self.schema.numeric) > 1 else "diagonal"
        start = em.fit_aic(rows, self.components, covariance, self.restarts)
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
