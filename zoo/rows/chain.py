"""The autoregressive density: every column given the columns before it, on any table.

    p(x) = prod_j p(x_j | x_<j)

Each factor is one-dimensional, so cells of rounded columns and levels have exact masses. Factors of missing cells are
left out, and a missing cell tells the later ones only that it is missing: normalised for each pattern of missing
cells, but not the marginal of the joint. A chain that hides cells at random while it is fitted keeps the two close.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from zoo.rows.heads import ColumnDensity
from zoo.rows.importance import effective, finite

if TYPE_CHECKING:
    from zoo.rows.rows import Rows

Conditionals = Callable[["Rows"], "ColumnDensity | Tensor"]


class Chain(TorchDistribution):
    """Rows (n, D) under `conditionals`, a function of the row so far.

    conditionals(rows) gives the likelihood of every column (a predictor or a ColumnDensity), the j-th of which may
    read only columns that come before it in `order` (positions in the row, the row's own order by default).
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(self, conditionals: Conditionals, rows: Rows):
        self.conditionals, self.rows = conditionals, rows
        self.order: list[int] = getattr(conditionals, "order", None) or list(range(len(rows.schema.modelled)))
        super().__init__(torch.Size([rows.n]), torch.Size([len(rows.schema.modelled)]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Chain:
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(
                "an autoregressive chain cannot sit under an enumerated latent: observe a predictor instead"
            )
        return self

    def _density(self, rows: Rows) -> ColumnDensity:
        out = self.conditionals(rows)
        return out if isinstance(out, ColumnDensity) else rows.heads(out, rows.cells)

    def log_prob(self, value: Tensor) -> Tensor:
        rows = self.rows if self.rows.cells is not None else self.rows.filled(value)
        return self._density(rows).log_cells(value).sum(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        x = torch.zeros(self.rows.n, len(self.order), dtype=torch.float64, device=self.rows.given.device)
        return self._fill(x, torch.zeros_like(x, dtype=torch.bool), self.rows)

    def _fill(self, x: Tensor, seen: Tensor, rows: Rows) -> Tensor:
        """Draw the unseen cells of x in order, each given what is before it."""
        x = x.clone()
        for j in self.order:
            lacking = (~seen[:, j]).nonzero()[:, 0]
            if len(lacking):
                density = self._so_far(j, x[lacking], rows.take(lacking))
                x[lacking, j] = self._drawn(j, x[lacking], density)
        return x

    def _drawn(self, j: int, x: Tensor, density: ColumnDensity) -> Tensor:
        """A draw of column j (n,) of rows x under the factors of the columns so far."""
        return self.rows.codec.snap(torch.where(_only(j, x), density.draw(j)[:, None], x))[:, j]

    def _so_far(self, j: int, x: Tensor, rows: Rows) -> ColumnDensity:
        """The factors of the columns up to j; those of later ones read nothing of them."""
        return self._density(rows.filled(x, _before(j, self.order, x)))

    def completions(self, value: Tensor, seen: Tensor, draws: int, particles: int) -> tuple[Tensor, Tensor]:
        """`value` (n, D) with its unseen cells drawn given all the seen ones, later columns too: (draws, n, D); and how
        many draws the particles were worth (n,) where that was least.

        Particles: unseen cells are drawn in order; the factors of the seen ones on the way weigh a row's particles,
        which are drawn again by their weights where few of them carry most. Doucet & Johansen 2009.
        """
        size, n = max(particles, draws), len(value)
        x, log_w = value.repeat(size, 1).reshape(size, n, -1), value.new_zeros(size, n)
        rank = torch.empty(len(self.order), dtype=torch.long, device=x.device)
        rank[self.order] = torch.arange(len(self.order), device=x.device)
        weighed = torch.zeros(n, dtype=torch.long, device=x.device)  # of each row, how many columns its weights know
        worth = value.new_full((n,), torch.inf)

        def weigh(chosen: Tensor, upto: int, density: ColumnDensity) -> None:
            log = density.log_cells(x[:, chosen].flatten(0, 1)).reshape(size, len(chosen), -1)
            new = seen[chosen] & (rank >= weighed[chosen, None]) & (rank < upto)
            log_w[:, chosen] += torch.where(new, log, 0.0).sum(-1)
            weighed[chosen] = upto

        def pick(chosen: Tensor, many: int) -> Tensor:
            """Particles (many, chosen) drawn by their weights, one in each of `many` equal parts of them all."""
            share = torch.softmax(finite(log_w[:, chosen]), 0).cumsum(0).T.contiguous()
            places = (torch.arange(many, device=x.device) + torch.rand(len(chosen), 1, device=x.device)) / many
            return torch.searchsorted(share, places * share[:, -1:]).clamp(max=size - 1).T

        many = self.rows.blank().repeat(size)
        copies = torch.arange(size, device=x.device)[:, None] * n
        for j in self.order:
            lacking = (~seen[:, j]).nonzero()[:, 0]
            if not len(lacking):
                continue
            part = many.take((copies + lacking).flatten())
            density = self._so_far(j, x[:, lacking].flatten(0, 1), part)
            weigh(lacking, int(rank[j]), density)
            now = effective(log_w[:, lacking])
            worth[lacking] = torch.minimum(worth[lacking], now)
            few = lacking[now < size / 2]
            if len(few):
                x[:, few] = x[pick(few, size), few]
                log_w[:, few] = 0.0
                density = self._so_far(j, x[:, lacking].flatten(0, 1), part)
            x[:, lacking, j] = self._drawn(j, x[:, lacking].flatten(0, 1), density).reshape(size, -1)
        everyone = torch.arange(n, device=x.device)
        weigh(everyone, len(self.order), self._density(many.filled(x.flatten(0, 1))))
        chosen = pick(everyone, draws)
        # equal parts come in order: neighbouring rows must not have their particles in step
        shuffled = chosen.gather(0, torch.rand(chosen.shape, device=x.device).argsort(0))
        return x[shuffled, everyone], torch.minimum(worth, effective(log_w))

    def without(self, value: Tensor, seen: Tensor, j: int, draws: int) -> Tensor:
        """Log-density (n,) of the seen cells of `value` (n, D) but those of column j, under the joint of them all.

        Summed over draws of column j given what comes before it, by the factors of what comes after: their mean is
        right, and its logarithm on average too low.
        """
        x, there = value.repeat(draws, 1), seen.repeat(draws, 1)
        many = self.rows.blank().repeat(draws)
        so_far = there & _before(j, self.order, x)
        x[:, j] = self._drawn(j, x, self._density(many.filled(x, so_far)))
        log = self._density(many.filled(x, there)).log_cells(x)
        log = torch.where(_only(j, x), 0.0, log).sum(-1).reshape(draws, -1)
        return log.logsumexp(0) - math.log(draws)


def _only(j: int, like: Tensor) -> Tensor:
    """True in column j alone."""
    return torch.arange(like.shape[-1], device=like.device).eq(j).expand(like.shape)


def _before(j: int, order: list[int], like: Tensor) -> Tensor:
    mask = torch.zeros(like.shape[-1], dtype=torch.bool, device=like.device)
    mask[order[: order.index(j)]] = True
    return mask.expand(like.shape)
