"""Held-out log-likelihood, exact or bounded, with everything that says how sure it is."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from torch import Tensor

from zoo.evaluate.fixed import views
from zoo.log_weights import log_mean, log_weights
from zoo.rows.rows import Rows
from zoo.scope import scope
from zoo.shared import Shared, worst

if TYPE_CHECKING:
    from zoo.model import Bound, Model

PARTICLES, TRIED = 100, 100
DIRECT, DIRECT_ROWS = 10, 4096
"""Estimates of each row's number where the program makes them itself, and rows at once."""
ROW_PARTICLES, NUMBERS = 1 << 15, 1 << 24
"""Rows times particles that are scored at once, and predictor entries of them."""
FEWEST_FOR_K_HAT = 25
K_HAT_GOOD = 0.7
K_HAT_WORST = 10.0
SMALLEST = 1e-100
"""Of the largest excess: what is below is as good as nothing, and its inverse is still a number."""
K_HAT_CHUNK = 1000
"""Rows whose k-hat is found at once."""
ORDER = ("exact", "lower", "estimate", "none")
"""What a number may be, each claiming less than the one before."""


@dataclass(frozen=True)
class Scores:
    """Per-row numbers, nats in the table's units, higher is better; see `bound` for what they are.

    log_likelihood  (n,) exact, or the importance-weighted bound of `particles` draws, or an estimate
    elbo            (n,) mean log-weight; equal to log_likelihood where that is exact
    monte_carlo     (n,) Monte Carlo standard error of log_likelihood; zero where exact
    k_hat           (n,) Pareto k-hat of the importance weights; empty where exact, or where there are too few
    weight          (n,) of the rows, in every mean; ones where the table has none
    shared          errors that all rows have in common, of a solver or of log Z; none of them is in `monte_carlo`
    """

    log_likelihood: np.ndarray
    elbo: np.ndarray
    monte_carlo: np.ndarray
    k_hat: np.ndarray
    bound: Bound
    particles: int
    measure: str
    weight: np.ndarray
    shared: tuple[Shared, ...] = ()

    @property
    def mean(self) -> float:
        """Over rows, by their weights."""
        return mean(self.log_likelihood, self.weight)

    @property
    def standard_error(self) -> float:
        """Of the mean, over rows."""
        return standard_error(self.log_likelihood, self.weight)

    @property
    def gap(self) -> float:
        return mean(self.log_likelihood - self.elbo, self.weight)

    @property
    def monte_carlo_error(self) -> float:
        """Monte Carlo standard error of the mean."""
        return float(np.sqrt(np.square(self.monte_carlo).sum()) / max(len(self.monte_carlo), 1))

    @property
    def high_k_hat(self) -> float | None:
        """What one row in twenty is above: from 0.7 on, those rows' weights are not to be trusted."""
        return float(np.quantile(self.k_hat, 0.95)) if len(self.k_hat) else None

    @property
    def outlier(self) -> tuple[int, float] | None:
        """The row that alone pulls the mean down more than all others together, and by how many nats, if one does."""
        below = np.median(self.log_likelihood) - self.log_likelihood if len(self.log_likelihood) else np.zeros(1)
        worst = int(below.argmax())
        pull = float(below[worst] / len(below))
        return (worst, pull) if pull > max(1.0, float(below.clip(0).sum()) / len(below) / 2) else None

    def given(self, alone: Scores, measure: str, exact: bool = True) -> Scores:
        """log p(x | some cells) from log p(x) and the scores of those cells `alone`: a difference of two bounds is an
        estimate, and one of two ELBOs says nothing. `measure` is that of the other cells."""
        both = self.bound == alone.bound == "exact" and exact
        log_likelihood = self.log_likelihood - alone.log_likelihood
        return dataclasses.replace(
            self,
            log_likelihood=log_likelihood,
            elbo=log_likelihood if both else np.full_like(log_likelihood, np.nan),
            monte_carlo=np.hypot(self.monte_carlo, alone.monte_carlo),
            k_hat=np.max(k_hats([self, alone]), 0),
            measure=measure,
            bound="exact" if both else "estimate",
            shared=worst([self.shared, alone.shared]),
        )

    def to_frame(self, index: pd.Index) -> pd.DataFrame:
        """The numbers of each row as a table, with its k-hat where there are importance weights."""
        values = {"log_likelihood": self.log_likelihood, "elbo": self.elbo, "monte_carlo_error": self.monte_carlo}
        out = pd.DataFrame(values, index=index)
        if len(self.k_hat):
            out["k_hat"] = self.k_hat
        return out

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": len(self.log_likelihood),
            "log_likelihood": self.mean,
            "standard_error": self.standard_error,
            "bound": self.bound,
            "elbo": mean(self.elbo, self.weight),
            "gap": self.gap,
            "k_hat": self.high_k_hat,
            "particles": self.particles,
            "monte_carlo_error": self.monte_carlo_error,
            "shared_errors": [one._asdict() for one in self.shared],
            "measure": self.measure,
        }


