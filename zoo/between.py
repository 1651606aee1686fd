"""The paired difference of two finished runs on rows of a table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from zoo.errors import UserError, quiet
from zoo.estimator import Estimator
from zoo.evaluate.likelihood import Scores
from zoo.evaluate.paired import Paired, paired
from zoo.table.same import what_differs

DIRECTION = {
    "lower": "the number of {} is a lower bound, so it may be better than this",
    "estimate": "the number of {} is an estimate",
}


@dataclass(frozen=True)
class Difference:
    """The first run less the second, row by row; `scores` of both."""

    models: tuple[str, str]
    scores: tuple[Scores, Scores]
    paired: Paired
    fitted: tuple[int, int] = (0, 0)
    """Rows of the table that each was fitted to, as far as can be seen."""

    @property
    def notes(self) -> list[str]:
        names = ("the first", "the second")
        found = zip(names, self.scores, strict=True)
        notes = [DIRECTION[scores.bound].format(which) for which, scores in found if scores.bound in DIRECTION]
        seen = [f"{which} was fitted to {n}" for which, n in zip(names, self.fitted, strict=True) if n]
        return notes + [f"{each} of these rows, and looks better on them than it is" for each in seen]

    def to_json(self) -> dict[str, Any]:
        return {
            "models": list(self.models),
            "rows": len(self.scores[0].log_likelihood),
            **self.paired.to_json(),
            "of": [scores.to_json() for scores in self.scores],
            "notes": self.notes,
            "measure": self.scores[0].measure,
        }


def difference(one: Estimator | str | Path, other: Estimator | str | Path, table: Any, **options: Any) -> Difference:
    """How much better one fitted model is than another on a table, in nats per row, with its standard error over rows.

    one, other  estimators or run folders; refused, with the reason, where their numbers are of different things
    table       rows that neither was fitted on: on its own rows a model looks better than it is
    options     of `Estimator.load`
    """
    first, second = (run if isinstance(run, Estimator) else Estimator.load(run, **options) for run in (one, other))
    check_comparable(first, second)
    frame = table if isinstance(table, pd.DataFrame) else first._read(table)
    with quiet():
        scores = first.log_likelihood(frame), second.log_likelihood(frame)
    found = paired(scores[0].log_likelihood - scores[1].log_likelihood, scores[0].weight)
    if len(frame) < 2 or math.isnan(found.standard_error):
        what = f"{len(frame)} row{'s' * (len(frame) != 1)}" if len(frame) < 2 else "a row that is impossible under one"
        raise UserError(f"no standard error of the difference can be had: {what}", "give other rows, or more")
    seen = first.fitted_among(frame), second.fitted_among(frame)
    return Difference((named(one, first), named(other, second)), scores, found, seen)


def named(run: Estimator | str | Path, estimator: Estimator) -> str:
    """The model; one of a sweep has a folder that says its settings too: gmm[components=5]."""
    folder = "" if isinstance(run, Estimator) else Path(run).resolve().name
    return folder if folder.startswith(f"{estimator.model}[") else estimator.model


def check_comparable(first: Estimator, second: Estimator) -> None:
    """Refuse two models whose numbers are of different things, or are none."""
    for which, estimator in (("first", first), ("second", second)):
        if "score" not in estimator.model_.verbs:
            raise UserError(f"the {which}, {estimator.model!r}, has no log-likelihood", "judge its samples: zoo judge")
    reasons = what_differs(first.schema_, second.schema_)
    if reasons:
        what = f"the two runs do not measure the same thing: {'; '.join(reasons[:5])}"
        raise UserError(what, "fit both with one schema: zoo fit --schema RUN/schema.toml")
