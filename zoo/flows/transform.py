"""What every flow is made of: transforms, their composition, and parameters that may depend on a context."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from zoo.networks.mlp import MLP

START = 0.1
"""Of a fresh network's last layer: a flow then starts near the identity, and every weight moves."""
REACH = 10.0
"""Networks read coordinates no further out than this: beyond, a map goes on as it was."""


class Transform(ABC):
    """A one-to-one map of (n, features), its context given."""

    @abstractmethod
    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y = f(x) (n, features), and log|det dy/dx| (n,)."""

    @abstractmethod
    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """x with f(x) = y, and log|det dx/dy| (n,)."""

    def __call__(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    @property
    def inv(self) -> Transform:
        return Inverse(self)


class Inverse(Transform):
    def __init__(self, forward: Transform):
        self.forward = forward

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward.inverse_and_ladj(x)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward.call_and_ladj(y)

    @property
    def inv(self) -> Transform:
        return self.forward


class Composed(Transform):
    """First to last."""

    def __init__(self, parts: Sequence[Transform]):
        self.parts = parts

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for part in self.parts:
            x, ladj = part.call_and_ladj(x)
            total = total + ladj
        return x, total

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        total = y.new_zeros(len(y))
        for part in reversed(self.parts):
            y, ladj = part.inverse_and_ladj(y)
            total = total + ladj
        return y, total


class Flow(nn.Module, ABC):
    """A transform for every context."""

    def __init__(self, features: int, context: int):
        super().__init__()
        self.features, self.context = features, context

    @abstractmethod
    def forward(self, c: Tensor | None = None) -> Transform: ...


class Stack(Flow):
    """Flows one after another."""

    def __init__(self, features: int, context: int, layers: Iterable[nn.Module]):
        super().__init__(features, context)
        self.layers = nn.ModuleList(layers)

    def forward(self, c: Tensor | None = None) -> Transform:
        return Composed([layer(c) for layer in self.layers])


class Parameters(nn.Module):
    """Numbers (n_out,) that a transform needs, or (n, n_out) where they depend on a context.

    v = start + network(c)
    """

    def __init__(self, context: int, start: Tensor, hidden: Sequence[int]):
        super().__init__()
        self.start = nn.Parameter(start)
        self.network = faint(MLP(context, len(start), hidden)) if context else None

    def forward(self, c: Tensor | None) -> Tensor:
        if self.network is None or c is None:
            return self.start
        out: Tensor = self.start + self.network(c)
        return out


def faint(network: nn.Module) -> nn.Module:
    """The same network, its fresh outputs small."""
    layers = [m for m in network.modules() if isinstance(m, nn.Linear)]
    with torch.no_grad():
        for parameter in layers[-1].parameters() if layers else ():
            parameter.mul_(START)
    return network


def beside(x: Tensor, c: Tensor | None) -> Tensor:
    """What a network reads: coordinates within reach, then the context."""
    x = x.clamp(-REACH, REACH)
    return x if c is None or not c.shape[-1] else torch.cat([x, c.to(x.dtype)], -1)


def solve(f: Callable[[Tensor], tuple[Tensor, Tensor]], y: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """x with f(x) = y, f increasing, low <= x <= high, elementwise. f returns values and slopes.

    Bisection, so that it always ends; then a step of Newton's, which makes the last digits and the gradients right.
    """
    with torch.no_grad():
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            below = f(middle)[0] < y
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        x = 0.5 * (low + high)
    value, slope = f(x)
    return x - (value - y) / slope.detach()


HALVINGS = 40
"""Of a bracket in float32: more halvings than it has digits, so that far brackets close too."""
