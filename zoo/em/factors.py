"""Covariances of low rank plus a diagonal: W W' + diag(noise), as factor analysers and probabilistic PCA have them."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.em.data import LEAST_NOISE

ROUNDS = 20
"""In every step of EM: next to a pass over the rows they cost nothing, and three of them end half a nat lower."""


def factored(
    cov: Tensor, dim: int, noise: Tensor | None, loadings: Tensor | None, isotropic: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Such a covariance near `cov` (..., D, D) in likelihood, its noise variances (..., D) and loadings (..., D, dim).

    isotropic  one noise variance (Tipping & Bishop 1999). Otherwise a few rounds of Joreskog's (1967) fixed point from
               the last `noise`.

    Where there are `loadings` already, their space takes a few power steps in place of an eigendecomposition: each is
    more likely than the last, and EM goes on where it was.
    """
    diagonal = cov.diagonal(dim1=-2, dim2=-1)
    dim = min(dim, cov.shape[-1] - 1)
    warm = noise is not None and loadings is not None
    least = LEAST_NOISE * diagonal
    if noise is None:
        noise = (
            torch.ones_like(diagonal)
            if isotropic
            else torch.maximum(0.5 / torch.linalg.inv(cov).diagonal(dim1=-2, dim2=-1), least)
        )
    for _ in range(1 if isotropic and not warm else ROUNDS):
        root = torch.ones_like(noise) if isotropic else noise.sqrt()
        whitened = cov / root[..., :, None] / root[..., None, :]
        values, vectors = _top(whitened, dim, loadings / root[..., None] if warm and loadings is not None else None)
        if isotropic:
            total = diagonal.sum(-1, keepdim=True) - values.sum(-1, keepdim=True)
            noise = (total / (cov.shape[-1] - dim)).clamp_min(LEAST_NOISE).expand(diagonal.shape)
            loadings = vectors * (values - noise[..., :1]).clamp_min(0).sqrt()[..., None, :]
        else:
            loadings = root[..., None] * vectors * (values - 1).clamp_min(0).sqrt()[..., None, :]
            noise = torch.maximum(diagonal - loadings.square().sum(-1), least)
        warm = True
    assert loadings is not None
    return loadings @ loadings.mT + torch.diag_embed(noise), noise, loadings


def _top(cov: Tensor, dim: int, near: Tensor | None) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues (..., dim) and their vectors (..., D, dim); from a space near theirs, better ones."""
    if near is None:
        values, vectors = torch.linalg.eigh(cov)
        return values[..., -dim:], vectors[..., -dim:]
    basis = torch.linalg.qr(cov @ near).Q
    values, turn = torch.linalg.eigh(basis.mT @ cov @ basis)
    return values, basis @ turn
