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


def share(n: int) -> float:
    """Share of n rows to choose on, and to judge on: a tenth, and a fifth of a table too small for a tenth to tell."""
    return 0.1 if n >= 2000 else 0.2


def enough(n: int) -> None:
    """Refuse a table that is too small to fit."""
    if n < MIN_ROWS:
        raise UserError(f"the table has {n} row{'s' * (n != 1)}; fitting needs at least {MIN_ROWS}", "give more rows")


def split(n: int, seed: int = 0, test: bool = True) -> Split:
    """Shuffle n rows by seed and part them by `share`; without `test` no row is held out to judge."""
    enough(n)
    order = np.random.default_rng(seed).permutation(n)
    held = round(share(n) * n)
    n_test = held if test else 0
    parts = np.split(order, [n - held - n_test, n - n_test])
    return Split(*(np.sort(part) for part in parts))


def folds(n: int, k: int, seed: int = 0) -> list[Split]:
    """k splits of n rows: each row is held out in one of them, and each parts its other rows as `split` does."""
    if k > n:
        raise UserError(f"{k} folds of {n} rows leave some without a row", f"ask for {n} folds at most")
    order = np.random.default_rng(seed).permutation(n)
    out = []
    for held in np.array_split(order, k):
        rest = np.setdiff1d(order, held)
        inner = split(len(rest), seed, test=False)
        out.append(Split(rest[inner.train], rest[inner.validation], np.sort(held)))
    return out
