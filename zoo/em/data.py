"""What EM works on: cells as tensors, restarts of parameters, sums over rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.rows.dense import plain
from zoo.rows.rows import Rows
from zoo.table.codec import Cells

AT_AN_END = 0.01
HOT = 50
"""Levels up to which a column's are features, ones and zeros; what a longer one adds is looked up, row by row."""
CUTS = 48  # places where a cycle may be cut open
CACHE = 1 << 18  # numbers in a chunk
ROOM = 1 << 24  # numbers of features that are kept from one iteration to the next
ENOUGH = 2.0
"""Rows that a covariance needs, for each that it could not be of full rank without."""
PSEUDO = 1e-3
"""Rows from the whole column in every component's scale, where columns are independent in it."""
LEAST_NOISE = 1e-5
"""Of a factored covariance's noise beside its column's variance: rounding would be lost in less."""
DENSE = ("full", "tied", "factors", "isotropic")


@dataclass
class Data:
    """y (N, D), zero where not seen; seen (N, D), no atoms among them; codes (N, C) into all levels and atoms side by
    side, -1 where missing. width (D,): a cell's, as root mean square. until: when to stop climbing, if ever. dim: the
    rank of factored covariances. pool: rows that the components' common covariance weighs in each component's own.
    features (N, F): what both steps of EM are linear in, where that is kept."""

    y: Tensor
    seen: Tensor
    codes: Tensor
    weight: Tensor
    sizes: list[int]
    n_binary: int
    covariance: str
    floor: Tensor
    correction: Tensor
    width: Tensor
    complete: bool
    approximate: bool
    until: float | None
    dim: int = 0
    pool: float = 0.0
    features: Tensor | None = None

    @classmethod
    def of(cls, rows: Rows, covariance: str, dim: int = 0, resolution: float = 0.0, pool: float = 0.0) -> Data:
        assert rows.cells is not None
        # float64 on the CPU, wherever the model lives: EM is a few large products, and is done once
        schema, cells = rows.schema, Cells(*(t.cpu() for t in rows.cells))
        n = len(schema.numeric)
        dense = covariance in DENSE
        y, seen = cells.x[:, :n], plain(cells)
        width = ((cells.hi - cells.lo).square() * seen).sum(0).div(seen.sum(0).clamp_min(1)).sqrt()
        if dense and schema.has_lattice:
            y = cells.lo + (cells.hi - cells.lo) * torch.rand_like(y)
        if not dense:  # a dense density is that of one turn alone
            y = _unrolled(y, seen, (rows.codec.period / rows.codec.scale).cpu())
        y = torch.where(seen, y, 0.0)
        sizes = [2] * len(schema.binary) + list(schema.blocks)
        start = torch.tensor([0, *sizes[:-1]], device=y.device).cumsum(0)[: len(sizes)]
        spiked = list(schema.spiked)
        level = torch.cat([cells.x[:, n:].long(), cells.atom[:, spiked]], 1)
        known = torch.cat([cells.seen[:, n:], cells.seen[:, spiked]], 1)
        codes = torch.where(known, level + start, -1)
        # a point mass in the middle of a cell carries the cell's own variance too (Sheppard)
        correction = torch.zeros_like(width) if dense else width.square() / 12
        floor = rows.codec.min_scale.cpu().square() if not dense else torch.full_like(width, 1e-6)
        floor = floor + resolution**2
        weight, complete = rows.weight.double().cpu(), bool(seen.all())
        approximate = not dense and _approximate(rows)
        return cls(
            y, seen, codes, weight, sizes, len(schema.binary), covariance, floor, correction, width, complete,
            approximate, rows.until, dim, pool
        )  # fmt: skip

    @property
    def late(self) -> bool:
        return self.until is not None and time.perf_counter() > self.until

    @property
    def n(self) -> int:
        return len(self.y)

    @property
    def dense(self) -> bool:
        return self.covariance in DENSE

    @property
    def factored(self) -> bool:
        """Whether covariances are of low rank plus a diagonal."""
        return self.covariance in ("factors", "isotropic")

    @property
    def needs_patterns(self) -> bool:
        return self.dense and not self.complete

    @property
    def needed(self) -> float:
        """Rows that a component's covariance needs to be its own."""
        rank = min(self.dim + 1, self.y.shape[1]) if self.factored else self.y.shape[1] if self.dense else 1
        return ENOUGH * (rank + 1)

    def free(self, k: int) -> int:
        """Free parameters of a mixture of k components."""
        d = self.y.shape[1]
        full = d * (d + 1) // 2
        shared = full if self.covariance == "tied" else 0
        loadings = d * self.dim - self.dim * (self.dim - 1) // 2
        each = {"full": full, "tied": 0, "diagonal": d, "factors": loadings + d, "isotropic": loadings + 1}
        return k * (1 + d + each.get(self.covariance, min(d, 1)) + sum(self.sizes) - len(self.sizes)) - 1 + shared

    def slack(self, k: int, share: float) -> float:
        """A share of what a row loses, in expectation, because k components are estimated: nats. Akaike 1973."""
        return share * self.free(k) / (2 * max(1.0, float(self.weight.sum())))

    def take(self, index: Tensor | slice) -> Data:
        new = Data(**vars(self))
        new.features = None if self.features is None else self.features[index]
        new.y, new.seen, new.codes, new.weight = (t[index] for t in (self.y, self.seen, self.codes, self.weight))
        return new

    def column(self, j: int) -> Data:
        """The j-th numeric column alone, on the rows where it was seen."""
        new = self.take(self.seen[:, j].nonzero()[:, 0])
        new.y, new.seen, new.codes, new.sizes, new.n_binary = new.y[:, [j]], new.seen[:, [j]], new.codes[:, :0], [], 0
        new.features = None
        new.floor, new.correction, new.width = new.floor[[j]], new.correction[[j]], new.width[[j]]
        return new

    def imputed(self) -> Data:
        """For dense covariances: missing cells take another row's value, so that an iteration is a matrix product.

        The column's mean in their place would be a spike, and a component of its own.
        """
        if not self.needs_patterns:
            return self
        new = Data(**vars(self))
        new.y = self.y.clone()
        for j in range(self.y.shape[1]):
            there, gone = self.seen[:, j].nonzero()[:, 0], (~self.seen[:, j]).nonzero()[:, 0]
            if len(there) and len(gone):
                new.y[gone, j] = self.y[there[torch.randint(len(there), (len(gone),))], j]
        new.seen, new.complete, new.features = torch.ones_like(self.seen), True, None
        return new

    def linear(self) -> Tensor:
        """What both steps are linear in (N, F): ones, values and their products, or what is seen, values, squares; then
        the `hot` levels."""
        if self.features is not None:
            return self.features
        if not self.y.shape[1]:
            numeric = self.y
        elif self.dense:
            numeric = products(self.y)
        else:
            seen = self.seen.double()
            y = self.y * seen
            numeric = torch.cat([seen, y, y * self.y], -1)
        return torch.cat([numeric, self.indicators()], -1) if len(self.hot) else numeric

    def indicators(self) -> Tensor:
        """Which of the `hot` levels a row has (N, L): ones and zeros, none where it is missing."""
        hot, codes = self.hot, self.codes[:, self.short]
        place = torch.where(codes >= 0, torch.searchsorted(hot, codes.contiguous()), len(hot))
        return self.y.new_zeros(self.n, len(hot) + 1).scatter_(1, place, 1.0)[:, : len(hot)]

    @property
    def hot(self) -> Tensor:
        """The levels, among all side by side, that are features (L,)."""
        sizes = torch.tensor(self.sizes, dtype=torch.long)
        return (sizes <= HOT).repeat_interleave(sizes).nonzero()[:, 0]

    @property
    def short(self) -> list[int]:
        """The columns whose levels these are."""
        return [j for j, size in enumerate(self.sizes) if size <= HOT]

    @property
    def long(self) -> list[int]:
        """The columns with too many levels for that."""
        return [j for j, size in enumerate(self.sizes) if size > HOT]

    @property
    def width_of_features(self) -> int:
        d = self.y.shape[1]
        numeric = 0 if not d else (d + 1) * (d + 2) // 2 if self.dense else 3 * d
        return numeric + sum(self.sizes[j] for j in self.short)

    def prepared(self) -> Data:
        """With its features kept, where they are of use to every iteration and there is room for them."""
        if self.needs_patterns or self.features is not None or self.n * self.width_of_features > ROOM:
            return self
        new = Data(**vars(self))
        new.features = self.linear()
        return new

    def chunks(self, width: int) -> list[slice]:
        """Parts of the rows; those without patterns of missing cells fit a processor's cache."""
        size = max(256, ((1 << 22) if self.needs_patterns else CACHE) // max(width, 1))
        return [slice(i, i + size) for i in range(0, self.n, size)]


def products(y: Tensor) -> Tensor:
    """1, y_i, and y_i y_j for i <= j, row by row of the upper triangle (N, (D + 1) (D + 2) / 2)."""
    n, d = y.shape
    out = y.new_empty(n, (d + 1) * (d + 2) // 2)
    out[:, 0] = 1
    out[:, 1 : 1 + d] = y
    at = 1 + d
    for i in range(d):
        torch.mul(y[:, i : i + 1], y[:, i:], out=out[:, at : at + d - i])
        at += d - i
    return out


def _unrolled(y: Tensor, seen: Tensor, cycle: Tensor) -> Tensor:
    """y (N, D) with cyclic columns, of cycle (D,) above 0, cut open where they are emptiest: rows around the end of a
    cycle become neighbours, where Normals that see them at both of its ends would be as wide as all of it."""
    columns = list(y.unbind(1))
    for j in (cycle > 0).nonzero()[:, 0].tolist():
        there, turn = y[seen[:, j], j], cycle[j]
        if not len(there):
            continue
        cuts = there.min() + turn * torch.arange(CUTS) / CUTS
        apart = (there[:, None] - cuts + turn / 2).remainder(turn) - turn / 2
        cut = cuts[(apart.abs() < turn / 12).sum(0).argmin()]
        early = cut < there.min() + turn / 2
        columns[j] = torch.where((y[:, j] < cut) == early, y[:, j] + (turn if early else -turn), y[:, j])
    return torch.stack(columns, 1) if columns else y


def _approximate(rows: Rows) -> bool:
    """Whether Normal densities are not quite these columns' likelihood: an end cell in use, or another family."""
    assert rows.cells is not None
    x = rows.cells.x[:, : len(rows.schema.numeric)]
    at_end = plain(rows.cells) & ((x < rows.codec.edges[0]) | (x > rows.codec.edges[1]))
    return not rows.schema.all_normal or bool((at_end.double().mean(0) > AT_AN_END).any())


@dataclass
class Theta:
    """R restarts of K components.

    log_weights (R, K), loc (R, K, D), cov (R, K, D, D) or (R, K, D), masses (L, R, K).
    noise (R, K, D), loadings (R, K, D, dim): the parts of a factored covariance, where there has been one.
    """

    log_weights: Tensor
    loc: Tensor
    cov: Tensor
    masses: Tensor
    noise: Tensor | None = None
    loadings: Tensor | None = None

    def best(self, score: Tensor, keep: int) -> Theta:
        top = score.topk(min(keep, len(score))).indices
        parts = (None if part is None else part[top] for part in (self.noise, self.loadings))
        return Theta(self.log_weights[top], self.loc[top], self.cov[top], self.masses[:, top], *parts)


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

    def beyond(self, new: Statistics, step: Tensor) -> Statistics:
        """From here towards new sums, and further by step (R,), where what comes out could still be sums over rows."""
        far = self._map(lambda a, b, t: a + t * (b - a), new, step)
        ok = (far.n > 0.5 * new.n).all(-1) & (far.counts >= 0).all(-1).all(0) & (far.seen >= 0).flatten(1).all(-1)
        size = far.seen.clamp_min(1e-8)
        loc = far.first / size
        if far.second.dim() == 4:
            cov = far.second / far.n.clamp_min(1e-8)[..., None, None] - loc[..., :, None] * loc[..., None, :]
            ok &= (torch.linalg.cholesky_ex(cov).info == 0).all(-1) if cov.numel() else True
        else:
            ok &= (far.second / size >= loc.square()).flatten(1).all(-1)
        return far.where(ok, new)

    def where(self, this: Tensor, other: Statistics) -> Statistics:
        """These sums for restarts where `this` (R,) holds, else the other's."""
        return self._map(lambda a, b, t: torch.where(t, a, b), other, this)

    def _map(self, f: Callable[[Tensor, Tensor, Tensor], Tensor], other: Statistics, t: Tensor) -> Statistics:
        """f of both sums and t (R,); the counts of levels (L, R, K) have restarts second."""
        out = {}
        for name, mine in vars(self).items():
            shape = (1, -1, 1) if name == "counts" else (-1, *[1] * (mine.dim() - 1))
            out[name] = f(mine, getattr(other, name), t.reshape(shape))
        return Statistics(**out)
