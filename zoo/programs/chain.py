"""The autoregressive density over any columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo.em import fit as em
from zoo.networks.zuko_parts import masked_mlp
from zoo.rows.cells import Family, NormalMixture
from zoo.rows.heads import ColumnDensity
from zoo.rows.rows import Rows
from zoo.rows.spline import Floored, Spline
from zoo.table.schema import Schema


class Chain(nn.Module):
    """Each column given the ones before it.

    x_j ~ p_j(. | x_<j, given)      # numeric: a mixture of Normals or a spline; levels: a softmax

    One masked network gives the parameters of all factors. Columns with levels come first. While it is fitted, some
    cells are hidden from the later factors at random (`hide`: the share of rows in which that happens), so that
    missing cells cost little. Every numeric factor keeps a share of a thousandth in a heavy tail.
    Germain et al. 2015 (MADE).
    """

    def __init__(
        self,
        schema: Schema,
        hidden: Sequence[int] = (128, 128),
        family: Literal["mixture", "spline"] = "mixture",
        kernels: int = 8,
        bins: int = 8,
        hide: float = 0.3,
    ):
        super().__init__()
        self.conditionals = Conditionals(schema, hidden, family, kernels if family == "mixture" else bins, hide)

    def forward(self, rows: Rows) -> Tensor:
        with rows.plate():
            return rows.observe(self.conditionals)

    def initialise(self, rows: Rows) -> bool:
        self.conditionals.start_at(em.fit(rows, components=1, covariance="diagonal").rest[0])
        if self.conditionals.family == "mixture":
            kernels = em.fit_columns(rows, self.conditionals.size)
            self.conditionals.start_kernels_at(kernels, rows.codec.min_scale)
        return False


class Conditionals(nn.Module):
    """The function of the row so far: rows -> the likelihood of every column."""

    def __init__(self, schema: Schema, hidden: Sequence[int], family: str, size: int, hide: float):
        super().__init__()
        n, total = len(schema.numeric), len(schema.modelled)
        self.order = [*range(n, total), *range(n)]
        self.schema, self.family, self.size, self.hide = schema, family, size, hide
        # parameters of a numeric factor: (logit, loc, scale) of each kernel; or a spline's, with loc and scale
        self.n_params = 3 * size if family == "mixture" else 3 * size + 1
        rank = torch.empty(total, dtype=torch.long)
        rank[self.order] = torch.arange(total)
        widths = torch.tensor([c.n_logits for c in schema.modelled])
        inputs = torch.cat([rank.repeat_interleave(widths), rank, torch.full((schema.given,), -1)])
        outputs = torch.cat([rank[:n].repeat_interleave(self.n_params), rank[n:].repeat_interleave(widths[n:])])
        self.network = masked_mlp(outputs[:, None] > inputs[None], hidden)
        self.bias = nn.Parameter(torch.zeros(len(outputs)))
        # kernels move in units of the scale they began with, so that a step suits a narrow one as it does a wide one
        self.centre: Tensor
        self.spread: Tensor
        self.register_buffer("centre", torch.linspace(-1.5, 1.5, size, dtype=torch.float64).repeat(n, 1))
        self.register_buffer("spread", torch.ones(n, size, dtype=torch.float64))

    def start_at(self, rest: Tensor) -> None:
        """Let the levels begin at their frequencies (logits, length schema.rest)."""
        self.bias[len(self.bias) - len(rest) :] = rest.to(self.bias)

    def start_kernels_at(self, columns: list[em.Start], floor: Tensor) -> None:
        """Let each numeric factor begin at its column's own mixture: spikes are found by EM, not by gradients."""
        for j, column in enumerate(columns):
            self.centre[j] = column.loc[:, 0]
            self.spread[j] = torch.maximum(column.spread[:, 0].exp(), floor[j])
            logits = self.bias[j * self.n_params : (j + 1) * self.n_params : 3]
            logits.copy_(column.log_weights)

    def forward(self, rows: Rows) -> ColumnDensity:
        features = torch.cat([rows.features(self._visible(rows)), rows.given], -1)
        raw = (self.network(features) + self.bias).double()
        n = len(self.schema.numeric)
        numeric = raw[..., : n * self.n_params].unflatten(-1, (n, self.n_params))
        family = self._mixture(numeric, rows) if self.family == "mixture" else self._spline(numeric, rows)
        return rows.heads.density(Floored(family), raw[..., n * self.n_params :], rows.cells)

    def _visible(self, rows: Rows) -> Tensor | None:
        if not self.training or not self.hide:
            return None
        shape, device = (rows.n, len(self.order)), rows.given.device
        share = torch.rand(rows.n, 1, device=device) * (torch.rand(rows.n, 1, device=device) < self.hide)
        return torch.rand(shape, device=device) >= share

    def _mixture(self, raw: Tensor, rows: Rows) -> Family:
        logits, loc, scale = raw.unflatten(-1, (self.size, 3)).unbind(-1)
        floor = rows.codec.min_scale[:, None]
        width = ((self.spread * scale.clamp(-10, 5).exp()).square() + floor.square()).sqrt()
        return NormalMixture(logits, self.centre + self.spread * loc, width)

    def _spline(self, raw: Tensor, rows: Rows) -> Family:
        k = self.size
        loc, scale = raw[..., -2], (softplus(raw[..., -1] + 0.5).square() + rows.codec.min_scale.square()).sqrt()
        shape = (raw[..., :k], raw[..., k : 2 * k], raw[..., 2 * k : 3 * k - 1])
        return Spline(loc, scale, *shape, lattice=self.schema.has_lattice)
