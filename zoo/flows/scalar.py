"""Increasing maps of one number to another, elementwise: what autoregressive, coupling and elementwise flows apply.

A kind is an object with

    n_params            parameters of one map
    __call__(raw)       the maps of parameters (..., n_params), unconstrained; raw = 0 is the identity or near it

and a map has `call_and_ladj(x)` and `inverse_and_ladj(y)`, both (...) -> ((...), log slope (...)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.flows.transform import solve
from zoo.networks.zuko_parts import rational_quadratic


class Map(Protocol):
    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]: ...
    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]: ...


class Kind(Protocol):
    @property
    def n_params(self) -> int: ...
    def __call__(self, raw: Tensor) -> Map: ...


class Additive:
    """y = x + shift."""

    n_params = 1

    def __call__(self, raw: Tensor) -> Map:
        return Line(raw[..., 0], raw.new_zeros(()))


class Affine:
    """y = exp(log_scale) x + shift, log_scale within +-7."""

    n_params = 2

    def __call__(self, raw: Tensor) -> Map:
        shift, scale = raw.unbind(-1)
        return Line(shift, scale / (1 + (scale / 7).abs()))


@dataclass
class Line:
    shift: Tensor
    log_scale: Tensor

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * self.log_scale.exp() + self.shift, self.log_scale.expand(x.shape)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return (y - self.shift) * (-self.log_scale).exp(), (-self.log_scale).expand(y.shape)


@dataclass(frozen=True)
class Spline:
    """A monotone rational-quadratic spline on [-5, 5], then a shift and a scale. Durkan et al. 2019.

    The line after it moves what lies outside the box too, which a spline alone would leave where it is.
    """

    bins: int = 8

    @property
    def n_params(self) -> int:
        return 3 * self.bins + 1

    def __call__(self, raw: Tensor) -> Map:
        k = self.bins
        spline = rational_quadratic(raw[..., :k], raw[..., k : 2 * k], raw[..., 2 * k : 3 * k - 1])
        return Bent(RationalQuadratic(spline), Affine()(raw[..., 3 * k - 1 :]))


@dataclass
class Bent:
    """A bend, then a line."""

    bend: Map
    line: Map

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, first = self.bend.call_and_ladj(x)
        y, second = self.line.call_and_ladj(y)
        return y, first + second

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        y, second = self.line.inverse_and_ladj(y)
        x, first = self.bend.inverse_and_ladj(y)
        return x, first + second


@dataclass
class RationalQuadratic:
    spline: Any

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        both: tuple[Tensor, Tensor] = self.spline.call_and_ladj(x)
        return both

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x = self.spline.inv(y)
        return x, -self.spline.call_and_ladj(x)[1]


@dataclass(frozen=True)
class Pieces:
    """A line of `bins` pieces on [-5, 5], its knots' places and heights free, then a shift and a scale."""

    bins: int = 32

    @property
    def n_params(self) -> int:
        return 2 * self.bins + 2

    def __call__(self, raw: Tensor) -> Map:
        k = self.bins
        return Bent(Broken(_knots(raw[..., :k]), _knots(raw[..., k : 2 * k])), Affine()(raw[..., 2 * k :]))


BOX, LEAST = 5.0, 1e-3


def _knots(raw: Tensor) -> Tensor:
    """Increasing places (..., bins + 1) from -5 to 5, none of the steps less than a thousandth of an even one."""
    share = LEAST / raw.shape[-1] + (1 - LEAST) * torch.softmax(raw, -1)
    inner = BOX * (2 * share.cumsum(-1)[..., :-1] - 1)
    ends = torch.full_like(raw[..., :1], BOX)
    return torch.cat([-ends, inner, ends], -1)


@dataclass
class Broken:
    """The line through knots (x_i, y_i), the identity outside."""

    x: Tensor
    y: Tensor

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _interpolated(x, self.x, self.y)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return _interpolated(y, self.y, self.x)


def _interpolated(at: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    inside = (at > -BOX) & (at < BOX)
    x, y = (t.expand(*at.shape, t.shape[-1]) for t in (x, y))
    k = (x[..., 1:-1] < at[..., None]).sum(-1, keepdim=True)
    x0, x1, y0, y1 = (t.gather(-1, k + i)[..., 0] for t in (x, y) for i in (0, 1))
    slope = (y1 - y0) / (x1 - x0)
    return torch.where(inside, y0 + slope * (at - x0), at), torch.where(inside, slope.log(), 0.0)


SLOPE = 0.17
"""Log-slope of sigmoids spread over +-1.5 whose mean is nearly one sigmoid of slope one."""


@dataclass(frozen=True)
class Sigmoids:
    """y = logit(sum_k w_k sigmoid(a_k x + b_k)), then a shift and a scale: a monotone network. Huang et al. 2018.

    In logarithms throughout, so that far out it goes on as a line.
    """

    units: int = 8

    @property
    def n_params(self) -> int:
        return 3 * self.units + 2

    def __call__(self, raw: Tensor) -> Map:
        k = self.units
        centre = torch.linspace(-1.5, 1.5, k, dtype=raw.dtype, device=raw.device)
        scale = raw[..., k : 2 * k]
        slope = (SLOPE + scale / (1 + (scale / 5).abs())).exp()
        shift = (centre + raw[..., 2 * k : 3 * k]) * slope
        return Bent(Squashed(torch.log_softmax(raw[..., :k], -1), slope, shift), Affine()(raw[..., 3 * k :]))


@dataclass
class Squashed:
    """log_weight, slope and shift (..., units)."""

    log_weight: Tensor
    slope: Tensor
    shift: Tensor

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.slope * x[..., None] + self.shift
        below, above = F.logsigmoid(z), F.logsigmoid(-z)
        low, high = (self.log_weight + below).logsumexp(-1), (self.log_weight + above).logsumexp(-1)
        slope = (self.log_weight + self.slope.log() + below + above).logsumexp(-1)
        return low - high, slope - low - high

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        # a mean of sigmoids lies between them, so x lies between what each would say alone
        alone = (y[..., None] - self.shift) / self.slope

        def slopes(x: Tensor) -> tuple[Tensor, Tensor]:
            value, log = self.call_and_ladj(x)
            return value, log.exp()

        x = solve(slopes, y, alone.amin(-1), alone.amax(-1))
        return x, -self.call_and_ladj(x)[1]
