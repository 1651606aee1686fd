"""Starting mixtures from data: k-means++ and batched EM restarts on a subsample, then EM on all rows.

All restarts and components are one batch, and both steps of EM are linear in per-row features (values and squares, or
all products for a full covariance), so an iteration is two matrix products. Rows with missing cells are handled
exactly: by masks where columns are independent given the cluster, by the conditional Gaussian of each pattern of
missing cells where they are not. Dempster, Laird & Rubin 1977; Ghahramani & Jordan 1994.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from zoo.em import faults
from zoo.em.data import Data, Theta
from zoo.em.factors import factored
from zoo.em.moves import split_and_merge
from zoo.em.seeds import seeds
from zoo.em.steps import COARSE, ROUGH, SETTLED, climb, m_step, mean_log, probabilities, raced, statistics
from zoo.rows.rows import Rows

SUBSAMPLE = 4000
ROWS_EACH = 8
MORE = 5
"""Restarts that are left, and moves, are judged by so many times the subsample; all rows settle what comes of it."""
SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50)
WIDE = 0.7
AGREE, ALIKE = 4, 3e-4
"""So many restarts whose mean log-likelihoods are so near are one maximum, and moves look for no better one."""


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

    log_weights (K,), loc (K, Dn), spread as `spread_shape`, rest (K, schema.rest) logits.
    approximate: what was climbed is not quite the columns' likelihood, so that this start is not quite its maximum:
    some cell is wide beside a component's scale, many rows lie in an end cell, or a column is not Normal.
    score: mean log-likelihood of the rows, as it was climbed, in codec units.
    theta: the same as EM has them, of one restart.
    notes: what was mended in the components, for people.
    """

    log_weights: Tensor
    loc: Tensor
    spread: Tensor
    rest: Tensor
    approximate: bool
    theta: Theta
    score: float
    notes: list[str] = field(default_factory=list)

    def covariance(self, k: int) -> Tensor:
        factor = tril(self.spread[k])
        return factor @ factor.T


def fit(
    rows: Rows,
    components: int,
    covariance: str,
    restarts: int = 10,
    keep: int = 3,
    dim: int = 0,
    resolution: float = 0.0,
    pool: float = 0.0,
) -> Start:
    """Maximum likelihood of a mixture on these rows; rounded columns are taken as densities.

    components  K; never more than there are rows
    covariance  "full", "tied", "diagonal", "spherical"; or W W' + noise with W of `dim` columns: "factors" (noise of
                each column) and "isotropic" (one)
    restarts    k-means++ starts run on a subsample; the best `keep` go on to more rows, the best of those to all
    resolution  standard deviation, in codec units, of noise that every component has at least
    pool        rows that the common covariance weighs in each component's own
    """
    data = Data.of(rows, covariance, dim, resolution, pool)
    start, again = _fit(data, components, restarts, keep, moves=True)
    names = [column.name for column in rows.schema.numeric]
    start.notes = faults.notes(data, start.theta, probabilities(data, start.theta), names, again)
    return start


def fit_aic(rows: Rows, most: int, covariance: str, restarts: int = 10) -> Start:
    """The mixture of at most `most` components that has the least AIC; sizes are tried until two in a row are worse.

    Rather too many than too few: what starts here can empty a component, and seldom splits one.
    """
    data = Data.of(rows, covariance)
    return _least(data, most, 2.0, lambda k: _fit(data, k, restarts, keep=2, moves=True)[0])


def _least(data: Data, most: int, price: float, fitted: Callable[[int], Start]) -> Start:
    """The start of the size whose price, so much a free parameter, less twice its log-likelihood is least."""
    best, kept, worse = math.inf, None, 0
    for k in [k for k in SIZES if k < most] + [most]:
        start = fitted(k)
        value = price * data.free(k) - 2 * float(data.weight.sum()) * start.score
        if kept is None or value < best:
            best, kept, worse = value, start, 0
        else:
            worse += 1
        if worse >= 2 or data.late:
            break
    assert kept is not None
    return kept


def responsible(rows: Rows, start: Start, covariance: str) -> Tensor:
    """Probability of each component given the seen cells of each row (n, K)."""
    return probabilities(Data.of(rows, covariance), start.theta)


def fit_columns(rows: Rows, most: int, restarts: int = 4) -> list[Start]:
    """A mixture of at most `most` Normals for each numeric column on its own: that of the least BIC.

    In columns of a hundred rows eight Normals are mostly single values, and what begins at them is worse than one.
    """
    data = Data.of(rows, "diagonal")

    def column(j: int) -> Start:
        own = data.column(j)
        price = math.log(max(2.0, float(own.weight.sum())))
        return _least(own, most, price, lambda k: _fit(own, k, restarts, keep=1, moves=False)[0])

    return [column(j) for j in range(data.y.shape[1])]


