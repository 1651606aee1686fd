"""Which rows fit, which choose, which judge."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from zoo.errors import UserError

MIN_ROWS = 10


class Split(NamedTuple):
    """Row positions of the three parts; every row is in exactly one."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(n: int, seed: int = 0, validation: float = 0.1, test: float = 0.1) -> Split:
    """Shuffle n rows by seed and part them; each share asked for gets at least one row."""
    if n < MIN_ROWS:
        raise UserError(f"the table has {n} row{'s' * (n != 1)}; fitting needs at least {MIN_ROWS}")
    order = np.random.default_rng(seed).permutation(n)
    n_validation, n_test = (max(1, round(share * n)) if share > 0 else 0 for share in (validation, test))
    parts = np.split(order, [n - n_validation - n_test, n - n_test])
    return Split(*(np.sort(part) for part in parts))
