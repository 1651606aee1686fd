"""The autoregressive density over any columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.bounds import Count, Share, Widths
from zoo.em import fit as em
from zoo.networks.zuko_parts import masked_mlp
from zoo.programs.factors import Kernels, Splines
from zoo.rows.floor import Floored
from zoo.rows.heads import ColumnDensity
from zoo.rows.rows import Rows
from zoo.table.schema import Schema


class Chain(nn.Module):
    """Each column given the ones before it.

    x_j ~ p_j(. | x_<j, given)      # numeric: a mixture of Normals or a spline; levels: a softmax

    One masked network gives the parameters of all factors. Columns with levels come first. While it is fitted, some
    cells are hidden from the later factors at random (`hide`: the share of rows in which that happens), so that
    missing cells cost little. Every numeric factor keeps a share of a thousandth in a heavy tail.
    Germain et al. 2015 (MADE).

    unused: settings of the entry that say nothing where this program stands in for another
    """

    unused: tuple[str, ...] = ()

    def __init__(
        self,
        schema: Schema,
        hidden: Widths = (128, 128),
        family: Literal["mixture", "spline"] = "mixture",
        kernels: Count = 8,
        bins: Count = 8,
        hide: Share = 0.3,
    ):
        super().__init__()
        n = len(schema.numeric)
        factors = Kernels(n, kernels) if family == "mixture" else Splines(n, bins, lattice=schema.has_lattice)
        self.conditionals = Conditionals(schema, hidden, factors, hide)

    def forward(self, rows: Rows) -> Tensor:
        with rows.plate():
            return rows.observe(self.conditionals)

    def initialise(self, rows: Rows) -> bool:
        levels = em.fit(rows, components=1, covariance="diagonal").rest[0]
        self.conditionals.start_at(self.conditionals.factors.start(rows), levels)
        return False


class Conditionals(nn.Module):
    """The function of the row so far: rows -> the likelihood of every column."""

    def __init__(self, schema: Schema, hidden: Sequence[int], factors: Kernels | Splines, hide: float):
        super().__init__()
        n, total = len(schema.numeric), len(schema.modelled)
        self.order = [*range(n, total), *range(n)]
        self.schema, self.factors, self.hide = schema, factors, hide
        rank = torch.empty(total, dtype=torch.long)
        rank[self.order] = torch.arange(total)
        spiked = list(schema.spiked)
        widths = torch.tensor([1] * len(schema.binary) + list(schema.blocks), dtype=torch.long)
        logits = torch.cat([rank[n:], rank[spiked]]).repeat_interleave(widths)
        inputs = torch.cat([rank[:n], logits, rank, torch.full((schema.given,), -1)])
        outputs = torch.cat([rank[:n].repeat_interleave(factors.n_params), logits])
        self.network = masked_mlp(outputs[:, None] > inputs[None], hidden)
        self.bias = nn.Parameter(torch.zeros(len(outputs)))

    def start_at(self, numeric: Tensor, levels: Tensor) -> None:
        """Begin at the columns' own distributions: outputs of the numeric factors (Dn, n_params), and logits."""
        self.bias.copy_(torch.cat([numeric.flatten(), levels]))

    def forward(self, rows: Rows) -> ColumnDensity:
        visible = rows.shown(self.hide) if self.training and self.hide else None
        features = torch.cat([rows.features(visible), rows.given], -1)
        raw = (self.network(features) + self.bias).double()
        n, n_params = len(self.schema.numeric), self.factors.n_params
        family = self.factors(raw[..., : n * n_params].unflatten(-1, (n, n_params)), rows.codec.min_scale)
        return rows.heads.density(Floored(family), raw[..., n * n_params :], rows.cells)
