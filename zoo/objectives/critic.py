"""The critic of a game: what reads rows and draws and scores them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from zoo.networks.mlp import MLP

GAIN = 10.0
"""What a critic of slope 1 is multiplied by, so that its scores can leave a loss's middle."""


class Critic(nn.Module):
    """(n, n_in) -> scores (n,), higher for what looks like a row."""

    def __init__(
        self,
        numbers: int,
        n_in: int,
        network: Callable[[int, int], nn.Module] = MLP,
        waves: int = 0,
        minibatch: int = 0,
        spectral: bool = False,
        offset: bool = True,
    ):
        super().__init__()
        self.numbers, self.octaves = numbers, waves if numbers else 0
        n_in += 2 * self.octaves * numbers
        self.neighbours = Neighbours(n_in, minibatch) if minibatch else None
        self.network = network(n_in + minibatch, 1)
        if not offset:
            last = [m for m in self.network.modules() if isinstance(m, nn.Linear)][-1]
            last.register_parameter("bias", None)
        self.gain = GAIN if spectral else 1.0
        if spectral:
            for module in self.modules():
                if isinstance(module, nn.Linear) and module.weight.numel():
                    spectral_norm(module)

    def forward(self, x: Tensor) -> Tensor:
        if self.octaves:
            x = torch.cat([x, waves(x[:, : self.numbers], self.octaves)], 1)
        if self.neighbours is not None:
            x = torch.cat([x, self.neighbours(x)], 1)
        out: Tensor = self.gain * self.network(x)[:, 0]
        return out


def waves(x: Tensor, octaves: int) -> Tensor:
    """sin and cos of (pi/2) 2^k x, k = 0 ... octaves - 1: (n, 2 octaves d)."""
    turn = (x[..., None] * (2.0 ** torch.arange(octaves, device=x.device) * math.pi / 2)).flatten(1)
    return torch.cat([turn.sin(), turn.cos()], 1)


class Neighbours(nn.Module):
    """How many rows of the batch lie close by, under as many learned maps (n, features). Salimans et al. 2016.

    o_b(i) = mean_j exp(-|T_b x_i - T_b x_j|_1)
    """

    DIM = 4

    def __init__(self, n_in: int, features: int):
        super().__init__()
        self.map = nn.Linear(n_in, features * self.DIM, bias=False)
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        at = self.map(x).unflatten(1, (self.features, self.DIM)).transpose(0, 1)
        return (at[:, :, None] - at[:, None]).abs().sum(-1).neg().exp().mean(-1).T
