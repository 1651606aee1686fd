"""Continuous latent variables: probabilistic PCA, factor analysis, the VAE family, and every generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from pyro.distributions import MultivariateNormal
from torch import Tensor, nn

from zoo.bounds import Count, Share
from zoo.em import fit as em
from zoo.errors import UserError
from zoo.networks.linear import Linear
from zoo.networks.mlp import MLP
from zoo.priors.codes import Codes
from zoo.priors.normal import StandardNormal
from zoo.programs import factor
from zoo.rows.dense import plain
from zoo.rows.rows import Rows
from zoo.shared import Shared
from zoo.table.codec import FAR, Cells, one_hot
from zoo.table.schema import Schema

START_DF = 10.0
START_STEPS, START_RATE = 300, 1e-2
"""By which a decoder comes to say what a mixture says."""
EACH = 20
"""Steps for each level, where there are few."""
FEW, STEEP = 10_000, 6.0
"""Rows that the mixture is fitted to, and the steepest logit that is asked for."""
NOISELESS = 1e-8
"""A variance that stands for none."""


class Latent(nn.Module):
    """A continuous latent vector decoded to every column.

    z ~ prior(given)                                        # dim latents; Normal(0, I) unless another prior is named
    x ~ p(. | decode(z, given))                             # one likelihood for each column

    noise says where the scales of numeric columns come from: "column" (one for each, the heads' own), "isotropic"
    (one for all, in standard deviations) or "row" (decoded, different for every row).

    floor is the share of a wide Cauchy in every numeric cell, once fitted: a decoder that is sure of itself may give a
    row unlike all others a scale of nearly nothing, and that row alone thousands of nats. While fitting there is none,
    for a row that the floor explains has no gradient.
    """

    def __init__(
        self,
        schema: Schema,
        dim: Count = 8,
        network: Callable[[int, int], nn.Module] = MLP,
        noise: Literal["column", "isotropic", "row"] = "column",
        tails: Literal["normal", "student-t"] = "normal",
        prior: Callable[[Schema, int], nn.Module] = StandardNormal,
        floor: Share = 0.0,
    ):
        super().__init__()
        if _is_linear(network) and dim >= max(2, schema.width):
            raise UserError(
                f"dim = {dim} latents mapped linearly need more than {dim} columns; this table gives {schema.width}",
                f"set program.dim below {max(2, schema.width)}",
            )
        self.prior: Any = prior(schema, dim)
        self.schema, self.dim, self.noise = schema, getattr(self.prior, "width", dim), noise
        self.floor = floor
        self.decode = network(self.dim + schema.given, schema.full if noise == "row" else schema.width)
        if isinstance(self.decode, Linear):
            self.decode.double()
        start = torch.full((len(schema.numeric),), math.log(START_DF - 1), dtype=torch.float64)
        self.log_df = nn.Parameter(start) if tails == "student-t" and schema.numeric else None
        shared = noise == "isotropic" and schema.numeric
        self.log_noise = nn.Parameter(torch.zeros(1, dtype=torch.float64)) if shared else None

    def shared_errors(self, rows: Rows) -> list[Shared]:
        """The prior's, of one that has some."""
        found: list[Shared] = getattr(self.prior, "shared_errors", lambda rows: [])(rows)
        return found

    def forward(self, rows: Rows) -> Tensor:
        with rows.plate():
            z = self.prior(rows)
            df = None if self.log_df is None else 1 + self.log_df.clamp(-20, 20).exp()
            floor = 0.0 if self.training else self.floor
            return rows.observe(self.predict(z, rows.given), df=df, floor=floor)

    def predict(self, z: Tensor, given: Tensor) -> Tensor:
        """Predictor (..., n, width or full) of latents (..., n, dim)."""
        dtype = next(self.decode.parameters()).dtype
        z = z.expand(*z.shape[:-2], len(given), self.dim)
        out = self.decode(torch.cat([z, given.expand(*z.shape[:-1], given.shape[-1])], -1).to(dtype))
        if self.log_noise is None:
            return out
        return torch.cat([out, self.log_noise.expand(*out.shape[:-1], len(self.schema.numeric))], -1)

    # ---- the linear-Gaussian case

    @property
    def log_concave(self) -> bool:
        """True where log p(x, z) has one mode: an affine decoder, Normal columns and levels."""
        normal = self.schema.all_normal and self.log_df is None
        affine = isinstance(self.decode, Linear) and isinstance(self.prior, StandardNormal)
        return affine and self.noise != "row" and normal

    @property
    def linear_gaussian(self) -> bool:
        """True where z has a Gaussian posterior in closed form: Normal columns alone."""
        return self.log_concave and not self.schema.rest

    def posterior(self, rows: Rows) -> MultivariateNormal:
        """p(z | x) for the seen cells of each row; where there are levels or atoms, its Laplace approximation."""
        assert isinstance(self.decode, Linear)
        assert rows.cells is not None
        cells, n = rows.cells, len(self.schema.numeric)
        scale = rows.heads.scale(rows.heads.log_scale if self.log_noise is None else self.log_noise)
        precision = factor.precision(rows, scale)
        loadings = self.decode.weight[:, : self.dim]
        at = self.predict(torch.zeros(1, self.dim, dtype=torch.float64, device=cells.x.device), rows.given)
        at = at[..., : len(loadings)]
        centred = (cells.x[:, :n] - at[:, :n]) * (precision > 0)
        if not self.schema.rest:
            return factor.posterior(loadings, centred, precision)
        with torch.no_grad():
            rest, logits = self._paired(loadings[n:].T).T, self._paired(at[:, n:])
            # a proposal only: an outlier must not throw it where nothing was seen
            centred = centred.clamp(-FAR, FAR)
            return factor.laplace(loadings[:n], rest, centred, precision, logits, self._labels(cells))

    def project(self, rows: Rows) -> Tensor:
        """Least-squares code (n, dim) of the seen numeric cells: what `posterior` tends to without noise."""
        assert isinstance(self.decode, Linear)
        assert rows.cells is not None
        n = len(self.schema.numeric)
        seen = plain(rows.cells).double()
        loc = self.decode.bias[:n] + rows.given.double() @ self.decode.weight[:n, self.dim :].T
        centred = (rows.cells.x[:, :n] - loc) * seen
        return factor.posterior(self.decode.weight[:n, : self.dim], centred, seen / NOISELESS).loc

    def _paired(self, rest: Tensor) -> Tensor:
        """Logits (..., rest) with a zero before that of each binary column."""
        k = len(self.schema.binary)
        pairs = torch.stack([torch.zeros_like(rest[..., :k]), rest[..., :k]], -1).flatten(-2)
        return torch.cat([pairs, rest[..., k:]], -1)

    def _labels(self, cells: Cells) -> factor.Labels:
        """The levels and atoms of each row, a binary column as a block of two."""
        n, spiked = len(self.schema.numeric), list(self.schema.spiked)
        sizes = (2,) * len(self.schema.binary) + self.schema.blocks
        codes = torch.cat([cells.x[:, n:], cells.atom[:, spiked]], -1)
        seen = torch.cat([cells.seen[:, n:], cells.seen[:, spiked]], -1)
        there = seen.double().repeat_interleave(torch.tensor(sizes, device=seen.device), -1)
        hot = torch.cat([one_hot(codes[:, j], size) for j, size in enumerate(sizes)], -1)
        return factor.Labels(hot * there, there, sizes)

    def met(self, guide: nn.Module) -> None:
        """The guide is made: a prior may be built from it."""
        if hasattr(self.prior, "met"):
            self.prior.met(guide)

    def initialise(self, rows: Rows) -> bool:
        if hasattr(self.prior, "initialise"):
            self.prior.initialise(rows)
        if isinstance(self.prior, Codes):
            self._start_as_mixture(rows, self.prior)
            return False
        marginal = em.fit(rows, components=1, covariance="diagonal")
        if not (self.linear_gaussian and not rows.given.shape[-1]):
            self._start_at(torch.cat([marginal.loc[0], marginal.rest[0]]), marginal.spread[0])
            return False
        covariance = em.fit(rows, components=1, covariance="full").covariance(0)
        fit = factor.ppca if self.noise == "isotropic" else factor.factor_analysis
        floor = rows.codec.min_scale.cpu().square()
        loadings, noise = fit(covariance, self.dim, floor)
        assert isinstance(self.decode, Linear)
        self.decode.weight.copy_(loadings)
        self.decode.bias.copy_(marginal.loc[0])
        log_scale = 0.5 * (noise - floor).clamp_min(1e-12).log()
        if self.log_noise is not None:
            self.log_noise.copy_(log_scale[:1])
        else:
            rows.heads.log_scale.copy_(log_scale)
        return rows.complete and not marginal.approximate

    def _start_as_mixture(self, rows: Rows, prior: Codes) -> None:
        """Let every level of the prior be decoded to a component of a mixture, and heavy components by several."""
        few = rows.take(torch.randperm(rows.n, device=rows.given.device)[:FEW])
        start = em.fit(few, min(prior.parts(), max(1, few.n // 20)), "diagonal", restarts=3, keep=1)
        places = (torch.arange(prior.components, device=start.loc.device) + 0.5) / prior.components
        which = torch.searchsorted(start.log_weights.exp().cumsum(0), places.double()).clamp_max(len(start.loc) - 1)
        target = torch.cat([start.loc, start.rest.clamp(-STEEP, STEEP)], 1)
        if self.noise == "row":
            target = torch.cat([target, start.spread], 1)
        elif self.noise == "column":
            rows.heads.log_scale.copy_((start.log_weights.exp()[:, None] * start.spread).sum(0))
        target = target[which].to(next(self.decode.parameters()))
        self._start_at(target[:, : self.schema.width].mean(0), target[:, self.schema.width :].mean(0))
        levels = torch.arange(prior.components, device=target.device)
        parameters = list(self.decode.parameters())
        adam = torch.optim.Adam(parameters, lr=START_RATE)
        steps = min(START_STEPS, EACH * prior.components)
        for step in range(steps):
            adam.param_groups[0]["lr"] = START_RATE * (1 - step / steps)
            numbers = torch.randn(len(levels), prior.dim + prior.noise, device=target.device)
            given = rows.given[torch.randint(rows.n, (len(levels),), device=target.device)]
            with torch.enable_grad():
                out = self.decode(torch.cat([prior.beside(levels, numbers), given], 1))
                gradients = torch.autograd.grad((out - target).square().mean(), parameters)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            adam.step()
        for parameter in parameters:
            parameter.grad = None

    def _start_at(self, predictor: Tensor, log_scale: Tensor) -> None:
        """Let the decoder begin at the independent model: its last bias is what each column is on average."""
        last = [m for m in self.decode.modules() if isinstance(m, nn.Linear)][-1]
        bias = torch.cat([predictor, log_scale]) if self.noise == "row" else predictor
        last.bias.copy_(bias)


def _is_linear(network: Callable[[int, int], nn.Module]) -> bool:
    return getattr(network, "func", network) is Linear
