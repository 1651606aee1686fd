"""Starting mixtures from data: k-means++ and batched EM restarts on a subsample, then EM on all rows.

All restarts and components are one batch, and both steps of EM are linear in per-row features (values and squares, or
all products for a full covariance), so an iteration is two matrix products. Rows with missing cells are handled
exactly: by masks where columns are independent given the cluster, by the conditional Gaussian of each pattern of
missing cells where they are not. Dempster, Laird & Rubin 1977; Ghahramani & Jordan 1994.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from zoo.rows.rows import Rows

SUBSAMPLE = 4000
MANY_LEVELS = 50
WIDE = 0.7
MOVES, ROUNDS = 12, 8
ROUGH = 2e-5  # nats per row in an iteration: settled enough to compare, not to return


def spread_shape(covariance: str, components: int, n: int) -> tuple[int, ...]:
    """Shape of the `spread` parameter: raw Cholesky factors, or log-scales."""
    return {
        "full": (components, n, n),
        "tied": (1, n, n),
        "diagonal": (components, n),
        "spherical": (components, 1),
    }[covariance]


def tril(raw: Tensor) -> Tensor:
    """Cholesky factor (..., D, D) of an unconstrained square: its diagonal is positive."""
    return raw.tril(-1) + torch.diag_embed(raw.diagonal(dim1=-2, dim2=-1).exp())


@dataclass
class Start:
    """Parameters of a mixture of K components.

    log_weights (K,), loc (K, Dn), spread as `spread_shape`, rest (K, schema.rest) logits, log_likelihood per row.
    wide: some rounded column's cell is so wide beside a component's scale that its midpoint density is a poor stand-in
    for the cell's average, so that this start is not quite the maximum.
    """

    log_weights: Tensor
    loc: Tensor
    spread: Tensor
    rest: Tensor
    log_likelihood: float
    wide: bool

    def covariance(self, k: int) -> Tensor:
        factor = tril(self.spread[k])
        return factor @ factor.T


def fit(rows: Rows, components: int, covariance: str, restarts: int = 10, keep: int = 3) -> Start:
    """Maximum likelihood of a mixture on these rows; rounded columns are taken as densities.

    components  K; never more than there are rows
    restarts    k-means++ starts run on a subsample; the best `keep` go on to all rows, the best of those is returned
    """
    data = _Data.of(rows, covariance)
    if components == 1:
        resp = rows.weight.double()[:, None, None]
        theta = _m_step(data, _statistics(data, resp, None))
        return _finish(data, _climb(data, theta, 100) if data.needs_patterns else (theta, _mean_log(data, theta)), 0)
    small = data.take(torch.randperm(data.n)[:SUBSAMPLE]).imputed()
    theta = _m_step(small, _statistics(small, _seeds(small, restarts, components), None))
    theta, score = _climb(small, theta, 25)
    theta, score = _climb(data.imputed(), theta.best(score, keep), 200, ROUGH)
    if components > 2:
        theta, score = _split_and_merge(small, data.imputed(), theta.best(score, 1), score.amax())
    if data.needs_patterns:
        theta, score = _climb(data, theta.best(score, 1), 60)
    return _finish(data, (theta, score), int(score.argmax()))


# ---------------------------------------------------------------- data


@dataclass
class _Data:
    """y (N, D) with zeros where missing, seen (N, D), codes (N, C) into all levels side by side (-1 where missing)."""

    y: Tensor
    seen: Tensor
    codes: Tensor
    weight: Tensor
    sizes: list[int]
    covariance: str
    floor: Tensor
    correction: Tensor
    width: Tensor
    complete: bool

    @classmethod
    def of(cls, rows: Rows, covariance: str) -> _Data:
        assert rows.cells is not None
        schema, cells = rows.schema, rows.cells
        n = len(schema.numeric)
        dense = covariance in ("full", "tied")
        y = cells.x[:, :n]
        width = (cells.hi - cells.lo).amax(0) if len(cells.lo) else torch.zeros(n)
        if dense and schema.has_lattice:
            y = torch.where(cells.seen[:, :n], cells.lo + (cells.hi - cells.lo) * torch.rand_like(y), 0.0)
        sizes = [2] * len(schema.binary) + [c.n_logits for c in schema.categorical]
        start = torch.tensor([0, *sizes[:-1]], device=y.device).cumsum(0)[: len(sizes)]
        codes = torch.where(cells.seen[:, n:], cells.x[:, n:].long() + start, -1)
        # a point mass in the middle of a cell carries the cell's own variance too (Sheppard)
        correction = torch.zeros_like(width) if dense else width.square() / 12
        floor = rows.codec.min_scale.square() if not dense else torch.full_like(width, 1e-6)
        seen = cells.seen[:, :n]
        return cls(y, seen, codes, rows.weight.double(), sizes, covariance, floor, correction, width, bool(seen.all()))

    @property
    def n(self) -> int:
        return len(self.y)

    @property
    def dense(self) -> bool:
        return self.covariance in ("full", "tied")

    @property
    def needs_patterns(self) -> bool:
        return self.dense and not self.complete

    def take(self, index: Tensor) -> _Data:
        new = _Data(**vars(self))
        new.y, new.seen, new.codes, new.weight = (t[index] for t in (self.y, self.seen, self.codes, self.weight))
        return new

    def imputed(self) -> _Data:
        """For dense covariances: missing cells set to the column's mean, so that an iteration is a matrix product."""
        if not self.needs_patterns:
            return self
        new = _Data(**vars(self))
        mean = self.y.sum(0) / self.seen.sum(0).clamp_min(1)
        new.y, new.seen, new.complete = torch.where(self.seen, self.y, mean), torch.ones_like(self.seen), True
        return new

    def chunks(self, width: int) -> list[Tensor]:
        size = max(256, (1 << 22) // max(width, 1))
        return list(torch.arange(self.n, device=self.y.device).split(size))


@dataclass
class _Theta:
    """R restarts of K components: log_weights (R, K), loc (R, K, D), cov (R, K, D, D) or (R, K, D), masses (L, R, K)."""

    log_weights: Tensor
    loc: Tensor
    cov: Tensor
    masses: Tensor

    def best(self, score: Tensor, keep: int) -> _Theta:
        top = score.topk(min(keep, len(score))).indices
        return _Theta(self.log_weights[top], self.loc[top], self.cov[top], self.masses[:, top])


@dataclass
class _Stats:
    """Sums over rows: n (R, K), first (R, K, D), second (R, K, D, D) or (R, K, D), seen (R, K, D), counts (L, R, K)."""

    n: Tensor
    seen: Tensor
    first: Tensor
    second: Tensor
    counts: Tensor

    def __add__(self, other: _Stats) -> _Stats:
        return _Stats(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


# ---------------------------------------------------------------- start


def _seeds(data: _Data, restarts: int, k: int) -> Tensor:
    """Hard responsibilities (N, R, K): greedy k-means++ and a few Lloyd steps, half of the restarts in whitened space."""
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
    flat = centres.reshape(-1, x.shape[1])
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
    restarts, k, _ = centres.shape
    for _ in range(iterations):
        hard = one_hot(_distance(x, centres).argmin(-1), k).double()
        size = hard.sum(0)[..., None]
        mean = torch.einsum("nrk,nd->rkd", hard, x) / size.clamp_min(1)
        centres = torch.where(size > 0, mean, centres)
    return hard


# ---------------------------------------------------------------- out of a local maximum


def _split_and_merge(small: _Data, data: _Data, theta: _Theta, score: Tensor) -> tuple[_Theta, Tensor]:
    """Merge two components that share rows, split one that fits its rows badly, climb; keep what is better.

    Many such moves are tried at once on the subsample, and the best one on all rows, until one fails. Ueda et al. 2000.
    """
    here = _mean_log(small, theta)[0]
    for _ in range(ROUNDS):
        tried, value = _climb(small, _moved(small, theta), 20)
        if value.amax() < here:
            break
        better, new = _climb(data, tried.best(value, 1), 200, ROUGH)
        if new[0] < score + 1e-4:
            break
        theta, score = better, new[0]
        here = _mean_log(small, theta)[0]
    return _climb(data, theta, 200)


def _moved(data: _Data, theta: _Theta) -> _Theta:
    """MOVES copies of one mixture (R = 1), each with one pair merged and another component split."""
    k = theta.log_weights.shape[1]
    log_joint = _log_joint(data, theta)[:, 0]
    resp = torch.softmax(log_joint, -1)
    share = resp / resp.square().sum(0).sqrt().clamp_min(1e-12)
    likeness = (share.T @ share).triu(1).flatten()
    pairs = likeness.topk(min(2 * MOVES, k * (k - 1) // 2)).indices
    # a component fits badly where its rows are less likely under it than a Gaussian's would be
    fit = (resp * (log_joint - theta.log_weights[0])).sum(0) / resp.sum(0).clamp_min(1e-6)
    entropy = _entropy(theta)[0]
    bad = torch.softmax((-entropy - fit) / 2, -1) + theta.log_weights[0].exp()
    out = _Theta(*(t.expand(MOVES, *t.shape[1:]).clone() for t in (theta.log_weights, theta.loc, theta.cov)), _spread_out(theta.masses))
    for m in range(MOVES):
        pair = int(pairs[m % len(pairs)]) if m < MOVES // 2 else int(pairs[torch.randint(len(pairs), ())])
        i, j = divmod(pair, k)
        others = bad.clone()
        others[[i, j]] = 0
        _merge_then_split(out, m, i, j, int(torch.multinomial(others, 1)))
    return out


def _spread_out(masses: Tensor) -> Tensor:
    return masses.expand(len(masses), MOVES, masses.shape[2]).clone()


def _entropy(theta: _Theta) -> Tensor:
    """Minus the mean log-density of a component under itself, up to its levels' part (R, K)."""
    dense = theta.cov.dim() == 4
    log_det = torch.linalg.slogdet(theta.cov).logabsdet if dense else theta.cov.log().sum(-1)
    levels = -(theta.masses.exp() * theta.masses).sum(0)
    return 0.5 * (log_det + theta.loc.shape[-1] * (1 + math.log(2 * math.pi))) + levels


def _merge_then_split(theta: _Theta, m: int, i: int, j: int, s: int) -> None:
    """In copy m: i becomes i and j together (same mean and covariance); j and s become the two halves of s."""
    w = theta.log_weights[m].exp()
    a = w[i] / (w[i] + w[j])
    gap = theta.loc[m, i] - theta.loc[m, j]
    dense = theta.cov.dim() == 4
    between = gap[:, None] * gap if dense else gap.square()
    theta.cov[m, i] = a * theta.cov[m, i] + (1 - a) * theta.cov[m, j] + a * (1 - a) * between
    theta.loc[m, i] = a * theta.loc[m, i] + (1 - a) * theta.loc[m, j]
    theta.masses[:, m, i] = torch.logaddexp(theta.masses[:, m, i] + a.log(), theta.masses[:, m, j] + (1 - a).log())
    theta.log_weights[m, i] = (w[i] + w[j]).log()
    cov = theta.cov[m, s]
    step = torch.randn(cov.shape[-1], dtype=cov.dtype)
    step = torch.linalg.cholesky(cov) @ step if dense else cov.sqrt() * step
    step = step / max(1.0, float(step.numel()) ** 0.5)
    theta.cov[m, j] = cov
    theta.loc[m, j], theta.loc[m, s] = theta.loc[m, s] + step, theta.loc[m, s] - step
    theta.masses[:, m, j] = theta.masses[:, m, s] + 0.3 * torch.randn(len(theta.masses), dtype=cov.dtype)
    theta.log_weights[m, [j, s]] = (w[s] / 2).log()


# ---------------------------------------------------------------- the two steps


def _climb(data: _Data, theta: _Theta, iterations: int, tol: float = 1e-6) -> tuple[_Theta, Tensor]:
    """EM until the mean log-likelihood of every restart has settled; returns it (R,) too."""
    last = torch.full((len(theta.log_weights),), -torch.inf, dtype=torch.float64)
    for _ in range(iterations):
        score, stats = _e_step(data, theta)
        if bool((score - last < tol).all()):
            break
        last = score
        theta = _m_step(data, stats)
    return theta, _mean_log(data, theta)


def _mean_log(data: _Data, theta: _Theta) -> Tensor:
    total = sum(
        ((data.weight[i, None] * _log_joint(data.take(i), theta).logsumexp(-1)).sum(0) for i in data.chunks(_width(data, theta))),
        start=torch.zeros(len(theta.log_weights), dtype=torch.float64),
    )
    return total / data.weight.sum()


def _width(data: _Data, theta: _Theta) -> int:
    d = data.y.shape[1]
    size = theta.log_weights.numel()
    return size * d * d if data.needs_patterns else max(size * (1 + len(data.sizes)), d * (d + 3) // 2 if data.dense else d)


def _e_step(data: _Data, theta: _Theta) -> tuple[Tensor, _Stats]:
    score, stats = torch.zeros(len(theta.log_weights), dtype=torch.float64), None
    for i in data.chunks(_width(data, theta)):
        part = data.take(i)
        log_joint = _log_joint(part, theta)
        log = log_joint.logsumexp(-1, keepdim=True)
        score = score + (part.weight[:, None] * log[..., 0]).sum(0)
        new = _statistics(part, (log_joint - log).exp() * part.weight[:, None, None], theta)
        stats = new if stats is None else stats + new
    assert stats is not None
    return score / data.weight.sum(), stats


def _log_joint(data: _Data, theta: _Theta) -> Tensor:
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


def _log_diagonal(data: _Data, theta: _Theta) -> Tensor:
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


def _log_dense(data: _Data, theta: _Theta) -> Tensor:
    if not data.complete:
        return _log_patterns(data, theta)
    r, k, d = theta.loc.shape
    factor = torch.linalg.cholesky(theta.cov)
    precision = torch.cholesky_inverse(factor)
    linear = (precision @ theta.loc[..., None])[..., 0]
    constant = (
        -0.5 * (theta.loc * linear).sum(-1) - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) - 0.5 * d * math.log(2 * math.pi)
    )
    i, j = torch.triu_indices(d, d)
    quadratic = -0.5 * precision[..., i, j] * torch.where(i == j, 1.0, 2.0)
    weights = torch.cat([constant[..., None], linear, quadratic], -1).reshape(r * k, -1)
    return (_products(data.y) @ weights.T).reshape(data.n, r, k)


def _patterns(seen: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Each pattern of seen columns with the positions of its rows."""
    patterns, owner = torch.unique(seen, dim=0, return_inverse=True)
    order = owner.argsort(stable=True)
    return list(zip(patterns, order.split(torch.bincount(owner).tolist()), strict=True))


def _log_patterns(data: _Data, theta: _Theta) -> Tensor:
    r, k, _ = theta.loc.shape
    out = torch.zeros(data.n, r, k, dtype=torch.float64)
    for pattern, index in _patterns(data.seen):
        if not pattern.any():
            continue
        factor = torch.linalg.cholesky(theta.cov[..., pattern, :][..., pattern])
        diff = data.y[index][:, pattern] - theta.loc[..., None, pattern]
        z = torch.linalg.solve_triangular(factor, diff.mT, upper=False)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)[..., None]
        log = -0.5 * z.square().sum(-2) - log_det - 0.5 * math.log(2 * math.pi) * int(pattern.sum())
        out[index] = log.permute(2, 0, 1)
    return out


def _statistics(data: _Data, resp: Tensor, theta: _Theta | None) -> _Stats:
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
        return _Stats(resp.sum(0), seen, first, second, counts)
    if not data.complete and theta is not None:
        first, second = _expected(data, resp, theta)
        return _Stats(resp.sum(0), seen, first, second, counts)
    y = data.imputed().y
    d = shape[-1]
    products = (flat.T @ _products(y)).reshape(r, k, -1)
    i, j = torch.triu_indices(d, d)
    second = torch.zeros(r, k, d, d, dtype=torch.float64)
    second[..., i, j] = second[..., j, i] = products[..., 1 + d :]
    return _Stats(resp.sum(0), seen, products[..., 1 : 1 + d], second, counts)


def _expected(data: _Data, resp: Tensor, theta: _Theta) -> tuple[Tensor, Tensor]:
    """First and second moments of the completed rows under the conditional Gaussian of each pattern."""
    _, r, k = resp.shape
    d = data.y.shape[1]
    first, second = torch.zeros(r, k, d, dtype=torch.float64), torch.zeros(r, k, d, d, dtype=torch.float64)
    for pattern, index in _patterns(data.seen):
        o, m = pattern.nonzero()[:, 0], (~pattern).nonzero()[:, 0]
        gain = torch.linalg.solve(theta.cov[..., o, :][..., o], theta.cov[..., o, :][..., m]).mT  # (R, K, M, O)
        diff = data.y[index][:, o] - theta.loc[..., None, o]  # (R, K, n, O)
        full = torch.empty(r, k, len(index), d, dtype=torch.float64)
        full[..., o] = data.y[index][:, o].expand(r, k, -1, -1)
        full[..., m] = theta.loc[..., None, m] + diff @ gain.mT
        w = resp[index].permute(1, 2, 0)
        first += (w[..., None, :] @ full)[..., 0, :]
        block = (full * w[..., None]).mT @ full
        left = theta.cov[..., m, :][..., m] - gain @ theta.cov[..., o, :][..., m]
        block[..., m[:, None], m] += w.sum(-1)[..., None, None] * left
        second += block
    return first, second


def _m_step(data: _Data, stats: _Stats) -> _Theta:
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
        cov = torch.maximum(cov - data.correction, data.floor)
        return _Theta(weights.log(), loc, cov, masses)
    loc = stats.first / n[..., None]
    cov = stats.second / n[..., None, None] - loc[..., :, None] * loc[..., None, :]
    if data.covariance == "tied":
        cov = (weights[..., None, None] * cov).sum(1, keepdim=True).expand(cov.shape)
    return _Theta(weights.log(), loc, _definite(cov, data.floor), masses)


def _definite(cov: Tensor, floor: Tensor) -> Tensor:
    """Covariances plus their floor; one that is still not positive definite (an empty component) becomes the identity."""
    cov = 0.5 * (cov + cov.mT) + torch.diag(floor)
    bad = torch.linalg.cholesky_ex(cov).info > 0
    return torch.where(bad[..., None, None], torch.eye(cov.shape[-1], dtype=cov.dtype), cov)


def _masses(data: _Data, stats: _Stats) -> Tensor:
    """Log-mass of every level in every component (L, R, K), drawn towards the column's own by the weight of one row."""
    out, k = [], stats.n.shape[-1]
    for block in stats.counts.split(data.sizes) if data.sizes else []:
        overall = block.sum(-1, keepdim=True) + 1e-2
        overall = overall / overall.sum(0)
        shrunk = block + (overall if k > 1 else 1e-2 * overall)
        out.append((shrunk / shrunk.sum(0)).log())
    return torch.cat(out) if out else stats.counts


def _finish(data: _Data, climbed: tuple[_Theta, Tensor], best: int) -> Start:
    theta, score = climbed
    cov = theta.cov[best]
    if data.dense:
        cov = cov[:1] if data.covariance == "tied" else cov
        factor = torch.linalg.cholesky(cov) if cov.numel() else cov
        diagonal = factor.diagonal(dim1=-2, dim2=-1)
        spread = factor.tril(-1) + torch.diag_embed(diagonal.log())
    else:
        # heads add their floor in quadrature
        spread = 0.5 * (cov - data.floor).clamp_min(1e-12).log()
        spread = spread[:, :1] if data.covariance == "spherical" else spread
    masses = theta.masses[:, best].T
    n_binary = sum(size == 2 for size in data.sizes)
    logit = [masses[:, 2 * j + 1] - masses[:, 2 * j] for j in range(n_binary)]
    rest = torch.cat([torch.stack(logit, -1), masses[:, 2 * n_binary :]], -1) if n_binary else masses
    scale = cov.diagonal(dim1=-2, dim2=-1).sqrt() if data.dense else cov.sqrt()
    wide = bool((data.width > WIDE * scale).any())
    return Start(theta.log_weights[best], theta.loc[best], spread.contiguous(), rest.contiguous(), float(score[best]), wide)
