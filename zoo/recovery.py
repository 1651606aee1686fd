"""What estimation costs on a table like the user's: a model is fitted to it, and taken for the truth.

    loss = KL(truth || refit) = E_truth[log p_truth(x) - log p_refit(x)]

A table of the same rows is drawn from the truth, the model fitted to that from scratch, and both are scored on fresh
draws. Of a density with p parameters that are all told by n rows the loss is about p / (2 n).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from zoo.arguments import seed_in, whole
from zoo.errors import UserError, quiet
from zoo.estimator import Estimator
from zoo.evaluate.likelihood import mean, standard_error
from zoo.fitting.loop import Progress
from zoo.table.reader import read_table

REPEATS, JUDGED = 3, 4000


@dataclass(frozen=True)
class Recovery:
    """Nats a row that each refit (R,) is below the truth, and the error of that by fresh draws (R,).

    exact   whether both densities are; else the difference of two bounds stands for it
    """

    model: str
    rows: int
    judged: int
    losses: np.ndarray
    errors: np.ndarray
    exact: bool
    measure: str

    @property
    def loss(self) -> float:
        return float(self.losses.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean over tables: by how refits differ, which holds the draws that judge them; of one, by these."""
        n = len(self.losses)
        return float(self.losses.std(ddof=1) / math.sqrt(n)) if n > 1 else float(self.errors[0])

    @property
    def sentence(self) -> str:
        n = len(self.losses)
        of = f"mean of {n} tables" if n > 1 else "one table, error by fresh draws alone"
        kind = "" if self.exact else "; a difference of bounds"
        said = f"a table like yours of {self.rows} rows loses {self.loss:.3f} ± {self.standard_error:.3f} nats a row"
        return f"{said} to estimation, if {self.model} as fitted to yours were the truth ({of}{kind})"

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model, "rows": self.rows, "judged": self.judged, "loss": self.loss,
            "standard_error": self.standard_error, "losses": self.losses.tolist(), "errors": self.errors.tolist(),
            "exact": self.exact, "measure": self.measure, "sentence": self.sentence,
        }  # fmt: skip


def recover(
    model: str,
    table: Any,
    *,
    repeats: int = REPEATS,
    judged: int = JUDGED,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    time_budget: float | str | None = None,
    models_file: str | None = None,
    told: Callable[[str], Progress] | None = None,
    **asked: Any,
) -> Recovery:
    """Fit a model to a table, and again to `repeats` tables drawn from that fit, with the same cells missing.

    judged: fresh draws by which the two are compared; time_budget: of each fit
    asked: what each column is, as for `fit` (schema, kinds, units, ignore, given, group, weight)
    """
    repeats, judged, seed = whole(repeats, "repeats"), whole(judged, "judged", 2), seed_in(seed)
    options: dict[str, Any] = {
        "settings": settings, "device": device, "time_budget": time_budget, "models_file": models_file,
    }  # fmt: skip
    frame = read_table(table)
    truth = Estimator(model, seed=seed, **options, **asked).fit(frame, progress=told(model) if told else None)
    if "score" not in truth.model_.verbs or "sample" not in truth.model_.verbs:
        what = f"model {model!r} has no density" if "sample" in truth.model_.verbs else f"{model!r} draws no rows"
        raise UserError(what, "take a model that scores and samples, as mixture")
    losses, errors, exact = [], [], True
    for i in range(repeats):
        start = seed + 1_000_003 * (i + 1)
        drawn = _like(truth, frame, len(frame), start)
        progress = told(f"{model}, table {i + 1} of {repeats}") if told else None
        with quiet():
            again = Estimator(model, seed=seed + i + 1, schema=truth.schema_, **options).fit(drawn, progress=progress)
            fresh = _like(truth, frame, judged, start + 1)
            a, b = truth.log_likelihood(fresh), again.log_likelihood(fresh)
        apart = a.log_likelihood - b.log_likelihood
        losses.append(mean(apart))
        errors.append(standard_error(apart))
        exact = exact and a.bound == b.bound == "exact"
    measure = truth.schema_.measure
    return Recovery(model, len(frame), judged, np.array(losses), np.array(errors), exact, measure)


def _like(truth: Estimator, frame: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """Draws of the truth at the given columns and groups of the table's rows, with the cells missing that are there."""
    at = frame.iloc[np.random.default_rng(seed).integers(len(frame), size=rows) if rows != len(frame) else slice(None)]
    at = at.reset_index(drop=True)
    names = [column.name for column in truth.schema_.conditions]
    drawn = truth.sample(rows, seed, given=at[names] if names else None).reset_index(drop=True)
    weight = truth.schema_.role("weight")
    if weight is not None:
        drawn[weight.name] = at[weight.name]
    for column in truth.schema_.modelled:
        if column.missing:
            drawn[column.name] = drawn[column.name].mask(at[column.name].isna())
    return drawn
