"""The fits of a comparison: every model on the same rows, within one time budget."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import cpu_count

from zoo.arguments import pairs_in, seconds_in, seed_in, whole
from zoo.comparison.entry import Entry, Fit
from zoo.comparison.parallel import side_by_side
from zoo.comparison.result import Comparison
from zoo.comparison.said import BASELINE
from zoo.errors import UserError, ZooWarning, quiet
from zoo.estimator import Estimator
from zoo.evaluate.quality.judge import check_asked
from zoo.fitting.choose import pick_device
from zoo.line_up import check_request, legal, line_up, with_settings
from zoo.registry import Registry
from zoo.sampled import judge_models
from zoo.sweep import Asked
from zoo.table.check import check_parts
from zoo.table.codec import Codec
from zoo.table.files import name_of
from zoo.table.infer import schema_for
from zoo.table.reader import read_table
from zoo.table.schema import Schema
from zoo.table.split import Split, split
from zoo.table.split import folds as in_turn

FITTING_SHARE = 0.85  # of a time budget; the rest is for the page
SAMPLING_SHARE = 0.95  # of a time budget, by whose end samples are judged
SCORING_SHARE = 0.15  # of a model's own time, for its held-out rows
WORTH = 1.5  # times what a fit has had that it must get to be done again

MOST = 1001
SLOW = 10.0
"""Seconds of fits one after another, after which the rest go side by side: processes take some five to start."""
MANY_CELLS = 200_000
"""Cells of a table whose fits go side by side from the first."""

Told = Callable[[str], Any]
Job = tuple[Asked, int, int]
"""What is fitted, on which fold, with which seed."""


def compare(
    table: Any,
    models: str | Sequence[str] | None = None,
    *,
    schema: Schema | str | Path | None = None,
    kinds: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
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
    target: str | None = None,
    modes: Any = None,
    repeats: int = 1,
    folds: int = 0,
    jobs: int | None = None,
    told: Told | None = None,
    progress: Any = None,
) -> Comparison:
    """Fit models to one table and rank them by held-out log-likelihood.

    table        anything that `zoo.read_table` reads: a frame, a path, a URL
    models       names in the registry, with settings to try as in "gmm[components=2..12]" (see zoo.sweep); None takes a
                 line-up that suits the table
    settings     settings changed in every model that has them
    time_budget  seconds for all models together; those that did not get their turn are named
    reading      options with which the table was read from a file; verbs on the run read theirs like it
    samples      whether rows are drawn of every model and judged, beside its likelihood and after all fits
    target       a column that is predicted from the others, by trees that learn from each model's rows
    modes        (centres, sigma) of numeric columns, where modes are known: which of them draws reach
    repeats      fits of each model, with seeds seed, seed + 1 ...: how much of a difference is luck of the fit
    folds        so many parts of the rows are held out in turn, so that every row judges; 0 for one part alone
    jobs         fits at a time, each in a process of its own; None takes one for each core where fits take long
    told         called with a line of text when something starts or ends
    """
    check_request(Registry.load(models_file), models, pairs_in(settings, "settings"))
    check_counts(repeats, folds, settings, jobs)
    frame = read_table(table)
    _splits(len(frame), folds, seed_in(seed))  # too few rows are refused before their cells are looked at
    asked = {"kinds": kinds, "units": units, "ignore": ignore, "given": given, "group": group, "weight": weight}
    schema = schema_for(frame, schema, **asked)
    name = name or (name_of(table) if isinstance(table, str | Path) else "table")
    return compare_on(
        frame, schema, models, settings=settings, seed=seed, device=device, time_budget=time_budget,
        models_file=models_file, name=name, reading=reading, samples=samples, target=target, modes=modes,
        repeats=repeats, folds=folds, jobs=jobs, told=told, progress=progress,
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
    target: str | None = None,
    modes: Any = None,
    repeats: int = 1,
    folds: int = 0,
    jobs: int | None = None,
    told: Told | None = None,
    progress: Any = None,
) -> Comparison:
    """As `compare`, on a frame that was read and a schema that was held against it."""
    registry = Registry.load(models_file)
    seed, budget, settings = seed_in(seed), seconds_in(time_budget), pairs_in(settings, "settings")
    asked = check_request(registry, models, settings)
    check_counts(repeats, folds, settings, jobs)
    check_asked(schema, target, modes)
    splits = _splits(len(frame), folds, seed)
    for parts in splits:
        check_parts(schema, frame, {"fit": parts.train, "choose": parts.validation})
    reasons: dict[str, str] = {}
    if asked is None:
        names, reasons = line_up(schema, len(splits[0].train), registry)
        asked = with_settings(registry, [Asked(name, name) for name in names], settings, check=True)
    if BASELINE in registry and BASELINE not in [one.label for one in asked]:
        asked = [Asked(BASELINE, BASELINE, legal(registry, BASELINE, settings)), *asked]
        reasons[BASELINE] = "the baseline is always there"
    started = time.perf_counter()
    end = None if budget is None else started + FITTING_SHARE * budget
    fits = Fits(frame, schema, splits, seed, {"device": device, "models_file": models_file}, told, progress)
    places = [(fold, seed + r) for r in range(repeats) for fold in range(len(splits))]
    entries = _all(fits, asked, places, len(splits), end, jobs)
    judged = None
    if samples:
        fitted = {e.model: e.estimator for e in entries if e.estimator}
        until = None if budget is None else started + SAMPLING_SHARE * budget
        train, test = (frame.iloc[i] for i in (splits[0].train, splits[0].test))
        judged = judge_models(fitted, train, test, schema, seed, until, told, target, modes)
    result = Comparison(
        schema, entries, reasons, splits[0], frame, name, seed, dict(reading or {}), judged, tuple(splits[folds == 0:]),
        repeats,
    )  # fmt: skip
    for failure in result.failures:
        warnings.warn(failure, ZooWarning, stacklevel=2)
    return result


def check_counts(repeats: Any, folds: Any, settings: Mapping[str, Any] | None, jobs: Any = None) -> None:
    """Refuse repeats, folds and jobs that make no sense, before a table is read."""
    whole(repeats, "repeats", 1, MOST)
    if jobs is not None:
        whole(jobs, "jobs", 1, MOST)
    if whole(folds, "folds", 0, MOST) == 1:
        raise UserError("folds=1 leaves no row to fit", "give 2 or more, or 0 for one part held out")
    if repeats > 1 and "fit.seed" in (settings or {}):
        raise UserError("repeats are fits of other seeds, and fit.seed is set", "leave one of them out")


def _splits(n: int, folds: int, seed: int) -> list[Split]:
    return in_turn(n, folds, seed) if folds else [split(n, seed)]


def _all(
    fits: Fits,
    asked: Sequence[Asked],
    places: Sequence[tuple[int, int]],
    folds: int,
    end: float | None,
    at_a_time: int | None,
) -> list[Entry]:
    """Every model on every fold with every seed, in one budget of time."""
    jobs = [(one, *place) for one in asked for place in places]
    done = _done(fits, jobs, end, at_a_time)
    cut = [i for i, fit in enumerate(done) if fit.cut_short]
    for n, i in enumerate(cut):  # what others left of the budget goes to those that had too little
        deadline = _deadline(end, len(cut) - n)
        if deadline is not None and deadline - time.perf_counter() > WORTH * done[i].seconds:
            done[i] = fits.one(*jobs[i], deadline)
    judged = [parts.test for parts in fits.splits]
    many = len(places)
    each = (done[i * many : (i + 1) * many] for i in range(len(asked)))
    return [
        Entry.of(one.label, [mine[k : k + folds] for k in range(0, many, folds)], judged)
        for one, mine in zip(asked, each, strict=True)
    ]


def _done(fits: Fits, jobs: Sequence[Job], end: float | None, at_a_time: int | None) -> list[Fit]:
    """One after another, until it is worth the start of processes to have them side by side."""
    done: list[Fit] = []
    most, began = at_a_time or fits.cores, time.perf_counter()
    at_once = at_a_time is not None or fits.frame.size >= MANY_CELLS
    for i, job in enumerate(jobs):
        workers = min(most, len(jobs) - i)
        if workers > 1 and (at_once or time.perf_counter() - began > SLOW):
            one, deadline = fits.without_words().one, partial(_deadline, end)
            return done + side_by_side(one, jobs[i:], workers, deadline, lambda job: fits.tell(*job))
        done.append(fits.one(*job, _deadline(end, len(jobs) - i)))
    return done


def _deadline(end: float | None, left: int) -> float | None:
    """When the next of `left` fits must be done: it has its part of the time there is, less some for scoring."""
    now = time.perf_counter()
    return None if end is None else now + max(0.0, end - now) * (0.85 / left if left > 1 else 0.7)


class Fits:
    """What makes one fit after another on the folds of a table; `first` is the seed whose estimators are kept."""

    def __init__(
        self,
        frame: pd.DataFrame,
        schema: Schema,
        splits: Sequence[Split],
        first: int,
        options: Mapping[str, Any],
        told: Told | None = None,
        progress: Any = None,
    ):
        self.frame, self.schema, self.splits, self.options = frame, schema, splits, options
        self.told, self.progress, self.first = told, progress, first
        self.codecs: dict[int, Codec] = {}

    @property
    def cores(self) -> int:
        """Fits that there is room for at a time: a GPU has it for one."""
        return 1 if pick_device(self.options["device"])[0] != "cpu" else cpu_count()

    def without_words(self) -> Fits:
        """The same, for another process."""
        return Fits(self.frame, self.schema, self.splits, self.first, self.options)

    def tell(self, asked: Asked, fold: int, seed: int) -> None:
        where = self._where(fold, seed)
        if self.told:
            self.told(f"{asked.label} ({', '.join(where)})" if where else asked.label)

    def _where(self, fold: int, seed: int) -> list[str]:
        where = [f"fold {fold + 1} of {len(self.splits)}"] if len(self.splits) > 1 else []
        return where + ([f"seed {seed}"] if seed != self.first or where else [])

    def one(self, asked: Asked, fold: int, seed: int, deadline: float | None) -> Fit:
        """Fit and score; a fault is part of what comes back. Only the first fold's and seed's estimator is kept."""
        self.tell(asked, fold, seed)
        started = time.perf_counter()
        try:
            estimator = Estimator(asked.model, settings=asked.sets, schema=self.schema, seed=seed, **self.options)
            fit = self._fitted(estimator, fold, deadline, started)
        except UserError as error:
            fit = Fit(0.0, failure=str(error))
        except Exception as error:  # one model that breaks must not cost the others
            fit = Fit(0.0, failure=" ".join(f"{type(error).__name__}: {error}".split()))
        fit.seconds = time.perf_counter() - started
        if fold or seed != self.first:
            fit.estimator = None
            fit.failure = f"{', '.join(self._where(fold, seed))}: {fit.failure}" if fit.failure else ""
        return fit

    def _fitted(self, estimator: Estimator, fold: int, deadline: float | None, started: float) -> Fit:
        train, validation, test = (self.frame.iloc[i] for i in self.splits[fold])
        if fold not in self.codecs:
            with quiet():
                self.codecs[fold] = Codec.fit(self.schema, train)
        estimator.fit_parts(train, validation, self.schema, self.codecs[fold], deadline, self.progress)
        fit = Fit(0.0, estimator, cut_short="budget" in estimator.fitted_.stopped)
        if "score" in estimator.model_.verbs:
            late = None if deadline is None else SCORING_SHARE * max(deadline - started, 0.0)
            with quiet():
                fit.scores = estimator.log_likelihood(test, seconds=late)
                if len(self.splits) == 1:
                    fit.chose = estimator.log_likelihood(validation, seconds=late)
                else:  # weights are of mean one on the training rows of each fold
                    weight = fit.scores.weight * float(self.codecs[fold].weight_mean)
                    fit.scores = replace(fit.scores, weight=weight)
        return fit
