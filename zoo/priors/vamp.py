"""The mixture of the guide's own posteriors at rows that are learned."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.bounds import Count
from zoo.errors import UserError
from zoo.rows.rows import Rows
from zoo.table.schema import Schema


class Vamp(nn.Module):
    """z ~ 1/K sum_k q(z | u_k)     # u_k: pseudo-rows, learned as features. Tomczak & Welling 2018

    The guide's posterior is known once the guide is made (`met`); before that z is a standard Normal.
    """

    def __init__(self, schema: Schema, dim: int, components: Count = 50):
        super().__init__()
        self.dim, self.components = dim, components
        self.pseudo = nn.Parameter(torch.randn(components, schema.n_features + schema.given))
        self._guide: list[Any] = []  # not a submodule: its parameters are the guide's

    def met(self, guide: Any) -> None:
        if not hasattr(guide, "encode"):
            raise UserError("prior 'vamp' is a mixture of the encoder's posteriors", "take guide = 'encoder'")
        self._guide[:] = [guide]

    def initialise(self, rows: Rows) -> None:
        """Let the pseudo-rows begin at rows of the table."""
        some = rows.take(torch.randint(rows.n, (self.components,), device=rows.given.device))
        self.pseudo.copy_(torch.cat([some.features(), some.given], -1))

    def forward(self, rows: Rows) -> Tensor:
        if not self._guide:
            return pyro.sample("z", dist.Normal(self.pseudo.new_zeros(self.dim), 1.0).to_event(1))
        weights = dist.Categorical(logits=self.pseudo.new_zeros(self.components))
        return pyro.sample("z", dist.MixtureSameFamily(weights, self._guide[0].encode(self.pseudo)["z"]))
