"""The baseline every model must beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.em import fit as em
from zoo.rows.rows import Rows
from zoo.table.schema import Schema


class Independent(nn.Module):
    """Independent columns.

    x_j ~ p_j(. | theta_j)        # the same likelihoods, column by column, that every other program uses
    """

    def __init__(self, schema: Schema):
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(schema.full, dtype=torch.float64))

    def forward(self, rows: Rows) -> Tensor:
        with rows.plate():
            return rows.observe(self.theta.expand(rows.n, -1))

    def initialise(self, rows: Rows) -> bool:
        start = em.fit(rows, components=1, covariance="diagonal")
        self.theta.copy_(torch.cat([start.loc[0], start.rest[0], start.spread[0]]))
        return not start.approximate
