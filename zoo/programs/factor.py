"""Linear-Gaussian latent variables in closed form: x = loc + W z + noise, z ~ Normal(0, I)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pyro.distributions import MultivariateNormal
from torch import Tensor

from zoo.rows.rows import Rows


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


def precision(rows: Rows, scale: Tensor) -> Tensor:
    """Precision of each numeric cell as a Gaussian reading (n, Dn), zero where it was not seen or is an atom.

    A rounded column counts its cell's variance as noise; an end cell, which reaches to infinity, a standard deviation
    of the column more, so that a proposal made of it is not too narrow.
    """
    cells, edges = rows.cells, rows.codec.edges
    assert cells is not None
    n = len(rows.schema.numeric)
    x = cells.x[:, :n]
    at_end = (x < edges[0]) | (x > edges[1])
    variance = scale.square() + (cells.hi - cells.lo).square() / 12 + at_end.double()
    return (cells.seen[:, :n] & (cells.atom == 0)) / variance


def posterior(loadings: Tensor, centred: Tensor, precision: Tensor) -> MultivariateNormal:
    """Posterior of z for each row: centred cells (n, D), zero where not seen; noise precisions (n, D), likewise."""
    weighted = precision[..., None] * loadings
    eye = torch.eye(loadings.shape[-1], dtype=loadings.dtype, device=loadings.device)
    lam = eye + loadings.T @ weighted
    tril = torch.linalg.cholesky(lam)
    loc = torch.cholesky_solve((centred[:, None, :] @ weighted).mT, tril)[..., 0]
    return MultivariateNormal(loc, precision_matrix=lam)


NEWTON, WIDE = 6, 64


class Labels(NamedTuple):
    """Levels as one-hot blocks side by side: hot, there (n, sum of sizes), there zero where the cell was not seen."""

    hot: Tensor
    there: Tensor
    sizes: tuple[int, ...]


def laplace(
    numeric: Tensor, rest: Tensor, centred: Tensor, precision: Tensor, logits: Tensor, labels: Labels
) -> MultivariateNormal:
    """Laplace approximation of p(z | x), x_numeric ~ Normal(loc + numeric z, noise), levels ~ softmax(logits + rest z).

    numeric (Dn, dim), rest (levels, dim); centred and precision as in `posterior`; logits (n or 1, levels). Newton's
    steps on the log-density, with the curvature

        I + numeric' diag(precision) numeric + sum over blocks of rest' (diag(p) - p p') rest

    where a block of more than `WIDE` levels keeps its p at z = 0, so that no row needs its curvature worked out.
    """
    n, dim = len(centred), rest.shape[-1]
    parts, sizes = rest.split(labels.sizes), labels.sizes
    wide = [size > WIDE for size in sizes]
    narrow = (
        torch.tensor(wide, device=rest.device).repeat_interleave(torch.tensor(sizes, device=rest.device)).logical_not()
    )
    fixed = torch.eye(dim, dtype=rest.dtype, device=rest.device).flatten() + precision @ _squares(numeric)
    for part, logit, there, is_wide in zip(
        parts, logits.split(sizes, -1), labels.there.split(sizes, -1), wide, strict=True
    ):
        if is_wide:
            p = logit.mean(0).softmax(-1)
            fixed = fixed + there[:, :1] * (part.T @ (p[:, None] * part) - torch.outer(p @ part, p @ part)).flatten()
    squares, pull = _squares(rest[narrow]), (precision * centred) @ numeric
    z = torch.zeros(n, dim, dtype=rest.dtype, device=rest.device)
    for step in range(NEWTON):
        blocks = (logits + z @ rest.T).split(sizes, -1)
        p = torch.cat([block.softmax(-1) for block in blocks], -1) * labels.there
        lam = (fixed + p[:, narrow] @ squares).reshape(n, dim, dim)
        means = [q @ part for q, part, is_wide in zip(p.split(sizes, -1), parts, wide, strict=True) if not is_wide]
        if means:
            mean = torch.stack(means, 1)
            lam = lam - mean.mT @ mean
        if step < NEWTON - 1:
            slope = pull - (precision * (z @ numeric.T)) @ numeric + (labels.hot - p) @ rest - z
            z = z + torch.cholesky_solve(slope[..., None], torch.linalg.cholesky(lam))[..., 0]
    return MultivariateNormal(z, precision_matrix=lam)


def _squares(w: Tensor) -> Tensor:
    """Outer product of every row with itself: (rows, dim) to (rows, dim * dim)."""
    return (w[:, :, None] * w[:, None, :]).flatten(1)
