"""The one room that imports zuko: its flows, splines and masked networks.

zuko turns torch's argument validation off for the whole process when it is imported; that is undone here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_validation = torch.distributions.Distribution._validate_args
import zuko  # noqa: E402

torch.distributions.Distribution.set_default_validate_args(_validation)


def masked_mlp(adjacency: Tensor, hidden: Sequence[int], activation: type[nn.Module] = nn.SiLU) -> nn.Module:
    """An MLP whose output i reads input j only where adjacency[i, j]. adjacency: (n_out, n_in) bool."""
    if not adjacency.any():
        return Nothing(len(adjacency))
    return zuko.nn.MaskedMLP(adjacency, hidden, activation=activation, residual=False)


class Nothing(nn.Module):
    """The network that may read nothing: zeros (n, n_out)."""

    def __init__(self, n_out: int):
        super().__init__()
        self.n_out = n_out

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), self.n_out)


def coupling_flow(features: int, transforms: int, hidden: Sequence[int]) -> nn.Module:
    """Neural spline coupling flow, as quick to draw from as to score; called, it returns a distribution.

    On one coordinate there is nothing to couple: its splines are then autoregressive, which is the same.
    """
    passes = 2 if features > 1 else None
    return zuko.flows.NSF(features, transforms=transforms, hidden_features=hidden, passes=passes)


def rational_quadratic(widths: Tensor, heights: Tensor, slopes: Tensor) -> Any:
    """Monotone rational-quadratic spline on [-5, 5], the identity outside.

    widths, heights (..., bins), slopes (..., bins - 1), all unconstrained. Durkan et al. 2019.
    """
    return zuko.transforms.MonotonicRQSTransform(widths, heights, slopes)
