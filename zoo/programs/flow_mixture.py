"""Mixtures of flows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from zoo.bounds import Count
from zoo.em import fit as em
from zoo.flows.autoregressive import Spline
from zoo.programs.flow import FlowDensity, Numbers
from zoo.rows.rows import Rows
from zoo.table.schema import Schema


class FlowMixture(nn.Module):
    """Clusters of any shape: a flow of its own for each, about a component of a Gaussian mixture.

    cluster    ~ Categorical(weights(given))
    x_numeric  = loc[cluster] + tril[cluster] T_cluster(u; given),  u ~ Normal(0, I)
    x_discrete ~ p(. | levels[cluster])

    It begins as the Gaussian mixture of the training rows.
    """

    def __init__(
        self,
        schema: Schema,
        components: Count = 5,
        flow: Callable[[int, int], nn.Module] = Spline,
        tails: Literal["normal", "student-t"] = "normal",
        restarts: Count = 10,
    ):
        super().__init__()
        n = len(schema.numeric)
        self.restarts = restarts
        self.weights = nn.Linear(schema.given, components)
        self.levels = nn.Parameter(0.1 * torch.randn(components, schema.rest, dtype=torch.float64))
        self.numbers = nn.ModuleList(Numbers(n, schema.given, flow, tails) for _ in range(components if n else 0))

    def forward(self, rows: Rows) -> Tensor:
        with rows.plate():
            cluster = pyro.sample("cluster", dist.Categorical(logits=self.weights(rows.given)))
            levels: Tensor = rows.observe(self.levels[cluster], columns="discrete")
            if not len(self.numbers):
                return levels
            loc, tril = (torch.stack([getattr(part, key) for part in self.numbers]) for key in ("loc", "tril"))
            proposal = dist.MultivariateNormal(loc[cluster], scale_tril=tril[cluster])
            each = OneOfFlows([numbers(rows.given) for numbers in self.numbers], cluster)
            return rows.observe(each, columns="numeric", proposal=proposal)

    def initialise(self, rows: Rows) -> bool:
        start = em.fit(rows, len(self.levels), "full", self.restarts)
        self.levels.copy_(start.rest)
        self.weights.bias.copy_(start.log_weights)
        nn.init.zeros_(self.weights.weight)
        for k, numbers in enumerate(self.numbers):
            numbers.start_at(start, k)  # type: ignore[operator]
        return False


class OneOfFlows(TorchDistribution):
    """Rows (n, Dn), each from the flow that `which` says: (n,), or (K, 1) for every row from every flow."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(self, flows: list[FlowDensity], which: Tensor):
        self.flows, self.which = flows, which
        n = flows[0].batch_shape[0]
        super().__init__(torch.Size(np.broadcast_shapes(which.shape, (n,))), flows[0].event_shape, validate_args=False)

    @property
    def exact(self) -> bool:
        return self.flows[0].exact

    def expand(self, batch_shape: Any, _instance: Any = None) -> OneOfFlows:
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(f"flows of {tuple(self.batch_shape)} rows cannot stand for {tuple(batch_shape)}")
        return self

    def log_prob(self, value: Tensor) -> Tensor:
        """value (n, Dn), or (K, n, Dn) where each flow has points of its own."""
        points = value if value.dim() > 2 else [value] * len(self.flows)
        log = torch.stack([flow.log_prob(x) for flow, x in zip(self.flows, points, strict=True)])
        return log.gather(0, self.which.expand(self.batch_shape)) if self.which.dim() > 1 else self._picked(log)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self._picked(torch.stack([flow.sample() for flow in self.flows]))

    def _picked(self, each: Tensor) -> Tensor:
        """(K, n, ...) -> (n, ...)."""
        return each[self.which, torch.arange(each.shape[1], device=each.device)]
