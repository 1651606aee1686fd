"""Denoising: how well a network tells a row from the same row with noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from zoo.errors import UserError
from zoo.objectives.turn import Turn
from zoo.objectives.two_sample import DearlySampled
from zoo.rows.rows import Rows

if TYPE_CHECKING:
    from zoo.model import Model


class Denoising(DearlySampled):
    """The program's own loss of each row, over one amount of noise drawn for it: denoising score matching, flow
    matching, or a reweighted variational bound. Ho et al. 2020; Vincent 2011; Lipman et al. 2023."""

    def prepare(self, model: Model) -> None:
        if not hasattr(model.program, "loss"):
            what = f"model {model.recipe.model!r}: objective 'denoising' asks the program for a loss, and it has none"
            raise UserError(what, "the programs that have one are diffusion and score")

    def turns(self, model: Model) -> Iterator[Turn]:
        yield Turn(list(model.fitted_parameters()), lambda rows: self.loss(model, rows))

    def loss(self, model: Model, rows: Rows) -> Tensor:
        return (rows.weight * model.program.loss(rows)).sum() / rows.n
