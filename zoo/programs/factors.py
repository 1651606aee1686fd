"""The numeric factors of a chain: from a network's outputs to a one-dimensional density for each column.

A kind of factor is a module made as `Factors(n_columns, size)` with

    n_params                outputs of the network for each column
    start(rows) -> Tensor   begin at the columns' own distributions; returns the outputs' start (n_columns, n_params)
    forward(raw, floor)     the family, given outputs (..., n_columns, n_params) and the least scales (n_columns,)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo.em import fit as em
from zoo.rows.cells import Family, NormalMixture
from zoo.rows.rows import Rows
from zoo.rows.spline import Spline


class Kernels(nn.Module):
    """Mixtures of `size` Normals; a kernel moves in units of the scale it began with, so that one learning rate suits
    a narrow kernel as it does a wide one. Several begin at the same place where a column is told by fewer."""

    centre: Tensor
    spread: Tensor

    def __init__(self, n_columns: int, size: int):
        super().__init__()
        self.size, self.n_params = size, 3 * size
        self.register_buffer("centre", torch.linspace(-1.5, 1.5, size, dtype=torch.float64).repeat(n_columns, 1))
        self.register_buffer("spread", torch.ones(n_columns, size, dtype=torch.float64))

    def start(self, rows: Rows) -> Tensor:
        out = torch.zeros(len(self.centre), self.size, 3)
        for j, column in enumerate(em.fit_columns(rows, self.size)):
            at = torch.arange(self.size) % len(column.loc)
            self.centre[j] = column.loc[at, 0]
            self.spread[j] = column.spread[at, 0].exp()
            out[j, :, 0] = column.log_weights[at] - torch.bincount(at).log()[at]
        self.spread.clamp_(min=rows.codec.min_scale[:, None])
        return out.flatten(1)

    def forward(self, raw: Tensor, floor: Tensor) -> Family:
        logits, loc, scale = raw.unflatten(-1, (self.size, 3)).unbind(-1)
        width = ((self.spread * scale.clamp(-10, 5).exp()).square() + floor[:, None].square()).sqrt()
        return NormalMixture(logits, self.centre + self.spread * loc, width)


class Splines(nn.Module):
    """Rational-quadratic splines of `size` bins with a location and scale."""

    def __init__(self, n_columns: int, size: int, lattice: bool = True):
        super().__init__()
        self.n_columns, self.size, self.lattice = n_columns, size, lattice
        self.n_params = 3 * size + 1

    def start(self, rows: Rows) -> Tensor:
        return torch.zeros(self.n_columns, self.n_params)

    def forward(self, raw: Tensor, floor: Tensor) -> Family:
        k = self.size
        scale = (softplus(raw[..., 3 * k] + 0.5).square() + floor.square()).sqrt()
        parts = (raw[..., :k], raw[..., k : 2 * k], raw[..., 2 * k : 3 * k - 1])
        return Spline(raw[..., 3 * k - 1], scale, *parts, lattice=self.lattice)
