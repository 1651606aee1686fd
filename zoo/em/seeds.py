"""Where restarts begin: greedy k-means++ and a few Lloyd steps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from zoo.em.data import Data

MANY_LEVELS = 50


def seeds(data: Data, restarts: int, k: int) -> Tensor:
    """Hard responsibilities (N, R, K); half of the restarts begin in whitened space."""
    features = [data.y]
    offset = 0
    for j, size in enumerate(data.sizes):
        if size <= MANY_LEVELS:
            code = (data.codes[:, j] - offset).clamp_min(0)
            features.append(0.7 * one_hot(code, size).double() * (data.codes[:, j, None] >= 0))
        offset += size
    x = torch.cat(features, -1)
    whitened = [x]
    if data.y.shape[1] > 1 and data.dense:
        cov = torch.cov(data.y.T) + 1e-6 * torch.eye(data.y.shape[1], dtype=x.dtype)
        z = torch.linalg.solve_triangular(torch.linalg.cholesky(cov), (data.y - data.y.mean(0)).T, upper=False).T
        whitened.append(torch.cat([z, *features[1:]], -1))
    parts = []
    for i, space in enumerate(whitened):
        r = restarts // len(whitened) + (i < restarts % len(whitened))
        if r:
            parts.append(_lloyd(space, _plus_plus(space, r, k), 8))
    return torch.cat(parts, 1) * data.weight[:, None, None]


def _distance(x: Tensor, centres: Tensor) -> Tensor:
    """Squared distances (N, ...) of rows (N, D) to centres (..., D)."""
    flat = centres.flatten(0, -2)
    d = x.square().sum(1, keepdim=True) - 2 * x @ flat.T + flat.square().sum(1)
    return d.clamp_min(0).reshape(len(x), *centres.shape[:-1])


def _plus_plus(x: Tensor, restarts: int, k: int, trials: int = 4) -> Tensor:
    """Greedy k-means++ centres (R, K, D). Arthur & Vassilvitskii 2007."""
    centres = x[torch.randint(len(x), (restarts, 1))]
    nearest = _distance(x, centres[:, 0]).T
    for _ in range(1, k):
        p = nearest + 1e-12
        candidate = x[torch.multinomial(p, trials, replacement=True)]
        new = torch.minimum(nearest[:, None], _distance(x, candidate).permute(1, 2, 0))
        pick = new.sum(-1).argmin(1)
        r = torch.arange(restarts)
        centres = torch.cat([centres, candidate[r, pick][:, None]], 1)
        nearest = new[r, pick]
    return centres


def _lloyd(x: Tensor, centres: Tensor, iterations: int) -> Tensor:
    k = centres.shape[1]
    for _ in range(iterations):
        hard = one_hot(_distance(x, centres).argmin(-1), k).double()
        size = hard.sum(0)[..., None]
        mean = torch.einsum("nrk,nd->rkd", hard, x) / size.clamp_min(1)
        centres = torch.where(size > 0, mean, centres)
    return hard
