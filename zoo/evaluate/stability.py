"""How far clusters depend on the rows that happened to be there."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score

from zoo.errors import UserError
from zoo.evaluate.clusters import Clusters
from zoo.evaluate.posterior import cluster_probabilities
from zoo.rows.rows import Rows
from zoo.scope import scope

if TYPE_CHECKING:
    from zoo.model import Model

MOST_ROWS = 8000
STABLE = 0.75
"""Mean Jaccard index from which a cluster counts as stable. Hennig 2007."""


@dataclass(frozen=True)
class Stability:
    """Clusters found again in random halves of the rows, each fitted from the beginning.

    counts   how many halves gave each number of clusters, most first
    ari      (R,) adjusted Rand index of each half's labels of all rows with the labels asked about
    jaccard  (K,) of each cluster, |A and B| / |A or B| with its best match, averaged over the halves; NaN where empty
    """

    counts: dict[int, int]
    ari: np.ndarray
    jaccard: np.ndarray

    @property
    def stable(self) -> np.ndarray:
        """Whether each cluster is found again (K,)."""
        return self.jaccard >= STABLE

    def sentence(self) -> str:
        (first, times), *others = self.counts.items()
        text = f"{first} cluster{'s' * (first != 1)} in {times} of {len(self.ari)} halves of the rows"
        if others:
            text += ", else " + ", ".join(f"{k} ({n})" for k, n in others)
        there = self.jaccard[~np.isnan(self.jaccard)]
        text += f"; adjusted Rand index {self.ari.mean():.2f} ± {self.ari.std():.2f}"
        return f"{text}; {int((there >= STABLE).sum())} of {len(there)} clusters stable (Jaccard {STABLE} or more)"

    def to_json(self) -> dict[str, Any]:
        counts = {str(k): n for k, n in self.counts.items()}
        return {"counts": counts, "ari": self.ari.tolist(), "jaccard": self.jaccard.tolist()}


def stability(
    model: Model, rows: Rows, clusters: Clusters, resamples: int, seed: int = 0, count: int | None = None
) -> Stability:
    """Refit the program by its own start on halves of the rows, and compare the labels of all of them.

    count: compare at so many clusters; where it is left out each half chooses, unless its components were told.
    """
    told = clusters.runner_up is None
    with scope(seed), torch.no_grad():
        rows = rows.take(torch.randperm(rows.n)[:MOST_ROWS].to(rows.given.device))
        halves = [torch.randperm(rows.n)[: max(1, rows.n // 2)].to(rows.given.device) for _ in range(resamples)]
    labels = clusters.merge(_responsibilities(model, rows, seed), count).argmax(1)
    found, ari, jaccard = Counter[int](), [], []
    for i, half in enumerate(halves):
        again, part = copy.deepcopy(model), rows.take(half)
        with scope(seed + i + 1):
            if not hasattr(again.program, "initialise"):
                raise UserError(f"model {model.recipe.model!r} has no start from data to fit again", "use a mixture")
            again.initialise(part)
        probabilities = _responsibilities(again, rows, seed)
        mine = Clusters.of(probabilities[half.cpu().numpy()], part.weight.cpu().numpy(), told)
        other = mine.merge(probabilities, count).argmax(1)
        found[mine.count if count is None else count] += 1
        ari.append(float(adjusted_rand_score(labels, other)))
        jaccard.append(_jaccard(labels, other, clusters.count if count is None else count))
    return Stability(dict(found.most_common()), np.array(ari), np.mean(jaccard, axis=0))


def _responsibilities(model: Model, rows: Rows, seed: int) -> np.ndarray:
    return cluster_probabilities(model, rows, seed).cpu().numpy()


def _jaccard(labels: np.ndarray, other: np.ndarray, count: int) -> np.ndarray:
    """Jaccard index of each of `count` clusters with its best match among the others (count,)."""
    table = np.zeros((count, int(other.max()) + 1))
    np.add.at(table, (labels, other), 1.0)
    either = table.sum(1, keepdims=True) + table.sum(0) - table
    with np.errstate(invalid="ignore"):
        best = (table / np.maximum(either, 1.0)).max(1)
    return np.where(table.sum(1) > 0, best, np.nan)
