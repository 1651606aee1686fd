"""Where the values of a numeric column can lie, as its cells suggest: ends, and values that very many rows share."""

from __future__ import annotations

import numpy as np

FEWEST, SHARE, EXCESS, AROUND = 30, 0.02, 3.0, 2
"""An atom has at least so many rows, such a share of them, and so many times those of the cells so near to it."""
TIES, TIED_SHARE = 5, 0.01
"""The same beside a density, where no value is shared but by an atom."""
MOST_ATOMS = 16
FEW, ROWS_EACH = 20, 10
"""Distinct values that a scale of a few points has at most, and rows for each."""


def ends_of(values: np.ndarray, step: float | None) -> tuple[float | None, float | None]:
    """Zero and none where no value (n,) is below zero; the first and last of a rounded column of a few values."""
    distinct = len(np.unique(values))
    if step is not None and distinct <= min(FEW, len(values) / ROWS_EACH):
        return float(values.min()), float(values.max())
    return (0.0 if values.min() >= 0 else None), None


def atoms_of(values: np.ndarray, step: float | None, lower: float | None = None) -> tuple[float, ...]:
    """Values (n,) that very many rows share, in order.

    On a lattice: those that hold far more rows than the cells beside them. Beside a density: those that
    rows share at all in number, and the lower end where a row lies on it, since a density there has no end.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < 3:
        return ()
    n = counts.sum()
    if step is None:
        chosen = counts >= max(TIES, TIED_SHARE * n)
        if lower is not None:
            chosen |= distinct == lower
    else:
        chosen = counts >= max(FEWEST, SHARE * n)
        chosen &= counts > EXCESS * _beside(distinct, counts, step)
    found = np.flatnonzero(chosen)
    found = found[np.argsort(-counts[found], kind="stable")][:MOST_ATOMS]
    # something must be left for the density
    return tuple(sorted(float(v) for v in distinct[found])) if counts[found].sum() < n else ()


def _beside(distinct: np.ndarray, counts: np.ndarray, step: float) -> np.ndarray:
    """Rows in the fullest of the two cells on either side of each distinct value."""
    out = np.zeros_like(counts)
    for gap in range(1, AROUND + 1):
        near = distinct[gap:] - distinct[:-gap] < (AROUND + 0.5) * step
        out[gap:] = np.maximum(out[gap:], counts[:-gap] * near)
        out[:-gap] = np.maximum(out[:-gap], counts[gap:] * near)
    return out
