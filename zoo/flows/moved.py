"""Distributions that a flow's transform makes of a Normal."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import Normal, constraints


class Pulled(TorchDistribution):
    """p(z) = Normal(T(z); 0, I) |dT/dz|, over vectors (dim,): as quick to score as T. zero: (dim,) or (n, dim)."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, transform: Any, zero: Tensor):
        self.transform, self.zero = transform, zero
        super().__init__(zero.shape[:-1], zero.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Pulled:
        return Pulled(self.transform, self.zero.expand(*batch_shape, *self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        u, log_jacobian = self.transform.call_and_ladj(value)
        return log_normal(u) + log_jacobian

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        u = torch.randn(*sample_shape, *self.zero.shape, device=self.zero.device)
        z: Tensor = self.transform.inv(u)
        return z


class Pushed(TorchDistribution):
    """z = T(e), e ~ Normal(loc, scale): as quick to draw from as T, and its own draws as quick to score.

    loc, scale: (n, dim). The mean is the image of `loc`.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, transform: Any, loc: Tensor, scale: Tensor):
        self.transform, self.base = transform, Normal(loc, scale, validate_args=False)
        self._drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Pushed:
        shape = (*batch_shape, *self.event_shape)
        return Pushed(self.transform, self.base.loc.expand(shape), self.base.scale.expand(shape))

    @property
    def mean(self) -> Tensor:
        z: Tensor = self.transform(self.base.loc)
        return z

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        e = self.base.rsample(sample_shape)
        z, log_jacobian = self.transform.call_and_ladj(e)
        # a flow that is slow to invert, or cannot be inverted, need not be for its own draws
        self._drawn = z, self.base.log_prob(e).sum(-1) - log_jacobian
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        if self._drawn is not None and value is self._drawn[0]:
            return self._drawn[1]
        e, log_jacobian = self.transform.inv.call_and_ladj(value)
        return self.base.log_prob(e).sum(-1) + log_jacobian


def log_normal(u: Tensor) -> Tensor:
    """Log-density of the standard Normal, summed over the last dimension."""
    return -0.5 * (u.square() + math.log(2 * math.pi)).sum(-1)
