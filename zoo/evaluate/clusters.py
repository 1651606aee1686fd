"""Components of a mixture merged into clusters: the K of a density is not the K of its clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.errors import UserError

ALIKE, APART, FAINT = 0.3, 0.02, 0.005
"""Shares of a cluster's rows that would be given to another: halves of one cluster share so many at least, clusters of
their own so many at most, and between shares as small as the last no difference is seen."""


@dataclass(frozen=True)
class Clusters:
    """How C components become clusters, from the responsibilities of the rows that were fitted.

    joins      (i, j, overlap): in this order, what component j belongs to is joined to what i belongs to; C - 1 of them
    count      how many clusters there are
    runner_up  the next best number; None where the components were told, or there is only one
    """

    joins: tuple[tuple[int, int, float], ...]
    count: int
    runner_up: int | None = None

    @classmethod
    def of(cls, responsibilities: np.ndarray, weight: np.ndarray | None = None, told: bool = False) -> Clusters:
        """Merge what shares most rows, from responsibilities (n, C) of rows of some weight (n,).

        told: the number of components was asked for, and each is a cluster
        """
        joins = _tree(responsibilities, np.ones(len(responsibilities)) if weight is None else weight)
        count, runner_up = _cut([overlap for *_, overlap in joins])
        return cls(joins, len(joins) + 1, None) if told else cls(joins, count, runner_up)

    @property
    def components(self) -> int:
        return len(self.joins) + 1

    def mapping(self, count: int | None = None) -> np.ndarray:
        """The cluster of each component (C,), numbered by their first components."""
        count = self.count if count is None else count
        if not 1 <= count <= self.components:
            what = f"{count} clusters cannot be made of {self.components} components"
            raise UserError(what, f"ask for 1 to {self.components}, or fit with components={count}")
        owner = np.arange(self.components)
        for i, j, _ in self.joins[: self.components - count]:
            owner[owner == owner[j]] = owner[i]
        first = {k: c for c, k in enumerate(dict.fromkeys(owner.tolist()))}
        return np.array([first[k] for k in owner.tolist()])

    def merge(self, responsibilities: np.ndarray, count: int | None = None) -> np.ndarray:
        """Probabilities (n, K) of the clusters from those of the components (n, C)."""
        mapping = self.mapping(count)
        return responsibilities @ np.eye(mapping.max() + 1)[mapping]

    def sentence(self) -> str:
        text = f"{self.components} component{'s' * (self.components != 1)}"
        if self.count < self.components:
            text += f", merged into {self.count} cluster{'s' * (self.count != 1)}"
        elif self.components > 1:
            text += ", each a cluster"
        return text if self.runner_up is None else f"{text} (runner-up {self.runner_up})"

    def to_json(self) -> dict[str, Any]:
        return {"count": self.count, "runner_up": self.runner_up, "joins": [list(join) for join in self.joins]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Clusters:
        joins = tuple((int(i), int(j), float(overlap)) for i, j, overlap in document["joins"])
        runner_up = document["runner_up"]
        out = cls(joins, int(document["count"]), None if runner_up is None else int(runner_up))
        if len(np.unique(out.mapping(1))) != 1 or len(np.unique(out.mapping())) != out.count:
            raise ValueError("the joins of its components are none")
        return out


def _tree(responsibilities: np.ndarray, weight: np.ndarray) -> tuple[tuple[int, int, float], ...]:
    """Joins of the two clusters that share most, until there is one.

    overlap(j, k) = sum_n w_n t_nj t_nk / min(sum_n w_n t_nj, sum_n w_n t_nk): of the smaller cluster's rows, the share
    that labels drawn from the posterior would give to the other. Hennig 2010 (DEMP), with drawn labels for best ones.
    """
    shared = (responsibilities * weight[:, None]).T @ responsibilities
    members = list(range(len(shared)))
    joins: list[tuple[int, int, float]] = []
    while len(members) > 1:
        size = shared.sum(1)
        least = np.minimum(size[:, None], size)
        with np.errstate(invalid="ignore", divide="ignore"):
            overlap = np.where(least > 0, shared / least, 1.0)  # an empty component is part of any other
        overlap[np.triu_indices(len(overlap))] = -1.0
        b, a = np.unravel_index(overlap.argmax(), overlap.shape)
        joins.append((members[a], members[b], float(overlap[b, a])))
        shared[a] += shared[b]
        shared[:, a] += shared[:, b]
        shared = np.delete(np.delete(shared, b, 0), b, 1)
        del members[b]
    return tuple(joins)


def _cut(overlaps: list[float]) -> tuple[int, int | None]:
    """The number of clusters where overlap falls most, as a ratio, and the second best one.

    Before the first join stands ALIKE and after the last APART, so that all components may be clusters, or none.
    """
    bounds = np.array([ALIKE, *np.maximum.accumulate(np.minimum(overlaps, ALIKE)[::-1])[::-1], APART]) + FAINT
    fall = bounds[:-1] / bounds[1:]
    counts = len(fall) - np.argsort(-fall, kind="stable")
    return int(counts[0]), int(counts[1]) if len(counts) > 1 else None
