"""What a comparison may claim: differences from the best, what choosing it was worth, and a mixture of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.comparison.entry import Entry
from zoo.evaluate.likelihood import Scores, loosest
from zoo.evaluate.paired import HALVINGS, Beside, Choice, Paired, beside_best, both_ways, choice, paired
from zoo.evaluate.stacking import stacked, stacking_weights

ALPHA = 0.05
CROSSED, MANY = 10, 5000
"""Halvings of the rows that weigh and judge a stack in turn, and rows from which one is enough."""


@dataclass(frozen=True)
class Stacked:
    """A mixture of the models of a comparison.

    weights      by model, those of the models of the first seed
    every        (R, n) its log-likelihood of the rows that judge: weighed for each seed by rows that do not
    difference   from the best model, paired
    """

    weights: dict[str, float]
    every: np.ndarray
    number: Paired
    difference: Paired
    bound: str
    rows: str

    def to_json(self) -> dict[str, Any]:
        return {
            "weights": self.weights,
            "log_likelihood": self.number.mean,
            "standard_error": self.number.standard_error,
            "bound": self.bound,
            **self.difference.to_json(),
            "weighed_on": self.rows,
        }


@dataclass(frozen=True)
class Judged:
    """beside: every scored model, best first, beside the best; chosen: what choosing was worth; stack: of all."""

    names: list[str]
    beside: Beside
    best: float
    chosen: Choice | None
    stack: Stacked | None

    @property
    def close(self) -> list[str]:
        """The models that cannot be told from the best: of which no corrected p-value says that they are below."""
        return [name for name, p in zip(self.names[1:], self.beside.p[1:], strict=True) if p > ALPHA]

    def line(self, model: str) -> dict[str, Any]:
        """The difference of one model from the best: its parts, its own p-value and the one corrected for choosing."""
        i = self.names.index(model)
        line = self.beside.pairs[i].to_json()
        simultaneous = {"low": self.beside.low[i], "high": self.beside.high[i], "p_adjusted": self.beside.p[i]}
        return line | {key: float(value) for key, value in simultaneous.items()}

    def to_json(self) -> dict[str, Any]:
        chosen = self.chosen and {
            "log_likelihood": self.chosen.log_likelihood,
            "best": self.best,
            "luck": self.best - self.chosen.log_likelihood,
            "halvings": HALVINGS,
            "picked": dict(zip(self.names, map(float, self.chosen.picked), strict=True)),
        }
        stack = None if self.stack is None else self.stack.to_json()
        document: dict[str, Any] = finite({"not_told_apart": self.close, "choice": chosen, "stacking": stack})
        return document


def judge(entries: Sequence[Entry], folds: bool, seed: int) -> Judged | None:
    """Of the scored entries, the best first; none where there are none."""
    if not entries:
        return None
    numbers = [entry.scores for entry in entries if entry.scores is not None]
    weight = numbers[0].weight
    every = np.stack([entry.every for entry in entries])
    with np.errstate(invalid="ignore"):  # of two models to which one row is impossible
        beside = beside_best(every, weight, best=0)
        chosen = choice(every.mean(1), weight, seed=seed)
        stack = _stack(entries, numbers, every, weight, folds, seed) if len(entries) > 1 else None
    return Judged([entry.model for entry in entries], beside, numbers[0].mean, chosen, stack)


def _stack(
    entries: Sequence[Entry], numbers: Sequence[Scores], every: np.ndarray, weight: np.ndarray, folds: bool, seed: int
) -> Stacked | None:
    """Weighed on validation rows; with folds on half of the rows at a time, and judged on the other half.

    Validation rows have chosen settings and stopped fits, so models that did much of that there weigh rather too much;
    the rows that judge have done nothing of the kind.
    """
    if folds:
        first = stacking_weights(every[:, 0], weight)
        of_stack = np.stack([_crossed(every[:, r], weight, seed) for r in range(every.shape[1])])
        rows = "the rows that judge, by halves that judge each other"
    elif all(len(entry.chose) == every.shape[1] for entry in entries):
        by_seed = [
            stacking_weights(np.stack([entry.chose[r].log_likelihood for entry in entries]), entries[0].chose[r].weight)
            for r in range(every.shape[1])
        ]
        first, rows = by_seed[0], "validation rows"
        of_stack = np.stack([stacked(every[:, r], w) for r, w in enumerate(by_seed)])
    else:
        return None
    weights = {entry.model: float(w) for entry, w in zip(entries, first, strict=True)}
    bound = loosest(one.bound for one, w in zip(numbers, first, strict=True) if w > 0)
    return Stacked(weights, of_stack, paired(of_stack, weight), paired(of_stack - every[0], weight), bound, rows)


def _crossed(log_p: np.ndarray, weight: np.ndarray, seed: int) -> np.ndarray:
    """The log-density (n,) of each row under stacks that the other half of the rows weighed, the mean over halvings."""
    n, rng = log_p.shape[1], np.random.default_rng(seed)
    halvings = CROSSED if n <= MANY else 1
    out = np.zeros(n)
    for _ in range(halvings):
        for weighs, judges in both_ways(rng.permutation(n)):
            out[judges] += stacked(log_p[:, judges], stacking_weights(log_p[:, weighs], weight[weighs])) / halvings
    return out


def finite(value: Any) -> Any:
    """A document in which numbers that are not finite are none, at any depth."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
