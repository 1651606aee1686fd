"""The multilayer perceptron."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from zoo.bounds import Share, Widths


class MLP(nn.Sequential):
    """Affine layers of the widths `hidden`, SiLU between them, dropout after each where it is not zero."""

    def __init__(self, n_in: int, n_out: int, hidden: Widths = (128, 128), dropout: Share = 0.0):
        widths = [n_in, *hidden]
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), nn.SiLU()]
            layers += [nn.Dropout(dropout)] if dropout else []
        super().__init__(*layers, nn.Linear(widths[-1], n_out))
