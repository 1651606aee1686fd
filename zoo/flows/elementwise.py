"""Elementwise flows: each coordinate on its own, its map following the context."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.bounds import Count, Widths
from zoo.flows import scalar
from zoo.flows.transform import Flow, Parameters, Transform


class Elementwise(Flow):
    """y_i = f_i(x_i; c), piecewise linear on [-5, 5] with knots that move: on each piece the density is a Normal's."""

    def __init__(self, features: int, context: int, bins: Count = 32, hidden: Widths = (64,)):
        super().__init__(features, context)
        self.kind = scalar.Pieces(bins)
        self.parameters_of = Parameters(context, torch.zeros(features * self.kind.n_params), hidden)

    def forward(self, c: Tensor | None = None) -> Transform:
        return Each(self.kind(self.parameters_of(c).unflatten(-1, (self.features, -1))))


class Each(Transform):
    def __init__(self, maps: scalar.Map):
        self.maps = maps

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, ladj = self.maps.call_and_ladj(x)
        return y, ladj.sum(-1)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x, ladj = self.maps.inverse_and_ladj(y)
        return x, ladj.sum(-1)
