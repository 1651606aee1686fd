"""Layers of latents, each told by the ones above it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.bounds import Count, Share, Widths
from zoo.em import fit as em
from zoo.errors import UserError
from zoo.networks.mlp import MLP
from zoo.networks.positive import positive
from zoo.rows.rows import Rows
from zoo.table.schema import Schema


class Ladder(nn.Module):
    """Latent layers from the top down, and every column given what they leave.

    h_0 = learned
    z_l ~ Normal(loc_l(h_l-1), scale_l(h_l-1))              # the top one: Normal(0, I)
    h_l = h_l-1 + cell_l(h_l-1, z_l, given)
    x ~ p(. | decode(h_L, given))

    dims     latents of each layer, the top one first
    width    of the state h that is handed down
    network  of every cell; `noise` and `floor` as in `latent`. Sonderby et al. 2016; Vahdat & Kautz 2020
    """

    def __init__(
        self,
        schema: Schema,
        dims: Widths = (4, 8),
        width: Count = 64,
        network: Callable[[int, int], nn.Module] = MLP,
        noise: Literal["column", "row"] = "row",
        floor: Share = 0.0,
    ):
        super().__init__()
        if not dims:
            raise UserError("program.dims = [] are no layers", "name the latents of each, the top one first: [4, 8]")
        self.schema, self.dims, self.width = schema, list(dims), width
        self.names = [f"z{level}" for level in range(1, len(self.dims) + 1)]
        self.top = nn.Parameter(torch.zeros(width))
        self.priors = nn.ModuleList(nn.Linear(width, 2 * dim) for dim in self.dims[1:])
        self.cells = nn.ModuleList(network(width + dim + schema.given, width) for dim in self.dims)
        self.decode = nn.Linear(width + schema.given, schema.full if noise == "row" else schema.width)
        self.noise, self.floor = noise, floor

    def start(self, rows: Rows) -> Tensor:
        """h_0 (n, width)."""
        return self.top.expand(rows.n, self.width)

    def level(self, number: int, h: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale (n, dim) of a layer's latents before the row is seen."""
        if number == 0:
            zero = h.new_zeros(len(h), self.dims[0])
            return zero, zero + 1
        loc, raw = self.priors[number - 1](h).chunk(2, -1)
        return loc, positive(raw, 1e-3)

    def step(self, number: int, h: Tensor, z: Tensor, given: Tensor) -> Tensor:
        """What is handed down from a layer."""
        out: Tensor = h + self.cells[number](torch.cat([h, z.to(h), given], -1))
        return out

    def forward(self, rows: Rows) -> Tensor:
        h = self.start(rows)
        with rows.plate():
            for number, name in enumerate(self.names):
                z = pyro.sample(name, dist.Normal(*self.level(number, h)).to_event(1))
                h = self.step(number, h, z, rows.given)
            floor = 0.0 if self.training else self.floor
            return rows.observe(self.decode(torch.cat([h, rows.given], -1)), floor=floor)

    def initialise(self, rows: Rows) -> bool:
        """Begin at the independent model: the decoder's bias is what each column is on average."""
        marginal = em.fit(rows, components=1, covariance="diagonal")
        at = [marginal.loc[0], marginal.rest[0], *([marginal.spread[0]] if self.noise == "row" else [])]
        self.decode.bias.copy_(torch.cat(at))
        return False
