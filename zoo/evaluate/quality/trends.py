"""Pair trends: do columns move together as they do in real rows?"""

from __future__ import annotations

import itertools

import numpy as np

from zoo.evaluate.quality.sample import Sample
from zoo.evaluate.quality.shapes import Distance, total_variation
from zoo.evaluate.quality.value import Value, error_of_mean

BINS = 10
MOST_LEVELS = 50
MOST_PAIRS = 1000


def trends(real: Sample, other: Sample, rng: np.random.Generator) -> tuple[Value, dict[tuple[str, str], float]] | None:
    """Mean over pairs of columns of a score, and that of every pair; none of a table of one column.

    Two columns of numbers: 1 - |rho - rho'| / 2, rho Pearson's correlation of the rows where both are there. Any
    other two: 1 - TV of the table of both, a number in 10 bins of equal width over the real rows, missing cells a
    level of their own, levels beyond the 50 most common as one. As SDMetrics' column pair trends. Of more than 1,000
    pairs so many are drawn. The standard error comes from the influence of every row on every pair.
    """
    pairs = list(itertools.combinations(range(len(real.columns)), 2))
    if len(pairs) > MOST_PAIRS:
        pairs = [pairs[i] for i in np.sort(rng.choice(len(pairs), MOST_PAIRS, replace=False))]
    coded = [_coded(real, other, j) for j in range(len(real.columns))]
    numeric = [c.is_number for c in real.columns]
    scores: dict[tuple[str, str], float] = {}
    first, second = np.zeros(len(real)), np.zeros(len(other))
    for i, j in pairs:
        if numeric[i] and numeric[j]:
            found = _correlations((real.cells[i], real.cells[j]), (other.cells[i], other.cells[j]))
        else:
            (a, b), (c, d) = coded[i], coded[j]
            size = int(max(c.max(initial=0), d.max(initial=0))) + 1
            found = total_variation(a * size + c, b * size + d)
        if found is None:
            continue
        scores[real.columns[i].name, real.columns[j].name] = 1 - found.value
        first += found.first
        second += found.second
    if not scores:
        return None
    error = error_of_mean(first / len(scores), second / len(scores))
    return Value(float(np.mean(list(scores.values()))), error, min(len(real), len(other))), scores


def correlation(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Pearson's correlation of the rows where both are there, and the influence of each row (n,) on it.

    0 where a column does not vary.
    """
    there = ~(np.isnan(x) | np.isnan(y))
    a, b = x[there], y[there]
    influence = np.zeros(len(x))
    if len(a) < 2 or _flat(a) or _flat(b):
        return 0.0, influence
    u, v = (a - a.mean()) / a.std(), (b - b.mean()) / b.std()
    rho = float(np.mean(u * v))
    influence[there] = (u * v - rho * (u * u + v * v) / 2) * len(x) / len(a)
    return rho, influence


def _correlations(real: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> Distance | None:
    if any(_flat(column[~np.isnan(column)]) for column in real):
        return None  # a column that does not vary in real rows moves with none
    (rho, first), (own, second) = correlation(*real), correlation(*other)
    sign = 0.5 if rho > own else -0.5
    return Distance(abs(rho - own) / 2, sign * first, -sign * second)


def _flat(values: np.ndarray) -> bool:
    return not len(values) or float(np.ptp(values)) <= 1e-14 * float(np.abs(values).max())


def _coded(real: Sample, other: Sample, j: int) -> tuple[np.ndarray, np.ndarray]:
    """A column of both samples as small whole numbers, 0 where missing."""
    x, y = real.cells[j], other.cells[j]
    if real.columns[j].is_number:
        edges = bins_of(x, BINS)
        return binned(x, edges), binned(y, edges)
    counts = np.bincount(x[x >= 0], minlength=len(real.columns[j].levels) + 1)
    if len(counts) > MOST_LEVELS:
        place = np.full(len(counts) + 1, MOST_LEVELS + 1)
        place[np.argsort(-counts, kind="stable")[:MOST_LEVELS]] = np.arange(1, MOST_LEVELS + 1)
        place[-1] = 0  # the place of -1
        return place[x], place[y]
    return x + 1, y + 1


def bins_of(values: np.ndarray, bins: int) -> np.ndarray:
    """The inner edges of bins of equal width over the numbers there."""
    seen = values[~np.isnan(values)]
    if not len(seen):
        return np.zeros(0)
    return np.linspace(seen.min(), seen.max(), bins + 1)[1:-1]


def binned(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each number, counted from 1; 0 where it is missing."""
    return np.where(np.isnan(values), 0, np.searchsorted(edges, values, "right") + 1)
