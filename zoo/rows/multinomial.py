"""Multinomial diffusion: levels that are forgotten bit by bit, and the law of a step back. Hoogeboom et al. 2021.

    q(x_t | x_0) = keep_t [x_t = x_0] + (1 - keep_t) share(x_t),        keep falls from 1 to 0

Levels stand side by side as masses (n, B, L), columns shorter than L padded with zeros; `share` (B, L) is what is left
when all is forgotten, `keep` (n,).
"""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-30


def hot(codes: Tensor, levels: int) -> Tensor:
    """Levels (n, B) as masses (n, B, L)."""
    return (codes[..., None] == torch.arange(levels, device=codes.device)).to(torch.float64)


def forget(x: Tensor, keep: Tensor, share: Tensor) -> Tensor:
    """Masses of x_t given x_0."""
    keep = keep[:, None, None]
    return keep * x + (1 - keep) * share


def forgotten(codes: Tensor, keep: Tensor, share: Tensor) -> Tensor:
    """Levels drawn at t given those of x_0 (n, B)."""
    place = torch.rand(codes.shape, dtype=torch.float64, device=codes.device)
    other = torch.searchsorted(share.cumsum(-1), place.T.contiguous()).T.clamp(max=max(share.shape[-1] - 1, 0))
    stays = torch.rand(codes.shape, dtype=torch.float64, device=codes.device) < keep[:, None]
    return torch.where(stays, codes, other)


def likelihood(x_t: Tensor, keep: Tensor, share: Tensor) -> Tensor:
    """q(x_t | x_0) for every x_0 (n, B, L)."""
    keep, at = keep[:, None, None], (x_t * share).sum(-1, keepdim=True)
    return keep * x_t + (1 - keep) * at


def back(x_t: Tensor, x_0: Tensor, keep_s: Tensor, keep_t: Tensor, share: Tensor) -> Tensor:
    """q(x_s | x_t) = sum over x_0 of q(x_s | x_t, x_0) p(x_0), s before t; x_0 are masses, or one level.

    q(x_s | x_t, x_0) = q(x_t | x_s) q(x_s | x_0) / q(x_t | x_0)
    """
    ratio = x_0 / likelihood(x_t, keep_t, share).clamp_min(TINY)
    step = likelihood(x_t, keep_t / keep_s.clamp_min(TINY), share)
    s = keep_s[:, None, None]
    return step * (s * ratio + (1 - s) * share * ratio.sum(-1, keepdim=True))


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of each column (n, B)."""
    return torch.where(p > 0, p * (p.clamp_min(TINY).log() - q.clamp_min(TINY).log()), 0.0).sum(-1)


def pick(masses: Tensor) -> Tensor:
    """One level of each (n, B, L), as often as it has mass, as masses."""
    wait = torch.empty_like(masses).exponential_() / masses.clamp_min(TINY)
    return hot(wait.argmin(-1), masses.shape[-1])
