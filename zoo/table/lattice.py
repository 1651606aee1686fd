"""The lattice that rounded numbers lie on."""

from __future__ import annotations

import numpy as np

STEPS = tuple(float(f"{digit}e{power}") for power in range(12, -7, -1) for digit in (5, 2, 1))
"""Steps a lattice may have, coarsest first."""
CLOCK = (1.0, 1 / 24, 1 / 1440, 1 / 86400)
"""Steps of times in days: a day, an hour, a minute, a second."""

_COMPUTED = 1e-12  # error of a computed value, relative to a large one
_SINGLE = 1.2e-7  # error of a value once stored as float32, relative to itself
_MOMENT = 1e-4 / 86400  # error of a time in days
LOOSEST = 0.05
"""An error of so many steps leaves no lattice to tell."""
SLIGHT = 1e-3
"""So many steps beside a lattice is on it to a person: 9.899999 is 9.9."""


def lattice_step(values: np.ndarray) -> float | None:
    """The step (in column units) of the lattice that numbers (n,) without NaN lie on, none where they have a density.

    It is the coarsest of 1, 2 and 5 times a power of ten from 1e-6 to 1e12 that (nearly) all are multiples of, if its
    cells are worth telling apart: wider than a thousandth of a robust standard deviation, or more than 5% of the values
    are repeated.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < 2:
        return None
    step = _coarsest_step(distinct, counts, _large(values))
    if step is None:
        return None
    repeated = 1 - len(distinct) / len(values)
    return step if repeated > 0.05 or step > 1e-3 * spread(values) else None


def clock_step(days: np.ndarray) -> float | None:
    """The coarsest of a day, an hour, a minute and a second that times (n,) in days are multiples of, if any."""
    for step in CLOCK:
        if not beside_clock(days, step).any():
            return step
    return None


def _coarsest_step(values: np.ndarray, counts: np.ndarray, large: float) -> float | None:
    """The coarsest step that (nearly) all distinct values are multiples of, up to what floats tell at their magnitude.

    A fiftieth of the rows, and a quarter of the distinct values, may lie beside the lattice (typing errors, averages
    among readings): their cell is the one they fall into. Else a few stray cells would turn a rounded column into a
    density full of ties. The share of distinct values keeps a column of mostly zeros from fitting any lattice.
    """
    if large > 1e15:
        return None  # neighbouring floats are about as far apart as integers
    few_rows, few_values = counts.sum() // 50, len(values) // 4
    stored = _stored(values)
    for step in STEPS:
        tolerance = _tolerance(values, step, stored, large)
        if (_COMPUTED + stored) * large / step > LOOSEST:
            return None
        if np.ptp(np.rint(values / step)) < 1:
            continue  # one cell with all of them in it tells nothing apart
        off = _distance(values, step) > tolerance
        if np.count_nonzero(off) <= few_values and counts[off].sum() <= few_rows:
            return step
    return None


def beside(values: np.ndarray, step: float) -> np.ndarray:
    """Which of the values (n,), NaN where missing, lie beside the lattice of a step, to a person."""
    there = ~np.isnan(values)
    out = np.zeros(len(values), dtype=bool)
    if there.any():
        v = values[there]
        out[there] = _distance(v, step) > _tolerance(v, step, _stored(v), _large(v)).clip(SLIGHT, LOOSEST)
    return out


def beside_clock(days: np.ndarray, step: float) -> np.ndarray:
    """Which of the times (n,) in days, NaN where missing, lie beside the lattice of a step."""
    return np.abs(days - np.rint(days / step) * step) > _MOMENT


def _distance(values: np.ndarray, step: float) -> np.ndarray:
    """Distance of values from the lattice, in steps."""
    ticks = values / step
    return np.abs(ticks - np.rint(ticks))


def _tolerance(values: np.ndarray, step: float, stored: float, large: float) -> np.ndarray:
    """How far floats may be from the lattice that they mean, in steps; `stored` is their error, relative to each."""
    size = np.abs(values)
    return (_COMPUTED * np.maximum(size, large) + stored * size) / step


def _large(values: np.ndarray) -> float:
    """As large as values get, but for a fiftieth: a single one far out says nothing of the others."""
    return float(np.quantile(np.abs(values), 0.98, method="lower"))


def _stored(values: np.ndarray) -> float:
    """The relative error of values that were kept as float32, 0 for others."""
    whole = bool((values == np.rint(values)).all())
    with np.errstate(over="ignore"):
        return _SINGLE if not whole and (values.astype(np.float32) == values).all() else 0.0


def spread(values: np.ndarray) -> float:
    """Robust standard deviation: IQR / 1.349, or the standard deviation where that is zero."""
    low, high = np.quantile(values, [0.25, 0.75])
    return float(high - low) / 1.349 or float(values.std())
