"""The two steps of EM, for restarts and components in one batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.em.data import Data, Statistics, Theta
from zoo.em.factors import factored
from zoo.rows.gaussian import gaps, marginal_log_prob

ROUGH = 2e-5  # nats per row in an iteration: settled enough to compare, not to return


def climb(data: Data, theta: Theta, iterations: int, tol: float = 1e-6) -> tuple[Theta, Tensor]:
    """EM until the mean log-likelihood of every restart has settled; returns it (R,) too."""
    last = torch.full((len(theta.log_weights),), -torch.inf, dtype=torch.float64)
    for _ in range(iterations):
        score, stats = e_step(data, theta)
        if bool((score - last < tol).all()) or data.late:
            break
        last = score
        theta = m_step(data, stats, theta.noise)
    return theta, mean_log(data, theta)


def mean_log(data: Data, theta: Theta) -> Tensor:
    total = sum(
        (
            (data.weight[i, None] * log_joint_of(data.take(i), theta).logsumexp(-1)).sum(0)
            for i in data.chunks(_width(data, theta))
        ),
        start=torch.zeros(len(theta.log_weights), dtype=torch.float64),
    )
    return total / data.weight.sum()


def _width(data: Data, theta: Theta) -> int:
    d = data.y.shape[1]
    size = theta.log_weights.numel()
    return (
        size * d * d
        if data.needs_patterns
        else max(size * (1 + len(data.sizes)), d * (d + 3) // 2 if data.dense else d)
    )


def e_step(data: Data, theta: Theta) -> tuple[Tensor, Statistics]:
    score, stats = torch.zeros(len(theta.log_weights), dtype=torch.float64), None
    for i in data.chunks(_width(data, theta)):
        part = data.take(i)
        log_joint = log_joint_of(part, theta)
        log = log_joint.logsumexp(-1, keepdim=True)
        score = score + (part.weight[:, None] * log[..., 0]).sum(0)
        new = statistics(part, (log_joint - log).exp() * part.weight[:, None, None], theta)
        stats = new if stats is None else stats + new
    assert stats is not None
    return score / data.weight.sum(), stats


def log_joint_of(data: Data, theta: Theta) -> Tensor:
    """log pi_k + log p(x | k), (N, R, K)."""
    r, k = theta.log_weights.shape
    out = theta.log_weights.expand(data.n, r, k)
    if data.y.shape[1]:
        out = out + (_log_dense(data, theta) if data.dense else _log_diagonal(data, theta))
    table = theta.masses.reshape(-1, r * k)
    for j in range(data.codes.shape[1]):
        code = data.codes[:, j]
        log = table[code.clamp_min(0)].reshape(data.n, r, k)
        out = out + torch.where((code >= 0)[:, None, None], log, 0.0)
    return out


def _log_diagonal(data: Data, theta: Theta) -> Tensor:
    r, k, d = theta.loc.shape
    p = 1 / theta.cov
    o = data.seen.double()
    constant = -0.5 * (math.log(2 * math.pi) + theta.cov.log() + theta.loc.square() * p)
    features = torch.cat([o, data.y * o, data.y.square() * o], -1)
    weights = torch.cat([constant, theta.loc * p, -0.5 * p], -1).reshape(r * k, 3 * d)
    return (features @ weights.T).reshape(data.n, r, k)


def _products(y: Tensor) -> Tensor:
    i, j = torch.triu_indices(y.shape[1], y.shape[1])
    return torch.cat([torch.ones_like(y[:, :1]), y, y[:, i] * y[:, j]], 1)


def _log_dense(data: Data, theta: Theta) -> Tensor:
    r, k, d = theta.loc.shape
    factor = torch.linalg.cholesky(theta.cov)
    if not data.complete:
        with torch.no_grad():
            log = marginal_log_prob(theta.loc[:, :, None], factor[:, :, None], data.y, data.seen)
        return log.permute(2, 0, 1)
    precision = torch.cholesky_inverse(factor)
    linear = (precision @ theta.loc[..., None])[..., 0]
    constant = (
        -0.5 * (theta.loc * linear).sum(-1)
        - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        - 0.5 * d * math.log(2 * math.pi)
    )
    i, j = torch.triu_indices(d, d)
    quadratic = -0.5 * precision[..., i, j] * torch.where(i == j, 1.0, 2.0)
    weights = torch.cat([constant[..., None], linear, quadratic], -1).reshape(r * k, -1)
    return (_products(data.y) @ weights.T).reshape(data.n, r, k)


def statistics(data: Data, resp: Tensor, theta: Theta | None) -> Statistics:
    n, r, k = resp.shape
    flat = resp.reshape(n, r * k)
    total = sum(data.sizes)
    counts = torch.zeros(total + 1, r * k, dtype=torch.float64)
    for j in range(data.codes.shape[1]):
        code = data.codes[:, j]
        counts.index_add_(0, torch.where(code >= 0, code, total), flat)
    shape = (r, k, data.y.shape[1])
    o = data.seen.double()
    seen = (flat.T @ o).reshape(shape)
    counts = counts[:total].reshape(total, r, k)
    if not data.dense:
        first, second = ((flat.T @ t).reshape(shape) for t in (data.y * o, data.y.square() * o))
        return Statistics(resp.sum(0), seen, first, second, counts)
    if not data.complete and theta is not None:
        first, second = _expected(data, resp, theta)
        return Statistics(resp.sum(0), seen, first, second, counts)
    y = data.imputed().y
    d = shape[-1]
    products = (flat.T @ _products(y)).reshape(r, k, -1)
    i, j = torch.triu_indices(d, d)
    second = torch.zeros(r, k, d, d, dtype=torch.float64)
    second[..., i, j] = second[..., j, i] = products[..., 1 + d :]
    return Statistics(resp.sum(0), seen, products[..., 1 : 1 + d], second, counts)


def _expected(data: Data, resp: Tensor, theta: Theta) -> tuple[Tensor, Tensor]:
    """First and second moments of the rows completed under each component's conditional Gaussian."""
    _, r, k = resp.shape
    d = data.y.shape[1]
    first, second = torch.zeros(r, k, d, dtype=torch.float64), torch.zeros(r, k, d * d, dtype=torch.float64)
    factor = torch.linalg.cholesky(theta.cov)
    with torch.no_grad():
        for gap in gaps(theta.loc[:, :, None], factor[:, :, None], data.y, data.seen):
            w = resp[gap.rows].permute(1, 2, 0)
            full = torch.where(data.seen[gap.rows], data.y[gap.rows], 0.0).expand(r, k, -1, -1).clone()
            full.scatter_add_(-1, gap.index.expand_as(gap.mean), torch.where(gap.there, gap.mean, 0.0))
            first += (w[..., None, :] @ full)[..., 0, :]
            second += ((full * w[..., None]).mT @ full).flatten(-2)
            place = (gap.index[:, :, None] * d + gap.index[:, None, :]).flatten()
            left = gap.covariance()
            share = w.sum(-1)[..., None, None, None] if left.shape[-3] == 1 else w[..., None, None]
            second.index_add_(-1, place, (share * left).flatten(-3))
    return first, second.unflatten(-1, (d, d))


