"""Coverage of modes, where they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from zoo.errors import UserError, nearest
from zoo.evaluate.quality.sample import Sample
from zoo.evaluate.quality.value import Value, share
from zoo.table.schema import Column

WITHIN = 3.0
LEAST = 0.2
"""Share of the rows of a mode without which it is not covered."""


@dataclass(frozen=True)
class Modes:
    """Modes of some numeric columns. centres (K, d) and sigma (d,), a standard deviation, in the columns' units."""

    names: tuple[str, ...]
    centres: np.ndarray
    sigma: np.ndarray

    @classmethod
    def of(cls, given: Any, columns: Sequence[Column]) -> Modes:
        """From `Modes`, or a pair (centres, sigma); centres are a table with the columns' names, or an array of all."""
        if isinstance(given, Modes):
            return given
        numeric = [c.name for c in columns if c.is_number]
        try:
            centres, sigma = given
            frame = centres if isinstance(centres, pd.DataFrame) else pd.DataFrame(centres)
            if not isinstance(centres, pd.DataFrame | Mapping):
                frame.columns = pd.Index(numeric)
            spread = np.broadcast_to(np.asarray(sigma, dtype=float), frame.shape[1:])
            found = cls(tuple(map(str, frame.columns)), frame.to_numpy(float), spread)
        except (TypeError, ValueError) as error:
            what = f"modes= takes (centres, sigma) of the numeric columns {', '.join(numeric)}: {error}"
            raise UserError(what, "centres are a table or an array (K, columns)") from None
        for name in found.names:
            if name not in numeric:
                raise UserError(f"modes= names {name!r}, which is no numeric column", nearest(name, numeric))
        if not (spread > 0).all():
            raise UserError(f"modes= has sigma {sigma}", "give a number above 0")
        return found

    def distances(self, sample: Sample) -> np.ndarray:
        """(n, K) in sigmas; infinite where a cell is missing."""
        place = [next(j for j, c in enumerate(sample.columns) if c.name == name) for name in self.names]
        x = np.stack([sample.cells[j] for j in place], -1)
        away = np.sqrt(np.square((x[:, None] - self.centres) / self.sigma).sum(-1))
        return np.where(np.isnan(away), np.inf, away)


def coverage(modes: Modes, real: Sample, other: Sample) -> dict[str, Value]:
    """Share of the modes that have a row within 3 sigma, and a fifth at least of as many as in real rows; share of rows
    that lie within 3 sigma of a mode; and 1 - TV of the shares of the modes among these, beside real rows'."""
    away = modes.distances(other)
    there, here = _counts(modes.distances(real)), _counts(away)
    due = LEAST * there * len(other) / len(real)
    p, q = there / max(there.sum(), 1), here / max(here.sum(), 1)
    balance = 1 - float(np.abs(p - q).sum()) / 2 if here.any() else 0.0
    return {
        "modes_covered": Value(float((here >= np.maximum(due, 1)).mean()), None, len(other)),
        "within_modes": share((away <= WITHIN).any(1)),
        "mode_balance": Value(balance, None, len(other)),
    }


def _counts(distances: np.ndarray) -> np.ndarray:
    """Rows within 3 sigma of each mode, each row its nearest mode's."""
    near = distances.argmin(1)[(distances <= WITHIN).any(1)]
    return np.bincount(near, minlength=distances.shape[1])
