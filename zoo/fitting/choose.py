"""Settings chosen on validation rows: every choice is fitted for a while, the best one to the end."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from zoo.errors import UserError
from zoo.evaluate.likelihood import score
from zoo.fitting.distributed import agree, told
from zoo.fitting.loop import Fitted, Progress, fit, validation_score
from zoo.fitting.settings import FitSettings
from zoo.fitting.source import Source
from zoo.model import Model
from zoo.recipe import Recipe
from zoo.rows.rows import Rows
from zoo.table.codec import Cells, Codec, Encoded

TRIAL_SHARE = 0.25
TRIAL_PARTICLES = 20
WORSE_IN_A_ROW = 2
TRIAL_BUDGET = 0.5
ENOUGH = 1000
"""Rows held out in turn, after which no further part of a table is."""
FAR_OFF = 30.0
"""Nats below the median at which a held-out row counts no less."""
CLEARLY = 2.0
"""Standard errors of a difference by which a setting has to be better than a simpler one."""


@dataclass
class Outcome:
    """A fitted model, what happened, and the curve of choices: [{"settings": {...}, "validation": nats per row}].

    rows: how many were fitted, where these are more than the training rows
    """

    model: Model
    fitted: Fitted
    choices: list[dict[str, Any]] = field(default_factory=list)
    rows: int | None = None


def chosen(choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The settings that were chosen: those marked so, else the best ones."""
    marked = [choice for choice in choices if choice.get("chosen")]
    best = max(marked or choices, key=lambda choice: choice["validation"], default=None)
    return dict(best["settings"]) if best else {}


def fit_recipe(
    recipe: Recipe,
    codec: Codec,
    train: Encoded,
    validation: Encoded | None,
    device: torch.device | None = None,
    deadline: float | None = None,
    progress: Progress | None = None,
    source: Callable[[Model], Source] | None = None,
) -> Outcome:
    """Fit a recipe; its grids are decided on validation rows (or by their first value where there are none).

    source  where the last fit's batches come from, if not from the training rows

    A grid is walked in its order and left after two choices in a row that were worse than the best before them. Each
    choice is fitted for a quarter of the planned steps; the best one is then fitted to the end.
    """
    grid = recipe.grid()
    folds = FitSettings(**recipe.fit).folds
    if folds and validation is not None and source is None:
        return _crossed(recipe, codec, train, validation, device, deadline, progress, folds)
    if not grid:
        return Outcome(*_fit_one(recipe, codec, train, validation, device, deadline, progress, source))
    names, points = list(grid), list(itertools.product(*grid.values()))
    if validation is None:
        recipe = recipe.with_settings(dict(zip(names, points[0], strict=True)))
        return Outcome(*_fit_one(recipe, codec, train, validation, device, deadline, progress, source))
    choices: list[dict[str, Any]] = []
    best, kept, worse, failure = -math.inf, None, 0, None
    for i, point in enumerate(points):
        settings = dict(zip(names, point, strict=True))
        candidate = recipe.with_settings(settings)
        until = _share(deadline, TRIAL_BUDGET / max(1, len(points) - i))
        try:
            model, fitted = _fit_one(_shortened(candidate), codec, train, validation, device, until, progress)
        except UserError as error:  # a choice that this table does not admit, or that did not stay finite
            failure = error
            continue
        value = _validation(model, validation)
        choices.append({"settings": settings, "validation": value})
        if value > best:
            best, kept, worse = value, (candidate, model, fitted), 0
        else:
            worse += 1
        if worse >= WORSE_IN_A_ROW or _is_over(deadline):
            break
    if kept is None:
        assert failure is not None
        raise failure
    candidate, model, fitted = kept
    if fitted.steps or source:  # a start that was already the maximum needs no more
        longer = _fit_one(candidate, codec, train, validation, device, deadline, progress, source)
        noise = min(0.0, getattr(longer[0].objective, "gain", 0.0))
        if _validation(longer[0], validation) >= best + noise:  # on a small table the shorter fit may be the better one
            model, fitted = longer
    return Outcome(model, fitted, choices)


def _crossed(
    recipe: Recipe,
    codec: Codec,
    train: Encoded,
    validation: Encoded,
    device: torch.device | None,
    deadline: float | None,
    progress: Progress | None,
    folds: int,
) -> Outcome:
    """Choose by cross-validation the first setting that the best is not clearly above, and fit all rows with it.

    A fit that watches validation rows keeps them. After Breiman et al. 1984, 3.4.3, with two standard errors for one.
    """
    names, points = list(recipe.grid()), list(itertools.product(*recipe.grid().values()))
    rows = joined(train, validation)
    choices: list[dict[str, Any]] = []
    values: list[Tensor] = []
    candidates, weight, worse, failure = [], torch.ones(0), 0, None
    for i, point in enumerate(points if names else ()):
        settings = dict(zip(names, point, strict=True))
        candidate = recipe.with_settings(settings)
        until = _share(deadline, TRIAL_BUDGET / max(1, len(points) - i))
        try:
            value, weight = _held_out(_shortened(candidate), codec, rows, device, until, folds)
        except UserError as error:
            failure = error
            continue
        # a row far from all others is far from all whatever the setting, and must not choose among them
        value = value.clamp_min(float((values[0] if values else value).median()) - FAR_OFF)
        mean = float((weight * value).sum() / weight.sum())
        worse = worse + 1 if any(mean <= choice["validation"] for choice in choices) else 0
        choices.append({"settings": settings, "validation": mean, "chosen": False})
        values.append(value)
        candidates.append(candidate)
        if worse >= WORSE_IN_A_ROW or _is_over(deadline):
            break
    if failure is not None and not choices:
        raise failure
    if choices:
        pick = _simplest(values, weight)
        choices[pick]["chosen"], recipe = True, candidates[pick]
    model, fitted = _fit_one(recipe, codec, train, validation, device, deadline, progress)
    if fitted.steps:
        return Outcome(model, fitted, choices)
    return Outcome(*_fit_one(recipe, codec, rows, None, device, deadline, progress), choices, len(rows.weight))


