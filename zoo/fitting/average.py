"""A running mean of parameters: steadier than they are where players chase each other. Polyak & Juditsky 1992."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

WARM = 10
"""Steps in which the mean forgets faster, so that it is not of the start."""


class Average:
    """mean <- decay mean + (1 - decay) parameters, after every step; nothing where decay is 0."""

    def __init__(self, parameters: list[nn.Parameter], decay: float):
        self.parameters, self.decay = parameters if decay else [], decay
        self.begin()

    def begin(self) -> None:
        """Start again from the parameters as they are."""
        self.steps = 0
        self.means: list[Tensor] = [p.detach().clone() for p in self.parameters]

    def take_in(self) -> None:
        if not self.parameters:
            return
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + WARM))
        with torch.no_grad():
            for mean, p in zip(self.means, self.parameters, strict=True):
                mean.lerp_(p, 1 - decay)

    def stay(self) -> None:
        """Let the parameters be their means."""
        with torch.no_grad():
            for mean, p in zip(self.means, self.parameters, strict=True):
                p.copy_(mean)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """The parameters are their means inside, and themselves afterwards."""
        kept = [p.detach().clone() for p in self.parameters]
        self.stay()
        try:
            yield
        finally:
            with torch.no_grad():
                for value, p in zip(kept, self.parameters, strict=True):
                    p.copy_(value)
