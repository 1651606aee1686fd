"""The flow from rows to noise, over an angle: u = cos(a) x + sin(a) e moves with v = cos(a) e - sin(a) x.

    du/da = E[v | u, a],    log p(u_0) = log phi(u_pi/2) + integral of div E[v | u, a] da       # Song et al. 2021

Every Gaussian process of noise is this one at another length and pace, and so is its flow: processes differ in what
amounts of noise they are fitted at, and how closely.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(u (n, C), angle (n,)) -> (n, C)"""
Rate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""The velocity and its divergence (n,)."""
BEND = 7.0
"""How much closer steps lie where there is little noise. Karras et al. 2022."""


UNTOLD = 0.1
"""Share of rows that are fitted without what they are given, for guidance."""


def guided(told: Tensor, untold: Tensor, strength: float) -> Tensor:
    """What a network says, by `strength` beyond what it says untold of what is given. Ho & Salimans 2022."""
    return told + (strength - 1) * (told - untold)


def ladder(first: float, last: float, steps: int) -> Tensor:
    """Angles (steps + 1,) from `first` up to `last`, closer together where there is little noise."""
    ends = torch.tensor([first, last], dtype=torch.float64).tan() ** (1 / BEND)
    return (ends[0] + (ends[1] - ends[0]) * torch.linspace(0, 1, steps + 1, dtype=torch.float64)).pow(BEND).atan()


def move(velocity: Velocity, u: Tensor, angles: Tensor) -> Tensor:
    """u moved along angles by Heun's method."""
    for a, b in pairwise(angles):
        here, there = a.expand(len(u)), b.expand(len(u))
        v = velocity(u, here)
        u = u + (b - a) / 2 * (v + velocity(u + (b - a) * v, there))
    return u


def measure(rate: Rate, u: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
    """(u at the last angle, the integral of the divergence (n,)), by the classical Runge-Kutta method."""
    total = torch.zeros(len(u), dtype=torch.float64, device=u.device)
    for a, b in pairwise(angles):
        h, here, there, middle = b - a, a.expand(len(u)), b.expand(len(u)), ((a + b) / 2).expand(len(u))
        v1, d1 = rate(u, here)
        v2, d2 = rate(u + h / 2 * v1, middle)
        v3, d3 = rate(u + h / 2 * v2, middle)
        v4, d4 = rate(u + h * v3, there)
        u = u + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        total = total + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    return u, total


def exact(velocity: Velocity, width: int) -> Rate:
    """The divergence as the sum of its parts, one along each of `width` coordinates."""

    def rate(u: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        def part(direction: Tensor) -> tuple[Tensor, Tensor]:
            both: Any = torch.func.jvp(lambda y: velocity(y, angle), (u,), (direction.expand_as(u),))
            return both[0], (both[1] * direction).sum(-1)

        # the velocity is one for all directions; that an output may have no dimension of its own, the stubs don't know
        outputs: Any = (None, 0)
        v, parts = torch.func.vmap(part, out_dims=outputs)(torch.eye(width, dtype=u.dtype, device=u.device))
        return v, parts.sum(0)

    return rate


def guessed(velocity: Velocity, probe: Tensor) -> Rate:
    """The divergence as e'Je for a random sign of each coordinate, `probe` (n, C): unbiased. Hutchinson 1990."""

    def rate(u: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        both: Any = torch.func.jvp(lambda y: velocity(y, angle), (u,), (probe,))
        v, slope = both
        return v, (slope * probe).sum(-1)

    return rate
