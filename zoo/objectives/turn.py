"""What an objective yields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from zoo.rows.rows import Rows


@dataclass(frozen=True)
class Turn:
    """One player's move: minimise `loss(rows)`, a scalar, over `parameters`, on every `every`-th step.

    rate   times the learning rate of the fit, and `betas` of Adam
    span   share of the planned steps in which it moves, from and to: fits may have stages
    begin  called with the training rows before its first move, where that is not the start of the fit
    name   of the player; where there are several, what each did is told by it
    """

    parameters: list[nn.Parameter]
    loss: Callable[[Rows], Tensor]
    every: int = 1
    rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    span: tuple[float, float] = (0.0, 1.0)
    begin: Callable[[Rows], None] | None = None
    name: str = ""

    def moves(self, step: int, share: float) -> bool:
        """Whether it moves at a step, `share` of the planned ones being done."""
        return step % self.every == 0 and self.span[0] <= share < self.span[1]

    def done(self, share: float) -> float:
        """How much of its own span is done."""
        first, last = self.span
        return min(max((share - first) / (last - first), 0.0), 1.0)


@dataclass(frozen=True)
class Stage:
    """A turn that is taken alone, once the state of all else is kept.

    share   of the planned steps, beside them
    hidden  largest share of the cells that are hidden in the rows by which the best look is chosen
    keep    "best" look, or "last": where the rest of the model says nothing of how good this part is
    """

    turn: Turn
    share: float
    hidden: float = 0.0
    keep: Literal["best", "last"] = "best"
