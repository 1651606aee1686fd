"""Rows as points: where distances between rows are measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from zoo.evaluate.quality.sample import Sample
from zoo.table.schema import Column

MOST_LEVELS = 50
FARTHEST = 1e3
"""Units of a column beyond which a number is no farther."""
ROUNDING = 1e-13
"""Of the largest square of a distance, below which one is 0."""
Scale = Literal["standard", "range"]
SAID = {
    "standard": "numbers in standard deviations of the real rows, levels one-hot, a flag where cells are missing",
    "range": "numbers from 0 to 1 over the range of the real rows, levels one-hot, a flag where cells are missing",
}


class Space:
    """The map from rows to points (n, d), scaled by the real rows.

    A number is one coordinate (a cyclic one two, on a circle of unit variance), in standard deviations or over the
    range; a missing one lies at the mean. A level is one-hot, of the most common of its column; a missing one is zero.
    A column with missing cells among `others` or the real rows has a flag that says so.
    """

    def __init__(self, real: Sample, scale: Scale = "standard", others: Sequence[Sample] = ()):
        self.name = SAID[scale]
        self.columns = real.columns
        gaps = [
            np.any([m.any() for m in several]) for several in zip(*(s.missing for s in (real, *others)), strict=True)
        ]
        self.flagged = [bool(gap) for gap in gaps]
        self.fitted = [
            _number(v, scale) if c.is_number else _common(v) for c, v in zip(real.columns, real.cells, strict=True)
        ]

    def __call__(self, sample: Sample) -> np.ndarray:
        parts = [np.zeros((len(sample), 0))]
        for column, cells, fit, flag, gone in zip(
            self.columns, sample.cells, self.fitted, self.flagged, sample.missing, strict=True
        ):
            parts.append(_points(cells, column, fit) if column.is_number else (cells[:, None] == fit).astype(float))
            if flag:
                parts.append(gone[:, None].astype(float))
        return np.concatenate(parts, 1)


def _number(values: np.ndarray, scale: Scale) -> np.ndarray:
    """Origin and unit of a column; a unit of 1 where it does not vary."""
    seen = values[~np.isnan(values)]
    if not len(seen):
        return np.array([0.0, 1.0])
    origin, unit = (seen.mean(), seen.std()) if scale == "standard" else (seen.min(), np.ptp(seen))
    return np.array([origin, unit if unit > 1e-14 * max(1e-300, np.abs(seen).max()) else 1.0])


def _common(codes: np.ndarray) -> np.ndarray:
    found, counts = np.unique(codes[codes >= 0], return_counts=True)
    return np.sort(found[np.argsort(-counts, kind="stable")[:MOST_LEVELS]])


def _points(values: np.ndarray, column: Column, fit: np.ndarray) -> np.ndarray:
    if column.period is not None:
        angle = 2 * np.pi * values / column.period
        return np.nan_to_num(np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], -1))
    scaled = (values - fit[0]) / fit[1]
    centre = 0.0 if np.isnan(scaled).all() else float(np.nanmean(np.clip(scaled, -FARTHEST, FARTHEST)))
    return np.nan_to_num(np.clip(scaled, -FARTHEST, FARTHEST), nan=centre)[:, None]


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances (n, m) of points (n, d) and (m, d), to some 1e-7 of the farthest; 0 where they are less."""
    centre = a.mean(0)
    a, b = a - centre, b - centre
    first, second = np.square(a).sum(1), np.square(b).sum(1)
    out: np.ndarray = a @ (-2 * b.T)
    out += first[:, None]
    out += second
    # copies are at distance 0, and ties are ties, whatever the product has rounded
    out[out < ROUNDING * max(first.max(initial=0.0), second.max(initial=0.0))] = 0.0
    return np.sqrt(out, out=out)
