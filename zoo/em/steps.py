"""The two steps of EM, for restarts and components in one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.em.data import PSEUDO, Data, Statistics, Theta
from zoo.em.factors import factored
from zoo.rows.gaussian import Gap, gaps, log_seen

FASTER = 1.1
"""Steps of EM grow by it as long as they help. Salakhutdinov & Roweis 2003."""
COARSE, ROUGH, SETTLED, FINE = 2e-2, 3e-3, 5e-4, 5e-5
"""A climb is over when an iteration gains less than this share of what estimating costs: to be moved from, to compare,
to end a search, to return. After a search, ten times the precision takes longer and gains thousandths of a nat."""


def climb(data: Data, theta: Theta, iterations: int, share: float = FINE) -> tuple[Theta, Tensor]:
    """EM until the mean log-likelihood of every restart has settled; returns it (R,) too."""
    data = data.prepared()
    tol = max(2e-5 if share == ROUGH else 1e-6, data.slack(theta.log_weights.shape[1], share))
    last = torch.full((len(theta.log_weights),), -torch.inf, dtype=torch.float64)
    step = torch.ones_like(last)
    at: Statistics | None = None
    back: Statistics | None = None
    for _ in range(iterations):
        score, stats = e_step(data, theta)
        if at is not None and back is not None and bool(((score < last) & (step > 1)).any()):
            worse = score < last
            # too far: these restarts take the plain step from where they were
            at, step = back.where(worse, at), torch.where(worse, 1.0, step)
            theta, back = m_step(data, at, theta), None
            continue
        if bool((score - last < tol).all()) or data.late:
            return theta, score
        last = score
        if data.needs_patterns or data.factored:
            theta = m_step(data, stats, theta)
            continue
        step = step * FASTER
        ahead = stats if at is None else at.beyond(stats, step)
        theta, at, back = m_step(data, ahead, theta), ahead, stats
    return theta, mean_log(data, theta)


def raced(data: Data, theta: Theta, *heats: tuple[int, int], share: float = FINE) -> tuple[Theta, Tensor]:
    """Restarts climb in heats of (how many, iterations): those behind are left. Jamieson & Talwalkar 2016."""
    score = None
    for keep, iterations in heats:
        theta = theta if score is None else theta.best(score, keep)
        theta, score = climb(data, theta, iterations, share)
    assert score is not None
    return theta, score


def mean_log(data: Data, theta: Theta) -> Tensor:
    weights = _weights(data, theta)
    total = sum(
        (
            data.weight[i] @ _normalised(log_joint_of(data.take(i), theta, weights))[1]
            for i in data.chunks(_width(data, theta))
        ),
        start=torch.zeros(len(theta.log_weights), dtype=torch.float64),
    )
    return total / data.weight.sum()


def probabilities(data: Data, theta: Theta) -> Tensor:
    """Of the components of one restart, given each row (N, K)."""
    weights = _weights(data, theta)
    parts = (data.take(i) for i in data.chunks(_width(data, theta)))
    return torch.cat([_normalised(log_joint_of(part, theta, weights))[0][:, 0] for part in parts])


def _width(data: Data, theta: Theta) -> int:
    d = data.y.shape[1]
    size = theta.log_weights.numel()
    return size * d * d if data.needs_patterns else max(size * (1 + len(data.long)), data.width_of_features)


def e_step(data: Data, theta: Theta) -> tuple[Tensor, Statistics]:
    score, stats = torch.zeros(len(theta.log_weights), dtype=torch.float64), None
    weights = _weights(data, theta)
    for i in data.chunks(_width(data, theta)):
        part = data.take(i)
        if not part.needs_patterns:
            part.features = part.linear()
        found = _found(part, theta) if part.needs_patterns else []
        resp, log = _normalised(log_joint_of(part, theta, weights, found))
        score = score + part.weight @ log
        new = statistics(part, resp.mul_(part.weight[:, None, None]), found)
        stats = new if stats is None else stats + new
    assert stats is not None
    return score / data.weight.sum(), stats


def _normalised(log_joint: Tensor) -> tuple[Tensor, Tensor]:
    """Responsibilities (N, R, K), in place of what came, and the log-likelihood (N, R); one exponential a number."""
    most = log_joint.amax(-1, keepdim=True)
    resp = log_joint.sub_(most).exp_()
    total = resp.sum(-1, keepdim=True)
    return resp.div_(total), (most + total.log())[..., 0]


def log_joint_of(data: Data, theta: Theta, weights: Tensor | None = None, found: Sequence[Gap] | None = None) -> Tensor:
    """log pi_k + log p(x | k), (N, R, K), a tensor of its own; `weights` and `found` where they are known."""
    r, k = theta.log_weights.shape
    table = theta.masses.reshape(-1, r * k)
    if data.needs_patterns:
        found = _found(data, theta) if found is None else found
        log = log_seen(found, data.seen, theta.log_weights.new_zeros(r, k, data.n))
        out = theta.log_weights + log.permute(2, 0, 1)
        if len(data.hot):
            out = out + (data.indicators() @ table[data.hot]).reshape(data.n, r, k)
    elif not data.width_of_features:
        out = theta.log_weights.repeat(data.n, 1, 1)
    else:
        weights = _weights(data, theta) if weights is None else weights
        assert weights is not None
        out = (data.linear() @ weights.T).reshape(data.n, r, k)
        if not (data.dense and data.y.shape[1]):  # no feature is one in every row
            out += theta.log_weights
    for j in data.long:
        code = data.codes[:, j]
        log = table[code.clamp_min(0)].reshape(data.n, r, k)
        out = out + torch.where((code >= 0)[:, None, None], log, 0.0)
    return out


def _weights(data: Data, theta: Theta) -> Tensor | None:
    """Of `Data.linear` in log pi_k + log p(x | k) (R K, F), where it is linear: no patterns of missing cells."""
    if data.needs_patterns or not data.width_of_features:
        return None
    levels = theta.masses[data.hot].permute(1, 2, 0)
    if not data.y.shape[1]:
        return levels.flatten(0, 1)
    numeric = _dense_weights(theta) if data.dense else _diagonal_weights(theta)
    if data.dense:
        numeric[..., 0] += theta.log_weights
    return torch.cat([numeric, levels], -1).flatten(0, 1)


def _diagonal_weights(theta: Theta) -> Tensor:
    """Of `Data.linear` in the log-density (R, K, 3 D)."""
    p = 1 / theta.cov
    constant = -0.5 * (math.log(2 * math.pi) + theta.cov.log() + theta.loc.square() * p)
    return torch.cat([constant, theta.loc * p, -0.5 * p], -1)


def _dense_weights(theta: Theta) -> Tensor:
    """Of `Data.linear` in the log-density (R, K, F)."""
    d = theta.loc.shape[-1]
    factor = torch.linalg.cholesky(theta.cov)
    precision = torch.cholesky_inverse(factor)
    linear = (precision @ theta.loc[..., None])[..., 0]
    constant = (
        -0.5 * (theta.loc * linear).sum(-1)
        - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        - 0.5 * d * math.log(2 * math.pi)
    )
    i, j = torch.triu_indices(d, d)
    quadratic = -0.5 * precision[..., i, j] * torch.where(i == j, 1.0, 2.0)
    return torch.cat([constant[..., None], linear, quadratic], -1)


def _found(data: Data, theta: Theta) -> list[Gap]:
    """What the missing cells are under every component."""
    factor = torch.linalg.cholesky(theta.cov)
    with torch.no_grad():
        return list(gaps(theta.loc[:, :, None], factor[:, :, None], data.y, data.seen))


def statistics(data: Data, resp: Tensor, found: Sequence[Gap] = ()) -> Statistics:
    """Sums over rows of what each component is responsible for. With `found`, missing cells are expected; without it
    they take another row's value."""
    n, r, k = resp.shape
    flat, size, d = resp.reshape(n, r * k), resp.sum(0), data.y.shape[1]
    total, hot = sum(data.sizes), data.hot
    counts = torch.zeros(total + 1, r * k, dtype=torch.float64)
    for j in data.long:
        code = data.codes[:, j]
        counts.index_add_(0, torch.where(code >= 0, code, total), flat)
    patterns = bool(found)
    sums = flat.T @ (data.indicators() if patterns else data.imputed().linear())
    numeric = sums.shape[1] - len(hot)
    counts[hot] = sums[:, numeric:].T
    counts, sums = counts[:total].reshape(total, r, k), sums[:, :numeric].reshape(r, k, numeric)
    if not data.dense:
        seen, first, second = sums.unflatten(-1, (3, d)).unbind(2)
        return Statistics(size, seen, first, second, counts)
    if patterns:
        seen = (flat.T @ data.seen.double()).reshape(r, k, d)
        first, second = _expected(data, resp, found)
        return Statistics(size, seen, first, second, counts)
    if not d:
        sums = size[..., None]
    i, j = torch.triu_indices(d, d)
    second = torch.zeros(r, k, d, d, dtype=torch.float64)
    second[..., i, j] = second[..., j, i] = sums[..., 1 + d :]
    return Statistics(size, size[..., None].expand(r, k, d), sums[..., 1 : 1 + d], second, counts)


