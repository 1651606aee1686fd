"""The program's own posterior, in closed form or by Laplace's approximation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions
from pyro.distributions import MultivariateNormal
from torch import Tensor, nn

from zoo.errors import UserError
from zoo.guides.encoder import Encoder
from zoo.networks.mlp import MLP
from zoo.rows.rows import Rows
from zoo.sites import Sites
from zoo.table.schema import Schema


class Posterior(nn.Module):
    """q(z | x) = p(z | x): the ELBO is the log-likelihood, whatever the draw.

    The program's `posterior` takes rows, and the values of its global latents by name where it has any. On rounded
    columns it is that of the cell's Gaussian approximation, with levels Laplace's approximation, and the ELBO is a
    lower bound. It is worked out once for all copies of a row.
    """

    def __init__(self, schema: Schema, program: Any, sites: Sites):
        super().__init__()
        self.exact = not schema.has_lattice and not schema.rest
        # not a submodule: the parameters are the program's
        self._posterior: list[Callable[..., Any]] = [program.posterior]

    def forward(self, rows: Rows, **values: Tensor) -> None:
        with rows.plate():
            q = self._posterior[0](rows.once, **values)
            pyro.sample("z", q if rows.copies == 1 else _repeated(q, rows.copies))


class Projection(nn.Module):
    """z = (W'W)^-1 W'(x - loc) over the seen numeric cells: the posterior's limit without noise, which has no density.

    The program says it (`project`).
    """

    def __init__(self, schema: Schema, program: Any, sites: Sites):
        super().__init__()
        if not getattr(program, "log_concave", False) or not schema.numeric:
            raise UserError("a projection needs numeric columns and a linear map", "take network = 'linear'")
        self._project: list[Callable[[Rows], Tensor]] = [program.project]

    def forward(self, rows: Rows, **values: Tensor) -> None:
        with rows.plate():
            pyro.sample("z", pyro.distributions.Delta(self._project[0](rows), event_dim=1))


def _repeated(q: MultivariateNormal, k: int) -> MultivariateNormal:
    """k copies of the rows' Gaussians (n, dim), one after another."""
    return MultivariateNormal(q.loc.repeat(k, 1), scale_tril=q._unbroadcasted_scale_tril.repeat(k, 1, 1))


def exact(
    schema: Schema, program: nn.Module, sites: Sites, network: Callable[[int, int], nn.Module] = MLP
) -> nn.Module:
    """The program's own posterior where it has one mode (`log_concave`), else an encoder."""
    if getattr(program, "log_concave", False):
        return Posterior(schema, program, sites)
    return Encoder(schema, program, sites, network)
