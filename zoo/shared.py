"""An error of a number that all rows have in common: no mean over rows and draws shows it, or makes it smaller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Shared(NamedTuple):
    """what: that is off ("solver", "log Z"); error: nats of the mean over rows; says: in words."""

    what: str
    error: float
    says: str


def worst(parts: Iterable[tuple[Shared, ...]]) -> tuple[Shared, ...]:
    """The largest error of each kind, of numbers that are put together."""
    found: dict[str, Shared] = {}
    for one in (one for part in parts for one in part):
        found[one.what] = max(found.get(one.what, one), one, key=lambda shared: shared.error)
    return tuple(found.values())
