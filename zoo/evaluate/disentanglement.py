"""How far coordinates of an embedding stand for known factors, one each. All scores lie between 0 and 1.

Definitions as in Locatello et al. 2019.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import accuracy_score, mutual_info_score
from sklearn.model_selection import train_test_split
from sklearn.svm import LinearSVC

from zoo.errors import UserError

BINS = 20
MOST_VALUES, ROWS_EACH = 50, 5
"""Values that a factor may have, and rows in which each has to be."""


class Disentanglement(NamedTuple):
    """mig  mutual information gap: how much more of a factor's entropy the coordinate that knows it best has than the
         second best (Chen et al. 2018)
    sap    the same with the accuracy of one coordinate's linear classifier (Kumar et al. 2018)
    dci    disentanglement, completeness and informativeness of a boosted classifier's importances (Eastwood & Williams
         2018); informativeness is its accuracy on held-out rows
    """

    mig: float
    sap: float
    disentanglement: float
    completeness: float
    informativeness: float


def disentanglement(z: Any, factors: Any, seed: int = 0) -> Disentanglement:
    """Scores of coordinates z (n, dim), two at least, for known factors (n, F), each of a few values.

    Both are arrays or frames, as `Estimator.transform` and a table give them. A UserError says what does not fit.
    """
    z, codes = _coordinates(z), _codes(factors)
    if len(z) != len(codes[0]):
        raise UserError(f"{len(z)} rows have coordinates, and {len(codes[0])} have factors", "give the same rows")
    train, test = train_test_split(np.arange(len(z)), test_size=0.3, random_state=seed)
    importance = np.zeros((z.shape[1], len(codes)))
    accuracy = np.zeros(len(codes))
    for f, code in enumerate(codes):
        boosted = GradientBoostingClassifier(n_estimators=30, random_state=seed).fit(z[train], code[train])
        importance[:, f] = boosted.feature_importances_
        accuracy[f] = accuracy_score(code[test], boosted.predict(z[test]))
    return Disentanglement(
        mutual_information_gap(z, codes),
        separated_predictability(z, codes, train, test, seed),
        _disentangled(importance),
        _disentangled(importance.T),
        float(accuracy.mean()),
    )


def _coordinates(z: Any) -> np.ndarray:
    out = np.asarray(z, dtype=np.float64)
    if out.ndim != 2 or out.shape[1] < 2:
        raise UserError(f"coordinates of shape {out.shape}: two columns are needed at least", "give (n, dim)")
    if not np.isfinite(out).all():
        raise UserError("some coordinates are missing or infinite", "leave those rows out")
    return out


def _codes(factors: Any) -> list[np.ndarray]:
    """The values of each factor, counted from 0 (n,)."""
    frame = pd.DataFrame(factors).reset_index(drop=True)
    if not frame.shape[1]:
        raise UserError("there is no factor", "give one column for each, (n, F)")
    out = []
    for name, column in frame.items():
        if column.isna().any():
            raise UserError(f"factor {name!r} has missing cells", "leave those rows out")
        code, values = pd.factorize(column, sort=True)
        if not 2 <= len(values) <= MOST_VALUES:
            said = f"factor {name!r} has {len(values)} values, and 2 to {MOST_VALUES} are expected"
            raise UserError(said, "cut numbers into bins, as pandas.qcut does, and leave constants out")
        size = np.bincount(code)
        if size.min() < ROWS_EACH:
            said = f"value {values[int(size.argmin())]} of factor {name!r} is in {size.min()} rows"
            raise UserError(said, f"leave values of less than {ROWS_EACH} rows out")
        out.append(code)
    return out


def mutual_information_gap(z: np.ndarray, codes: list[np.ndarray]) -> float:
    """Mean over factors of (best - second best) mutual information of a coordinate, in the factor's entropy."""
    binned = [np.digitize(column, np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1])) for column in z.T]
    gaps = []
    for code in codes:
        known = np.sort([mutual_info_score(code, column) for column in binned])[::-1]
        gaps.append((known[0] - known[1]) / mutual_info_score(code, code))
    return float(np.mean(gaps))


def separated_predictability(
    z: np.ndarray, codes: list[np.ndarray], train: np.ndarray, test: np.ndarray, seed: int = 0
) -> float:
    """Mean over factors of the gap in held-out accuracy between the two best coordinates."""
    gaps = []
    for code in codes:
        right = []
        for column in z.T:
            linear = LinearSVC(C=0.01, class_weight="balanced", random_state=seed)
            linear.fit(column[train, None], code[train])
            right.append(accuracy_score(code[test], linear.predict(column[test, None])))
        best, second = np.sort(right)[::-1][:2]
        gaps.append(best - second)
    return float(np.mean(gaps))


def _disentangled(importance: np.ndarray) -> float:
    """Mean over rows, by their share of all importance, of 1 - entropy of the row's shares in base of their number."""
    total = importance.sum()
    if total <= 0 or importance.shape[1] < 2:
        return 0.0
    share = importance / np.maximum(importance.sum(1, keepdims=True), 1e-12)
    entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(1) / np.log(importance.shape[1])
    return float(((1 - entropy) * importance.sum(1)).sum() / total)
