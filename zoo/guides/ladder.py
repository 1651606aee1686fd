"""The guide of layered latents: up through the row, and down again beside the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.bounds import Count
from zoo.errors import UserError
from zoo.networks.mlp import MLP
from zoo.networks.positive import positive
from zoo.rows.rows import Rows
from zoo.sites import Sites
from zoo.table.schema import Schema


class Bidirectional(nn.Module):
    """Each layer's posterior is its prior, moved by what the row says of it.

    u_L = up_L(x, given), ..., u_1 = up_1(u_2)              # the bottom layer reads the row, the top one what is left
    z_l ~ Normal(loc_l + scale_l d_l, scale_l s_l)          # loc_l, scale_l: the program's own at the state h_l-1
    d_l, s_l = head_l(u_l, h_l-1)

    For programs whose latents are layers (`ladder`), whose states it follows down. With residual = false d and s are
    the posterior's own location and scale. Sonderby et al. 2016; the residual form: Vahdat & Kautz 2020.
    """

    def __init__(
        self,
        schema: Schema,
        program: Any,
        sites: Sites,
        network: Callable[[int, int], nn.Module] = MLP,
        width: Count = 64,
        residual: bool = True,
    ):
        super().__init__()
        if not hasattr(program, "level"):
            raise UserError("guide ladder goes down the layers of a program, and this one has none", "take encoder")
        self.residual = residual
        n_in = schema.n_features + schema.given
        layers = len(program.dims)
        self.ups = nn.ModuleList(network(n_in if i == layers - 1 else width, width) for i in range(layers))
        self.heads = nn.ModuleList(nn.Linear(width + program.width, 2 * dim) for dim in program.dims)
        self._program = [program]  # not a submodule: its parameters are the program's

    def forward(self, rows: Rows, **values: Tensor) -> None:
        program = self._program[0]
        seen = self._up(torch.cat([rows.features(), rows.given], -1))
        h = program.start(rows)
        with rows.plate():
            for number, name in enumerate(program.names):
                q = self._posterior(number, program.level(number, h), torch.cat([seen[number], h], -1))
                h = program.step(number, h, pyro.sample(name, q.to_event(1)), rows.given)

    def _up(self, u: Tensor) -> list[Tensor]:
        """What each layer is told of the row, the top one first."""
        out = []
        for up in reversed(self.ups):
            u = up(u)
            out.append(u)
        return out[::-1]

    def _posterior(self, number: int, prior: tuple[Tensor, Tensor], known: Tensor) -> dist.Normal:
        move, raw = self.heads[number](known).chunk(2, -1)
        factor = positive(raw, 1e-4)
        if not self.residual:
            return dist.Normal(move, factor)
        loc, scale = prior
        return dist.Normal(loc + scale * move, scale * factor)
