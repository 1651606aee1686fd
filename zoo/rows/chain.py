"""The autoregressive density: every column given the columns before it, on any table.

    p(x) = prod_j p(x_j | x_<j)

Each factor is one-dimensional, so cells of rounded columns and levels have exact masses. Factors of missing cells are
left out, and a missing cell tells the later ones only that it is missing: normalised for each pattern of missing
cells, but not the marginal of the joint. A chain that hides cells at random while it is fitted keeps the two close.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from zoo.rows.heads import ColumnDensity

if TYPE_CHECKING:
    from zoo.rows.rows import Rows

FEWEST_PROPOSALS = 32

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
        known = seen
        for j in self.order:
            if bool(seen[:, j].all()):
                known = known | _only(j, known)
                continue
            visible = known & _before(j, self.order, known)
            column = self._density(rows.filled(x, visible)).draw(j)
            drawn = rows.codec.snap(torch.where(_only(j, x), column[:, None], x))
            x = torch.where(_only(j, x) & ~seen, drawn, x)
            known = known | _only(j, known)
        return x

    def completions(self, value: Tensor, seen: Tensor, draws: int) -> Tensor:
        """`value` (n, D) with its unseen cells drawn given all the seen ones, later columns too: (draws, n, D).

        Sampling-importance-resampling: cells are drawn in order, and weighted by the factors of the seen cells.
        """
        proposals = max(FEWEST_PROPOSALS, draws)
        many = self.rows.repeat(proposals)
        x = self._fill(value.repeat(proposals, 1), seen.repeat(proposals, 1), many)
        log_cells = self._density(many.filled(x)).log_cells(x)
        log_w = torch.where(seen.repeat(proposals, 1), log_cells, 0.0).sum(-1).reshape(proposals, -1)
        weights = torch.distributions.Categorical(logits=log_w.nan_to_num(nan=-1e30, neginf=-1e30).T)
        return x.reshape(proposals, *value.shape)[weights.sample((draws,)), torch.arange(len(value), device=x.device)]


def _only(j: int, like: Tensor) -> Tensor:
    """True in column j alone."""
    return torch.arange(like.shape[-1], device=like.device).eq(j).expand(like.shape)


def _before(j: int, order: list[int], like: Tensor) -> Tensor:
    mask = torch.zeros(like.shape[-1], dtype=torch.bool, device=like.device)
    mask[order[: order.index(j)]] = True
    return mask.expand(like.shape)
