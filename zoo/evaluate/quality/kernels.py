"""Distances of two clouds of points, from the distances of their points."""

from __future__ import annotations

import math

import numpy as np

from zoo.evaluate.quality.spaces import distances
from zoo.evaluate.quality.value import Value

PERMUTATIONS = 200


def two_clouds(pooled: np.ndarray, n: int, rng: np.random.Generator) -> dict[str, Value]:
    """MMD and energy distance of the first n points and the others, from all their distances (n + m, n + m), each with
    the p-value of no difference."""
    bandwidth = median_distance(pooled)
    kernel = np.exp(-np.square(pooled) / (2 * bandwidth**2))
    out = {}
    for name, matrix in (("mmd", kernel), ("energy", -pooled)):
        value, p = permuted(matrix, n, rng)
        out[name] = value
        out[f"{name}_p"] = Value(p, None, value.rows)
    return out


def mmd(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[Value, float]:
    """Squared maximum mean discrepancy of points (n, d) and (m, d), and the p-value of none: Gretton et al. 2012.

    mean k(x, x') + mean k(y, y') - 2 mean k(x, y) over pairs of two different points: unbiased, so that it may be
    below 0. The kernel is exp(-d^2 / 2 h^2), h the median distance in the pooled sample.
    """
    pooled = distances(np.concatenate([x, y]), np.concatenate([x, y]))
    return permuted(np.exp(-np.square(pooled) / (2 * median_distance(pooled) ** 2)), len(x), rng)


def energy(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[Value, float]:
    """Energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| (not its root) and the p-value of none: Szekely & Rizzo 2013.

    Over pairs of two different points: unbiased, so that it may be below 0.
    """
    return permuted(-distances(np.concatenate([x, y]), np.concatenate([x, y])), len(x), rng)


def median_distance(pooled: np.ndarray) -> float:
    """The median of the distances (n, n) between different points, of 200 diagonals where there are more; 1 where
    most points are one."""
    gaps = np.unique(np.linspace(1, len(pooled) - 1, 200).astype(int))
    found = float(np.median(np.concatenate([np.diagonal(pooled, gap) for gap in gaps])))
    return found if found > 1e-9 else 1.0


def permuted(kernel: np.ndarray, n: int, rng: np.random.Generator) -> tuple[Value, float]:
    """The discrepancy of the first n points and the others under a kernel (n + m, n + m), its standard error, and the
    share of random partings, this one counted, in which it is no smaller."""
    total = len(kernel)
    m = total - n
    inside = np.zeros((total, PERMUTATIONS + 1))
    inside[:n, 0] = 1
    for k in range(1, PERMUTATIONS + 1):
        inside[rng.permutation(total)[:n], k] = 1
    product = kernel @ inside
    diagonal = np.diagonal(kernel)
    own, trace = (inside * product).sum(0), diagonal @ inside
    every, whole = kernel.sum(), diagonal.sum()
    between = product.sum(0) - own
    others = every - own - 2 * between
    found = (own - trace) / (n * (n - 1)) + (others - (whole - trace)) / (m * (m - 1)) - 2 * between / (n * m)
    # the influence of a row: how near it is to its own side, less how near to the other
    row, near = kernel.sum(1), product[:, 0]
    first = (near[:n] - diagonal[:n]) / (n - 1) - (row - near)[:n] / m
    second = (row - near - diagonal)[n:] / (m - 1) - near[n:] / n
    error = 2 * math.sqrt(float(first.var()) / n + float(second.var()) / m)
    p = float((found >= found[0] - 1e-12 * abs(found[0])).mean())
    return Value(float(found[0]), error, min(n, m)), p
