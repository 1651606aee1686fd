"""Many models, one table, one honest ranking.

Every model is fitted on the same rows, scored on the same held-out rows under the same measure, and ranked by its mean
log-likelihood; differences are paired, row by row, against the best model and against independent columns.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoo import run
from zoo.arguments import pairs_in, seconds_in, seed_in
from zoo.errors import UserError, ZooWarning, quiet
from zoo.estimator import Estimator
from zoo.evaluate.likelihood import K_HAT_GOOD, Scores, mean, standard_error
from zoo.line_up import all_used, check_request, legal, line_up
from zoo.registry import Registry
from zoo.sampled import FIGURES, Samples, judge_models
from zoo.sampled import line as sampled_line
from zoo.table.check import check_parts
from zoo.table.codec import Codec
from zoo.table.files import name_of
from zoo.table.infer import schema_for
from zoo.table.reader import read_table
from zoo.table.schema import Schema
from zoo.table.split import Split, split

BASELINE = "independent"
SHOWN_ROWS = 2000
FITTING_SHARE = 0.85  # of a time budget; the rest is for the page
SAMPLING_SHARE = 0.95  # of a time budget, by whose end samples are judged
SCORING_SHARE = 0.15  # of a model's own time, for its held-out rows
WORTH = 1.5  # times what a fit has had that it must get to be done again

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

Told = Callable[[str], Any]


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
            entry.warnings = _warnings(entry, self)

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
            "clusters": _n_clusters(entry),
            "settings": _chosen(entry),
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
            self._write(folder)
        return Path(path)

    def _write(self, folder: Path) -> None:
        run.write_json(folder / "comparison.json", self.to_json())
        (folder / "schema.toml").write_text(self.schema.to_toml(), encoding="utf-8")
        self.scores.to_parquet(folder / "scores.parquet")
        _parquet(self.frame.iloc[self.parts.test], folder / "held_out.parquet")
        shown = np.random.default_rng(self.seed).permutation(self.parts.train)[:SHOWN_ROWS]
        _parquet(self.frame.iloc[np.sort(shown)], folder / "rows.parquet")
        for entry in self.fitted:
            assert entry.estimator is not None
            entry.estimator.reading_ = self.reading
            score = entry.scores.to_json() if entry.scores else None
            entry.estimator.write(folder / "models" / entry.model, score=score)
        run.write_manifest(folder, run.manifest("comparison", self.seed, table=self.name, reading=self.reading))
        from zoo.report.page import write_report

        write_report(folder, estimators={e.model: e.estimator for e in self.fitted if e.estimator})


def compare(
    table: Any,
    models: str | Sequence[str] | None = None,
    *,
    schema: Schema | str | Path | None = None,
    kinds: Mapping[str, str] | None = None,
    ignore: str | Sequence[str] = (),
    given: str | Sequence[str] = (),
    group: str | None = None,
    weight: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    time_budget: float | str | None = None,
    models_file: str | None = None,
    name: str | None = None,
    reading: Mapping[str, Any] | None = None,
    samples: bool = True,
    told: Told | None = None,
    progress: Any = None,
) -> Comparison:
    """Fit models to one table and rank them by held-out log-likelihood.

    table        anything that `zoo.read_table` reads: a frame, a path, a URL
    models       names in the registry; None takes a line-up that suits the table
    settings     settings changed in every model that has them
    time_budget  seconds for all models together; those that did not get their turn are named
    reading      options with which the table was read from a file; verbs on the run read theirs like it
    samples      whether rows are drawn of every model and judged, beside its likelihood and after all fits
    told         called with a line of text when something starts or ends
    """
    check_request(Registry.load(models_file), models, pairs_in(settings, "settings"))
    frame = read_table(table)
    split(len(frame), seed_in(seed))  # too few rows are refused before their cells are looked at
    asked = {"kinds": kinds, "ignore": ignore, "given": given, "group": group, "weight": weight}
    schema = schema_for(frame, schema, **asked)
    name = name or (name_of(table) if isinstance(table, str | Path) else "table")
    return compare_on(
        frame, schema, models, settings=settings, seed=seed, device=device, time_budget=time_budget,
        models_file=models_file, name=name, reading=reading, samples=samples, told=told, progress=progress,
    )  # fmt: skip


def compare_on(
    frame: pd.DataFrame,
    schema: Schema,
    models: str | Sequence[str] | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    time_budget: float | str | None = None,
    models_file: str | None = None,
    name: str = "table",
    reading: Mapping[str, Any] | None = None,
    samples: bool = True,
    told: Told | None = None,
    progress: Any = None,
) -> Comparison:
    """As `compare`, on a frame that was read and a schema that was held against it."""
    registry = Registry.load(models_file)
    seed, budget, settings = seed_in(seed), seconds_in(time_budget), pairs_in(settings, "settings")
    models = check_request(registry, models, settings)
    parts = split(len(frame), seed)
    check_parts(schema, frame, {"fit": parts.train, "choose": parts.validation})
    reasons: dict[str, str] = {}
    if models is None:
        models, reasons = line_up(schema, len(parts.train), registry)
    if BASELINE in registry and BASELINE not in models:
        models = [BASELINE, *models]
        reasons[BASELINE] = "the baseline is always there"
    sets = {model: legal(registry, model, settings) for model in models}
    all_used(settings, sets, registry)
    for model in models:
        registry.recipe(model, sets[model]).check()  # and so is a setting that it cannot have
    train, validation, test = (frame.iloc[i] for i in parts)
    with quiet():
        codec = Codec.fit(schema, train)
    started = time.perf_counter()
    end = None if budget is None else started + FITTING_SHARE * budget

    def one(model: str, deadline: float | None) -> Entry:
        if told:
            told(model)
        options: dict[str, Any] = {"seed": seed, "device": device, "models_file": models_file}
        estimator = Estimator(model, settings=sets[model], schema=schema, **options)
        return _entry(estimator, train, validation, test, schema, codec, deadline, progress)

    entries = [one(model, _deadline(end, len(models) - i)) for i, model in enumerate(models)]
    cut = [i for i, entry in enumerate(entries) if entry.cut_short]
    for n, i in enumerate(cut):  # what others left of the budget goes to those that had too little
        deadline = _deadline(end, len(cut) - n)
        if deadline is not None and deadline - time.perf_counter() > WORTH * entries[i].seconds:
            entries[i] = one(entries[i].model, deadline)
    judged = None
    if samples:
        fitted = {e.model: e.estimator for e in entries if e.estimator}
        until = None if budget is None else started + SAMPLING_SHARE * budget
        judged = judge_models(fitted, train, test, schema, seed, until, told)
    result = Comparison(schema, entries, reasons, parts, frame, name, seed, dict(reading or {}), judged)
    for failure in result.failures:
        warnings.warn(failure, ZooWarning, stacklevel=2)
    return result


def _deadline(end: float | None, left: int) -> float | None:
    """When the next of `left` models must be done: it has its part of the time there is, less some for scoring."""
    now = time.perf_counter()
    return None if end is None else now + max(0.0, end - now) * (0.85 / left if left > 1 else 0.7)


def _entry(
    estimator: Estimator,
    train: pd.DataFrame,
    validation: pd.DataFrame,
    test: pd.DataFrame,
    schema: Schema,
    codec: Codec,
    deadline: float | None,
    progress: Any,
) -> Entry:
    started = time.perf_counter()
    try:
        estimator.fit_parts(train, validation, schema, codec, deadline, progress)
        with quiet():
            late = None if deadline is None else SCORING_SHARE * max(deadline - started, 0.0)
            scores = estimator.log_likelihood(test, seconds=late) if "score" in estimator.model_.verbs else None
    except UserError as error:
        return Entry(estimator.model, time.perf_counter() - started, failure=str(error))
    except Exception as error:  # one model that breaks must not cost the others
        failure = " ".join(f"{type(error).__name__}: {error}".split())
        return Entry(estimator.model, time.perf_counter() - started, failure=failure)
    return Entry(estimator.model, time.perf_counter() - started, estimator, scores)


# ---------------------------------------------------------------- what a reader should know


def _warnings(entry: Entry, comparison: Comparison) -> list[str]:
    if entry.estimator is None:
        return [entry.failure] if entry.failure else []
    unjudged = comparison.samples.problems.get(entry.model) if comparison.samples else None
    fit = [entry.estimator.fitted_.stopped] if entry.cut_short else []
    notes = entry.estimator.fitted_.notes
    return [*_of_scores(entry, comparison), *notes, *fit, *([unjudged] if unjudged else [])]


def _of_scores(entry: Entry, comparison: Comparison) -> list[str]:
    if entry.scores is None or entry.estimator is None:
        return []
    out = []
    scores, model = entry.scores, entry.estimator.model_
    baseline = next((e for e in comparison.scored if e.model == BASELINE), None)
    if baseline is not None and baseline is not entry:
        below, error = comparison.difference(entry.model, BASELINE)
        if below < -1e-6:
            sure = "worse" if below < -2 * error else "no better"
            out.append(f"{sure} than independent columns on held-out rows ({below:.3f} ± {error:.3f})")
    if scores.worst_k_hat is not None and scores.worst_k_hat > K_HAT_GOOD:
        out.append(f"k-hat {scores.worst_k_hat:.2f} above {K_HAT_GOOD}: the bound is loose on some rows")
    if model.pattern_wise and model.schema.has_missing:
        out.append("with missing cells a density for each pattern, not the marginal of one joint")
    for choice_name, values in model_grid(entry).items():
        chosen = _chosen(entry).get(choice_name)
        if len(values) > 1 and chosen == max(values) and len(entry.estimator.choices_) == len(values):
            out.append(f"{choice_name} = {chosen} is the largest that was tried")
    outlier = scores.outlier
    if outlier is not None:
        row = comparison.frame.index[comparison.parts.test[outlier[0]]]
        out.append(f"row {row} alone pulls the mean {outlier[1]:.3g} nats down: look at its cells")
    outlying = float(np.median(scores.log_likelihood) - scores.mean)
    if outlying > 1 and outlying > 3 * scores.standard_error:
        out.append(f"a few rows pull the mean {outlying:.1f} nats below the median")
    if len(scores.log_likelihood) < 30:
        out.append(f"only {len(scores.log_likelihood)} held-out rows: standard errors are rough")
    return out


def model_grid(entry: Entry) -> dict[str, list[Any]]:
    """The choices that were tried, by setting."""
    out: dict[str, list[Any]] = {}
    for choice in entry.estimator.choices_ if entry.estimator else []:
        for key, value in choice["settings"].items():
            if value not in out.setdefault(key, []):
                out[key].append(value)
    return out


def _chosen(entry: Entry) -> dict[str, Any]:
    return entry.estimator.chosen_ if entry.estimator else {}


def _n_clusters(entry: Entry) -> int | None:
    if entry.estimator is None or "cluster" not in entry.estimator.model_.verbs:
        return None
    merged = entry.estimator.clusters_
    return int(getattr(entry.estimator.model_.program, "components", 0)) or None if merged is None else merged.count


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    from zoo.table.writer import write_table

    write_table(frame, path)


def load_comparison(path: str | Path) -> dict[str, Any]:
    """The ranking of a comparison's run folder."""
    path = Path(path)
    manifest = run.read_manifest(path, "comparison")
    with run.reading(path):
        return run.read_ranking(path, manifest)