def m_step(data: Data, stats: Statistics, noise: Tensor | None = None) -> Theta:
    """Parameters of most likelihood given the sums; factored covariances are improved from their last `noise`."""
    n = stats.n.clamp_min(1e-8)
    weights = n / n.sum(-1, keepdim=True)
    masses = _masses(data, stats)
    if not data.dense:
        # a thousandth of a row from the whole column keeps a column that a component never saw defined
        size = stats.seen + 1e-3
        loc = stats.first / size
        cov = (stats.second + 1e-3) / size - loc.square()
        if data.covariance == "spherical":
            cov = cov.mean(-1, keepdim=True).expand(cov.shape)
        cov = torch.maximum(_pooled(cov, stats.seen, data.pool) - data.correction, data.floor)
        return Theta(weights.log(), loc, cov, masses)
    loc = stats.first / n[..., None]
    cov = stats.second / n[..., None, None] - loc[..., :, None] * loc[..., None, :]
    if data.covariance == "tied":
        cov = (weights[..., None, None] * cov).sum(1, keepdim=True).expand(cov.shape)
    cov = _pooled(cov, n[..., None, None], data.pool)
    cov = _definite(_shrunk(cov, float(n[0].sum())), data.floor)
    if data.factored:
        cov, noise = factored(cov, data.dim, noise, data.covariance == "isotropic")
    return Theta(weights.log(), loc, cov, masses, noise)


def _pooled(cov: Tensor, n: Tensor, pool: float) -> Tensor:
    """(n cov + pool common) / (n + pool), with the components' mean as the common covariance. Friedman 1989."""
    if not pool:
        return cov
    common = (n * cov).sum(1, keepdim=True) / n.sum(1, keepdim=True).clamp_min(1e-8)
    return (n * cov + pool * common) / (n + pool)


def _shrunk(cov: Tensor, n: float) -> Tensor:
    """Covariances of a table of fewer rows than columns are singular: draw them towards their diagonal."""
    size = cov.shape[-1] + 1
    share = max(0.1, 0.9 * (size - n) / size) if n < size else 0.0
    return (1 - share) * cov + share * torch.diag_embed(cov.diagonal(dim1=-2, dim2=-1))


def _definite(cov: Tensor, floor: Tensor) -> Tensor:
    """Covariances plus their floor; one still not positive definite (an empty component) becomes the identity."""
    cov = 0.5 * (cov + cov.mT) + torch.diag(floor)
    bad = torch.linalg.cholesky_ex(cov).info > 0
    return torch.where(bad[..., None, None], torch.eye(cov.shape[-1], dtype=cov.dtype), cov)


def _masses(data: Data, stats: Statistics) -> Tensor:
    """Log-mass of every level in every component (L, R, K), drawn towards the column's own by the weight of one row."""
    out, k = [], stats.n.shape[-1]
    for block in stats.counts.split(data.sizes) if data.sizes else []:
        overall = block.sum(-1, keepdim=True) + 1e-2
        overall = overall / overall.sum(0)
        shrunk = block + (overall if k > 1 else 1e-2 * overall)
        out.append((shrunk / shrunk.sum(0)).log())
    return torch.cat(out) if out else stats.counts
