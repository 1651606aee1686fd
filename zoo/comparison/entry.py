"""One model of a comparison, put together from its fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from zoo.estimator import Estimator
from zoo.evaluate.likelihood import Scores, k_hats, loosest
from zoo.shared import worst


@dataclass
class Fit:
    """One fit of one model: on one fold, with one seed.

    scores  of the rows that it was held out from; chose: of its validation rows, where stacks are weighed by them
    """

    seconds: float
    estimator: Estimator | None = None
    scores: Scores | None = None
    chose: Scores | None = None
    failure: str = ""
    cut_short: bool = False


@dataclass
class Entry:
    """One model of a comparison: fitted and scored, or why not; one that has no likelihood is fitted, not scored.

    model      what it is called here: its name, with the settings that are its own in a sweep
    estimator  of the first fold and the first seed
    scores     of every row that judges, each the mean over seeds
    every      (R, n) the log-likelihoods of these rows by seed
    chose      by seed, those of the validation rows, where there are no folds
    """

    model: str
    seconds: float
    estimator: Estimator | None = None
    scores: Scores | None = None
    failure: str = ""
    warnings: list[str] = field(default_factory=list)
    every: np.ndarray = field(default_factory=lambda: np.zeros((1, 0)))
    chose: list[Scores] = field(default_factory=list)
    cut_short: bool = False

    @classmethod
    def of(cls, model: str, fits: Sequence[Sequence[Fit]], judged: Sequence[np.ndarray]) -> Entry:
        """From fits by seed and fold, and the positions of the rows that each fold held out.

        A model of which one fit failed has failed: what is left is not comparable with models that have all rows.
        """
        each = [fit for of_seed in fits for fit in of_seed]
        entry = cls(model, sum(fit.seconds for fit in each), cut_short=any(fit.cut_short for fit in each))
        failures = [fit.failure for fit in each if fit.failure]
        if failures:
            entry.failure = failures[0]
            return entry
        entry.estimator = each[0].estimator
        if each[0].scores is None:
            return entry
        by_seed = [_joined([fit.scores for fit in of_seed if fit.scores], judged) for of_seed in fits]
        entry.every = np.stack([scores.log_likelihood for scores in by_seed])
        entry.scores = _averaged(by_seed)
        entry.chose = [of_seed[0].chose for of_seed in fits if of_seed[0].chose is not None]
        return entry


def _joined(parts: Sequence[Scores], judged: Sequence[np.ndarray]) -> Scores:
    """Scores of the rows of all folds, in the order of the table."""
    if len(parts) == 1:
        return parts[0]
    order = np.concatenate(judged).argsort()

    def beside(name: str) -> np.ndarray:
        out: np.ndarray = np.concatenate([getattr(part, name) for part in parts])[order]
        return out

    weight, shapes = beside("weight"), k_hats(parts)
    return dataclasses.replace(
        parts[0],
        log_likelihood=beside("log_likelihood"),
        elbo=beside("elbo"),
        monte_carlo=beside("monte_carlo"),
        k_hat=np.concatenate(shapes)[order] if len(shapes[0]) else shapes[0],
        bound=loosest(part.bound for part in parts),
        particles=min(part.particles for part in parts),
        weight=weight / weight.mean() if weight.sum() > 0 else weight,
        shared=worst(part.shared for part in parts),
    )


def _averaged(parts: Sequence[Scores]) -> Scores:
    """Scores of the same rows, each number the mean over seeds."""
    if len(parts) == 1:
        return parts[0]

    def mean(name: str) -> np.ndarray:
        out: np.ndarray = np.mean([getattr(part, name) for part in parts], 0)
        return out

    return dataclasses.replace(
        parts[0],
        log_likelihood=mean("log_likelihood"),
        elbo=mean("elbo"),
        monte_carlo=np.sqrt(np.square([part.monte_carlo for part in parts]).sum(0)) / len(parts),
        k_hat=np.max(k_hats(parts), 0),
        particles=min(part.particles for part in parts),
        shared=worst(part.shared for part in parts),
    )
