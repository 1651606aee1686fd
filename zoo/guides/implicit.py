"""A guide that can be drawn from and has no density."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.bounds import Natural
from zoo.networks.mlp import MLP
from zoo.rows.rows import Rows
from zoo.sites import Sites
from zoo.table.schema import Schema


class Implicit(nn.Module):
    """z = f(x, given, e),  e ~ Normal(0, I): whatever a network can bend noise into. Mescheder et al. 2017.

    noise: coordinates of e
    """

    draws = 16
    """That make an embedding: the mean of z is that of draws."""

    def __init__(
        self,
        schema: Schema,
        program: nn.Module,
        sites: Sites,
        network: Callable[[int, int], nn.Module] = MLP,
        noise: Natural = 8,
    ):
        super().__init__()
        sites.need_real(sites.continuous, "implicit")
        self.noise = noise
        self.events = {site.name: site.event_shape for site in sites.continuous}
        n_in = schema.n_features + schema.given + noise
        self.networks = nn.ModuleDict({name: network(n_in, event.numel()) for name, event in self.events.items()})

    def forward(self, rows: Rows, **values: Tensor) -> None:
        features = torch.cat([rows.features(), rows.given], -1)
        with rows.plate():
            for name, event in self.events.items():
                e = torch.randn(rows.n, self.noise, device=features.device)
                z = self.networks[name](torch.cat([features, e], 1)).unflatten(-1, event)
                pyro.sample(name, dist.Delta(z, event_dim=len(event)))
