"""The classifier two-sample test: can anyone who learns tell these rows from real ones? Lopez-Paz & Oquab 2017."""

from __future__ import annotations

import math
import warnings

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from zoo.evaluate.quality.sample import Sample
from zoo.evaluate.quality.value import Value

FOLDS = 3
FEW = 1000
MOST_LEVELS = 200


def boosted_test(real: Sample, other: Sample, seed: int) -> dict[str, Value]:
    """With boosted trees, which take levels and missing cells as they are."""
    (a, levels), (b, _) = real.numbered(MOST_LEVELS), other.numbered(MOST_LEVELS)
    found = c2st(trees(levels, len(a) + len(b), seed), a, b, seed)
    return {"c2st": found[0], "c2st_auc": found[1], "c2st_accuracy": found[2]}


def logistic_test(real: np.ndarray, other: np.ndarray, seed: int) -> dict[str, Value]:
    """With logistic regression on points (n, d) and (m, d): it sees means only."""
    found = c2st(LogisticRegression(max_iter=300), np.clip(real, -10, 10), np.clip(other, -10, 10), seed)
    return {"c2st_logistic": found[0], "c2st_logistic_auc": found[1]}


def trees(levels: np.ndarray, rows: int, seed: int) -> HistGradientBoostingClassifier:
    """Boosted trees for so many rows; few rows have smaller leaves, since trees could not part them at all."""
    return HistGradientBoostingClassifier(
        max_iter=100 if rows > FEW else 50,
        max_leaf_nodes=15,
        min_samples_leaf=min(20, max(2, rows // 20)),
        early_stopping=False,
        categorical_features=levels,
        random_state=seed,
    )


def c2st(classifier: object, real: np.ndarray, other: np.ndarray, seed: int) -> tuple[Value, Value, Value]:
    """Score, area under the curve and accuracy of a classifier of real and other rows, each row judged by the one of
    three fits that did not see it.

    score = 1 - mean over folds of (2 max(1/2, AUC) - 1): 1 where it cannot tell, as SDMetrics' detection score. AUC
    and accuracy are 1/2 there (accuracy at the share of the sizes). Standard errors are over the rows that were judged.
    """
    x = np.concatenate([real, other])
    y = np.repeat([0, 1], [len(real), len(other)])
    prior = len(other) / len(y)
    areas, right = [], np.zeros(len(y), dtype=bool)
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y):
        chance = fitted(classifier, x[train], y[train]).predict_proba(x[test])[:, 1]  # type: ignore[attr-defined]
        areas.append(area(chance, y[test] == 1))
        right[test] = (chance > prior) == (y[test] == 1)
    n, folds = min(len(real), len(other)), len(areas)
    error = math.sqrt(sum(e**2 for _, e, _ in areas)) / folds
    score = 1 - float(np.mean([2 * max(0.5, a) - 1 for a, _, _ in areas]))
    accuracy = (right[y == 0].mean() + right[y == 1].mean()) / 2
    spread = math.sqrt(sum(right[y == k].var() / (y == k).sum() for k in (0, 1))) / 2
    return (
        Value(score, 2 * error, n),
        Value(float(np.mean([a for a, _, _ in areas])), error, n),
        Value(float(accuracy), spread, n),
    )


def fitted(estimator: object, x: np.ndarray, y: np.ndarray) -> object:
    """scikit-learn's `fit`, without a word on its way there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(x, y)  # type: ignore[attr-defined]


def area(score: np.ndarray, positive: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Area under the ROC curve, its standard error (DeLong et al. 1988), and each row's influence (n,) on it.

    The influence of a positive row is the share of negatives below it less the area, and so the other way round.
    """
    up, down = score[positive], score[~positive]
    if not len(up) or not len(down):
        return 0.5, math.nan, np.zeros(len(score))
    below = _share_below(up, down)
    above = 1 - _share_below(down, up)
    value = float(below.mean())
    influence = np.empty(len(score))
    influence[positive] = (below - value) * len(score) / len(up)
    influence[~positive] = (above - value) * len(score) / len(down)
    return value, math.sqrt(float(below.var()) / len(up) + float(above.var()) / len(down)), influence


def _share_below(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Share of the reference below each value, ties by half."""
    known = np.sort(reference)
    return (np.searchsorted(known, x, "left") + np.searchsorted(known, x, "right")) / (2 * len(known))
