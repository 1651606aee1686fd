"""A mixture of finished models: weights that maximise the mean log-density of rows that fitted none of them.

    max over w in the simplex of   mean_i log sum_m w_m p_m(x_i)

(Yao, Vehtari, Simpson & Gelman 2018.) A concave problem, by EM on the weights: w_m <- mean_i w_m p_m(x_i) / p(x_i).
No weights reach more than log max_m mean_i p_m(x_i) / p(x_i) above those at hand, which says when to stop. A mixture
of lower bounds is a lower bound.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

LEAST = 1e-3
"""Weight below which a model is left out of a stack."""
STEPS, ENOUGH = 5000, 1e-6
GONE = 1e-6
"""Weight on the way down at which a model is given up."""


def stacking_weights(log_p: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Weights (M,) of models with log-densities log_p (M, n) of rows (n,), in which no model below `LEAST` is left.

    Rows that are impossible under all models say nothing, and are left out.
    """
    there = np.isfinite(log_p).any(0)
    w = np.full(len(log_p), 1 / len(log_p))
    share = (np.ones(log_p.shape[1]) if weight is None else weight)[there]
    if not share.sum() > 0:
        return w
    share = share / share.sum()
    log_p = np.nan_to_num(log_p[:, there], nan=-np.inf)
    w = _climbed(np.exp(log_p - log_p.max(0)), share, w)
    kept = w >= LEAST
    w = np.where(kept, w, 0.0) / w[kept].sum()
    return w


def _climbed(p: np.ndarray, share: np.ndarray, w: np.ndarray) -> np.ndarray:
    """From weights w (M,), of densities p (M, n) up to a factor of each row, to those at the top."""
    there = np.arange(len(w))
    own = w
    for step in range(STEPS):
        gain = p @ (share / (own @ p))  # mean over rows of p_m / p, one at the maximum for every model with a weight
        if gain.max() <= 1 + ENOUGH:
            break
        own = own * gain
        if step % 25 == 24 and (own < GONE).any():
            there, p, own = there[own >= GONE], p[own >= GONE], own[own >= GONE]
    out = np.zeros_like(w)
    out[there] = own / own.sum()
    return out


def stacked(log_p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """log sum_m w_m p_m (...,) of log_p (M, ...)."""
    kept = w > 0
    shape = (-1, *(1,) * (log_p.ndim - 1))
    out: np.ndarray = logsumexp(log_p[kept] + np.log(w[kept]).reshape(shape), axis=0)
    return out
