"""Divergences of binned columns."""

from __future__ import annotations

import numpy as np

from zoo.evaluate.quality.sample import Sample
from zoo.evaluate.quality.trends import binned
from zoo.evaluate.quality.value import Value

BINS = 20


def divergences(real: Sample, other: Sample) -> dict[str, Value]:
    """Means over columns, in nats: the Jensen-Shannon divergence, 0 to log 2, and KL(real || other).

    Numbers fall into 20 bins that hold as many real rows each (fewer where values are shared), levels into their own,
    missing cells into one more. For KL every bin has half a row more on both sides, so that it is finite.
    """
    both = [_counts(real, other, j) for j in range(len(real.columns))]
    n = min(len(real), len(other))
    js = [jensen_shannon(a / a.sum(), b / b.sum()) for a, b in both]
    more = [(a + 0.5, b + 0.5) for a, b in both]
    forward = [kl(a / a.sum(), b / b.sum()) for a, b in more]
    return {"jensen_shannon": Value(float(np.mean(js)), None, n), "kl": Value(float(np.mean(forward)), None, n)}


def kl(p: np.ndarray, q: np.ndarray) -> float:
    """sum p log(p / q) in nats."""
    there = p > 0
    return float((p[there] * np.log(p[there] / q[there])).sum())


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """The mean of both distributions' KL to their middle, in nats: not its square root."""
    middle = (p + q) / 2
    return max(0.0, (kl(p, middle) + kl(q, middle)) / 2)


def _counts(real: Sample, other: Sample, j: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = real.cells[j], other.cells[j]
    if real.columns[j].is_number:
        seen = x[~np.isnan(x)]
        edges = np.unique(np.quantile(seen, np.linspace(0, 1, BINS + 1)[1:-1])) if len(seen) else seen
        x, y = binned(x, edges), binned(y, edges)
    else:
        x, y = x + 1, y + 1
    size = int(max(x.max(initial=0), y.max(initial=0))) + 1
    a, b = np.bincount(x, minlength=size), np.bincount(y, minlength=size)
    used = (a + b) > 0
    return a[used].astype(float), b[used].astype(float)
