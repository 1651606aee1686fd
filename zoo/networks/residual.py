"""The residual multilayer perceptron."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.bounds import Count, Share


class Residual(nn.Module):
    """x -> W x, then `blocks` times h + f(h), then an affine map; f normalises, bends and mixes twice. He et al. 2016.

    Layers are normalised, not batches: a row's output does not depend on its neighbours.
    """

    def __init__(self, n_in: int, n_out: int, width: Count = 128, blocks: Count = 2, dropout: Share = 0.0):
        super().__init__()
        self.enter = nn.Linear(n_in, width)
        self.blocks = nn.ModuleList(_block(width, dropout) for _ in range(blocks))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, n_out))

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for block in self.blocks:
            h = h + block(h)
        out: Tensor = self.leave(h)
        return out


def _block(width: int, dropout: float) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width)]
    last = layers[-1]
    assert isinstance(last, nn.Linear)
    # a block begins as the identity, nearly
    nn.init.normal_(last.weight, std=1e-2 / width**0.5)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropout else []))
