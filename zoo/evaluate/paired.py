"""How sure differences between models are: paired by row and by seed, and corrected for choosing among many.

With s_mri the log-likelihood of row i under model m fitted with seed r, and d_ri = s_ari - s_bri,

    mean     mean_r mean_i d_ri
    rows     var_i(mean_r d_ri) / n      other rows would give another difference
    fits     var_r(mean_i d_ri) / R      other seeds would give another difference; zero, and unknown, for R = 1
    error    sqrt(rows + fits), with degrees of freedom by Welch and Satterthwaite

Few seeds mostly show too little of what fits do, and so too many degrees of freedom: there, `fits` counts
(R + 1) / (R - 1) times. p then falls below 0.05 where nothing differs in up to 9% of cases with two seeds, in 6% with
three (13% and 8% otherwise). What rows and seeds do together is in both parts, so their sum is no less than the
variance of the mean.

Rows held out in turn (folds) are rows like any others here, though fits of two folds share training rows: no unbiased
estimate of the variance of cross-validation exists (Bengio & Grandvalet 2004), and this one is rather too small.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from zoo.evaluate.likelihood import mean, standard_error

LEVEL = 0.95
DRAWS, FEWEST = 20_000, 2000
"""Draws of the largest of all differences, and of those of very many models."""
NUMBERS, AT_ONCE = 1 << 25, 1 << 22
"""Pairs times draws, and so many of them at once."""
HALVINGS = 100


class Paired(NamedTuple):
    """A difference of means over the same rows, in nats; see the head of this file.

    rows, fits  standard errors by where they come from; `degrees` of freedom of the two together
    """

    mean: float
    rows: float
    fits: float
    degrees: float

    @property
    def standard_error(self) -> float:
        return math.hypot(self.rows, self.fits)

    @property
    def p(self) -> float:
        """Two-sided p-value of no difference; 1 between models that are alike in every row."""
        error = self.standard_error
        if not error > 0:
            return math.nan if math.isnan(error) or math.isnan(self.mean) else 1.0 if self.mean == 0 else 0.0
        return float(2 * stats.t.sf(abs(self.mean) / error, self.degrees))

    def interval(self, miss: float = 1 - LEVEL) -> tuple[float, float]:
        """The interval that misses the truth in so many of all cases."""
        error = self.standard_error
        reach = float(stats.t.isf(miss / 2, self.degrees)) * error if error > 0 else error
        return self.mean - reach, self.mean + reach

    def to_json(self) -> dict[str, Any]:
        low, high = self.interval()
        return {
            "difference": self.mean,
            "difference_se": self.standard_error,
            "difference_rows_se": self.rows,
            "difference_fits_se": self.fits,
            "degrees": self.degrees,
            "low": low,
            "high": high,
            "p": self.p,
        }


def paired(d: np.ndarray, weight: np.ndarray | None = None) -> Paired:
    """Of differences d (R, n), or (n,) of a single fit, and weights of the rows (n,)."""
    d = np.atleast_2d(d)
    repeats, n = d.shape
    each = np.array([mean(one, weight) for one in d])
    rows = standard_error(d.mean(0), weight)
    fits = float(each.std(ddof=1) / math.sqrt(repeats)) if repeats > 1 and np.isfinite(each).all() else 0.0
    if np.ptp(each) <= 1e-12 * np.abs(each).max():  # seeds that change nothing
        fits = 0.0
    few = fits**2 * (repeats + 1) / max(repeats - 1, 1)
    below = rows**4 / max(_rows_of(weight, n) - 1, 1e-9) + few**2 / max(repeats - 1, 1)
    degrees = (rows**2 + few) ** 2 / below if below > 0 else math.inf
    return Paired(float(each.mean()), rows, fits, degrees)


def _rows_of(weight: np.ndarray | None, n: int) -> float:
    """Rows of weight one that weighted rows are worth. Kish 1965."""
    return n if weight is None else float(weight.sum() ** 2 / np.square(weight).sum())


class Beside(NamedTuple):
    """Every model beside the best of them.

    best      position of the best mean
    pairs     each model less the best
    p         (M,) p-values, and low, high (M,) intervals, that hold for all pairs of models at once
    """

    best: int
    pairs: list[Paired]
    p: np.ndarray
    low: np.ndarray
    high: np.ndarray


def beside_best(
    scores: np.ndarray,
    weight: np.ndarray | None = None,
    best: int | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Beside:
    """Differences of all models from the best of them, scores (M, R, n), corrected for having looked for the best.

    The best is the best on these rows, so a difference from it is the largest of many: it is held against the largest
    of all pairs, max |Z_a - Z_b| / se_ab with Z ~ N(0, S), S the joint covariance of the means over rows and seeds.
    Each pair's own t is first taken to the Normal of its tail, as its degrees of freedom say. With probability `level`
    no interval misses (Hothorn, Bretz & Westfall 2008). Models of the same rows that hang together cost little.
    """
    if best is None:
        means = [mean(of_model.mean(0), weight) for of_model in scores]
        best = int(np.nan_to_num(means, nan=-np.inf).argmax())
    pairs = [paired(of_model - scores[best], weight) for of_model in scores]
    p = np.array([pair.p for pair in pairs])
    finite = np.flatnonzero(np.isfinite(scores).all((1, 2)))
    largest = _largest(scores[finite], weight, draws, seed)
    z = stats.norm.isf(np.clip(p, 1e-300, 1) / 2)
    corrected = np.array([(1 + (largest >= one).sum()) / (1 + len(largest)) for one in z])
    corrected = np.where(np.isnan(p), np.nan, np.where(p < 1, np.maximum(p, corrected), 1.0))
    miss = 2 * float(stats.norm.sf(np.quantile(largest, level)))
    ends = np.array([pair.interval(min(miss, 1 - level)) for pair in pairs])
    return Beside(best, pairs, corrected, ends[:, 0], ends[:, 1])


def _largest(scores: np.ndarray, weight: np.ndarray | None, draws: int, seed: int) -> np.ndarray:
    """Draws (draws,) of the largest standardised difference of any two models between which there is none."""
    models, repeats, n = scores.shape
    if models < 2 or n < 2:
        return np.zeros(draws)
    share = np.full(n, 1 / n) if weight is None else weight / weight.sum()
    rows = scores.mean(1)
    rows = share * (rows - (rows @ share)[:, None])
    covariance = rows @ rows.T * n / (n - 1)
    if repeats > 1:
        covariance += np.cov(scores @ share) / repeats
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(values.clip(0))
    a, b = np.triu_indices(models, 1)
    of_pair = covariance[a, a] + covariance[b, b] - 2 * covariance[a, b]
    there = of_pair > 1e-12 * (covariance[a, a] + covariance[b, b])  # models that are one have no difference
    a, b, error = a[there], b[there], np.sqrt(of_pair[there])
    if not len(a):
        return np.zeros(draws)
    draws = min(draws, max(FEWEST, NUMBERS // len(a)))
    z = np.random.default_rng(seed).standard_normal((draws, models)) @ root.T
    chunks = np.array_split(z, 1 + draws * len(a) // AT_ONCE)
    return np.concatenate([(np.abs(part[:, a] - part[:, b]) / error).max(1) for part in chunks])


class Choice(NamedTuple):
    """What choosing the best is worth on rows that did not choose.

    log_likelihood  mean over rows of the model that other rows chose
    picked          (M,) share of the halvings in which each model was chosen
    """

    log_likelihood: float
    picked: np.ndarray


def choice(
    scores: np.ndarray, weight: np.ndarray | None = None, halvings: int = HALVINGS, seed: int = 0
) -> Choice | None:
    """The model chosen on one half of the rows, scored on the other, over random halvings; scores (M, n).

    The best of many is partly the luckiest: its own mean is too high by about the difference from this one. Half the
    rows choose less well than all of them, so this one is rather too low. None of fewer than four rows.
    """
    models, n = scores.shape
    if n < 4 or not models:
        return None
    rng, picked, total = np.random.default_rng(seed), np.zeros(models), 0.0
    for _ in range(halvings):
        for chooses, judges in both_ways(rng.permutation(n)):
            found = [mean(one[chooses], None if weight is None else weight[chooses]) for one in scores]
            pick = int(np.nan_to_num(found, nan=-np.inf).argmax())
            picked[pick] += 1
            total += mean(scores[pick, judges], None if weight is None else weight[judges])
    return Choice(total / (2 * halvings), picked / (2 * halvings))


def both_ways(order: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Two halves of an order of rows: each to choose by, and the other to judge by."""
    one, other = np.array_split(order, 2)
    return (one, other), (other, one)
