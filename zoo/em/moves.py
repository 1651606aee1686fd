"""Out of a local maximum: split-and-merge moves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.em.data import Data, Theta
from zoo.em.faults import placeless
from zoo.em.steps import ROUGH, SETTLED, climb, log_joint_of, mean_log, raced

MOVES, ROUNDS, FAILED = 12, 20, 3
AT_ONCE = 4000  # rows on which so many moves are tried; on more, fewer
WORK = 1 << 27
"""Rows times components times features, of all rounds together: one of them costs as much as the start did."""


def split_and_merge(small: Data, data: Data, theta: Theta, score: Tensor) -> tuple[Theta, Tensor]:
    """Merge two components that share rows, split one that fits its rows badly, climb; keep what is better.

    Many such moves are tried at once on the subsample, and the best one on all rows, until `FAILED` fail. Ueda et
    al. 2000. A component without rows of its own is what half of the moves place anew, while there is one.
    """
    moves = max(4, MOVES * AT_ONCE // max(small.n, AT_ONCE))
    failed = 0
    # a table of levels alone has no features
    cost = data.n * theta.log_weights.shape[1] * max(1, data.width_of_features)
    rounds = max(1, min(ROUNDS, WORK // max(1, cost)))
    for _ in range(rounds):
        if data.late or failed == FAILED:
            break
        failed += 1
        tried, value = raced(small, _moved(small, theta, moves), (moves, 4), (max(1, moves // 3), 8))
        if value.amax() < mean_log(small, theta)[0]:
            continue
        better, new = climb(data, tried.best(value, 1), 200, ROUGH)
        if new[0] > score + 1e-4:
            theta, score, failed = better, new[0], 0
    return climb(data, theta, 200, SETTLED)


def _moved(data: Data, theta: Theta, moves: int) -> Theta:
    """So many copies of one mixture (R = 1), each with one pair merged and another component split."""
    k = theta.log_weights.shape[1]
    log_joint = log_joint_of(data, theta)[:, 0]
    resp = torch.softmax(log_joint, -1)
    share = resp / resp.square().sum(0).sqrt().clamp_min(1e-12)
    likeness = (share.T @ share).triu(1).flatten()
    pairs = likeness.topk(min(2 * moves, k * (k - 1) // 2)).indices
    first = [i * k + j for i, j in placeless(resp, data.weight)]
    # a component fits badly where its rows are less likely under it than a Gaussian's would be
    fit = (resp * (log_joint - theta.log_weights[0])).sum(0) / resp.sum(0).clamp_min(1e-6)
    entropy = _entropy(theta)[0]
    bad = torch.softmax((-entropy - fit) / 2, -1) + theta.log_weights[0].exp()
    many = [t.expand(moves, *t.shape[1:]).clone() for t in (theta.log_weights, theta.loc, theta.cov)]
    out = Theta(many[0], many[1], many[2], theta.masses.expand(-1, moves, -1).clone())
    for m in range(moves):
        pair = int(pairs[m % len(pairs)]) if m < moves // 2 else int(pairs[torch.randint(len(pairs), ())])
        i, j = divmod(first[m % len(first)] if first and m < moves // 2 else pair, k)
        others = bad.clone()
        others[j] = 0
        if k > 2:
            others[i] = 0
        _merge_then_split(out, m, i, j, int(torch.multinomial(others, 1)))
    return out


def _entropy(theta: Theta) -> Tensor:
    """Minus the mean log-density of a component under itself, up to its levels' part (R, K)."""
    dense = theta.cov.dim() == 4
    log_det = torch.linalg.slogdet(theta.cov).logabsdet if dense else theta.cov.log().sum(-1)
    levels = -(theta.masses.exp() * theta.masses).sum(0)
    return 0.5 * (log_det + theta.loc.shape[-1] * (1 + math.log(2 * math.pi))) + levels


def _merge_then_split(theta: Theta, m: int, i: int, j: int, s: int) -> None:
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
    theta.log_weights[m, [j, s]] = theta.log_weights[m, s] - math.log(2)
