"""Linear-Gaussian latent variables in closed form: x = loc + W z + noise, z ~ Normal(0, I)."""

from __future__ import annotations

import torch
from pyro.distributions import MultivariateNormal
from torch import Tensor


def ppca(covariance: Tensor, dim: int, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum-likelihood PPCA of a covariance (D, D): loadings (D, dim), noise variance (D,), all equal.

    The noise is the mean of the eigenvalues left out; columns of W are orthogonal and ordered. Tipping & Bishop 1999.
    """
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0), vectors.flip(1)
    size = len(values)
    left = values[dim:].mean() if dim < size else torch.zeros((), dtype=covariance.dtype)
    noise = torch.maximum(left, floor.max())
    kept = min(dim, size)
    loadings = torch.zeros(size, dim, dtype=covariance.dtype)
    loadings[:, :kept] = vectors[:, :kept] * (values[:kept] - noise).clamp_min(0).sqrt()
    return loadings, noise.expand(size)


def factor_analysis(covariance: Tensor, dim: int, floor: Tensor, iterations: int = 1000) -> tuple[Tensor, Tensor]:
    """Maximum-likelihood factor analysis of a covariance: loadings (D, dim), noise variance (D,).

    Alternates the noise variances with the eigen-solution of the whitened covariance, as Joreskog 1967.
    """
    diagonal = covariance.diagonal()
    noise = (0.5 / torch.linalg.pinv(covariance + 1e-9 * torch.eye(len(diagonal))).diagonal()).clamp_min(0) + floor
    kept = min(dim, len(diagonal))
    for _ in range(iterations):
        root = noise.sqrt()
        values, vectors = torch.linalg.eigh(covariance / root[:, None] / root)
        values, vectors = values.flip(0)[:kept], vectors.flip(1)[:, :kept]
        loadings = root[:, None] * vectors * (values - 1).clamp_min(0).sqrt()
        new = torch.maximum(diagonal - loadings.square().sum(1), floor)
        done = bool((new - noise).abs().max() < 1e-8)
        noise = new
        if done:
            break
    padded = torch.zeros(len(diagonal), dim, dtype=covariance.dtype)
    padded[:, :kept] = loadings
    return padded, noise


def posterior(loadings: Tensor, centred: Tensor, precision: Tensor) -> MultivariateNormal:
    """Posterior of z for each row: centred cells (n, D), zero where not seen; noise precisions (n, D), likewise."""
    weighted = precision[..., None] * loadings
    eye = torch.eye(loadings.shape[-1], dtype=loadings.dtype, device=loadings.device)
    lam = eye + loadings.T @ weighted
    tril = torch.linalg.cholesky(lam)
    loc = torch.cholesky_solve((centred[:, None, :] @ weighted).mT, tril)[..., 0]
    return MultivariateNormal(loc, precision_matrix=lam)
