"""Radial flows: the space drawn towards a point, or pushed away from it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from zoo.bounds import Count, Widths
from zoo.flows.transform import START, Composed, Flow, Parameters, Transform


class Radial(Flow):
    """y = x + b (x - x0) / (a + |x - x0|), a > 0, b > -a, `layers` times. Rezende & Mohamed 2015."""

    def __init__(self, features: int, context: int, layers: Count = 4, hidden: Widths = (64,)):
        super().__init__(features, context)
        self.layers = layers
        start = torch.randn(layers, features + 2)
        start[:, features:] *= START
        self.parameters_of = Parameters(context, start.flatten(), hidden)

    def forward(self, c: Tensor | None = None) -> Transform:
        values = self.parameters_of(c).unflatten(-1, (self.layers, -1))
        centre, size, strength = (part.unbind(-2) for part in values.split([self.features, 1, 1], -1))
        return Composed([Pull(*layer) for layer in zip(centre, size, strength, strict=True)])


class Pull(Transform):
    """centre (..., features), size and strength (..., 1) unconstrained; their zero is the identity."""

    def __init__(self, centre: Tensor, size: Tensor, strength: Tensor):
        self.centre = centre
        self.a = softplus(size) + 1e-3
        self.b = (softplus(strength) / math.log(2) - 1) * self.a

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        d = x - self.centre
        r = _norm(d)
        return x + self.b / (self.a + r) * d, self._ladj(r, x.shape[-1])

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        d = y - self.centre
        s = _norm(d)
        # r + b r / (a + r) = s is a quadratic in r
        half = 0.5 * (self.a + self.b - s)
        root = (half.square() + self.a * s).sqrt()
        # the form that does not cancel
        r = torch.where(half > 0, self.a * s / (root + half.abs()), root + half.abs())
        return self.centre + d / (1 + self.b / (self.a + r)), -self._ladj(r, y.shape[-1])

    def _ladj(self, r: Tensor, features: int) -> Tensor:
        around = torch.log1p(self.b / (self.a + r))
        outward = torch.log1p(self.a * self.b / (self.a + r).square())
        return ((features - 1) * around + outward)[..., 0]


def _norm(d: Tensor) -> Tensor:
    return (d.square().sum(-1, keepdim=True) + 1e-12).sqrt()
