"""One-dimensional families of numeric columns: density at a point, or average density over a lattice cell.

A family is a small class over parameters of shape (..., Dn) with

    log_average(x, lo, hi)   log of the average density over [lo, hi], or the log-density at x where lo == hi; where no
                             column has cells, lo and hi are x itself, and masses need not be worked out
    sample()                 one draw for each parameter

Copy `Normal` to write another.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

# A cell narrower than this many scales is taken at its midpoint: the error is (z^2 - 1) width^2 / 24, below 2e-5 nats
# near the centre, and differences of distribution functions would lose more than that.
NARROW = 0.02
_nodes, _weights = np.polynomial.legendre.leggauss(24)
GAUSS = torch.from_numpy((_nodes + 1) / 2), torch.from_numpy(_weights / 2)
"""Places and weights on [0, 1]."""


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
        density = log_normal_density((x - self.loc) / self.scale) - self.scale.log()
        if lo is hi:
            return density
        width = hi - lo
        wide = width > NARROW * self.scale
        # both branches must be finite for the gradient of `where`
        a = (lo - self.loc) / self.scale
        b = torch.where(wide, hi - self.loc, lo - self.loc + self.scale) / self.scale
        mass = log_normal_mass(a, b) - torch.where(wide, width, 1.0).log()
        return torch.where(wide, mass, density)

    def sample(self) -> Tensor:
        return self.loc + self.scale * torch.randn_like(self.loc)

    def mean(self) -> Tensor:
        return self.loc


class StudentT:
    """loc, scale, df: (..., Dn), Student's t with df degrees of freedom.

    With t = sqrt(df) tan(a) the density is proportional to cos(a)^(df - 1), so the mass of a cell is an integral of a
    smooth function over a short range of angles: Gauss-Legendre, without a difference that tails would lose.
    """

    def __init__(self, loc: Tensor, scale: Tensor, df: Tensor):
        self.loc, self.scale, self.df = loc, scale, df
        half = torch.full_like(df, 0.5)
        self.log_constant = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - torch.lgamma(half)

    def log_average(self, x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
        t = (x - self.loc) / self.scale
        log = self.log_constant - 0.5 * self.df.log() - (self.df + 1) / 2 * torch.log1p(t.square() / self.df)
        density = log - self.scale.log()
        if lo is hi:
            return density
        width = hi - lo
        wide = width > 0
        root = self.df.sqrt()
        a = torch.atan((lo - self.loc) / self.scale / root)
        # the angle between both ends, exact in the tails too
        s, u = (lo - self.loc) / self.scale / root, (hi - self.loc) / self.scale / root
        turn = torch.atan2(torch.where(wide, u - s, 1.0), 1 + s * u)
        nodes, weights = (t.to(x.device) for t in GAUSS)
        cosine = torch.cos(a[..., None] + turn[..., None] * nodes).clamp_min(1e-300)
        power = (self.df[..., None] - 1) * cosine.log() + weights.log()
        mass = self.log_constant + turn.log() + power.logsumexp(-1)
        return torch.where(wide, mass - torch.where(wide, width, 1.0).log(), density)

    def sample(self) -> Tensor:
        gamma = torch._standard_gamma(self.df.expand_as(self.loc) / 2) * 2
        return self.loc + self.scale * torch.randn_like(self.loc) * (self.df / gamma.clamp_min(1e-30)).sqrt()

    def mean(self) -> Tensor:
        return self.loc


class Count:
    """Negative binomial of the mean and standard deviation that loc and scale (..., Dn) say, in counts.

    at, unit: (Dn,) counts are x * unit + at. The mean is kept positive by a softplus; where the standard deviation is
    no more than a Poisson's, it is (all but) a Poisson.
    """

    def __init__(self, loc: Tensor, scale: Tensor, at: Tensor, unit: Tensor):
        self.at, self.unit = at, unit
        self.loc = loc
        self.rate = torch.nn.functional.softplus(4 * (loc * unit + at)) / 4 + 1e-6
        surplus = (scale * unit).square() - self.rate
        self.size = self.rate.square() / torch.maximum(surplus, 1e-4 * self.rate)

    def log_average(self, x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
        k = (x * self.unit + self.at).round().clamp_min(0)
        r, m = self.size, self.rate
        log = torch.lgamma(k + r) - torch.lgamma(r) - torch.lgamma(k + 1) - r * torch.log1p(m / r)
        mass = log + k * (m.log() - (r + m).log())
        return mass - (hi - lo).clamp_min(1e-300).log()

    def sample(self) -> Tensor:
        gamma = torch._standard_gamma(self.size.expand_as(self.loc)) * (self.rate / self.size)
        # columns of another family may have scales that mean nothing here
        return (torch.poisson(gamma.nan_to_num(0.0).clamp(0.0, 1e9)) - self.at) / self.unit

    def mean(self) -> Tensor:
        return (self.rate - self.at) / self.unit


class OneOf:
    """`chosen` in the columns where `where` (Dn) is true, `other` in the rest."""

    def __init__(self, where: list[bool], chosen: Family, other: Family):
        self.where, self.chosen, self.other = where, chosen, other

    def _each(self, chosen: Tensor, other: Tensor) -> Tensor:
        return torch.where(torch.tensor(self.where, device=other.device), chosen, other)

    def log_average(self, x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
        return self._each(self.chosen.log_average(x, lo, hi), self.other.log_average(x, lo, hi))

    def sample(self) -> Tensor:
        return self._each(self.chosen.sample(), self.other.sample())

    def mean(self) -> Tensor:
        return self._each(self.chosen.mean(), self.other.mean())


class NormalMixture:
    """logits, loc, scale: (..., Dn, kernels)."""

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor):
        self.log_weights, self.kernels = logits.log_softmax(-1), Normal(loc, scale)

    def log_average(self, x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
        low = lo[..., None]
        parts = self.kernels.log_average(x[..., None], low, low if lo is hi else hi[..., None])
        return (self.log_weights + parts).logsumexp(-1)

    def sample(self) -> Tensor:
        gumbel = -torch.empty_like(self.log_weights).exponential_().log()
        pick = (self.log_weights + gumbel).argmax(-1, keepdim=True)
        return self.kernels.sample().gather(-1, pick)[..., 0]

    def mean(self) -> Tensor:
        return (self.log_weights.exp() * self.kernels.loc).sum(-1)
