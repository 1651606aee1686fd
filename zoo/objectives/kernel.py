"""Distances between distributions that kernels say: no critic, one player."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.bounds import Positive
from zoo.errors import UserError
from zoo.objectives.samples import drawn, real
from zoo.objectives.turn import Turn
from zoo.objectives.two_sample import WIDTHS, Sampled, discrepancy, energy_distance
from zoo.rows.relaxed import LEVELS
from zoo.rows.rows import Rows

if TYPE_CHECKING:
    from zoo.model import Model


class Matching(Sampled):
    """A distance between features of rows and of as many draws, with what both are given.

    levels  how gradients pass through drawn levels: "straight-through", or "gumbel" at `temperature`
    """

    def __init__(self, levels: LEVELS = "straight-through", temperature: Positive = 0.5):
        super().__init__()
        if levels == "score":
            what = "a distance between batches gives no row a loss of its own, which levels = 'score' needs"
            raise UserError(what, "take levels = 'straight-through' or 'gumbel'")
        self.levels, self.temperature = levels, temperature

    def turns(self, model: Model) -> Iterator[Turn]:
        yield Turn(list(model.fitted_parameters()), lambda rows: self.loss(model, rows), betas=(0.5, 0.9))

    def loss(self, model: Model, rows: Rows) -> Tensor:
        x = torch.cat([real(rows), rows.given], 1)
        y = torch.cat([drawn(model, rows, self.levels, self.temperature), rows.given], 1)
        return self.distance(x, y, rows.weight)

    def distance(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        raise NotImplementedError


class Mmd(Matching):
    """Squared maximum mean discrepancy under Cauchy kernels. Li, Swersky & Zemel 2015.

    widths  of the kernels, in median distances between rows
    """

    def __init__(
        self,
        widths: Sequence[Positive] = WIDTHS,
        levels: LEVELS = "straight-through",
        temperature: Positive = 0.5,
    ):
        super().__init__(levels, temperature)
        self.widths = tuple(widths)

    def distance(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return discrepancy(x, y, weight, self.widths)


class EnergyDistance(Matching):
    """2 E|x - y| - E|x - x'| - E|y - y'|: the kernel -|x - y|, which has no width to choose. Szekely & Rizzo 2013."""

    def distance(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return energy_distance(x, y, weight)
