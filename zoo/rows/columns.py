"""The columns of a row, independent given their parameters: densities, masses and draws, vectorised by kind."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from zoo.rows.cells import Family
from zoo.rows.levels import Levels
from zoo.table.codec import Cells, Codec

BEYOND = 1e3
"""Standard deviations that stand for infinity at the ends of a rounded column."""
TURNS = 2
"""Cycles on either side that count for a cyclic column."""


class ColumnDensity(TorchDistribution):
    """Columns of a row, independent given their parameters: the product of one density or mass for each.

    numeric     family over the numeric columns, parameters (..., Dn), or None when they are observed elsewhere
    binary      logits (..., Db)
    levels      log-masses of schema.blocks, side by side: the levels of every categorical column, then for every
                numeric column with atoms its density's share and those of the atoms
    cells       the observed cells that `log_prob` scores; without them values are taken as densities in codec units

    A numeric cell that is an atom has the atom's mass: beside a density that mass alone, on a lattice as an average
    over the cell, to which the density's own share adds where it is told by this one (`numeric`).
    Values are rows (..., D'), the D' columns being those it covers. Parameters broadcast against the rows, so an
    enumerated site's (K, 1, ...) costs K tables, not K x N.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self,
        codec: Codec,
        numeric: Family | None,
        binary: Tensor,
        levels: Levels,
        cells: Cells | None = None,
        batch_shape: torch.Size | None = None,
    ):
        self.codec, self.numeric, self.binary, self.levels, self.cells = codec, numeric, binary, levels, cells
        schema = codec.schema
        width = len(schema.discrete) + (len(schema.numeric) if numeric is not None else 0)
        super().__init__(
            binary.shape[:-1] if batch_shape is None else batch_shape, torch.Size([width]), validate_args=False
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> ColumnDensity:
        return ColumnDensity(self.codec, self.numeric, self.binary, self.levels, self.cells, torch.Size(batch_shape))

    # ---- density

    def log_cells(self, value: Tensor) -> Tensor:
        """Log density or mass of each cell (..., n, D'), zero where the cell was not seen."""
        schema = self.codec.schema
        cells = self.cells if self.cells is not None else self._as_cells(value)
        n_numeric, n_binary = len(schema.numeric), len(schema.binary)
        parts = []
        if self.numeric is not None:
            log = self._log_numeric(self.numeric, cells)
            parts.append(torch.where(cells.seen[..., :n_numeric], log, 0.0))
        codes = cells.x[..., n_numeric:]
        seen = cells.seen[..., n_numeric:]
        if n_binary:
            sign = 2 * codes[..., :n_binary] - 1
            keep = self.codec.smoothing(2)
            log = torch.logaddexp(
                F.logsigmoid(sign * self.binary.double()) + math.log1p(-keep),
                torch.full((), math.log(keep / 2), dtype=torch.float64, device=codes.device),
            )
            parts.append(torch.where(seen[..., :n_binary], log, 0.0))
        if schema.categorical:
            log = self.levels.at(slice(len(schema.categorical)), codes[..., n_binary:].long())
            parts.append(torch.where(seen[..., n_binary:], log, 0.0))
        # torch's own imports a computer algebra system at its first call
        shape = np.broadcast_shapes(*(p.shape[:-1] for p in parts))
        return torch.cat([p.expand(*shape, p.shape[-1]) for p in parts], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        out = self.log_cells(value).sum(-1) if self.event_shape[0] else torch.zeros((), dtype=torch.float64)
        if self.numeric is None and self.codec.schema.spiked:
            cells = self.cells if self.cells is not None else self._as_cells(value)
            here = cells.atom[..., self._spiked]
            share = self._log_share(here) - torch.where(here > 0, self._log_step, 0.0)
            out = out + torch.where(cells.seen[..., self._spiked], share, 0.0).sum(-1)
        return out

    def _log_numeric(self, family: Family, cells: Cells) -> Tensor:
        log = log_average(family, self.codec, cells)
        if not self.codec.schema.spiked:
            return log
        spiked, here = self._spiked, cells.atom[..., self._spiked]
        lattice = self.codec.step[spiked] > 0
        plain = self._log_share(torch.zeros_like(here)) + log[..., spiked]
        atom = self._log_share(here) - self._log_step
        both = torch.where(lattice, torch.logaddexp(plain, atom), atom)
        return log.index_copy(-1, spiked, torch.where(here > 0, both, plain))

    def _log_share(self, atom: Tensor) -> Tensor:
        """Log-mass (..., n, spiked columns) of an atom of each, counted from 1, or of the column's density: 0."""
        return self.levels.at(slice(len(self.codec.schema.categorical), None), atom)

    @property
    def _log_step(self) -> Tensor:
        """Log-width of the cell of an atom (spiked columns,): zero beside a density, where its mass has no width."""
        step = self.codec.step[self._spiked]
        return torch.where(step > 0, step, 1.0).log()

    @property
    def _spiked(self) -> Tensor:
        return torch.tensor(self.codec.schema.spiked, device=self.binary.device)

    def _as_cells(self, value: Tensor) -> Cells:
        if self.numeric is None:
            value = torch.cat([value.new_zeros(*value.shape[:-1], len(self.codec.schema.numeric)), value], -1)
        return as_cells(value, len(self.codec.schema.numeric))

    # ---- draws

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """A draw of the columns it covers (batch, D'), in codec units; rounded columns are snapped by the codec.

        The level reserved for the unseen is never drawn: it has no name to show.
        """
        parts = [] if self.numeric is None else [self.with_atoms(self.numeric.sample())]
        parts.append(self._draw_binary(self.binary))
        parts += [self._draw_level(c)[..., None] for c in range(len(self.codec.schema.categorical))]
        draw = torch.cat([p.to(torch.float64).expand(*self.binary.shape[:-1], p.shape[-1]) for p in parts], -1)
        return draw.expand(*sample_shape, *self.batch_shape, draw.shape[-1])

    def draw(self, j: int) -> Tensor:
        """A draw of the j-th column of the row alone (batch,)."""
        schema = self.codec.schema
        n_numeric, n_plain = len(schema.numeric), len(schema.numeric) + len(schema.binary)
        if j < n_numeric:
            assert self.numeric is not None
            return self.with_atoms(self.numeric.sample(), [j])[..., j]
        return self._draw_binary(self.binary[..., j - n_numeric]) if j < n_plain else self._draw_level(j - n_plain)

    def draw_atom(self, j: int) -> Tensor:
        """Which atom of the j-th numeric column, counted from 1, or 0 for its density: a draw (batch,)."""
        block = len(self.codec.schema.categorical) + self.codec.schema.spiked.index(j)
        return self._pick(block, self.codec.schema.blocks[block])

    def masses(self) -> list[Tensor]:
        """Mass of each known level (..., n or 1, L) of every binary and categorical column."""
        keep = self.codec.smoothing(2)
        yes = (1 - keep) * torch.sigmoid(self.binary.double()) + keep / 2
        both = [torch.stack([1 - yes[..., j], yes[..., j]], -1) for j in range(yes.shape[-1])]
        sizes = self.codec.schema.blocks[: len(self.codec.schema.categorical)]
        return both + [self.levels.block(c, size - 1).exp() for c, size in enumerate(sizes)]

    def with_atoms(self, numeric: Tensor, columns: list[int] | None = None) -> Tensor:
        """Draws of the densities (..., Dn) with atoms in their place, as often as they have mass."""
        schema, out = self.codec.schema, numeric
        for b, j in enumerate(schema.spiked, start=len(schema.categorical)):
            if columns is None or j in columns:
                which = self._pick(b, schema.blocks[b]).long()
                place = self.codec.atom_places[j][(which - 1).clamp_min(0)]
                column = torch.where(which > 0, place, out[..., j])
                out = torch.cat([out[..., :j].expand(*column.shape, -1), column[..., None],
                                 out[..., j + 1 :].expand(*column.shape, -1)], -1)  # fmt: skip
        return out

    def _draw_binary(self, logits: Tensor) -> Tensor:
        keep = self.codec.smoothing(2)
        return torch.bernoulli((1 - keep) * torch.sigmoid(logits.double()) + keep / 2)

    def _draw_level(self, c: int) -> Tensor:
        """Index of a known level of the c-th categorical column."""
        return self._pick(c, self.codec.schema.blocks[c] - 1)

    def _pick(self, block: int, size: int) -> Tensor:
        """One of the first `size` of a block, by the largest of their masses under Gumbel noise."""
        log = self.levels.block(block, size).expand(*self.levels.shape, size)
        return (log - torch.empty_like(log).exponential_().log()).argmax(-1).double()

    def complete(self, value: Tensor, seen: Tensor) -> Tensor:
        """`value` with its cells not seen drawn given the seen ones: independent of them, given the parameters."""
        return torch.where(seen, value, self.sample())


def log_average(family: Family, codec: Codec, cells: Cells) -> Tensor:
    """Log of the average density over each numeric cell (..., n, Dn), in table units.

    The first and last cells of a rounded column reach to infinity, so that its masses sum to one between its ends; a
    cyclic column sums over its cycles.
    """
    x, lo, hi, unit = cells.x[..., : len(codec.loc)], cells.lo, cells.hi, cells.unit
    columns = codec.schema.numeric
    if not codec.schema.has_lattice:
        lo = hi = x
    if any(c.resolution is not None and c.ends != (None, None) and c.period is None for c in columns):
        first, last = x < codec.edges[0], x > codec.edges[1]
        width = hi - lo
        lo, hi = torch.where(first, -BEYOND, lo), torch.where(last, BEYOND, hi)
        unit = unit + torch.where(first | last, ((hi - lo) / torch.where(first | last, width, 1.0)).log(), 0.0)
    if all(c.period is None for c in columns):
        return family.log_average(x, lo, hi) + unit
    cycle = codec.period / codec.scale
    turns = [family.log_average(x + t * cycle, lo + t * cycle, hi + t * cycle) for t in range(-TURNS, TURNS + 1)]
    return torch.where(codec.period > 0, torch.stack(turns).logsumexp(0), turns[TURNS]) + unit


def as_cells(x: Tensor, n_numeric: int) -> Cells:
    """Rows (..., D) in codec units taken as fully seen, numeric columns as densities in codec units."""
    numeric = x[..., :n_numeric]
    zeros = torch.zeros_like(numeric)
    return Cells(x, torch.ones_like(x, dtype=torch.bool), numeric, numeric, zeros, zeros.long())
