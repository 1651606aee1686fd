"""Increasing maps of one number to another, elementwise: what autoregressive, coupling and elementwise flows apply.

A kind is an object with

    n_params            parameters of one map
    __call__(raw)       the maps of parameters (..., n_params), unconstrained; raw = 0 is the identity or near it

and a map has `call_and_ladj(x)` and `inverse_and_ladj(y)`, both (...) -> ((...), log slope (...)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

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
        return Bent(spline, Affine()(raw[..., 3 * k - 1 :]))


@dataclass
class Bent:
    spline: Any
    line: Map

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, first = self.spline.call_and_ladj(x)
        y, second = self.line.call_and_ladj(y)
        return y, first + second

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        y, second = self.line.inverse_and_ladj(y)
        x = self.spline.inv(y)
        return x, second - self.spline.call_and_ladj(x)[1]
