"""The fits of a comparison: every model on the same rows, within one time budget."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from zoo.arguments import pairs_in, seconds_in, seed_in
from zoo.comparison.result import Comparison, Entry
from zoo.comparison.said import BASELINE
from zoo.errors import UserError, ZooWarning, quiet
from zoo.estimator import Estimator
from zoo.line_up import all_used, check_request, legal, line_up
from zoo.registry import Registry
from zoo.sampled import judge_models
from zoo.table.check import check_parts
from zoo.table.codec import Codec
from zoo.table.files import name_of
from zoo.table.infer import schema_for
from zoo.table.reader import read_table
from zoo.table.schema import Schema
from zoo.table.split import split

FITTING_SHARE = 0.85  # of a time budget; the rest is for the page
SAMPLING_SHARE = 0.95  # of a time budget, by whose end samples are judged
SCORING_SHARE = 0.15  # of a model's own time, for its held-out rows
WORTH = 1.5  # times what a fit has had that it must get to be done again

Told = Callable[[str], Any]


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
