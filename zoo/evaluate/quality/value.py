"""A measured number and how sure it is."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np


class Value(NamedTuple):
    """A figure, its standard error over rows where that can be had, and the rows on each side that it rests on."""

    value: float
    standard_error: float | None = None
    rows: int = 0


def share(mask: Any) -> Value:
    """The share of rows (n,) of which something holds, the other side taken as it is."""
    p = float(np.mean(mask))
    return Value(p, math.sqrt(p * (1 - p) / len(mask)), len(mask))


def error_of_mean(*influences: np.ndarray) -> float:
    """Standard error of a figure whose influence is a mean over the rows of each of several samples, (n,) each."""
    return math.sqrt(sum(float(np.var(one)) / len(one) for one in influences))
