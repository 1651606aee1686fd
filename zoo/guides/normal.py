"""Mean-field Normal over the latents that belong to no row: parameters with a prior."""

from __future__ import annotations

import contextlib

import pyro
import pyro.distributions as dist
import torch
from torch import nn
from torch.distributions import biject_to
from torch.nn.functional import softplus

from zoo.errors import UserError
from zoo.guides.encoder import Encoder
from zoo.rows.rows import Rows
from zoo.sites import Sites
from zoo.table.schema import Schema


class MeanField(nn.Module):
    """theta = T(u), u ~ Normal(loc, scale), T the map from the reals to the support of theta.

    Latents in a plate of their own (groups) have a loc and scale for each member. Continuous row latents, where there
    are any, go to an encoder beside it.
    """

    def __init__(self, schema: Schema, program: nn.Module, sites: Sites, scale: float = 0.1):
        super().__init__()
        if any(site.discrete for site in sites.globals):
            names = [site.name for site in sites.globals if site.discrete]
            raise UserError(
                f"guide normal cannot infer the discrete global latents {names}", "sum them out or relax them"
            )
        self.sites = {site.name: site for site in sites.globals}
        self.loc = nn.ParameterDict()
        self.raw = nn.ParameterDict()
        for name, site in self.sites.items():
            start = biject_to(site.support).inv(site.value)
            self.loc[name] = nn.Parameter(start.detach().clone().double())
            self.raw[name] = nn.Parameter(torch.full_like(self.loc[name], scale).expm1().log())
        self.rows = Encoder(schema, program, sites) if sites.continuous else None

    def forward(self, rows: Rows) -> None:
        for name, site in self.sites.items():
            base = dist.Normal(self.loc[name], softplus(self.raw[name]) + 1e-6)
            q = dist.TransformedDistribution(base, [biject_to(site.support)])
            with contextlib.ExitStack() as plates:
                for plate in site.plates:
                    plates.enter_context(pyro.plate(plate.name, plate.size, dim=plate.dim))
                pyro.sample(name, q.to_event(_free(q.batch_shape, site.event_shape)))
        if self.rows is not None:
            self.rows(rows)


def _free(shape: torch.Size, event: torch.Size) -> int:
    return min(len(event), len(shape))
