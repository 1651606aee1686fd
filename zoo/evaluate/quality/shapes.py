"""Column shapes: is each column, on its own, distributed as it is in real rows?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from zoo.evaluate.quality.sample import Sample
from zoo.evaluate.quality.value import Value, error_of_mean


class Distance(NamedTuple):
    """Distance of two distributions, and the influence on it of each row of the two samples (n,), (m,)."""

    value: float
    first: np.ndarray
    second: np.ndarray


def shapes(real: Sample, other: Sample) -> tuple[Value, dict[str, float]]:
    """Mean over columns of 1 - KS (numbers) or 1 - TV (levels), and that of every column.

    KS = sup |F - G| among the cells there; TV = 1/2 sum |p - q| over levels, of which "missing" is one. Both are the
    difference of the probabilities of one set (a half-line, or the levels that are commoner in real rows), so the
    standard error is that of a difference of shares, summed over columns row by row. As SDMetrics' column shapes.
    """
    found = [of_column(real, other, j) for j in range(len(real.columns))]
    mean = float(np.mean([1 - d.value for d in found]))
    error = error_of_mean(np.mean([d.first for d in found], 0), np.mean([d.second for d in found], 0))
    each = {c.name: 1 - d.value for c, d in zip(real.columns, found, strict=True)}
    return Value(mean, error, min(len(real), len(other))), each


def of_column(real: Sample, other: Sample, j: int) -> Distance:
    x, y = real.cells[j], other.cells[j]
    return kolmogorov_smirnov(x, y) if real.columns[j].is_number else total_variation(x + 1, y + 1)


def kolmogorov_smirnov(x: np.ndarray, y: np.ndarray) -> Distance:
    """sup |F - G| of numbers (n,) and (m,); what is not a number is left out."""
    there, here = ~np.isnan(x), ~np.isnan(y)
    if not (there.any() and here.any()):
        return Distance(float(there.any() != here.any()), np.zeros(len(x)), np.zeros(len(y)))
    a, b = np.sort(x[there]), np.sort(y[here])
    every = np.concatenate([a, b])
    gap = np.searchsorted(a, every, "right") / len(a) - np.searchsorted(b, every, "right") / len(b)
    k = int(np.abs(gap).argmax())
    sign = 1.0 if gap[k] > 0 else -1.0
    return Distance(
        abs(float(gap[k])), sign * _influence(x <= every[k], there), -sign * _influence(y <= every[k], here)
    )


def total_variation(x: np.ndarray, y: np.ndarray) -> Distance:
    """1/2 sum |p - q| of whole numbers from 0 on (n,) and (m,)."""
    size = int(max(x.max(initial=0), y.max(initial=0))) + 1
    p, q = np.bincount(x, minlength=size) / len(x), np.bincount(y, minlength=size) / len(y)
    more = p > q
    everywhere = np.ones(1, dtype=bool)
    return Distance(float((p - q)[more].sum()), _influence(more[x], everywhere), -_influence(more[y], everywhere))


def _influence(inside: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Of each row (n,) on the share, among those that are there, that lies inside."""
    seen = np.broadcast_to(there, inside.shape)
    return np.where(seen, inside - inside[seen].mean(), 0.0) / seen.mean()


def missing(real: Sample, other: Sample) -> Value:
    """Mean over columns of the difference between the shares of missing cells."""
    gaps = [abs(float(a.mean() - b.mean())) for a, b in zip(real.missing, other.missing, strict=True)]
    return Value(float(np.mean(gaps)), None, min(len(real), len(other)))
