"""A comparison: every model's number on the same rows, ranked, as a table, a document and a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoo import run
from zoo.comparison.keep import write
from zoo.comparison.said import BASELINE, chosen, n_clusters, warnings_of
from zoo.errors import UserError
from zoo.estimator import Estimator
from zoo.evaluate.likelihood import Scores, mean, standard_error
from zoo.sampled import FIGURES, Samples
from zoo.sampled import line as sampled_line
from zoo.table.schema import Schema
from zoo.table.split import Split

COLUMNS = [
    "log_likelihood",
    "standard_error",
    "bound",
    "elbo",
    "difference",
    "difference_se",
    "shape",
    "trend",
    "c2st",
    "seconds",
]
"""Of the ranking, what a look shows."""


@dataclass
class Entry:
    """One model of a comparison: fitted and scored, or why not; one that has no likelihood is fitted, not scored."""

    model: str
    seconds: float
    estimator: Estimator | None = None
    scores: Scores | None = None
    failure: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def cut_short(self) -> bool:
        """Whether the time budget ended the fit."""
        return self.estimator is not None and "budget" in self.estimator.fitted_.stopped


@dataclass
class Comparison:
    """The ranking of models on one table, best first.

    schema   what each column is: the measure of every number
    entries  one for each model; those without a log-likelihood come after, ranked apart by their samples, and those
             that could not be fitted come last
    reasons  why each model of the line-up is in it, or was left out
    parts    positions of the rows that fitted, chose, and judged: all models were scored on the last
    reading  the options with which the table was read from a file, kept with the run
    samples  how good rows are that each model draws; none where that was not asked
    """

    schema: Schema
    entries: list[Entry]
    reasons: dict[str, str]
    parts: Split
    frame: pd.DataFrame
    name: str = "table"
    seed: int = 0
    reading: dict[str, Any] = field(default_factory=dict)
    samples: Samples | None = None

    def __post_init__(self) -> None:
        self.entries.sort(key=self._place)
        for entry in self.entries:
            entry.warnings = warnings_of(entry, self)

    def _place(self, entry: Entry) -> tuple[float, ...]:
        """By log-likelihood; without one by what a classifier can tell of its samples, then by their trends."""
        if entry.scores:
            return (0.0, -entry.scores.mean)
        found = sampled_line(self.samples.models.get(entry.model) if self.samples else None)
        by_samples = (-(found["c2st"] or 0.0), -(found["trend"] or 0.0), -(found["shape"] or 0.0))
        return (1.0 if entry.estimator else 2.0, *by_samples)

    # ---- numbers

    @property
    def fitted(self) -> list[Entry]:
        return [e for e in self.entries if e.estimator is not None]

    @property
    def scored(self) -> list[Entry]:
        return [e for e in self.entries if e.scores is not None]

    @property
    def best(self) -> Entry:
        self.check_asked(None)
        if not self.scored:
            raise UserError("no model of this comparison has a log-likelihood", "rank them by their samples")
        return self.scored[0]

    def check_asked(self, models: Sequence[str] | None) -> None:
        """Refuse a comparison in which none of the models asked for, by name or as the line-up, could be fitted."""
        asked = [e for e in self.entries if models is None or e.model in models]
        if not any(e.estimator for e in asked):
            raise UserError("no model could be fitted: " + "; ".join(f"{e.model}: {e.failure}" for e in asked))

    def __getitem__(self, model: str) -> Estimator:
        """The fitted estimator of one model."""
        for entry in self.entries:
            if entry.model == model and entry.estimator is not None:
                return entry.estimator
        raise UserError(f"no fitted model {model!r} in this comparison", ", ".join(e.model for e in self.fitted))

    @property
    def scores(self) -> pd.DataFrame:
        """Log-likelihood of every held-out row under every model; the index is the row's in the table."""
        index = self.frame.index[self.parts.test]
        return pd.DataFrame({e.model: e.scores.log_likelihood for e in self.scored if e.scores}, index=index)

    def difference(self, model: str, other: str) -> tuple[float, float]:
        """Mean paired difference of two models' rows, and its standard error over rows."""
        paired = (self.scores[model] - self.scores[other]).to_numpy()
        weight = self.scored[0].scores.weight if self.scored[0].scores else None
        return mean(paired, weight), standard_error(paired, weight) if model != other else 0.0

    @property
    def table(self) -> pd.DataFrame:
        """The ranking, one row a model."""
        return pd.DataFrame(self.to_json()["models"]).set_index("model")

    def to_json(self) -> dict[str, Any]:
        parts = self.parts._asdict()
        return {
            "table": {"name": self.name, "rows": len(self.frame), "columns": len(self.schema.modelled)},
            "measure": self.schema.measure,
            "rows": {k: len(v) for k, v in parts.items()},
            "models": [self._line(entry) for entry in self.entries],
            "samples": None if self.samples is None else self.samples.to_json(),
            "line_up": self.reasons,
            "warnings": self.failures,
        }

    @property
    def failures(self) -> list[str]:
        """The models that could not be fitted, and why."""
        return [f"model {e.model!r} could not be fitted: {e.failure}" for e in self.entries if e.failure]

    def _line(self, entry: Entry) -> dict[str, Any]:
        line: dict[str, Any] = {"model": entry.model}
        keys = ("log_likelihood", "standard_error", "bound", "elbo", "gap", "k_hat", "particles", "monte_carlo_error")
        document = entry.scores.to_json() if entry.scores else {"bound": "none"} if entry.estimator else {}
        line |= {key: _finite(document.get(key)) for key in keys}
        difference = self.difference(entry.model, self.best.model) if entry.scores else (None, None)
        line |= dict(zip(("difference", "difference_se"), map(_finite, difference), strict=True))
        has_baseline = any(e.model == BASELINE for e in self.scored)
        above = self.difference(entry.model, BASELINE) if entry.scores and has_baseline else (None, None)
        line |= dict(zip(("above_baseline", "above_baseline_se"), map(_finite, above), strict=True))
        model = entry.estimator.model_ if entry.estimator else None
        line |= sampled_line(self.samples.models.get(entry.model) if self.samples else None)
        line |= {
            "seconds": entry.seconds,
            "parameters": model.n_parameters() if model else None,
            "clusters": n_clusters(entry),
            "settings": chosen(entry),
            "warnings": entry.warnings,
        }
        return line

    # ---- looks

    def plot_ranking(self) -> Any:
        """Mean log-likelihood of every model with the standard error of its difference from the best: a figure."""
        from zoo.report import figures

        return figures.ranking(self.to_json())

    def plot_elbo(self) -> Any:
        """ELBO beside log-likelihood: a figure."""
        from zoo.report import figures

        return figures.elbo_against_likelihood(self.to_json())

    @property
    def _looked_at(self) -> list[str]:
        return [name for name in COLUMNS if self.samples or name not in FIGURES]

    def __repr__(self) -> str:
        text = self.table[self._looked_at].to_string(float_format=lambda v: f"{v:.3f}")
        return f"{text}\n\n{self.schema.measure}; {len(self.parts.test)} held-out rows"

    def _repr_html_(self) -> str:
        note = f"<p>{self.schema.measure}; {len(self.parts.test)} held-out rows</p>"
        return note + self.table[self._looked_at].to_html(float_format=lambda v: f"{v:.3f}")

    # ---- keeping

    def save(self, path: str | Path) -> Path:
        """Write the run folder: the ranking, every fitted model, the held-out rows and the report."""
        with run.new_folder(path, "comparison") as folder:
            write(folder, self)
        return Path(path)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
