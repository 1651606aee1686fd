"""Rows of any columns: the levels and atoms by a chain, then a joint density of the numbers given them.

    p(x) = prod_j p(l_j | l_<j) p(numbers | l)        # l: every level, and which numeric cells are atoms

Factors of missing levels are left out, and a missing level tells the others only that it is missing: normalised for
each pattern of missing levels, but not the marginal of the joint. Missing numbers, and those that are atoms, are
proposed and weighed (see `dense`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from zoo.rows.dense import FEWEST_PROPOSALS, Dense
from zoo.rows.heads import ColumnDensity
from zoo.rows.importance import effective, resampled

if TYPE_CHECKING:
    from zoo.rows.rows import Rows


class Joint(TorchDistribution):
    """Rows (n, D) whose columns `order` (positions in the row: levels, and numeric columns with atoms) come first.

    first(rows)   likelihood of the levels and atoms, each reading only what comes before it in `order`
    then(rows)    density of the numeric columns, which may read those; None where the table has none
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self,
        rows: Rows,
        first: Callable[[Rows], ColumnDensity],
        then: Callable[[Rows], Dense] | None,
        order: list[int],
    ):
        self.rows, self.first, self.then, self.order = rows, first, then, order
        super().__init__(torch.Size([rows.n]), torch.Size([len(rows.schema.modelled)]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Joint:
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError("a chain of levels cannot sit under an enumerated latent: observe a predictor instead")
        return self

    def bound(self, complete: bool) -> str:
        """What the number is on a table where no cell is missing, or some are."""
        return "exact" if self.then is None else self.then(self._nothing_seen()).bound(complete)

    def log_prob(self, value: Tensor) -> Tensor:
        n = len(self.rows.schema.numeric)
        rows = self.rows if self.rows.cells is not None else self.rows.filled(value)
        log = self.first(rows).log_prob(value[:, n:])
        return log if self.then is None else log + self.then(rows).log_prob(value[:, :n])

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        rows = self._fill(self._nothing_seen())
        assert rows.cells is not None
        if self.then is None:
            return rows.cells.x
        return _with_atoms(rows, self.then(rows).sample())

    def _nothing_seen(self) -> Rows:
        x = torch.zeros(self.rows.n, len(self.rows.schema.modelled), dtype=torch.float64, device=self.rows.given.device)
        return self.rows.filled(x, torch.zeros_like(x, dtype=torch.bool))

    def _fill(self, rows: Rows) -> Rows:
        """Rows whose unseen levels and atoms are drawn, each given what is before it."""
        assert rows.cells is not None
        n, cells, known = len(rows.schema.numeric), rows.cells, rows.cells.seen
        for i, j in enumerate(self.order):
            here = known[:, j]
            if not bool(here.all()):
                before = torch.zeros_like(known)
                before[:, self.order[:i]] = True
                density = self.first(replace(rows, cells=cells._replace(seen=known & before), complete=False))
                if j < n:
                    atom = cells.atom.clone()
                    atom[:, j] = torch.where(here, atom[:, j], density.draw_atom(j).long())
                    cells = cells._replace(atom=atom)
                else:
                    x = cells.x.clone()
                    x[:, j] = torch.where(here, x[:, j], density.draw(j))
                    cells = cells._replace(x=x)
                known = known.clone()
                known[:, j] = True
        return replace(rows, cells=cells._replace(seen=known), complete=False)

    def completions(self, value: Tensor, seen: Tensor, draws: int, particles: int = 0) -> tuple[Tensor, Tensor]:
        """`value` (n, D) with its unseen cells drawn given all the seen ones: (draws, n, D); and how many draws the
        proposals are worth (n,).

        Sampling-importance-resampling: levels are drawn in order and numbers from the proposal, weighted by the factors
        of the seen levels and the density of the numbers.
        """
        k = max(FEWEST_PROPOSALS, particles, draws)
        many = self.rows.repeat(k)
        filled = self._fill(many)
        assert filled.cells is not None
        assert many.cells is not None
        log_w = self._log_seen_levels(filled, many.cells.seen)
        x = filled.cells.x
        if self.then is not None:
            there = many.cells.seen[:, : len(self.rows.schema.numeric)] & (filled.cells.atom == 0)
            y, log_dense = self.then(filled).proposed(there)
            log_w, x = log_w + log_dense, _with_atoms(filled, y)
        log_w = log_w.reshape(k, -1)
        pick = resampled(log_w, draws)
        return x.reshape(k, *value.shape)[pick, torch.arange(len(value), device=x.device)], effective(log_w)

    def _log_seen_levels(self, filled: Rows, seen: Tensor) -> Tensor:
        """Log-mass (n,) of the levels and atoms that were seen, given all before them."""
        assert filled.cells is not None
        n = len(self.rows.schema.numeric)
        density = self.first(filled)
        scored = ColumnDensity(
            density.codec, None, density.binary, density.levels, filled.cells._replace(seen=filled.cells.seen & seen)
        )
        return scored.log_prob(filled.cells.x[:, n:])


def _with_atoms(rows: Rows, numeric: Tensor) -> Tensor:
    """Rows (n, D) of these numbers, atoms in their place, and of the levels that `rows` has."""
    assert rows.cells is not None
    n, out = len(rows.schema.numeric), numeric
    for j in rows.schema.spiked:
        atom = rows.cells.atom[:, j]
        place = rows.codec.atom_places[j][(atom - 1).clamp_min(0)]
        out = out.index_copy(1, torch.tensor([j], device=out.device), torch.where(atom > 0, place, out[:, j])[:, None])
    return torch.cat([out, rows.cells.x[:, n:]], -1)
