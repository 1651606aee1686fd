"""Circuits: a mixture of trees of discrete states, one for every column."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.bounds import Count
from zoo.em import trees as em
from zoo.rows.rows import Rows
from zoo.rows.tree import Tree
from zoo.table.schema import Schema


class Circuit(nn.Module):
    """A deep mixture: columns depend on each other along a tree of hidden states.

    cluster ~ Categorical(weights(given))
    z_root  ~ Categorical(root[cluster])
    z_j     ~ Categorical(edges[cluster, j, z_parent(j)])     # the Chow-Liu tree of the columns
    x_j     ~ p_j(. | leaves[z_j])                            # the column's own likelihood

    A smooth and decomposable probabilistic circuit: every marginal and every conditional is exact. `components`:
    clusters, each with a tree of its own steps; `states`: values of each z. Liu & Van den Broeck 2021.
    """

    order: Tensor
    parent: Tensor

    def __init__(self, schema: Schema, components: Count = 8, states: Count = 16):
        super().__init__()
        d = len(schema.modelled)
        self.components, self.states = components, states
        self.weights = nn.Linear(schema.given, components)
        self.root = nn.Parameter(torch.randn(components, states, dtype=torch.float64))
        self.edges = nn.Parameter(torch.randn(components, d - 1, states, states, dtype=torch.float64))
        self.leaves = nn.Parameter(0.1 * torch.randn(states, schema.full, dtype=torch.float64))
        self.register_buffer("order", torch.arange(d))
        self.register_buffer("parent", torch.zeros(d, dtype=torch.long))
        nn.init.zeros_(self.weights.bias)

    def forward(self, rows: Rows) -> Tensor:
        with rows.plate():
            cluster = pyro.sample("cluster", dist.Categorical(logits=self.weights(rows.given)))
            root, edges = self.root.log_softmax(-1), self.edges.log_softmax(-1)
            return rows.observe(Tree(rows, self.leaves, root, edges, self.order, self.parent, cluster))

    def initialise(self, rows: Rows) -> bool:
        start = em.fit(rows, self.components, self.states)
        for name in ("order", "parent", "root", "edges", "leaves"):
            getattr(self, name).copy_(getattr(start, name))
        self.weights.bias.copy_(start.log_weights)
        nn.init.zeros_(self.weights.weight)
        return False
