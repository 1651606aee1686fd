"""Train on synthetic, test on real: are rows of use to whoever predicts a column? Esteban et al. 2017."""

from __future__ import annotations

import math

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from zoo.evaluate.quality.sample import Sample
from zoo.evaluate.quality.two_sample import MOST_LEVELS, area, fitted, trees
from zoo.evaluate.quality.value import Value

SAID = {True: "R^2", False: "AUC, the mean over levels of each against the rest"}


def utility(train: Sample, test: Sample, target: str, seed: int) -> Value | None:
    """How well boosted trees that were fitted to `train` predict the target of `test` rows.

    R^2 of a numeric target; of levels the area under the ROC curve, the mean over levels of each against the rest.
    Rows without the target take no part. None where test rows have but one value. The error is over the test rows.
    """
    j = next(i for i, c in enumerate(train.columns) if c.name == target)
    (x, y), (u, v) = (split(s, j) for s in (train, test))
    if len(v) < 2 or np.all(v == v[0]):
        return None
    levels = np.array([not c.is_number for i, c in enumerate(train.columns) if i != j], dtype=bool)
    if train.columns[j].is_number:
        return _explained(x, y, u, v, levels, seed)
    return _discerned(x, y, u, v, levels, seed)


def split(sample: Sample, j: int) -> tuple[np.ndarray, np.ndarray]:
    """The other columns (n, D - 1) and column j (n,) of the rows in which j is there."""
    x, _ = sample.numbered(MOST_LEVELS)
    there = ~sample.missing[j]
    return np.delete(x, j, 1)[there], sample.cells[j][there]


def _explained(x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray, levels: np.ndarray, seed: int) -> Value:
    if len(y) < 2:
        return Value(0.0, None, len(v))
    unit = float(v.std())
    model = HistGradientBoostingRegressor(early_stopping=False, categorical_features=levels, random_state=seed)
    guess = fitted(model, x, (y - v.mean()) / unit).predict(u)  # type: ignore[attr-defined]
    z = (v - v.mean()) / unit
    errors = np.square(guess - z)
    influence = -(errors - errors.mean() * z**2)
    return Value(1 - float(errors.mean()), math.sqrt(float(influence.var()) / len(v)), len(v))


def _discerned(x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray, levels: np.ndarray, seed: int) -> Value:
    seen = np.unique(y)
    chance = np.ones((len(v), 1))
    if len(seen) > 1:
        chance = fitted(trees(levels, len(x), seed), x, y).predict_proba(u)  # type: ignore[attr-defined]
    place = {level: k for k, level in enumerate(seen)}
    found = np.unique(v)
    found = found[1:] if len(found) == 2 else found  # one against the rest says all of two
    parts = [area(chance[:, place[k]] if k in place else np.zeros(len(v)), v == k) for k in found]
    influence = np.mean([part[2] for part in parts], 0)
    value = float(np.mean([part[0] for part in parts]))
    return Value(value, math.sqrt(float(np.square(influence).mean()) / len(v)), len(v))
