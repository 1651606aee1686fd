"""Draws by importance: proposals taken by their weights, and what those are worth."""

from __future__ import annotations

import torch
from torch import Tensor


def finite(log: Tensor) -> Tensor:
    """A row that is impossible under every latent (a cell of 1e300) still has a draw: all are then alike."""
    return torch.nan_to_num(log, nan=-1e30, neginf=-1e30, posinf=1e30)


def resampled(log_w: Tensor, draws: int) -> Tensor:
    """Which of the proposals to take (draws, n), by their log-weights (proposals, n)."""
    return torch.distributions.Categorical(logits=finite(log_w).T).sample(torch.Size([draws]))


def effective(log_w: Tensor) -> Tensor:
    """Draws (n,) that proposals with these log-weights (proposals, n) are worth: 1 / sum share^2. Kong 1992."""
    return 1 / torch.softmax(finite(log_w), 0).square().sum(0)


def not_weighed(x: Tensor) -> Tensor:
    """What the draws of rows (n, ...) are worth that no weights stand behind: without end (n,)."""
    return torch.full(x.shape[:1], torch.inf, dtype=torch.float64, device=x.device)
