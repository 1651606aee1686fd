"""Reconstruction: how well a row is told by its code. No density, and no bound of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor, nn

from zoo.log_weights import log_weights
from zoo.objectives.turn import Turn
from zoo.rows.rows import Rows

if TYPE_CHECKING:
    from zoo.model import Model


class Reconstruction(nn.Module):
    """- E[log p(x | z)], z from the guide, in nats per row: the code costs nothing, so this is no bound of log p(x)."""

    withdraws = ("score", "sample")
    """Codes have no density, so there is nothing to score or to draw rows by."""

    def turns(self, model: Model) -> Iterator[Turn]:
        yield Turn(list(model.fitted_parameters()), lambda rows: self.loss(model, rows))

    def loss(self, model: Model, rows: Rows) -> Tensor:
        return -(rows.weight * self.validate(model, rows, 1)).sum() / rows.n

    def validate(self, model: Model, rows: Rows, particles: int) -> Tensor:
        """log p(x | z) of each row (n,)."""
        return log_weights(model.program, model.guide, rows, particles).likelihood.mean(0)
