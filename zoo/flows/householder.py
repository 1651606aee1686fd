"""Householder flows: a scale along directions that reflections turn to where they should be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.bounds import Count, Widths
from zoo.flows.transform import START, Flow, Parameters, Transform


class Householder(Flow):
    """y = H S H' x, S = diag(exp(s)), H a product of `layers` reflections x - 2 v v'x / v'v. Tomczak & Welling 2016.

    Of a standard Normal it makes one of any covariance, as reflections after a diagonal guide do; with s = 0 it is the
    identity whatever the reflections are. log|det| = sum(s).
    """

    def __init__(self, features: int, context: int, layers: Count = 4, hidden: Widths = (64,)):
        super().__init__(features, context)
        self.layers = layers
        start = torch.randn(layers + 1, features)
        start[0] *= START
        self.parameters_of = Parameters(context, start.flatten(), hidden)

    def forward(self, c: Tensor | None = None) -> Transform:
        log_scale, *directions = self.parameters_of(c).unflatten(-1, (self.layers + 1, -1)).unbind(-2)
        return Stretch(log_scale.clamp(-10, 10), directions)


class Stretch(Transform):
    """log_scale and each direction (..., features)."""

    def __init__(self, log_scale: Tensor, directions: Sequence[Tensor]):
        self.log_scale = log_scale
        self.units = [v / v.square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt() for v in directions]

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._stretched(x, self.log_scale)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self._stretched(y, -self.log_scale)

    def _stretched(self, x: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        for v in self.units:
            x = x - 2 * v * (v * x).sum(-1, keepdim=True)
        x = x * log_scale.exp()
        for v in reversed(self.units):
            x = x - 2 * v * (v * x).sum(-1, keepdim=True)
        return x, log_scale.sum(-1).expand(len(x))
