"""Are rows copies? Distance to the closest record, beside that of real rows that were never seen."""

from __future__ import annotations

import math

import numpy as np

from zoo.evaluate.quality.sample import Sample
from zoo.evaluate.quality.spaces import distances
from zoo.evaluate.quality.value import Value, share

CHUNK = 200
CLOSEST = 0.05
NEAR = 1e-6
"""Distances that are one to rounding."""


def closest(points: np.ndarray, records: np.ndarray) -> np.ndarray:
    """Distance of each point (n, d) to the closest record (m, d): (n,)."""
    parts = [distances(points[i : i + CHUNK], records).min(1) for i in range(0, len(points), CHUNK)]
    found: np.ndarray = np.concatenate(parts)
    return found


def median(near: np.ndarray) -> Value:
    """Median of the distances to the closest record (n,), with its standard error by the rank of the median."""
    found = np.sort(near)
    n = len(found)
    half = 0.98 * math.sqrt(n)  # ranks of a 95% interval of the median
    low, high = found[max(0, int(n / 2 - half))], found[min(n - 1, int(n / 2 + half))]
    return Value(float(np.median(found)), float(high - low) / (2 * 1.96), n)


def too_close(near: np.ndarray, usual: np.ndarray) -> Value:
    """Share of rows as near to a training row as the nearest 5% of held-out rows are; 0.05 where none is a copy.

    near, usual: distances to the closest training row, of the rows (n,) and of held-out ones (m,)
    """
    return share(near <= np.quantile(usual, CLOSEST) * (1 + NEAR))


def nearer_to_training(points: np.ndarray, train: np.ndarray, held_out: np.ndarray) -> Value:
    """Share of rows that are closer to a training row than to a held-out one, ties by half; as many of both.

    1/2 where training rows are nothing special.
    """
    m = min(len(train), len(held_out))
    near, far = closest(points, train[:m]), closest(points, held_out[:m])
    tie = np.abs(near - far) <= NEAR * np.maximum(1.0, near)
    nearer = np.where(tie, 0.5, near < far)
    return Value(float(nearer.mean()), math.sqrt(float(nearer.var()) / len(nearer)), len(nearer))


def authenticity(points: np.ndarray, records: np.ndarray) -> Value:
    """Share of rows that are farther from the closest record than that is from its own closest; of real rows that no
    model has seen about 1/2, and 0 of copies. Alaa et al. 2022."""
    parts = [_beside(points[i : i + CHUNK], records) for i in range(0, len(points), CHUNK)]
    return share(np.concatenate(parts))


def _beside(points: np.ndarray, records: np.ndarray) -> np.ndarray:
    away = distances(points, records)
    closest = away.argmin(1)
    own = distances(records[closest], records)
    own[np.arange(len(closest)), closest] = np.inf
    found: np.ndarray = away.min(1) > own.min(1) * (1 + NEAR)
    return found


def copies(sample: Sample, records: Sample) -> Value:
    """Share of rows that are, cell by cell, one of the records."""
    known = {row.tobytes() for row in _keys(records)}
    return share(np.array([row.tobytes() in known for row in _keys(sample)]))


def _keys(sample: Sample) -> np.ndarray:
    """Rows (n, D) whose bytes are alike where all cells are: a missing cell is one number, and -0 is 0."""
    columns = [np.where(gone, -np.inf, values) for gone, values in zip(sample.missing, sample.cells, strict=True)]
    return np.ascontiguousarray(np.stack(columns, -1).astype(np.float64) + 0.0)