def loosest(bounds: Iterable[Bound]) -> Bound:
    """What a number is that is put together from several."""
    return max(bounds, key=ORDER.index)


def mean(values: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Mean over rows, by their weights; not a number where there are none."""
    if not len(values) or (weight is not None and not weight.sum()):
        return math.nan
    return float(np.average(values, weights=weight))


def standard_error(values: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Of a (weighted) mean over rows; not a number for a single row, or where a row is impossible."""
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan
    share = np.full(len(values), 1 / len(values)) if weight is None else weight / weight.sum()
    # the usual n - 1 where weights are alike
    spread = np.square(share * (values - mean(values, weight))).sum() * len(values) / (len(values) - 1)
    return float(math.sqrt(spread))


def score(
    model: Model, rows: Rows, particles: int | None = None, seed: int = 0, seconds: float | None = None
) -> Scores:
    """Log-likelihood of each row.

    particles  draws of the latents for each row (1 where the number is exact), shared by the draws of global latents
    seconds    where particles are not said: so many fewer, down to a tenth, as bring the scoring into this time
    """
    bound = model.bound(rows.complete)
    if hasattr(model.program, "score_rows"):
        said: Scores = model.program.score_rows(rows, particles, seed, seconds)
        return said
    if hasattr(model.program, "log_prob"):
        return _said(model, rows, particles or DIRECT, seed)
    k = 1 if model.bound_of_rows(rows.complete) == "exact" else particles or _affordable(model, rows, seconds)
    chunk = max(1, min(ROW_PARTICLES, NUMBERS // max(1, rows.full)) // k)
    with torch.no_grad(), scope(seed):
        every = views(model)
        each = -(-k // len(every))
        parts = [
            _weights(every, rows.take(index.to(rows.given.device)), each)
            for index in torch.arange(rows.n).split(chunk)
            if len(index)
        ]
        shared = _shared(model, rows)
    log_w = torch.cat(parts, 1) if parts else torch.zeros(k, 0, dtype=torch.float64)
    log_likelihood = log_mean(log_w)
    exact = bound == "exact"
    return Scores(
        log_likelihood.cpu().numpy(),
        log_w.mean(0).cpu().numpy(),
        np.zeros(rows.n) if exact else _monte_carlo(log_w).cpu().numpy(),
        np.zeros(0) if exact else k_hat(log_w),
        bound,
        len(log_w),
        model.schema.measure,
        rows.weight.cpu().numpy(),
        shared,
    )


def _said(model: Model, rows: Rows, draws: int, seed: int) -> Scores:
    """What a program says itself: the mean of its estimates of each row's number."""
    bound = model.bound(rows.complete)
    k = 1 if bound == "exact" else draws
    with torch.no_grad(), scope(seed):
        parts = [model.program.log_prob(rows.take(i), k) for i in _positions(rows).split(DIRECT_ROWS) if len(i)]
        shared = _shared(model, rows)
    log = torch.cat(parts, 1).double() if parts else torch.zeros(k, 0, dtype=torch.float64)
    error = log.std(0) / math.sqrt(k) if k > 1 and rows.n else torch.zeros(rows.n)
    mean, weight = log.mean(0).cpu().numpy(), rows.weight.cpu().numpy()
    none, measure = np.zeros(0), model.schema.measure
    return Scores(mean, mean.copy(), error.cpu().double().numpy(), none, bound, k, measure, weight, shared)


def _shared(model: Model, rows: Rows) -> tuple[Shared, ...]:
    return tuple(model.program.shared_errors(rows)) if rows.n and hasattr(model.program, "shared_errors") else ()


def _positions(rows: Rows) -> Tensor:
    return torch.arange(rows.n, device=rows.given.device)


def _affordable(model: Model, rows: Rows, seconds: float | None) -> int:
    """`PARTICLES`, or as many as a few rows say can be drawn in the time."""
    if seconds is None or not rows.n:
        return PARTICLES
    few = rows.take(torch.arange(min(TRIED, rows.n), device=rows.given.device))
    started = time.perf_counter()
    with torch.no_grad(), scope(0):
        _weights(views(model, 1), few, PARTICLES // 10)
    each = (time.perf_counter() - started) / few.n / (PARTICLES // 10)
    return max(PARTICLES // 10, min(PARTICLES, int(max(seconds, 0.0) / each / rows.n)))


def _weights(views: list[Any], rows: Rows, particles: int) -> Tensor:
    """Log-weights (views * particles, n)."""
    return torch.cat([log_weights(view.program, view.guide, rows, particles).rows for view in views])


def _monte_carlo(log_w: Tensor) -> Tensor:
    """Standard error of log mean w, by the delta method: sd(w) / (mean(w) sqrt(K)); not a number for K = 1."""
    if len(log_w) < 2 or not log_w.numel():
        return torch.full(log_w.shape[1:], torch.nan, dtype=log_w.dtype)
    w = (log_w - log_w.amax(0)).exp()
    return w.std(0) / w.mean(0) / math.sqrt(len(w))


def k_hat(log_w: Tensor) -> np.ndarray:
    """Pareto shape of the upper tail of each row's weights (particles, n): (n,). Vehtari et al. 2024.

    Zero where the largest weights are all alike; `K_HAT_WORST` at most, which is that of one weight beyond all others.
    """
    values = log_w.T.cpu().numpy()
    count = values.shape[1]
    if count < FEWEST_FOR_K_HAT or not values.size:
        return np.zeros(0)
    tail = int(count / 5 if count <= 225 else 3 * math.sqrt(count))
    weights = np.sort(np.exp(values - values.max(1, keepdims=True)), 1)
    excess = weights[:, -tail:] - weights[:, -tail - 1, None]
    out = np.where(excess[:, -1] > 1e-9, K_HAT_WORST, 0.0)
    fits = np.flatnonzero((out > 0) & (excess[:, _quarter(tail)] > 0))
    for some in np.array_split(fits, -(-len(fits) // K_HAT_CHUNK) or 1):
        out[some] = pareto_shape(excess[some]).clip(max=K_HAT_WORST)
    return out


def pareto_shape(excess: np.ndarray) -> np.ndarray:
    """Shape of the generalised Pareto of each row of ascending positive numbers (n, m): (n,).

    Zhang & Stephens 2009, drawn to 1/2 by ten numbers' worth (Vehtari et al. 2024). arviz takes one row at a time,
    which is longer than the weights of a row take to be drawn.
    """
    count = excess.shape[1]
    excess = np.maximum(excess / excess[:, -1:], SMALLEST)
    size = 30 + math.isqrt(count)
    steps = 1 - np.sqrt(size / (np.arange(size) + 0.5))
    slopes = steps / (3 * excess[:, _quarter(count), None]) + 1 / excess[:, -1:]

    def shape(slope: np.ndarray) -> np.ndarray:
        """Of each slope (n, ...), its best shape."""
        found: np.ndarray = np.log1p(-slope[..., None] * excess[:, None]).mean(-1)
        return found

    shapes = shape(slopes)
    likelihood = softmax(count * (np.log(-slopes / shapes) - shapes - 1), 1)
    best = (slopes * likelihood).sum(1, keepdims=True)
    return (count * shape(best)[:, 0] + 5) / (count + 10)


def _quarter(count: int) -> int:
    """Where the first quarter of so many numbers ends."""
    return int(count / 4 + 0.5) - 1


def k_hats(parts: Sequence[Scores]) -> list[np.ndarray]:
    """k-hat of the rows of each part, zero where its numbers are exact; nothing where those of all are."""
    if not any(len(part.k_hat) for part in parts):
        return [np.zeros(0) for _ in parts]
    return [part.k_hat if len(part.k_hat) else np.zeros(len(part.log_likelihood)) for part in parts]
