"""Planar flows: the space pushed along one direction, by how far a point lies along another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from zoo.bounds import Count, Widths
from zoo.flows.transform import START, Composed, Flow, Parameters, Transform, solve


class Planar(Flow):
    """y = x + u tanh(w'x + b), `layers` times; u bent so that w'u > -1. Rezende & Mohamed 2015."""

    def __init__(self, features: int, context: int, layers: Count = 4, hidden: Widths = (64,)):
        super().__init__(features, context)
        self.layers = layers
        start = torch.randn(layers, 2 * features + 1) / features**0.5
        start[:, :features] *= START
        self.parameters_of = Parameters(context, start.flatten(), hidden)

    def forward(self, c: Tensor | None = None) -> Transform:
        values = self.parameters_of(c).unflatten(-1, (self.layers, -1))
        each = values.split([self.features, self.features, 1], -1)
        u, w, b = (part.unbind(-2) for part in each)
        return Composed([Push(*layer) for layer in zip(u, w, b, strict=True)])


class Push(Transform):
    """u, w (..., features), b (..., 1). No closed inverse: w'x is found by bisection, the rest follows."""

    def __init__(self, u: Tensor, w: Tensor, b: Tensor):
        along = (w * u).sum(-1, keepdim=True)
        norm = w.square().sum(-1, keepdim=True).clamp_min(1e-12)
        # softplus(log(e - 1)) = 1: a push of nothing stays nothing
        self.slope = softplus(along + 0.5413248546) - 1
        self.u, self.w, self.b = u + (self.slope - along) * w / norm, w, b

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        bent = torch.tanh((self.w * x).sum(-1, keepdim=True) + self.b)
        return x + self.u * bent, torch.log1p(self.slope * (1 - bent.square()))[..., 0].expand(len(x))

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        def along(a: Tensor) -> tuple[Tensor, Tensor]:
            bent = torch.tanh(a + self.b)
            return a + self.slope * bent, 1 + self.slope * (1 - bent.square())

        target = (self.w * y).sum(-1, keepdim=True)
        a = solve(along, target, target - self.slope.abs(), target + self.slope.abs())
        bent = torch.tanh(a + self.b)
        return y - self.u * bent, -torch.log1p(self.slope * (1 - bent.square()))[..., 0].expand(len(y))
