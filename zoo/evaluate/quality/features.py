"""Figures of a feature space: Frechet distance, and an Inception-style score."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from zoo.evaluate.quality.two_sample import trees
from zoo.evaluate.quality.value import Value

EXPLAINED, MOST_AXES = 0.95, 30
GROUPS = 10


class Axes:
    """Principal axes of real points (n, d): as many as hold 95% of the variance, 30 at most."""

    def __init__(self, real: np.ndarray):
        self.mean = real.mean(0)
        _, singular, axes = np.linalg.svd(real - self.mean, full_matrices=False)
        held = np.cumsum(singular**2) / max(float((singular**2).sum()), 1e-300)
        count = min(int(np.searchsorted(held, EXPLAINED)) + 1, MOST_AXES, len(axes))
        self.axes = axes[:count].T
        self.name = f"{count} principal axes of the real rows ({held[count - 1]:.0%} of their variance)"

    def __call__(self, points: np.ndarray) -> np.ndarray:
        out: np.ndarray = (points - self.mean) @ self.axes
        return out


def frechet(x: np.ndarray, y: np.ndarray) -> Value:
    """Squared Frechet distance of the Gaussians with the moments of both: |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2))."""
    (m, a), (k, b) = ((z.mean(0), np.atleast_2d(np.cov(z, rowvar=False))) for z in (x, y))
    # by way of a symmetric matrix, whose root exists and is real
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum()
    return Value(float(np.square(m - k).sum() + np.trace(a) + np.trace(b) - 2 * cross), None, min(len(x), len(y)))


class Groups:
    """Who says which group a row belongs to: a classifier of a column of levels, or a mixture fitted to real points."""

    def __init__(self, points: np.ndarray, labels: np.ndarray | None, levels: np.ndarray, name: str, seed: int):
        if labels is None:
            count = max(2, min(GROUPS, len(points) // 20))
            self.name = f"the probabilities of {count} groups, a Gaussian mixture fitted to real rows on {name}"
            self.who = GaussianMixture(count, covariance_type="diag", random_state=seed, reg_covar=1e-3)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                self.who.fit(points)
        else:
            self.name = f"the probabilities of {name}, from boosted trees on the other columns of real rows"
            self.who = trees(levels, len(points), seed).fit(points, labels)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        out: np.ndarray = self.who.predict_proba(points)
        return out


def inception(probabilities: np.ndarray) -> Value:
    """exp of the mean KL(p(k | row) || p(k)), 1 to K, of probabilities (n, K): high where rows are sure of their group
    and the groups are even. Salimans et al. 2016."""
    p = probabilities.clip(1e-12)
    information = (p * (np.log(p) - np.log(p.mean(0)))).sum(1)
    value = float(np.exp(information.mean()))
    return Value(value, value * float(information.std()) / len(p) ** 0.5, len(p))
