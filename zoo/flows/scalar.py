"""Increasing maps of one number to another, elementwise: what autoregressive, coupling and elementwise flows apply.

A kind is an object with

    n_params            parameters of one map
    __call__(raw)       the maps of parameters (..., n_params), unconstrained; raw = 0 is the identity or near it

and a map has `call_and_ladj(x)` and `inverse_and_ladj(y)`, both (...) -> ((...), log slope (...)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.flows.transform import solve


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
    """y = exp(log_scale) x + shift, the scale within a factor of a thousand."""

    n_params = 2

    def __call__(self, raw: Tensor) -> Map:
        shift, scale = raw.unbind(-1)
        return Line(shift, _within(scale, LARGEST))


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
        x, y = _knots(raw[..., : 2 * k].unflatten(-1, (2, k))).unbind(-2)
        slopes = F.pad(_within(raw[..., 2 * k : 3 * k - 1], LARGEST), (1, 1))
        return Bent(RationalQuadratic(x, y, slopes), Affine()(raw[..., 3 * k - 1 :]))


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


BOX = 5.0
LARGEST = math.log(1000.0)
"""Of a log-slope at a knot; no piece is less than a thousandth of another, either."""


def _within(raw: Tensor, bound: float) -> Tensor:
    return raw / (1 + (raw / bound).abs())


def _knots(raw: Tensor) -> Tensor:
    """Increasing places (..., bins + 1) from -5 to 5. Plain exponentials: a softmax of so few is slow."""
    size = _within(raw, LARGEST / 2).exp()
    inner = BOX * (2 * (size / size.sum(-1, keepdim=True)).cumsum(-1)[..., :-1] - 1)
    return F.pad(F.pad(inner, (1, 0), value=-BOX), (0, 1), value=BOX)


def _piece(at: Tensor, knots: Tensor, *ends: Tensor) -> tuple[Tensor, ...]:
    """Both ends of the piece in which `at` (...) lies between `knots` (..., bins + 1), of each of `ends`."""
    k = (knots.expand(*at.shape, -1)[..., 1:-1] < at[..., None]).sum(-1, keepdim=True)
    both = torch.cat([k, k + 1], -1)
    return tuple(end for t in ends for end in t.expand(*at.shape, -1).gather(-1, both).unbind(-1))


@dataclass
class RationalQuadratic:
    """Through knots (x_i, y_i) with slopes exp(log_slopes_i) there, the identity outside. Gregory & Delbourgo 1982."""

    x: Tensor
    y: Tensor
    log_slopes: Tensor

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x0, x1, y0, y1, a, b = _piece(x, self.x, self.x, self.y, self.log_slopes)
        z = ((x - x0) / (x1 - x0)).clamp(0, 1)
        share, ladj = _bend(z, (y1 - y0) / (x1 - x0), a.exp(), b.exp())
        inside = x.abs() < BOX
        return torch.where(inside, y0 + (y1 - y0) * share, x), torch.where(inside, ladj, 0.0)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x0, x1, y0, y1, a, b = _piece(y, self.y, self.x, self.y, self.log_slopes)
        a, b, s = a.exp(), b.exp(), (y1 - y0) / (x1 - x0)
        v = ((y - y0) / (y1 - y0)).clamp(0, 1)
        # v (s + (a + b - 2 s) z (1 - z)) = s z^2 + a z (1 - z), of which the root in [0, 1]
        more = v * (a + b - 2 * s)
        p, q, r = s - a + more, a - more, -s * v
        z = (2 * r / (-q - (q.square() - 4 * p * r).clamp_min(0).sqrt())).clamp(0, 1)
        inside = y.abs() < BOX
        return torch.where(inside, x0 + (x1 - x0) * z, y), torch.where(inside, -_bend(z, s, a, b)[1], 0.0)


def _bend(z: Tensor, s: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The share of a piece's height at a share z of its width, and the log-slope; s: its mean slope, a, b: at its
    ends."""
    v = 1 - z
    below = s + (a + b - 2 * s) * z * v
    slope = 2 * (s / below).log() + (2 * s * z * v + a * v.square() + b * z.square()).log()
    return (s * z.square() + a * z * v) / below, slope


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
    x0, x1, y0, y1 = _piece(at, x, x, y)
    slope = (y1 - y0) / (x1 - x0)
    inside = at.abs() < BOX
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
        slope = (SLOPE + _within(scale, 5.0)).exp()
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
