"""The amortised guide: a network that reads a row and proposes its latents."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo.networks.mlp import MLP
from zoo.rows.rows import Rows
from zoo.sites import Sites
from zoo.table.schema import Schema


class Encoder(nn.Module):
    """Mean-field Normal proposals for every continuous row latent.

    q(z | x) = Normal(loc(x, given), scale(x, given))      # a missing cell enters as missing

    values: of the global latents, where a guide of these goes before; not read here.
    """

    def __init__(
        self, schema: Schema, program: nn.Module, sites: Sites, network: Callable[[int, int], nn.Module] = MLP
    ):
        super().__init__()
        sites.need_real(sites.continuous, "encoder")
        n_in = schema.n_features + schema.given
        self.events = {site.name: site.event_shape for site in sites.continuous}
        self.networks = nn.ModuleDict({name: network(n_in, 2 * e.numel()) for name, e in self.events.items()})

    def forward(self, rows: Rows, **values: Tensor) -> None:
        features = torch.cat([rows.features(), rows.given], -1)
        with rows.plate():
            for name, event in self.events.items():
                loc, raw = self.networks[name](features).chunk(2, -1)
                scale = softplus(raw.clamp(-15, 15)) + 1e-4
                shape = (*loc.shape[:-1], *event)
                pyro.sample(name, dist.Normal(loc.reshape(shape), scale.reshape(shape)).to_event(len(event)))
