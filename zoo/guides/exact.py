"""The program's own posterior, where it has one in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
from torch import Tensor, nn

from zoo.guides.encoder import Encoder
from zoo.networks.mlp import MLP
from zoo.rows.rows import Rows
from zoo.sites import Sites
from zoo.table.schema import Schema


class Posterior(nn.Module):
    """q(z | x) = p(z | x): the ELBO is the log-likelihood, whatever the draw.

    The program's `posterior` takes rows, and the values of its global latents by name where it has any. On rounded
    columns the posterior is that of the cell's Gaussian approximation, and the ELBO is a close lower bound.
    """

    def __init__(self, schema: Schema, program: Any, sites: Sites):
        super().__init__()
        self.exact = not schema.has_lattice
        # not a submodule: the parameters are the program's
        self._posterior: list[Callable[..., Any]] = [program.posterior]

    def forward(self, rows: Rows, **values: Tensor) -> None:
        with rows.plate():
            pyro.sample("z", self._posterior[0](rows, **values))


def exact(
    schema: Schema, program: nn.Module, sites: Sites, network: Callable[[int, int], nn.Module] = MLP
) -> nn.Module:
    """The program's exact posterior where this schema has one (`linear_gaussian`), else an encoder."""
    if getattr(program, "linear_gaussian", False):
        return Posterior(schema, program, sites)
    return Encoder(schema, program, sites, network)
