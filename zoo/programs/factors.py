"""The numeric factors of a chain: from a network's outputs to a one-dimensional density for each column.

A kind of factor is a module made as `Factors(n_columns, size)` with

    n_params                outputs of the network for each column
    start(rows) -> Tensor   begin at the columns' own distributions; returns the outputs' start (n_columns, n_params)
    forward(raw, floor)     the family, given outputs (..., n_columns, n_params) and the least scales (n_columns,)

Values that very many rows share (zeros, caps) are components of their own from the start, as narrow as they may be:
neither EM nor gradients part a spike from its neighbours in reasonable time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo.em import fit as em
from zoo.rows.cells import Family, Normal, NormalMixture
from zoo.rows.rows import Rows
from zoo.rows.spline import Spiked, Spline

ABSENT = -30.0


class Kernels(nn.Module):
    """Mixtures of `size` Normals; a kernel moves in units of the scale it began with, so that one learning rate suits
    a narrow kernel as it does a wide one."""

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
            self.centre[j] = column.loc[:, 0]
            self.spread[j] = column.spread[:, 0].exp()
            out[j, :, 0] = column.log_weights
        self.spread.clamp_(min=rows.codec.min_scale[:, None])
        return out.flatten(1)

    def forward(self, raw: Tensor, floor: Tensor) -> Family:
        logits, loc, scale = raw.unflatten(-1, (self.size, 3)).unbind(-1)
        width = ((self.spread * scale.clamp(-10, 5).exp()).square() + floor[:, None].square()).sqrt()
        return NormalMixture(logits, self.centre + self.spread * loc, width)


class Splines(nn.Module):
    """Rational-quadratic splines of `size` bins with a location and scale, beside spikes at the commonest values."""

    spikes: Tensor

    def __init__(self, n_columns: int, size: int, spikes: int = 4, lattice: bool = True):
        super().__init__()
        self.size, self.n_spikes, self.lattice = size, spikes, lattice
        self.n_params = 3 * size + 1 + spikes + 1
        self.register_buffer("spikes", torch.zeros(n_columns, spikes, dtype=torch.float64))

    def start(self, rows: Rows) -> Tensor:
        out = torch.zeros(len(self.spikes), self.n_params)
        for j, (values, share) in enumerate(em.spikes(rows, self.n_spikes)):
            self.spikes[j, : len(values)] = values
            logits = out[j, -self.n_spikes - 1 :]
            logits[0] = torch.log1p(-share.sum().clamp(max=1 - 1e-6))
            logits[1:] = ABSENT
            logits[1 : len(values) + 1] = share.log()
        return out

    def forward(self, raw: Tensor, floor: Tensor) -> Family:
        k, rest = self.size, raw[..., 3 * self.size - 1 :]
        scale = (softplus(rest[..., 1] + 0.5).square() + floor.square()).sqrt()
        parts = (raw[..., :k], raw[..., k : 2 * k], raw[..., 2 * k : 3 * k - 1])
        spline = Spline(rest[..., 0], scale, *parts, lattice=self.lattice)
        spikes = Normal(self.spikes.expand(*raw.shape[:-1], -1), floor[:, None])
        return Spiked(spline, spikes, rest[..., 2:])
