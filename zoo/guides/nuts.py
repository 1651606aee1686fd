"""The reference posterior of global latents: draws by the No-U-Turn sampler."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.bounds import Count, Natural
from zoo.errors import UserError
from zoo.guides.exact import exact
from zoo.guides.globals import VIEWS, Globals, RowGuide
from zoo.rows.rows import Rows
from zoo.sites import Sites
from zoo.table.schema import Schema

JITTER = 0.1


class Nuts(Globals):
    """u is one of `draws` draws of p(u | rows), by Pyro's NUTS on all rows at once: for small tables, to judge SVI by.

    draws   of all chains together, after `warmup` of each chain
    depth   of the longest trajectory, 2^depth steps

    Nothing of the program is fitted but its global latents, and latents of rows must be summed out or have an exact
    posterior. Where the time budget ends the draws, those there are come again. Hoffman & Gelman 2014.
    """

    sampled: Tensor

    def __init__(
        self,
        schema: Schema,
        program: nn.Module,
        sites: Sites,
        draws: Count = 500,
        warmup: Natural = 300,
        chains: Count = 2,
        depth: Count = 8,
        guide: RowGuide = exact,
        views: Count = VIEWS,
    ):
        super().__init__(schema, program, sites, guide, views)
        if not self.size:
            raise UserError("guide nuts draws global latents, and this program has none", "use another guide")
        if not self.integrates:
            names = [site.name for site in sites.continuous]
            what = f"guide nuts cannot integrate the row latents {names} on this table"
            raise UserError(what, "it takes a program whose row latents are summed out or have an exact posterior")
        self.warmup, self.chains, self.depth = warmup, chains, depth
        self.register_buffer("sampled", self.start.repeat(draws, 1))

    def posterior(self) -> Any:
        u = self.sampled[torch.randint(len(self.sampled), (), device=self.sampled.device)]
        return dist.Delta(u, event_dim=1)

    def draw_posterior(self, program: nn.Module, rows: Rows) -> tuple[str, str]:
        """Draw from p(u | rows); returns (the method, how it went)."""

        def potential(z: dict[str, Tensor]) -> Tensor:
            return -self.log_joint(program, rows, z["u"])

        each = -(-len(self.sampled) // self.chains)
        with torch.enable_grad():
            chains = [self._chain(potential, each, rows.until) for _ in range(self.chains)]
        shortest = min(map(len, chains))
        if not shortest:
            raise UserError("the time budget ended before the sampler had a draw", "give it more, or fewer rows")
        kept = torch.stack([chain[:shortest] for chain in chains])
        flat = kept.flatten(0, 1)
        self.sampled.copy_(flat[torch.arange(len(self.sampled)) % len(flat)])
        return "NUTS", f"{len(flat)} posterior draws in {self.chains} chains, split r-hat {_worst_r_hat(kept):.2f}"

    def _chain(self, potential: Any, draws: int, until: float | None) -> Tensor:
        """(draws, size) of one chain that begins beside the start; fewer where the time ended."""
        from pyro.infer.mcmc import NUTS

        kernel = NUTS(potential_fn=potential, max_tree_depth=self.depth)
        params = {"u": self.start.to(self.sampled) + JITTER * torch.randn_like(self.sampled[0])}
        kernel.initial_params = params
        kernel.setup(self.warmup)
        kept = []
        for i in range(self.warmup + draws):
            params = kernel.sample(params)
            if i >= self.warmup:
                kept.append(params["u"].detach())
            if until is not None and time.perf_counter() > until:
                break
        kernel.cleanup()
        return torch.stack(kept) if kept else torch.zeros(0, self.size, dtype=torch.float64)


def _worst_r_hat(chains: Tensor) -> float:
    """The largest split r-hat of chains (c, n, size), by rank. Vehtari et al. 2021."""
    from arviz_stats.base import array_stats

    values = array_stats.rhat(chains.cpu().numpy(), chain_axis=0, draw_axis=1, method="rank")
    return float(np.nanmax(values))