def _expected(data: Data, resp: Tensor, found: Sequence[Gap]) -> tuple[Tensor, Tensor]:
    """First and second moments of the rows completed under each component's conditional Gaussian."""
    _, r, k = resp.shape
    d = data.y.shape[1]
    first, second = torch.zeros(r, k, d, dtype=torch.float64), torch.zeros(r, k, d * d, dtype=torch.float64)
    for gap in found:
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


def m_step(data: Data, stats: Statistics, last: Theta | None = None) -> Theta:
    """Parameters of most likelihood given the sums; factored covariances are improved from the `last` ones."""
    n = stats.n.clamp_min(1e-8)
    weights = n / n.sum(-1, keepdim=True)
    masses = _masses(data, stats)
    if not data.dense:
        # a thousandth of a row from the whole column keeps a column that a component never saw defined
        size = stats.seen + PSEUDO
        loc = stats.first / size
        cov = (stats.second + PSEUDO) / size - loc.square()
        if data.covariance == "spherical":
            cov = cov.mean(-1, keepdim=True).expand(cov.shape)
        cov = _supported(_pooled(cov, stats.seen, data.pool), stats.seen, _whole(data, stats), data)
        cov = torch.maximum(cov - data.correction, data.floor)
        return Theta(weights.log(), loc, cov, masses)
    loc = stats.first / n[..., None]
    cov = stats.second / n[..., None, None] - loc[..., :, None] * loc[..., None, :]
    if data.covariance == "tied":
        cov = (weights[..., None, None] * cov).sum(1, keepdim=True).expand(cov.shape)
    cov = _pooled(cov, n[..., None, None], data.pool)
    rows, whole = float(n[0].sum()), _whole(data, stats)
    if data.covariance == "tied":
        cov = _supported(cov, stats.seen.sum(1, keepdim=True).expand(stats.seen.shape), whole, data)
    elif cov.shape[1] > 1:
        cov = _supported(cov, stats.seen, _shrunk(whole, rows), data)
    else:
        cov = whole
    cov = _definite(_shrunk(cov, rows), data.floor)
    if not data.factored:
        return Theta(weights.log(), loc, cov, masses)
    noise, loadings = (None, None) if last is None else (last.noise, last.loadings)
    cov, noise, loadings = factored(cov, data.dim, noise, loadings, data.covariance == "isotropic")
    return Theta(weights.log(), loc, cov, masses, noise, loadings)


