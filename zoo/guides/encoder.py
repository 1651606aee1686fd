"""The amortised guide: a network that reads a row and proposes its latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo.bounds import Count
from zoo.errors import UserError
from zoo.flows.moved import Pushed
from zoo.networks.mlp import MLP
from zoo.rows.rows import Rows
from zoo.sites import Sites
from zoo.table.schema import Schema


class Encoder(nn.Module):
    """Mean-field Normal proposals for every continuous row latent, moved by a flow where there is one.

    q(z | x):  e ~ Normal(loc(x, given), scale(x, given))      # a missing cell enters as missing
               z = T(e; c(x, given))                           # context: how many numbers c tells the flow of the row

    values: of the global latents, where a guide of these goes before; not read here.
    """

    def __init__(
        self,
        schema: Schema,
        program: nn.Module,
        sites: Sites,
        network: Callable[[int, int], nn.Module] = MLP,
        flow: Callable[[int, int], nn.Module] | None = None,
        context: Count = 32,
    ):
        super().__init__()
        sites.need_real(sites.continuous, "encoder")
        if flow is not None and any(len(site.event_shape) != 1 for site in sites.continuous):
            raise UserError("a flow moves vectors, and a latent of this program is none", "take an encoder without one")
        self.events = {site.name: site.event_shape for site in sites.continuous}
        sizes = {name: event.numel() for name, event in self.events.items()}
        more = context if flow is not None else 0
        n_in = schema.n_features + schema.given
        self.networks = nn.ModuleDict({name: network(n_in, 2 * size + more) for name, size in sizes.items()})
        each = {name: flow(size, context) for name, size in sizes.items()} if flow is not None else {}
        self.flows = nn.ModuleDict(each)

    def forward(self, rows: Rows, **values: Tensor) -> None:
        features = torch.cat([rows.features(), rows.given], -1)
        with rows.plate():
            for name in self.events:
                pyro.sample(name, self.proposal(name, features))

    def proposal(self, name: str, features: Tensor) -> Any:
        """q of one latent given what is known of the rows (n, features)."""
        event = self.events[name]
        loc, scale, context = self._raw(name, features)
        if self.flows:
            return Pushed(self.flows[name](context), loc, scale)
        shape = (*loc.shape[:-1], *event)
        return dist.Normal(loc.reshape(shape), scale.reshape(shape)).to_event(len(event))

    def encode(self, features: Tensor) -> dict[str, Any]:
        """q of every latent given what is known of the rows."""
        return {name: self.proposal(name, features) for name in self.events}

    def _raw(self, name: str, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = self.events[name].numel()
        out = self.networks[name](features)
        loc, raw, context = out[..., :size], out[..., size : 2 * size], out[..., 2 * size :]
        return loc, softplus(raw.clamp(-15, 15)) + 1e-4, context


class Code(nn.Module):
    """One code for each row, without spread: z = code(x, given). An autoencoder's."""

    def __init__(
        self, schema: Schema, program: nn.Module, sites: Sites, network: Callable[[int, int], nn.Module] = MLP
    ):
        super().__init__()
        sites.need_real(sites.continuous, "code")
        n_in = schema.n_features + schema.given
        self.events = {site.name: site.event_shape for site in sites.continuous}
        self.networks = nn.ModuleDict({name: network(n_in, event.numel()) for name, event in self.events.items()})

    def forward(self, rows: Rows, **values: Tensor) -> None:
        features = torch.cat([rows.features(), rows.given], -1)
        with rows.plate():
            for name, event in self.events.items():
                code = self.networks[name](features).unflatten(-1, event)
                pyro.sample(name, dist.Delta(code, event_dim=len(event)))
