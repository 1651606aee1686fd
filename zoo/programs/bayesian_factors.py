"""Linear latent variables whose parameters have priors: Bayesian PCA and factor analysis, and grouped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import MultivariateNormal
from torch import Tensor

from zoo.bounds import Count
from zoo.em import fit as em
from zoo.programs import factor, groups
from zoo.programs.priors import Prior
from zoo.rows.rows import Rows
from zoo.table.schema import Schema


class BayesianFactors(Prior):
    """A few Gaussian latents mapped linearly to every column, with a prior on every parameter.

    relevance_j  ~ HalfCauchy(1)               # of the j-th latent: one that the table has no need of goes to 0
    loadings_j   ~ Normal(0, relevance_j)
    loc          ~ Normal(the column's own, 1)
    noise        ~ LogNormal(-1, 1)            # one for all columns, or one for each
    z            ~ Normal(0, I)
    x            ~ p(. | loc + shift[group] + z loadings, noise)

    vary         locations differ by group (a --group column), partially pooled
    Bishop 1999.
    """

    def __init__(
        self,
        schema: Schema,
        dim: Count = 4,
        noise: Literal["isotropic", "column"] = "isotropic",
        vary: bool = False,
    ):
        super().__init__(schema, schema.width, "means" if vary else "")
        self.dim, self.noise, self.vary = dim, noise, vary

    def forward(self, rows: Rows) -> Tensor:
        schema, zeros = self.schema, torch.zeros_like(self.base)
        one = self.full(self.dim, value=1.0)
        relevance = pyro.sample("relevance", dist.HalfCauchy(one).to_event(1))
        spread = relevance[:, None].expand(-1, schema.width)
        loadings = pyro.sample("loadings", dist.Normal(torch.zeros_like(spread), spread).to_event(2))
        loc = pyro.sample("loc", dist.Normal(self.base, 1.0).to_event(1))
        n = len(schema.numeric)
        many = min(n, 1) if self.noise == "isotropic" else n
        noise = pyro.sample("noise", dist.LogNormal(zeros[:many] - 1, 1.0).to_event(1)) if n else zeros[:0]
        shift = self.shift("means", schema.width, schema.width) if self.vary else zeros[None]
        slopes = self.slopes(schema.width)
        with rows.plate():
            z = pyro.sample("z", dist.Normal(torch.zeros_like(one), 1.0).to_event(1))
            mean = self._mean(rows, loc, shift, slopes)
            predictor = mean + z.double() @ loadings
            return rows.observe(torch.cat([predictor, noise.log().expand(len(predictor), n)], -1))

    def _mean(self, rows: Rows, loc: Tensor, shift: Tensor, slopes: Tensor) -> Tensor:
        out = loc.expand(rows.n, -1)
        out = out + shift[rows.group] if self.vary else out
        return out + rows.given.double() @ slopes if self.schema.given else out

    @property
    def log_concave(self) -> bool:
        """True where z has a Gaussian posterior in closed form given the parameters: Normal columns alone."""
        return not self.schema.rest and self.schema.all_normal

    def posterior(self, rows: Rows, **values: Tensor) -> MultivariateNormal:
        """p(z | x, parameters) for the seen cells of each row."""
        cells = rows.cells
        assert cells is not None
        shift = values["means_offset"] * values["means_spread"] if self.vary else values["loc"]
        mean = self._mean(rows, values["loc"], shift, values.get("slopes", shift))
        precision = factor.precision(rows, rows.heads.scale(values["noise"].log()))
        return factor.posterior(values["loadings"].T, (cells.x - mean) * (precision > 0), precision)

    def summaries(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What no rotation of the latents changes, of draws (S, ...) of the parameters, in the units of the fit: the
        locations, the noise, how far each column is moved by the latents, the covariance of the first two columns, and
        the spreads of groups."""
        w = values["loadings"]
        out = {"location": values["loc"], "reach of the latents": w.square().sum(1).sqrt()}
        if w.shape[-1] > 1:
            out["covariance of the first two"] = (w[..., 0] * w[..., 1]).sum(1)
        kept = ("noise", "slopes", "means_spread")
        return out | {name: value for name, value in values.items() if name in kept}

    def initialise(self, rows: Rows) -> dict[str, Tensor]:
        """Where the guide begins: maximum likelihood PPCA of the numeric columns, levels at their own masses."""
        marginal = em.fit(rows, components=1, covariance="diagonal")
        n, width = len(self.schema.numeric), self.schema.width
        self.base.copy_(torch.cat([marginal.loc[0], marginal.rest[0]]))
        values = {"loc": self.base.cpu().clone()}
        if self.vary:
            values |= groups.start(rows, "means", self.base)
        if n < 2:
            return values
        covariance = em.fit(rows, components=1, covariance="full").covariance(0)
        fit = factor.ppca if self.noise == "isotropic" else factor.factor_analysis
        found, variance = fit(covariance, min(self.dim, n - 1), rows.codec.min_scale.cpu().square())
        loadings = 0.05 * torch.randn(self.dim, width, dtype=torch.float64)
        loadings[: found.shape[1], :n] += found.T
        noise = variance.sqrt().clamp(1e-2, 10.0)
        relevance = loadings.square().mean(1).sqrt().clamp_min(1e-2)
        noise = noise[:1] if self.noise == "isotropic" else noise
        return values | {"loadings": loadings, "noise": noise, "relevance": relevance}
