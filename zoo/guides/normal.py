"""Normal posteriors of global latents, on the real line: a point, independent, correlated, and of low rank."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn

from zoo.bounds import Count, Natural
from zoo.guides.curvature import settled
from zoo.guides.exact import exact
from zoo.guides.globals import VIEWS, Globals, RowGuide
from zoo.rows.rows import Rows
from zoo.sites import Sites
from zoo.table.schema import Schema

START_SCALE = 0.1
CURVED, WIDEST = 500, 1.0
"""Most latents whose curvature is taken, and the widest start that it may give."""
FEW, MOST = 2000, 20.0
"""Rows that it is taken of, and how many rows each of them may stand for at most."""


class Point(Globals):
    """theta = T(loc): the maximum of the posterior density of u, a plain density of rows."""

    point = True

    def __init__(self, schema: Schema, program: nn.Module, sites: Sites, guide: RowGuide = exact, views: Count = VIEWS):
        super().__init__(schema, program, sites, guide, views)
        self.loc = nn.Parameter(self.start.clone())

    def start_at(self, values: Mapping[str, Tensor]) -> None:
        super().start_at(values)
        self.loc.data.copy_(self.start)

    def posterior(self) -> Any:
        return dist.Delta(self.loc, event_dim=1)


class MeanField(Point):
    """u ~ Normal(loc, diag(scale^2))."""

    point = False

    def __init__(self, schema: Schema, program: nn.Module, sites: Sites, guide: RowGuide = exact, views: Count = VIEWS):
        super().__init__(schema, program, sites, guide, views)
        self.log_scale = nn.Parameter(torch.full_like(self.loc, math.log(START_SCALE)))

    @property
    def scale(self) -> Tensor:
        return self.log_scale.clamp(-20, 20).exp()

    def posterior(self) -> Any:
        return dist.Normal(self.loc, self.scale).to_event(1)

    def fitted(self) -> Any:
        still = copy.copy(self)
        vars(still)["_parameters"] = {name: p.detach() for name, p in self.named_parameters(recurse=False)}
        return Landing(self.posterior(), still.posterior())


class Landing(TorchDistribution):
    """Draws of q, whose log-density is that of q with its parameters held still.

    The gradient of log q(u) by the parameters themselves is zero on average, and noise: without it the gradient of the
    ELBO has no variance left where q is the posterior. Roeder, Wu & Duvenaud 2017.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, q: Any, still: Any):
        self.q, self.still = q, still
        super().__init__(q.batch_shape, q.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return self.q.support

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        u: Tensor = self.q.rsample(sample_shape)
        return u

    def log_prob(self, value: Tensor) -> Tensor:
        log: Tensor = self.still.log_prob(value)
        return log


class Multivariate(MeanField):
    """u = centre + C v, v ~ Normal(loc, L L'), L = diag(scale) (I + strictly lower / sqrt(size)).

    centre and C are 0 and I, or the start from data and the inverse root of the log posterior's curvature there: a step
    of the optimiser is then as large in a direction that the table tells of sharply as in one that it leaves open. As
    many parameters as latents squared.

    most    latents up to which they are correlated; more are independent, as under `normal`
    """

    centre: Tensor
    frame: Tensor

    def __init__(
        self,
        schema: Schema,
        program: nn.Module,
        sites: Sites,
        most: Natural = 1000,
        guide: RowGuide = exact,
        views: Count = VIEWS,
    ):
        super().__init__(schema, program, sites, guide, views)
        many = self.size if self.size <= most else 0
        if self.size > most:
            self.notes = [f"of {self.size} parameters more than {most} (guide.most) are taken to be independent"]
        self.lower = nn.Parameter(torch.zeros(many, many, dtype=torch.float64))
        self.register_buffer("centre", torch.zeros(self.size, dtype=torch.float64))
        self.register_buffer("frame", torch.eye(many, dtype=torch.float64))

    def posterior(self) -> Any:
        if not self.lower.numel():
            return super().posterior()
        eye = torch.eye(self.size, dtype=torch.float64, device=self.loc.device)
        # so that a step of the optimiser turns a row of L as far as it moves its scale, however many latents there are
        lower = self.lower.tril(-1) / self.size**0.5
        tril = self.frame @ (self.scale[:, None] * (eye + lower))
        return dist.MultivariateNormal(self.centre + self.frame @ self.loc, scale_tril=tril)

    def whiten(self, program: nn.Module, rows: Rows) -> None:
        """Take centre and frame from the log posterior, begun at the start."""
        if not self.lower.numel() or self.size > CURVED or not self.integrates:
            return
        few = rows.take(torch.randperm(rows.n, device=rows.given.device)[:FEW])
        more = float(rows.weight.sum() / few.weight.sum().clamp_min(1e-9))
        # the mode of a few rows is not that of all: steps stay wide enough to get there
        counted = min(more, MOST)
        few = replace(few, weight=few.weight * counted)
        u, curvature = settled(lambda u: self.log_joint(program, few, u), self.start.to(self.loc))
        values, vectors = torch.linalg.eigh(curvature)
        # where it bends upwards there is no width to be had of it: as wide as if it bent down as much
        width = values.abs().clamp_min(WIDEST**-2).rsqrt()
        self.centre.copy_(u)
        root = torch.linalg.qr(width[:, None] * vectors.T).R  # root' root = vectors width^2 vectors'
        self.frame.copy_((root * root.diagonal().sign()[:, None]).T)
        self.loc.data.zero_()
        self.log_scale.data.fill_(0.5 * math.log(counted / more))


class LowRank(MeanField):
    """u ~ Normal(loc, F F' + diag(scale^2)), F of `rank` columns; by default the root of the number of latents."""

    def __init__(
        self,
        schema: Schema,
        program: nn.Module,
        sites: Sites,
        rank: Count | None = None,
        guide: RowGuide = exact,
        views: Count = VIEWS,
    ):
        super().__init__(schema, program, sites, guide, views)
        rank = rank or max(1, round(self.size**0.5))
        self.factor = nn.Parameter(0.1 * torch.randn(self.size, rank, dtype=torch.float64) / rank**0.5)

    def posterior(self) -> Any:
        factor = self.scale[:, None] * self.factor
        return dist.LowRankMultivariateNormal(self.loc, factor, self.scale.square())
