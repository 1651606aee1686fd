"""One-dimensional families of numeric columns: density at a point, or average density over a lattice cell.

A family is a small class over parameters of shape (..., Dn) with

    log_average(x, lo, hi)   log of the average density over [lo, hi], or the log-density at x where lo == hi
    sample()                 one draw for each parameter

Copy `Normal` to write another.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

# A cell narrower than this many scales is taken at its midpoint: the error is (z^2 - 1) width^2 / 24, below 2e-5 nats
# near the centre, and differences of distribution functions would lose more than that.
NARROW = 0.02


class Family(Protocol):
    def log_average(self, x: Tensor, lo: Tensor, hi: Tensor) -> Tensor: ...

    def sample(self) -> Tensor: ...

    def mean(self) -> Tensor: ...


def log_normal_density(z: Tensor) -> Tensor:
    return -0.5 * z.square() - 0.5 * math.log(2 * math.pi)


def log_normal_mass(a: Tensor, b: Tensor) -> Tensor:
    """log(Phi(b) - Phi(a)) for a < b, computed in the lighter tail."""
    flip = (a + b) > 0
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    log_a, log_b = torch.special.log_ndtr(a), torch.special.log_ndtr(b)
    return log_b + torch.log(-torch.expm1((log_a - log_b).clamp(max=-1e-15)))


class Normal:
    """loc, scale: (..., Dn)."""

    def __init__(self, loc: Tensor, scale: Tensor):
        self.loc, self.scale = loc, scale

    def log_average(self, x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
        width = hi - lo
        wide = width > NARROW * self.scale
        # both branches must be finite for the gradient of `where`
        a = (lo - self.loc) / self.scale
        b = torch.where(wide, hi - self.loc, lo - self.loc + self.scale) / self.scale
        mass = log_normal_mass(a, b) - torch.where(wide, width, 1.0).log()
        density = log_normal_density((x - self.loc) / self.scale) - self.scale.log()
        return torch.where(wide, mass, density)

    def sample(self) -> Tensor:
        return self.loc + self.scale * torch.randn_like(self.loc)

    def mean(self) -> Tensor:
        return self.loc


class NormalMixture:
    """logits, loc, scale: (..., Dn, kernels)."""

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor):
        self.log_weights, self.kernels = logits.log_softmax(-1), Normal(loc, scale)

    def log_average(self, x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
        parts = self.kernels.log_average(x[..., None], lo[..., None], hi[..., None])
        return (self.log_weights + parts).logsumexp(-1)

    def sample(self) -> Tensor:
        gumbel = -torch.empty_like(self.log_weights).exponential_().log()
        pick = (self.log_weights + gumbel).argmax(-1, keepdim=True)
        return self.kernels.sample().gather(-1, pick)[..., 0]

    def mean(self) -> Tensor:
        return (self.log_weights.exp() * self.kernels.loc).sum(-1)
