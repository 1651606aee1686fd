"""The inner step: one turn's loss, gradient and update. The loop knows only this interface."""

from __future__ import annotations

import math
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor, nn

from zoo.fitting.distributed import mean_over_rows, processes
from zoo.objectives.turn import Turn
from zoo.rows.rows import Rows

EPS = 1e-8


class Step(Protocol):
    """step(rows) moves the turn's parameters once and returns (loss, gradient norm), scalars still on the device.

    A step whose loss or gradient is not finite leaves the parameters as they were, and so do all steps after it: the
    loop looks at these numbers now and then, and finds the parameters with which the first of them failed.

    tier  how the step is run
    why   the reason, where that is not what was asked for
    """

    @property
    def tier(self) -> str: ...

    @property
    def why(self) -> str: ...

    def __call__(self, rows: Rows) -> tuple[Tensor, Tensor]: ...

    def set_learning_rate(self, value: float) -> None: ...


class EagerStep:
    """Pyro's Python runs at every step."""

    tier = "eager"

    def __init__(self, turn: Turn, learning_rate: float, clip: float, why: str = ""):
        self.why = why
        self.turn, self.clip = turn, clip
        self.alone = processes() == 1
        self.adam = Adam(turn.parameters, turn.rate * learning_rate, turn.betas)

    def __call__(self, rows: Rows) -> tuple[Tensor, Tensor]:
        out = self.move(self.gradient(rows), rows.n)
        return out[0], out[1]

    def gradient(self, rows: Rows) -> list[Tensor]:
        """As `gradient`; of one process among several, whose rows are part of a batch, it is not shortened yet."""
        return gradient(self.turn, rows, self.clip if self.alone else math.inf)

    def move(self, out: list[Tensor], n: int) -> list[Tensor]:
        """The optimiser's part, given what `gradient` gives for n rows; returns that for the whole batch."""
        if not self.alone:
            loss, *gradients = mean_over_rows([out[0], *out[2:]], n)
            out = [loss, *shortened(gradients, self.clip)]
        self.adam(out[0], out[1], out[2:])
        return out

    def set_learning_rate(self, value: float) -> None:
        self.adam.learning_rate.fill_(self.turn.rate * value)


def gradient(turn: Turn, rows: Rows, clip: float) -> list[Tensor]:
    """[loss, norm of its gradient, then the gradient of each parameter, shortened so that its norm is at most `clip`];
    zeros for a parameter that is not in the loss."""
    with torch.enable_grad():
        loss = turn.loss(rows)
        raw = torch.autograd.grad(loss, turn.parameters, allow_unused=True)
    with torch.no_grad():
        each = [torch.zeros_like(p) if g is None else g.contiguous() for p, g in zip(turn.parameters, raw, strict=True)]
        return [loss.detach(), *shortened(each, clip)]


def shortened(each: list[Tensor], clip: float) -> list[Tensor]:
    """[norm of a gradient, then each of its parts, shortened so that the norm is at most `clip`]."""
    norms = torch._foreach_norm(each)
    alike = (list(run) for _, run in groupby(norms, lambda t: t.dtype))
    norm = torch.linalg.vector_norm(torch.cat([torch.stack(run).double() for run in alike]))
    shorter = (clip / (norm + 1e-6)).clamp_max(1.0)
    # a part that is a single number would take the type of the factor
    scaled = (s.to(g.dtype) for s, g in zip(torch._foreach_mul(each, shorter), each, strict=True))
    return [norm, *scaled]


class Adam:
    """Adam (Kingma & Ba 2015), all parameters of one type in one call; the learning rate is a tensor on the device.

    failed  becomes 1 at the first loss or norm that is not finite, and parameters then stay where they are
    """

    def __init__(self, parameters: list[nn.Parameter], learning_rate: float, betas: tuple[float, float]):
        device = parameters[0].device
        self.betas = betas
        self.learning_rate = torch.tensor(learning_rate, device=device)
        self.failed = torch.zeros((), device=device)
        for p in parameters:
            p.data = p.data.contiguous()  # the fused call reads plain memory
        kinds = sorted({str(p.dtype) for p in parameters})
        self.groups = [_Group([(i, p) for i, p in enumerate(parameters) if str(p.dtype) == kind]) for kind in kinds]

    def __call__(self, loss: Tensor, norm: Tensor, gradients: list[Tensor]) -> None:
        with torch.no_grad():
            self.failed.masked_fill_(~((loss + norm).abs() < math.inf), 1.0)
            for group in self.groups:
                group.move([gradients[i] for i in group.places], self.learning_rate, self.betas, self.failed)

    def state(self) -> list[Tensor]:
        return [self.failed, *(t for g in self.groups for t in (*g.first, *g.second, g.taken))]


class _Group:
    def __init__(self, parameters: list[tuple[int, nn.Parameter]]):
        self.places = [i for i, _ in parameters]
        self.parameters = [p.detach() for _, p in parameters]
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.taken = torch.zeros((), device=self.parameters[0].device)

    def move(self, gradients: list[Tensor], learning_rate: Tensor, betas: tuple[float, float], failed: Tensor) -> None:
        self.taken.add_(1)
        torch._fused_adam_(
            self.parameters, gradients, self.first, self.second, [], [self.taken] * len(self.parameters),
            lr=learning_rate, beta1=betas[0], beta2=betas[1], weight_decay=0.0, eps=EPS, amsgrad=False, maximize=False,
            found_inf=failed,
        )  # fmt: skip
