"""An error of a number that all rows have in common: no mean over rows and draws shows it, or makes it smaller."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor


class Shared(NamedTuple):
    """what: that is off ("solver", "log Z"); error: nats of the mean over rows; says: in words."""

    what: str
    error: float
    says: str


def of_solver(off: Tensor, steps: int, more: str = "") -> Shared:
    """Of a flow's solver, from what the log-densities of some rows (n,) are off, or at most: two standard errors above
    the size of their mean."""
    off = off.double()
    mean, error = float(off.mean().abs()), float(off.std()) / math.sqrt(len(off)) if len(off) > 1 else 0.0
    says = f"solver of {steps} steps off by {mean:.2g}, {float(off.abs().max()):.2g} at worst"
    return Shared("solver", mean + 2 * error, says + more)


def worst(parts: Iterable[tuple[Shared, ...]]) -> tuple[Shared, ...]:
    """The largest error of each kind, of numbers that are put together."""
    found: dict[str, Shared] = {}
    for one in (one for part in parts for one in part):
        found[one.what] = max(found.get(one.what, one), one, key=lambda shared: shared.error)
    return tuple(found.values())
