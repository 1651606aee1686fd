"""Fidelity and diversity: do rows lie where real ones do, and everywhere that they do?

The reach of a row is its distance to its k-th neighbour among its own kind.
"""

from __future__ import annotations

import math

import numpy as np

from zoo.evaluate.quality.spaces import distances
from zoo.evaluate.quality.value import Value, share

LEVELS = 30
NEIGHBOURS = 5


def alpha_precision(real: np.ndarray, other: np.ndarray) -> Value:
    """1 - 2 int |P(alpha) - alpha| d alpha; P is the share of other points (m, d) in the ball around the mean of the
    real ones (n, d) that holds a share alpha of these. Alaa et al. 2022, as in the code behind published figures."""
    alphas = np.linspace(0, 1, LEVELS)
    centre = real.mean(0)
    radii = np.quantile(np.linalg.norm(real - centre, axis=1), alphas)
    inside = np.linalg.norm(other - centre, axis=1)[:, None] <= radii
    away = inside.mean(0) - alphas
    influence = -2 * (np.sign(away) * inside).mean(1)
    return Value(_delta(away), math.sqrt(float(influence.var()) / len(other)), len(other))


def beta_recall(reach: np.ndarray, other_real: np.ndarray, other: np.ndarray) -> Value:
    """1 - 2 int |R(beta) - beta| d beta; R is the share of real rows whose nearest other row is no farther than their
    nearest real one, and in the ball of other rows that holds a share beta of all those nearest ones.

    Of real rows against real ones it is about 1/2. As in the code behind published figures.
    reach: distance of each real row to its nearest real one (n,); other_real: distances (m, n); other: points (m, d).
    """
    betas = np.linspace(0, 1, LEVELS)
    nearest = other_real.argmin(0)
    from_centre = np.linalg.norm(other - other.mean(0), axis=1)[nearest]
    covered = other_real.min(0) <= reach
    inside = (from_centre[:, None] <= np.quantile(from_centre, betas)) & covered[:, None]
    away = inside.mean(0) - betas
    influence = -2 * (np.sign(away) * inside).mean(1)
    return Value(_delta(away), math.sqrt(float(influence.var()) / len(covered)), len(covered))


def precision_recall(real_reach: np.ndarray, other_reach: np.ndarray, other_real: np.ndarray) -> dict[str, Value]:
    """Share of other rows within the distance of some real row to its fifth neighbour, the share of real rows so near
    to some other row, and their harmonic mean; from the reaches (n,) and (m,). Kynkaanniemi et al. 2019."""
    precision = share((other_real <= real_reach).any(1))
    recall = share((other_real <= other_reach[:, None]).any(0))
    p, r = precision.value, recall.value
    f1 = 2 * p * r / (p + r) if p + r else 0.0
    slopes = (2 * r**2 / (p + r) ** 2, 2 * p**2 / (p + r) ** 2) if p + r else (0.0, 0.0)
    error = math.hypot(slopes[0] * (precision.standard_error or 0.0), slopes[1] * (recall.standard_error or 0.0))
    return {"nn_precision": precision, "nn_recall": recall, "nn_f1": Value(f1, error, precision.rows)}


def reaches(points: np.ndarray, *neighbours: int) -> list[np.ndarray]:
    """Distance of each point (n, d) to its k-th neighbour but itself, (n,) for every k."""
    inner = distances(points, points)
    np.fill_diagonal(inner, np.inf)
    most = min(max(neighbours), len(inner) - 1)
    near = np.sort(np.partition(inner, most - 1, axis=1)[:, :most], 1)
    return [near[:, min(k, most) - 1] for k in neighbours]


def _delta(away: np.ndarray) -> float:
    return 1 - 2 * float(np.abs(away).mean())
