"""Normalizing flows as densities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions import MultivariateNormal
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from zoo.em import fit as em
from zoo.networks import zuko_parts
from zoo.programs.chain import Chain
from zoo.rows.rows import Rows
from zoo.rows.spline import TAIL_SHARE
from zoo.table.schema import Schema

BROAD = 3.0


class Flow(nn.Module):
    """A neural spline flow over numeric columns.

    u ~ Normal(0, I),  x = T(u, given)      # T: autoregressive rational-quadratic splines, composed

    A share of a thousandth of the density is a broad Gaussian (three times the table's scales), so that a row far
    from all others costs a few nats. Durkan et al. 2019.
    """

    def __init__(self, schema: Schema, transforms: int = 3, hidden: Sequence[int] = (128, 128), bins: int = 8):
        super().__init__()
        n = len(schema.numeric)
        self.flow = zuko_parts.spline_flow(n, schema.given, transforms, hidden, bins)
        self.loc: Tensor
        self.tril: Tensor
        self.register_buffer("loc", torch.zeros(n, dtype=torch.float64))
        self.register_buffer("tril", torch.eye(n, dtype=torch.float64))

    def forward(self, rows: Rows) -> Tensor:
        # the flow works in whitened coordinates: correlation is the Gaussian's part, shape is the splines'
        gaussian = MultivariateNormal(self.loc, scale_tril=self.tril)
        base = FlooredFlow(self.flow(rows.given) if rows.given.shape[-1] else self.flow(), gaussian, rows.n)
        with rows.plate():
            return rows.observe(base, columns="numeric", proposal=gaussian)

    def initialise(self, rows: Rows) -> bool:
        start = em.fit(rows, components=1, covariance="full")
        self.loc.copy_(start.loc[0])
        self.tril.copy_(torch.linalg.cholesky(start.covariance(0)))
        return False


class FlooredFlow(TorchDistribution):
    """(1 - s) flow + s Normal(loc, (3 tril)(3 tril)'), over (n, Dn); the flow in standard units of the columns."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(self, flow: Any, gaussian: MultivariateNormal, n: int, share: float = TAIL_SHARE):
        self.flow, self.gaussian, self.share = flow, gaussian, share
        self.broad = MultivariateNormal(gaussian.loc, scale_tril=BROAD * gaussian.scale_tril)
        super().__init__(torch.Size([n]), gaussian.event_shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlooredFlow:
        return FlooredFlow(self.flow, self.gaussian, torch.Size(batch_shape).numel(), self.share)

    def log_prob(self, value: Tensor) -> Tensor:
        # so far out that its square is no single-precision number, the broad part decides
        log_flow = self.flow.log_prob(value.clamp(-1e15, 1e15).float()).double()
        return torch.logaddexp(log_flow + math.log1p(-self.share), self.broad.log_prob(value) + math.log(self.share))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        n = self.batch_shape[0]
        draw = self.flow.sample(() if self.flow.batch_shape else (n,)).double()
        pick = torch.rand(n, 1, device=draw.device) < self.share
        return torch.where(pick, self.broad.sample((n,)), draw)


def spline_flow(
    schema: Schema, transforms: int = 3, hidden: Sequence[int] = (128, 128), bins: int = 8, hide: float = 0.3
) -> nn.Module:
    """A spline flow over the whole numeric row; on a table with levels, atoms or missing cells, the chain of
    one-dimensional splines, which has exact masses and needs no proposals."""
    if schema.rest or schema.has_missing:
        return Chain(schema, hidden=hidden, family="spline", bins=bins, hide=hide)
    return Flow(schema, transforms, hidden, bins)
