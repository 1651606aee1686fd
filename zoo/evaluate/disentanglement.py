"""How far coordinates of an embedding stand for known factors, one each. All scores lie between 0 and 1.

Definitions as in Locatello et al. 2019.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import accuracy_score, mutual_info_score
from sklearn.model_selection import train_test_split
from sklearn.svm import LinearSVC

BINS = 20


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


def disentanglement(z: np.ndarray, factors: np.ndarray, seed: int = 0) -> Disentanglement:
    """Scores of coordinates z (n, dim) for factors (n, F), each of a few values; at least two coordinates."""
    codes = [np.unique(column, return_inverse=True)[1] for column in np.asarray(factors).T]
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
