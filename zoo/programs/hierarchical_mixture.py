"""Mixtures of mixtures: clusters of any shape, each with a few components of its own."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.bounds import Count
from zoo.em import fit as em
from zoo.em.faults import told
from zoo.rows.rows import Rows
from zoo.table.schema import Schema


class HierarchicalMixture(nn.Module):
    """A mixture whose clusters are mixtures.

    cluster    ~ Categorical(weights(given))
    component  ~ Categorical(shares[cluster])
    x          ~ p(. | theta[cluster, component])       # one likelihood for each column
    """

    def __init__(self, schema: Schema, clusters: Count = 5, components: Count = 3, restarts: Count = 10):
        super().__init__()
        self.notes: list[str] = []
        self.clusters, self.components, self.restarts = clusters, components, restarts
        self.weights = nn.Linear(schema.given, clusters)
        self.shares = nn.Parameter(torch.zeros(clusters, components, dtype=torch.float64))
        self.theta = nn.Parameter(0.5 * torch.randn(clusters, components, schema.full, dtype=torch.float64))
        nn.init.zeros_(self.weights.bias)

    def forward(self, rows: Rows) -> Tensor:
        with rows.plate():
            cluster = pyro.sample("cluster", dist.Categorical(logits=self.weights(rows.given)))
            component = pyro.sample("component", dist.Categorical(logits=self.shares[cluster]))
            return rows.observe(self.theta[cluster, component])

    def initialise(self, rows: Rows) -> bool:
        """Clusters with full covariances first, then a mixture inside each."""
        covariance = "full" if len(rows.schema.numeric) > 1 else "diagonal"
        outer = em.fit(rows, self.clusters, covariance, self.restarts)
        owner = em.responsible(rows, outer, covariance).argmax(-1)
        self.weights.bias.copy_(outer.log_weights)
        nn.init.zeros_(self.weights.weight)
        inside: list[tuple[str, list[str]]] = []
        for k in range(self.clusters):
            mine = (owner == k).nonzero()[:, 0]
            part = rows.take(mine.to(rows.given.device)) if len(mine) > 2 * self.components else rows
            inner = em.fit(part, self.components, "diagonal", self.restarts)
            inside.append((f"cluster {k}", inner.notes))
            self.shares[k].copy_(inner.log_weights)
            self.theta[k].copy_(torch.cat([inner.loc, inner.rest, inner.spread], -1))
        self.notes = [*outer.notes, *told(inside)]
        return False
