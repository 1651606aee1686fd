"""A model that stands in for another: fitted to the other's draws, which do not run out, and how far apart they are.

forward    KL(teacher || student) = E_teacher[log p_teacher(x) - log p_student(x)]     what a fit brings down
reverse    KL(student || teacher) = E_student[log p_student(x) - log p_teacher(x)]     large where the student puts
                                                                                       rows that the teacher would not
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from zoo.arguments import whole
from zoo.errors import UserError, quiet
from zoo.estimator import Estimator
from zoo.evaluate.likelihood import mean, standard_error
from zoo.fitting.loop import Progress
from zoo.fitting.source import Streamed
from zoo.model import Model
from zoo.rows.rows import Rows

STUDENT = "distilled-flow"
HELD = 0.1
"""Of the first draws: rows that stop the fit."""


@dataclass(frozen=True)
class Divergence:
    """nats a row and the standard error of that; `exact`: both densities are, else it is the difference of bounds."""

    value: float
    standard_error: float
    exact: bool

    def to_json(self) -> dict[str, Any]:
        return {"nats": self.value, "standard_error": self.standard_error, "exact": self.exact}


@dataclass(frozen=True)
class Distilled:
    estimator: Estimator
    forward: Divergence
    reverse: Divergence

    def to_json(self) -> dict[str, Any]:
        return {"forward": self.forward.to_json(), "reverse": self.reverse.to_json()}


def distil(
    teacher: Estimator | str | Path,
    model: str = STUDENT,
    *,
    settings: Mapping[str, Any] | None = None,
    rows: int = 20_000,
    judged: int = 4_000,
    seed: int = 0,
    device: str = "auto",
    time_budget: float | str | None = None,
    models_file: str | None = None,
    progress: Progress | None = None,
) -> Distilled:
    """Fit `model` to a fitted one, an estimator or a run folder: to `rows` new draws of it an epoch, each seen once.

    judged: fresh draws of each by which the two divergences are told
    """
    rows, judged = whole(rows, "rows"), whole(judged, "judged")
    if not isinstance(teacher, Estimator):
        teacher = Estimator.load(teacher, models_file)
    if teacher.schema_.conditions:
        names = ", ".join(c.name for c in teacher.schema_.conditions)
        raise UserError(
            f"the teacher is conditional upon {names}, and has no rows of its own", "distil one that is not"
        )
    student = Estimator(
        model, settings=settings, seed=seed, device=device, time_budget=time_budget, models_file=models_file
    )
    first = _drawn(teacher, rows, seed)
    held = max(1, int(HELD * rows))

    def source(fitting: Model) -> Streamed:
        def parts(epoch: int) -> Iterator[Rows]:
            with quiet():
                part = fitting.rows(_drawn(teacher, rows, seed + 1 + epoch))
            yield part

        return Streamed(rows, parts)

    with quiet():
        codec = deepcopy(teacher.model_.codec).cpu()
        student.fit_parts(first[held:], first[:held], teacher.schema_, codec=codec, progress=progress, source=source)
    return Distilled(student, _divergence(teacher, student, judged, seed), _divergence(student, teacher, judged, seed))


def _drawn(model: Estimator, rows: int, seed: int) -> pd.DataFrame:
    return model.sample(rows, seed)


def _divergence(p: Estimator, q: Estimator, rows: int, seed: int) -> Divergence:
    """KL(p || q) by fresh draws of p."""
    with quiet():
        x = _drawn(p, rows, seed + 1_000_003)
        a, b = p.log_likelihood(x), q.log_likelihood(x)
    difference = a.log_likelihood - b.log_likelihood
    return Divergence(mean(difference), standard_error(difference), a.bound == b.bound == "exact")
