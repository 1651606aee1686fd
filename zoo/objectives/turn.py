"""What an objective yields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from zoo.rows.rows import Rows


@dataclass(frozen=True)
class Turn:
    """One player's move: minimise `loss(rows)`, a scalar, over `parameters`, on every `every`-th step."""

    parameters: list[nn.Parameter]
    loss: Callable[[Rows], Tensor]
    every: int = 1
