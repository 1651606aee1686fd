"""What EM works on: cells as tensors, restarts of parameters, sums over rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.rows.rows import Rows
from zoo.table.codec import Cells


@dataclass
class Data:
    """y (N, D), zero where missing; seen (N, D); codes (N, C) into all levels side by side, -1 where missing."""

    y: Tensor
    seen: Tensor
    codes: Tensor
    weight: Tensor
    sizes: list[int]
    covariance: str
    floor: Tensor
    correction: Tensor
    width: Tensor
    complete: bool

    @classmethod
    def of(cls, rows: Rows, covariance: str) -> Data:
        assert rows.cells is not None
        # float64 on the CPU, wherever the model lives: EM is a few large products, and is done once
        schema, cells = rows.schema, Cells(*(t.cpu() for t in rows.cells))
        n = len(schema.numeric)
        dense = covariance in ("full", "tied")
        y = cells.x[:, :n]
        width = (cells.hi - cells.lo).amax(0) if len(cells.lo) else torch.zeros(n)
        if dense and schema.has_lattice:
            y = torch.where(cells.seen[:, :n], cells.lo + (cells.hi - cells.lo) * torch.rand_like(y), 0.0)
        sizes = [2] * len(schema.binary) + [c.n_logits for c in schema.categorical]
        start = torch.tensor([0, *sizes[:-1]], device=y.device).cumsum(0)[: len(sizes)]
        codes = torch.where(cells.seen[:, n:], cells.x[:, n:].long() + start, -1)
        # a point mass in the middle of a cell carries the cell's own variance too (Sheppard)
        correction = torch.zeros_like(width) if dense else width.square() / 12
        floor = rows.codec.min_scale.cpu().square() if not dense else torch.full_like(width, 1e-6)
        seen = cells.seen[:, :n]
        weight, complete = rows.weight.double().cpu(), bool(seen.all())
        return cls(y, seen, codes, weight, sizes, covariance, floor, correction, width, complete)

    @property
    def n(self) -> int:
        return len(self.y)

    @property
    def dense(self) -> bool:
        return self.covariance in ("full", "tied")

    @property
    def needs_patterns(self) -> bool:
        return self.dense and not self.complete

    def take(self, index: Tensor) -> Data:
        new = Data(**vars(self))
        new.y, new.seen, new.codes, new.weight = (t[index] for t in (self.y, self.seen, self.codes, self.weight))
        return new

    def column(self, j: int) -> Data:
        """The j-th numeric column alone, on the rows where it was seen."""
        new = self.take(self.seen[:, j].nonzero()[:, 0])
        new.y, new.seen, new.codes, new.sizes = new.y[:, [j]], new.seen[:, [j]], new.codes[:, :0], []
        new.floor, new.correction, new.width = new.floor[[j]], new.correction[[j]], new.width[[j]]
        return new

    def imputed(self) -> Data:
        """For dense covariances: missing cells set to the column's mean, so that an iteration is a matrix product."""
        if not self.needs_patterns:
            return self
        new = Data(**vars(self))
        mean = self.y.sum(0) / self.seen.sum(0).clamp_min(1)
        new.y, new.seen, new.complete = torch.where(self.seen, self.y, mean), torch.ones_like(self.seen), True
        return new

    def chunks(self, width: int) -> list[Tensor]:
        size = max(256, (1 << 22) // max(width, 1))
        return list(torch.arange(self.n, device=self.y.device).split(size))


@dataclass
class Theta:
    """R restarts of K components.

    log_weights (R, K), loc (R, K, D), cov (R, K, D, D) or (R, K, D), masses (L, R, K).
    """

    log_weights: Tensor
    loc: Tensor
    cov: Tensor
    masses: Tensor

    def best(self, score: Tensor, keep: int) -> Theta:
        top = score.topk(min(keep, len(score))).indices
        return Theta(self.log_weights[top], self.loc[top], self.cov[top], self.masses[:, top])


@dataclass
class Statistics:
    """Sums over rows: n (R, K), first (R, K, D), second (R, K, D, D) or (R, K, D), seen (R, K, D), counts (L, R, K)."""

    n: Tensor
    seen: Tensor
    first: Tensor
    second: Tensor
    counts: Tensor

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))
