"""Linear flows: one matrix for all rows, a scale and a shift that may follow the context."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.bounds import Widths
from zoo.flows.transform import START, Flow, Parameters, Stack, Transform


class Linear(Flow):
    """y = L U x, L unit lower triangular, U upper triangular with diagonal exp(s): log|det| = sum(s)."""

    def __init__(self, features: int, context: int):
        super().__init__(features, context)
        self.factors = nn.Parameter(START * torch.randn(features, features) / features)

    def forward(self, c: Tensor | None = None) -> Transform:
        one = torch.eye(self.features, dtype=self.factors.dtype, device=self.factors.device)
        log_diagonal = self.factors.diagonal().clamp(-10, 10)
        upper = self.factors.triu(1) + torch.diag_embed(log_diagonal.exp())
        return Matrix(self.factors.tril(-1) + one, upper, log_diagonal.sum())


class Matrix(Transform):
    def __init__(self, lower: Tensor, upper: Tensor, ladj: Tensor):
        self.lower, self.upper, self.ladj = lower, upper, ladj

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ (self.lower @ self.upper).mT, self.ladj.expand(len(x))

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.linalg.solve_triangular(self.lower, y.mT, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(self.upper, x, upper=True).mT, -self.ladj.expand(len(y))


class Actnorm(Flow):
    """y = exp(s) x + t, s and t of the context where there is one. Kingma & Dhariwal 2018."""

    def __init__(self, features: int, context: int, hidden: Sequence[int] = (32,)):
        super().__init__(features, context)
        self.parameters_of = Parameters(context, torch.zeros(2 * features), hidden)

    def forward(self, c: Tensor | None = None) -> Transform:
        log_scale, shift = self.parameters_of(c).chunk(2, -1)
        return ScaleShift(log_scale.clamp(-10, 10), shift)


class ScaleShift(Transform):
    def __init__(self, log_scale: Tensor, shift: Tensor):
        self.log_scale, self.shift = log_scale, shift

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * self.log_scale.exp() + self.shift, self.log_scale.sum(-1).expand(len(x))

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return (y - self.shift) * (-self.log_scale).exp(), -self.log_scale.sum(-1).expand(len(y))


class LinearFlow(Stack):
    """A full Gaussian whose location and scales follow the context: y = exp(s(c)) (L U x) + t(c)."""

    def __init__(self, features: int, context: int, hidden: Widths = (64,)):
        super().__init__(features, context, [Linear(features, context), Actnorm(features, context, hidden)])
