"""Rows drawn from every model of a comparison, judged beside held-out ones: a number that every model has."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from zoo.errors import UserError, quiet
from zoo.estimator import Estimator
from zoo.evaluate.quality.bench import FEWEST, Bench
from zoo.evaluate.quality.metrics import METRICS
from zoo.evaluate.quality.sample import Sample
from zoo.evaluate.quality.value import Value
from zoo.table.schema import Schema

MOST_ROWS = 10_000

Figures = dict[str, Value]


@dataclass
class Samples:
    """Judged rows of every model.

    rows            drawn of each model, held against as many held-out ones; `MOST_ROWS` at most
    ceiling, floor  the same figures of training rows, and of independent columns
    models          figures by model; those that are left out are in `problems`, with the reason
    spaces          where distances were measured, in words, by group of figures
    """

    rows: int
    ceiling: Figures
    floor: Figures
    models: dict[str, Figures] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    spaces: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def table(self) -> pd.DataFrame:
        """Every figure, one a row: of real rows, of each model's and of independent columns."""
        every = {"real rows": self.ceiling, **self.models, "independent columns": self.floor}
        values = {name: {key: value.value for key, value in found.items()} for name, found in every.items()}
        return pd.DataFrame(values).reindex([name for name in METRICS if name in self.ceiling])

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "ceiling": line(self.ceiling),
            "floor": line(self.floor),
            "says": {name: metric.says for name, metric in METRICS.items() if name in self.ceiling},
            "spaces": self.spaces,
            "notes": self.notes,
            "seconds": self.seconds,
        }


def line(figures: Figures | None) -> dict[str, float | None]:
    """Every figure and its standard error by name; none where it was not measured."""
    out: dict[str, float | None] = {}
    for name in METRICS:
        found = (figures or {}).get(name)
        out[name], out[f"{name}_se"] = (None, None) if found is None else (found.value, found.standard_error)
    return out


def judge_models(
    estimators: Mapping[str, Estimator],
    train: pd.DataFrame,
    test: pd.DataFrame,
    schema: Schema,
    seed: int,
    deadline: float | None = None,
    told: Callable[[str], Any] | None = None,
    target: str | None = None,
    modes: Any = None,
) -> Samples | None:
    """Draw as many rows of each model as there are held-out ones (`MOST_ROWS` at most), and judge them; none of fewer
    than 10 rows. target, modes: as for `zoo.judge`.

    A model that is conditional upon columns, or has groups, draws at those of training rows. What is not judged by
    the deadline is named.
    """
    n = min(len(train), len(test), MOST_ROWS)
    if n < FEWEST or not estimators:
        return None
    started = time.perf_counter()
    if told:
        told("judging samples")
    with quiet():
        real, second = Sample.of(test, schema), Sample.of(train, schema)
        bench = Bench(real, second, n, seed, seen=True, target=target, modes=modes)
        found = Samples(n, bench.ceiling(), bench.bottom(), notes=bench.notes, spaces=bench.spaces)
        at = train.iloc[np.random.default_rng(seed).permutation(len(train))[:n]] if schema.conditions else None
        for name, estimator in estimators.items():
            if deadline is not None and time.perf_counter() > deadline:
                found.problems[name] = "the time budget ended before its samples were judged"
                continue
            try:
                drawn = Sample.of(estimator.sample(n, seed, given=at), schema, "the draws")
                found.models[name] = bench.figures(bench.drawn(drawn))
            except UserError as error:
                found.problems[name] = f"its samples could not be judged: {error}"
            except Exception as error:  # one model that cannot be drawn from must not cost the others
                said = " ".join(f"{type(error).__name__}: {error}".split())
                found.problems[name] = f"its samples could not be judged: {said}"
    found.seconds = time.perf_counter() - started
    return found
