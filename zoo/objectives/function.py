"""A plain function as an objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from zoo.objectives.turn import Turn
from zoo.objectives.two_sample import Sampled
from zoo.rows.rows import Rows

if TYPE_CHECKING:
    from zoo.model import Model


class Loss(Sampled):
    """Minimises `function(model, rows)`, a scalar, over all that the model can fit. It is no likelihood, so none is
    claimed: the fit is stopped, and the model judged, by how well its draws agree with rows."""

    def __init__(self, function: Callable[[Model, Rows], Tensor]):
        super().__init__()
        self.function = function

    def turns(self, model: Model) -> Iterator[Turn]:
        yield Turn(list(model.fitted_parameters()), lambda rows: self.function(model, rows))
