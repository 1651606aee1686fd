"""The guide of codes: what level and numbers a row was made with, as far as it tells."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo.errors import UserError
from zoo.networks.mlp import MLP
from zoo.rows.rows import Rows
from zoo.sites import Sites
from zoo.table.schema import Schema


class Recogniser(nn.Module):
    """cluster ~ Categorical(. | x, given),  z ~ Normal(. | x, given): of the prior `codes`. Chen et al. 2016."""

    def __init__(
        self, schema: Schema, program: nn.Module, sites: Sites, network: Callable[[int, int], nn.Module] = MLP
    ):
        super().__init__()
        known = {site.name: site for site in sites.latents if site.row}
        if "cluster" not in known or "z" not in known:
            raise UserError("guide 'codes' infers the latents cluster and z", "take program.prior = 'codes'")
        self.levels = int(known["cluster"].support.upper_bound) + 1
        self.dim = known["z"].event_shape.numel()
        self.network = network(schema.n_features + schema.given, self.levels + 2 * self.dim)

    def forward(self, rows: Rows) -> None:
        logits, loc, scale = self.read(torch.cat([rows.features(), rows.given], 1))
        with rows.plate():
            pyro.sample("cluster", dist.Categorical(logits=logits))
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    def read(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of levels (n, K), location and scale of z (n, dim), of features with what is given."""
        out = self.network(features)
        logits, loc, raw = out.split([self.levels, self.dim, self.dim], 1)
        return logits, loc, softplus(raw.clamp(-15, 15)) + 1e-2

    def log_codes(self, features: Tensor, latents: dict[str, Tensor]) -> Tensor:
        """Log-density (n,) of these codes."""
        logits, loc, scale = self.read(features)
        cluster = dist.Categorical(logits=logits).log_prob(latents["cluster"])
        z: Tensor = dist.Normal(loc, scale).to_event(1).log_prob(latents["z"])
        return cluster + z

    def clusters(self, rows: Rows) -> Tensor:
        """Probability of each level (n, K)."""
        return self.read(torch.cat([rows.features(), rows.given], 1))[0].double().softmax(1)