def _pooled(cov: Tensor, n: Tensor, pool: float) -> Tensor:
    """(n cov + pool common) / (n + pool), with the components' mean as the common covariance. Friedman 1989."""
    if not pool:
        return cov
    common = (n * cov).sum(1, keepdim=True) / n.sum(1, keepdim=True).clamp_min(1e-8)
    return (n * cov + pool * common) / (n + pool)


def _supported(cov: Tensor, seen: Tensor, common: Tensor, data: Data) -> Tensor:
    """Covariances (R, K, D, D), or variances, with the cells that a column lacks made up by those of all rows.

    A column seen in n < `needed` rows has a share n / needed of its own and the rest of the common covariance, in the
    room each of K has of it, common / K^(2 / D); two columns the geometric mean of both. After Fraley & Raftery 2007.
    """
    own = (seen / data.needed).clamp_max(1.0)
    if bool((own == 1).all()):
        return cov
    common = common * cov.shape[1] ** (-2 / data.y.shape[1])
    if cov.dim() == 3:
        return own * cov + (1 - own) * common
    a, b = own.sqrt(), (1 - own).sqrt()
    return a[..., :, None] * a[..., None, :] * cov + b[..., :, None] * b[..., None, :] * common


def _whole(data: Data, stats: Statistics) -> Tensor:
    """The covariance of all rows; a column that hardly any has seen is as wide as the codec says: one."""
    cov = _common(stats)
    unit = torch.ones_like(cov) if cov.dim() == 3 else torch.eye(cov.shape[-1], dtype=cov.dtype).expand(cov.shape)
    return _supported(cov, stats.seen.sum(1, keepdim=True), unit, data)


def _common(stats: Statistics) -> Tensor:
    """Covariance of all rows (R, 1, D, D), or variances (R, 1, D)."""
    if stats.second.dim() == 3:
        size = stats.seen.sum(1, keepdim=True).clamp_min(1e-8)
        return stats.second.sum(1, keepdim=True) / size - (stats.first.sum(1, keepdim=True) / size).square()
    size = stats.n.sum(1).clamp_min(1e-8)[:, None, None]
    loc = stats.first.sum(1, keepdim=True) / size
    return stats.second.sum(1, keepdim=True) / size[..., None] - loc[..., :, None] * loc[..., None, :]


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
