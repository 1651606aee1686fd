"""Verbs on tables larger than memory: part by part, in the table's order."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoo.errors import ZooWarning
from zoo.estimator import Estimator
from zoo.evaluate.likelihood import Scores
from zoo.fitting.loop import Progress
from zoo.shared import Shared, worst
from zoo.table.stream import PART, Stream
from zoo.table.writer import write_parts

MOST_TOLD = 3


@dataclass
class Totals:
    """Running sums of the scores of many parts; `to_json` is that of `Scores` on all rows at once.

    sums  of w, w v, w elbo, w^2, w^2 v and w^2 v^2 over rows of weight w and log-likelihood v
    """

    rows: int = 0
    sums: np.ndarray = field(default_factory=lambda: np.zeros(6))
    monte_carlo: float = 0.0
    shared: tuple[Shared, ...] = ()
    first: dict[str, Any] = field(default_factory=dict)

    def add(self, scores: Scores) -> None:
        w, v = scores.weight, scores.log_likelihood
        self.sums += [w.sum(), w @ v, w @ scores.elbo, w @ w, w**2 @ v, w**2 @ v**2]
        self.monte_carlo += float(np.square(scores.monte_carlo).sum())
        self.rows, self.first = self.rows + len(v), self.first or scores.to_json()
        self.shared = worst([self.shared, scores.shared])

    def to_json(self) -> dict[str, Any]:
        weight, total, elbo, *squares = map(float, self.sums)
        mean, n = total / weight, self.rows
        spread = (squares[2] - 2 * mean * squares[1] + mean**2 * squares[0]) / weight**2
        return self.first | {
            "rows": n,
            "log_likelihood": mean,
            "standard_error": math.sqrt(max(spread, 0.0) * n / (n - 1)) if n > 1 else math.nan,
            "elbo": elbo / weight,
            "gap": mean - elbo / weight,
            "monte_carlo_error": math.sqrt(self.monte_carlo) / n,
            "shared_errors": [one._asdict() for one in self.shared],
        }


def score(
    estimator: Estimator,
    stream: Stream,
    output: Path | None,
    particles: int | None = None,
    told: Progress | None = None,
) -> dict[str, Any]:
    """Score every row; the rows' numbers go to `output`, the document of all of them is returned."""
    totals = Totals()

    def one(part: pd.DataFrame) -> pd.DataFrame:
        scores = estimator.log_likelihood(part, particles)
        totals.add(scores)
        return scores.to_frame(part.index)

    each_part(stream, one, output, told)
    return totals.to_json()


def each_part(
    stream: Stream, verb: Callable[[pd.DataFrame], pd.DataFrame], output: Path | None, told: Progress | None = None
) -> int:
    """What `verb` makes of every part, written to `output` as one table; returns its rows.

    told  called after every part with the rows done, all rows, and the seconds since the start
    """
    started = time.perf_counter()

    def frames() -> Iterator[pd.DataFrame]:
        done = 0
        for part in stream.parts():
            yield verb(part)
            done += len(part)
            if told is not None:
                told(done, len(stream), {"seconds": time.perf_counter() - started})

    with _few_warnings():
        if output is not None:
            return write_parts(frames(), output)
        return sum(len(frame) for frame in frames())


def samples(
    estimator: Estimator,
    rows: int,
    seed: int,
    given: Any = None,
    truncation: float | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[pd.DataFrame]:
    """`rows` draws in parts, each of a seed of its own."""
    for i, begin in enumerate(range(0, rows, PART)):
        yield estimator.sample(min(PART, rows - begin), seed + i, given, truncation, settings=settings)


class _few_warnings(warnings.catch_warnings):
    """Shows the first few of zoo's warnings, which every part may repeat, and says how many more there were."""

    def __init__(self) -> None:
        super().__init__(record=True, category=ZooWarning, action="always")

    def __enter__(self) -> None:
        self.caught = super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for caught in (self.caught or [])[:MOST_TOLD]:
            warnings.warn(caught.message, ZooWarning, stacklevel=2)
        if len(self.caught or []) > MOST_TOLD:
            warnings.warn(f"{len(self.caught or []) - MOST_TOLD} more such notes", ZooWarning, stacklevel=2)
