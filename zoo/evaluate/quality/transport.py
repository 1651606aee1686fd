"""Wasserstein distances: how far must rows be moved to become real ones?"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import linear_sum_assignment

from zoo.evaluate.quality.spaces import distances
from zoo.evaluate.quality.value import Value

DIRECTIONS = 100


def wasserstein(x: np.ndarray, y: np.ndarray, power: int = 1) -> Value:
    """Exact W_p of as many points on either side, (n, d) each: the assignment of least mean cost |x - y|^p, which no
    solution of the linear programme is below, to the 1/p."""
    cost = distances(x, y) ** power
    rows, columns = linear_sum_assignment(cost)
    return Value(float(cost[rows, columns].mean()) ** (1 / power), None, len(x))


def sliced_wasserstein(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Value:
    """Mean over 100 random directions of W_1 along them; the standard error is over directions."""
    directions = rng.normal(size=(x.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    a, b = np.sort(x @ directions, 0), np.sort(y @ directions, 0)
    along = np.abs(a - b).mean(0)
    return Value(float(along.mean()), float(along.std(ddof=1)) / math.sqrt(DIRECTIONS), len(x))
