"""Covariances of low rank plus a diagonal: W W' + diag(noise), as factor analysers and probabilistic PCA have them."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 3
LEAST = 1e-5
"""Of a noise variance beside that of its column: rounding would be lost in less."""


def factored(cov: Tensor, dim: int, noise: Tensor | None, isotropic: bool) -> tuple[Tensor, Tensor]:
    """The nearest such covariance in likelihood (..., D, D), and its noise variances (..., D).

    isotropic  one noise variance: a closed form (Tipping & Bishop 1999). Otherwise a few rounds of Joreskog's (1967)
               fixed point from the last `noise`, so that EM goes on where it was.
    """
    diagonal = cov.diagonal(dim1=-2, dim2=-1)
    dim = min(dim, cov.shape[-1] - 1)
    if isotropic:
        loadings, noise = _principal(cov, dim)
        return loadings @ loadings.mT + torch.diag_embed(noise), noise
    least = LEAST * diagonal
    if noise is None:
        noise = torch.maximum(0.5 / torch.linalg.inv(cov).diagonal(dim1=-2, dim2=-1), least)
    for _ in range(ROUNDS):
        loadings = _common(cov, noise, dim)
        noise = torch.maximum(diagonal - loadings.square().sum(-1), least)
    loadings = _common(cov, noise, dim)
    return loadings @ loadings.mT + torch.diag_embed(noise), noise


def split(cov: Tensor, noise: Tensor, dim: int) -> Tensor:
    """Loadings (..., D, dim) of a factored covariance."""
    values, vectors = torch.linalg.eigh(cov - torch.diag_embed(noise))
    kept = min(dim, cov.shape[-1])
    loadings = vectors[..., -kept:].flip(-1) * values[..., None, -kept:].flip(-1).clamp_min(0).sqrt()
    return torch.nn.functional.pad(loadings, (0, dim - kept))


def _principal(cov: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(cov)
    left = values[..., : values.shape[-1] - dim].mean(-1, keepdim=True).clamp_min(LEAST)
    loadings = vectors[..., -dim:] * (values[..., None, -dim:] - left[..., None]).clamp_min(0).sqrt()
    return loadings, left.expand(cov.shape[:-1])


def _common(cov: Tensor, noise: Tensor, dim: int) -> Tensor:
    root = noise.sqrt()
    values, vectors = torch.linalg.eigh(cov / root[..., :, None] / root[..., None, :])
    return root[..., None] * vectors[..., -dim:] * (values[..., None, -dim:] - 1).clamp_min(0).sqrt()
