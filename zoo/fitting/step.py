"""The inner step: one turn's loss, gradient and update. The loop knows only this interface."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from zoo.objectives.turn import Turn
from zoo.rows.rows import Rows


class Step(Protocol):
    """step(rows) moves the turn's parameters once and returns (loss, gradient norm), scalars still on the device.

    A step whose gradient is not finite leaves the parameters as they were.
    """

    tier: str

    def __call__(self, rows: Rows) -> tuple[Tensor, Tensor]: ...

    def set_learning_rate(self, value: float) -> None: ...


class EagerStep:
    """Pyro's Python runs at every step."""

    tier = "eager"

    def __init__(self, turn: Turn, learning_rate: float, clip: float):
        self.turn, self.clip = turn, clip
        self.optimiser = torch.optim.Adam(turn.parameters, lr=turn.rate * learning_rate, betas=turn.betas)

    def __call__(self, rows: Rows) -> tuple[Tensor, Tensor]:
        loss = self.turn.loss(rows)
        gradients = torch.autograd.grad(loss, self.turn.parameters, allow_unused=True)
        for parameter, gradient in zip(self.turn.parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(self.turn.parameters, self.clip)
        if torch.isfinite(norm + loss):
            self.optimiser.step()
        return loss.detach(), norm.detach()

    def set_learning_rate(self, value: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.turn.rate * value
