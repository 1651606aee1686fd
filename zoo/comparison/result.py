"""A comparison: every model's number on the same rows, ranked, as a table, a document and a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoo import run
from zoo.comparison.entry import Entry
from zoo.comparison.judged import Judged, finite, judge
from zoo.comparison.keep import write
from zoo.comparison.said import BASELINE, chosen, n_clusters, warnings_of
from zoo.errors import UserError
from zoo.estimator import Estimator
from zoo.evaluate.paired import Paired, paired
from zoo.evaluate.quality.metrics import METRICS
from zoo.registry import Registry
from zoo.sampled import Samples
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
    "p_adjusted",
    "shape",
    "trend",
    "c2st",
    "seconds",
]
"""Of the ranking, what a look shows."""
DIFFERENCE = ("difference", "difference_se", "difference_rows_se", "difference_fits_se", "degrees", "low", "high", "p",
              "p_adjusted")  # fmt: skip
"""Of a difference from the best; low, high and p_adjusted hold for all models at once."""


@dataclass
class Comparison:
    """The ranking of models on one table, best first.

    schema   what each column is: the measure of every number
    entries  one for each model; those without a log-likelihood come after, ranked apart by their samples, and those
             that could not be fitted come last
    reasons  why each model of the line-up is in it, or was left out
    parts    positions of the rows that fitted, chose, and judged: all models were scored on the last, where there are
             no folds; else those of the first fold, whose models are kept
    reading  the options with which the table was read from a file, kept with the run
    samples  how good rows are that each model draws; none where that was not asked
    folds    the parts of each fold, where every row was held out in turn
    repeats  fits of each model, by seed
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
    folds: tuple[Split, ...] = ()
    repeats: int = 1

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
    def judges(self) -> np.ndarray:
        """Positions of the rows that all models were scored on."""
        return np.sort(np.concatenate([fold.test for fold in self.folds])) if self.folds else self.parts.test

    @cached_property
    def judged(self) -> Judged | None:
        """What may be claimed of the differences; none where no model has a log-likelihood."""
        return judge(self.scored, bool(self.folds), self.seed)

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
        index = self.frame.index[self.judges]
        return pd.DataFrame({e.model: e.scores.log_likelihood for e in self.scored if e.scores}, index=index)

    def paired(self, model: str, other: str) -> Paired:
        """The difference of two models, and how sure it is: `zoo.evaluate.paired`."""
        one, two = (next(e for e in self.scored if e.model == name) for name in (model, other))
        assert one.scores is not None
        if one is two:
            return paired(np.zeros_like(one.every))
        return paired(one.every - two.every, one.scores.weight)

    def difference(self, model: str, other: str) -> tuple[float, float]:
        """Mean paired difference of two models' rows, and its standard error over rows and seeds."""
        found = self.paired(model, other)
        return found.mean, found.standard_error

    @property
    def table(self) -> pd.DataFrame:
        """The ranking, one row a model."""
        return pd.DataFrame(self.to_json()["models"]).set_index("model")

    def to_json(self) -> dict[str, Any]:
        parts = self.parts._asdict()
        return {
            "table": {"name": self.name, "rows": len(self.frame), "columns": len(self.schema.modelled)},
            "measure": self.schema.measure,
            "rows": {k: len(v) for k, v in parts.items()} | {"test": len(self.judges)},
            "folds": len(self.folds),
            "repeats": self.repeats,
            "models": [self._line(entry) for entry in self.entries],
            **(self.judged.to_json() if self.judged else {"not_told_apart": [], "choice": None, "stacking": None}),
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
        line |= {key: finite(document.get(key)) for key in keys}
        line["shared_errors"] = document.get("shared_errors", [])
        if entry.scores:
            line["standard_error"] = finite(paired(entry.every, entry.scores.weight).standard_error)
        found = self.judged.line(entry.model) if self.judged and entry.scores else {}
        line |= {key: finite(found.get(key)) for key in DIFFERENCE}
        has_baseline = any(e.model == BASELINE for e in self.scored)
        above = self.difference(entry.model, BASELINE) if entry.scores and has_baseline else (None, None)
        line |= dict(zip(("above_baseline", "above_baseline_se"), map(finite, above), strict=True))
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

    def stack(self) -> Estimator:
        """The mixture of the models, by the weights of `stacking`, as a fitted model of its own."""
        from zoo.stacks import mix

        if self.judged is None or self.judged.stack is None:
            raise UserError("a stack needs two models with a likelihood", "compare more models")
        registry = Registry.load(self.fitted[0].estimator.models_file if self.fitted[0].estimator else None)
        made = mix({e.model: e.estimator for e in self.fitted if e.estimator}, self.judged.stack.weights, registry)
        made.estimator.reading_ = self.reading
        return made.estimator

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
        return [name for name in COLUMNS if self.samples or name not in METRICS]

    def __repr__(self) -> str:
        text = self.table[self._looked_at].to_string(float_format=lambda v: f"{v:.3f}")
        return f"{text}\n\n{self.schema.measure}; {len(self.judges)} held-out rows"

    def _repr_html_(self) -> str:
        note = f"<p>{self.schema.measure}; {len(self.judges)} held-out rows</p>"
        return note + self.table[self._looked_at].to_html(float_format=lambda v: f"{v:.3f}")

    # ---- keeping

    def save(self, path: str | Path) -> Path:
        """Write the run folder: the ranking, every fitted model, the held-out rows and the report."""
        with run.new_folder(path, "comparison") as folder:
            write(folder, self)
        return Path(path)
