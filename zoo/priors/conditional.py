"""A Normal that the given columns place."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo.errors import UserError
from zoo.networks.mlp import MLP
from zoo.rows.rows import Rows
from zoo.table.schema import Schema


class Conditional(nn.Module):
    """z ~ Normal(loc(given), scale(given))     # Sohn, Lee & Yan 2015"""

    def __init__(self, schema: Schema, dim: int, network: Callable[[int, int], nn.Module] = MLP):
        super().__init__()
        if not schema.given:
            raise UserError("this prior is conditional, and the table has no given column", "name one: --given COLUMN")
        self.network = network(schema.given, 2 * dim)

    def forward(self, rows: Rows) -> Tensor:
        loc, raw = self.network(rows.given).chunk(2, -1)
        return pyro.sample("z", dist.Normal(loc, softplus(raw + 0.54) + 1e-3).to_event(1))