def responsibilities(data: Data, components: int, restarts: int = 4) -> Tensor:
    """Probabilities (N, K) of the components of a mixture fitted to these rows, its columns independent in each."""
    theta, score, _ = _climbed(data, components, restarts, keep=1, moves=False)
    return probabilities(data, theta.best(score, 1))


def _fit(data: Data, components: int, restarts: int, keep: int, moves: bool) -> tuple[Start, int]:
    """A mixture, and how many of its components were placed anew."""
    theta, score, again = _climbed(data, components, restarts, keep, moves)
    return finish(data, theta.best(score, 1), float(score.amax())), again


def _climbed(data: Data, components: int, restarts: int, keep: int, moves: bool) -> tuple[Theta, Tensor, int]:
    if components == 1:
        resp = data.weight[:, None, None]
        theta = m_step(data, statistics(data, resp))
        return *(climb(data, theta, 100) if data.needs_patterns else (theta, mean_log(data, theta))), 0
    # a component's share of a subsample has to be enough for its covariance; then there are the fewer restarts
    enough = ROWS_EACH * components * (data.y.shape[1] + 1) if data.dense else 0
    small = data.take(torch.randperm(data.n)[: max(SUBSAMPLE, enough)]).imputed().prepared()
    restarts = max(min(2, restarts), restarts * SUBSAMPLE // max(small.n, SUBSAMPLE))
    keep = min(keep, max(1, restarts // 2))
    theta = m_step(small, statistics(small, seeds(small, restarts, components)))
    theta, score = raced(small, theta, (restarts, 6), (max(keep, restarts // 2), 10))
    full = data.imputed().prepared()
    part = full if full.n <= MORE * small.n else full.take(torch.randperm(full.n)[: MORE * small.n])
    agreed = _agreed(score)
    moves_follow = moves and components > 2 and not agreed
    share = COARSE if moves_follow else SETTLED if agreed else ROUGH
    keep = 1 if agreed else keep
    theta, score = raced(part, theta.best(score, keep), (keep, 6), (1, 200), share=share)
    again = 0
    if moves:
        before = _placeless(part, theta)
        if moves_follow or before:  # two components have nothing to exchange but a place
            theta, score = split_and_merge(small, part, theta, score.amax())
            again = max(0, before - _placeless(part, theta)) if before else 0
    if part.n < full.n:
        theta, score = climb(full, theta.best(score, 1), 200, SETTLED)
    if data.needs_patterns:
        theta, score = climb(data, theta.best(score, 1), 60)
    return theta, score, again


def _agreed(score: Tensor) -> bool:
    """Whether the best of the restarts have found the same maximum, each from a start of its own."""
    best = score.topk(min(AGREE, len(score))).values
    return len(best) == AGREE and bool(best[0] - best[-1] < ALIKE)


def _placeless(data: Data, theta: Theta) -> int:
    """How many components of the one restart left have no rows of their own."""
    return len(faults.placeless(probabilities(data, theta), data.weight))


def finish(data: Data, theta: Theta, score: float = math.nan) -> Start:
    """One restart as parameters of a program, with its mean log-likelihood."""
    if data.factored and theta.loadings is None:  # the time was over before there was a step
        cov, noise, loadings = factored(theta.cov, data.dim, None, None, data.covariance == "isotropic")
        theta = Theta(theta.log_weights, theta.loc, cov, theta.masses, noise, loadings)
    cov = theta.cov[0]
    if data.dense:
        cov = cov[:1] if data.covariance == "tied" else cov
        factor = torch.linalg.cholesky(cov) if cov.numel() else cov
        diagonal = factor.diagonal(dim1=-2, dim2=-1)
        spread = factor.tril(-1) + torch.diag_embed(diagonal.log())
    else:
        # heads add their floor in quadrature
        spread = 0.5 * (cov - data.floor).clamp_min(1e-12).log()
        spread = spread[:, :1] if data.covariance == "spherical" else spread
    masses = theta.masses[:, 0].T
    binary, levels = masses[:, : 2 * data.n_binary], masses[:, 2 * data.n_binary :]
    rest = torch.cat([binary[:, 1::2] - binary[:, ::2], levels], -1)
    scale = cov.diagonal(dim1=-2, dim2=-1).sqrt() if data.dense else cov.sqrt()
    approximate = data.approximate or bool((data.width > WIDE * scale).any())
    return Start(
        theta.log_weights[0],
        theta.loc[0],
        spread.contiguous(),
        rest.contiguous(),
        approximate,
        theta,
        score,
    )