def _held_out(
    recipe: Recipe, codec: Codec, rows: Encoded, device: torch.device | None, until: float | None, folds: int
) -> tuple[Tensor, Tensor]:
    """Log-likelihood and weight of rows held out in turn: of all, or of as many parts as hold ENOUGH rows."""
    n = len(rows.weight)
    parts = torch.randperm(n, generator=torch.Generator().manual_seed(int(recipe.fit.get("seed", 0)))).chunk(folds)
    parts = parts[: max(1, math.ceil(ENOUGH * folds / n))]
    values = []
    for part in parts:
        kept = torch.ones(n, dtype=torch.bool)
        kept[part] = False
        held = _rows_of(rows, part)
        model, _ = _fit_one(recipe, codec, _rows_of(rows, kept.nonzero()[:, 0]), held, device, until, None)
        scored = score(model, Rows.of(codec, model.heads, held), TRIAL_PARTICLES)
        values.append(torch.from_numpy(scored.log_likelihood))
    agree(values)
    return torch.cat(values), rows.weight[torch.cat(list(parts))].double()


def _simplest(values: Sequence[Tensor], weight: Tensor) -> int:
    """The first of several settings whose held-out rows (n,) are not clearly below the best one's."""
    total = weight.sum()
    best = max(values, key=lambda value: float((weight * value).sum()))
    for i, value in enumerate(values):
        below = best - value
        mean = (weight * below).sum() / total
        if mean <= CLEARLY * (weight * (below - mean)).square().sum().sqrt() / total:
            return i
    raise AssertionError("the best setting is not below itself")


def joined(first: Encoded, second: Encoded) -> Encoded:
    """The rows of both."""
    cells = Cells(*(torch.cat(pair) for pair in zip(first.cells, second.cells, strict=True)))
    return Encoded(cells, *(torch.cat(pair) for pair in zip(first[1:], second[1:], strict=True)))


def _rows_of(rows: Encoded, index: Tensor) -> Encoded:
    return Encoded(Cells(*(t[index] for t in rows.cells)), *(t[index] for t in rows[1:]))


def _fit_one(
    recipe: Recipe,
    codec: Codec,
    train: Encoded,
    validation: Encoded | None,
    device: torch.device | None,
    deadline: float | None,
    progress: Progress | None,
    source: Callable[[Model], Source] | None = None,
) -> tuple[Model, Fitted]:
    model = _made(recipe, codec).to(device or torch.device("cpu"))
    held = None if validation is None else Rows.of(codec, model.heads, validation)
    settings, rows = FitSettings(**recipe.fit), Rows.of(codec, model.heads, train)
    return model, fit(model, rows, held, settings, deadline, progress, None if source is None else source(model))


def _made(recipe: Recipe, codec: Codec) -> Model:
    """The model, or one line on why its program cannot be run: settings without sense, or a fault in a user's own."""
    try:
        return Model(recipe, codec)
    except UserError:
        raise
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        what = f"model {recipe.model!r} cannot be made with these settings: {type(error).__name__}: {said}"
        raise UserError(what, f"`zoo show {recipe.model}` lists them, --debug shows where it fails") from error


def _validation(model: Model, validation: Encoded) -> float:
    rows = Rows.of(model.codec, model.heads, validation)
    if model.bound() == "none" or hasattr(model.objective, "agreement"):
        return validation_score(model, rows)
    return told(score(model, rows, TRIAL_PARTICLES).mean)


def _shortened(recipe: Recipe) -> Recipe:
    settings = FitSettings(**recipe.fit)
    if settings.epochs is not None:
        return recipe.set("fit.epochs", max(1, math.ceil(TRIAL_SHARE * settings.epochs)))
    return recipe.set("fit.steps", max(1, math.ceil(TRIAL_SHARE * settings.steps)))


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and bool(told(time.perf_counter() > deadline))


def _share(deadline: float | None, share: float) -> float | None:
    now = time.perf_counter()
    return None if deadline is None else now + share * max(0.0, deadline - now)


def pick_device(name: str = "auto") -> tuple[torch.device, str]:
    """The device to fit on and why: "auto" takes CUDA where there is one."""
    if name == "auto":
        found = torch.cuda.is_available()
        return torch.device(
            "cuda" if found else "cpu"
        ), "a CUDA device is there" if found else "no CUDA device was found"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise UserError(f"zoo does not fit on device {name!r}", "use auto, cpu or cuda")
    except RuntimeError:
        raise UserError(f"no device is called {name!r}", "use auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda was asked for, and torch finds none", "use --device cpu")
    return device, "as asked"
