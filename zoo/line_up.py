"""What is to be compared: the models asked for or the line-up that suits a table, and the settings that each has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.arguments import names_in
from zoo.errors import UserError, nearest
from zoo.recipe import AXES
from zoo.registry import Registry
from zoo.sweep import Asked, swept
from zoo.table.schema import Schema

LINE_UP = ("independent", "gaussian", "gmm", "mixture", "ppca", "factor-analysis", "vae", "circuit", "chain", "nsf")


def check_request(registry: Registry, models: Any, settings: Mapping[str, Any] | None) -> list[Asked] | None:
    """The entries asked for, each once, with all their settings; none for a line-up.

    A misspelt model or setting is refused before a table is read.
    """
    asked = None
    if models is not None:
        asked = swept(names_in(models, "models"))
        if not asked:
            raise UserError("no model is named", f"name some of {', '.join(registry)}; or none, for a line-up")
        for one in asked:
            registry[one.model]
    candidates = asked or [Asked(model, model) for model in LINE_UP if model in registry]
    with_settings(registry, candidates, settings)
    return None if asked is None else with_settings(registry, asked, settings, check=True)


def with_settings(
    registry: Registry, asked: Sequence[Asked], settings: Mapping[str, Any] | None, check: bool = False
) -> list[Asked]:
    """The entries with those of the settings that each one has below its own; refused is one that no entry has."""
    sets = {one.label: legal(registry, one.model, settings) for one in asked}
    all_used(settings, sets, {one.label: one.model for one in asked}, registry)
    out = []
    for one in asked:
        own = {_dotted(registry, one.model, key) for key in one.sets}
        given = sets[one.label].items()
        below = {key: value for key, value in given if _dotted(registry, one.model, key) not in own}
        out.append(Asked(one.label, one.model, {**below, **one.sets}))
        if check:
            registry.recipe(one.model, out[-1].sets).check()
    return out


def legal(registry: Registry, model: str, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Those of the settings that this model has: a sweep over models sets what each one knows."""
    if not settings:
        return {}
    known = _names(registry, model)
    return {k: v for k, v in settings.items() if k in known or k.partition(".")[0] == "fit"}


def _names(registry: Registry, model: str) -> set[str]:
    """Every name of a setting that this model has: dotted, bare, and its axes."""
    known = registry[model].settings()
    return {*AXES, *known, *(dotted.rpartition(".")[2] for dotted in known)}


def _dotted(registry: Registry, model: str, key: str) -> str:
    """A setting by its full name; one that only another setting brings with it as it is."""
    try:
        return registry[model].dotted(key)
    except UserError:
        return key


def all_used(
    settings: Mapping[str, Any] | None,
    sets: Mapping[str, Mapping[str, Any]],
    models: Mapping[str, str],
    registry: Registry,
) -> None:
    """Refuse a setting that none of the entries, by label, has."""
    for key in settings or {}:
        if not any(key in own for own in sets.values()):
            known = {name for model in set(models.values()) for name in _names(registry, model)}
            raise UserError(f"none of {', '.join(sets)} has a setting {key!r}", nearest(key, known))


def line_up(schema: Schema, rows: int, registry: Registry) -> tuple[list[str], dict[str, str]]:
    """The models that suit a table, and why each one is in or out."""
    numeric, discrete = len(schema.numeric), len(schema.discrete)
    both = "numbers and levels" if numeric and discrete else "numbers" if numeric else "levels"
    enough = rows >= 100
    rules: dict[str, tuple[bool, *tuple[str, ...]]] = {
        "independent": (True, "the baseline"),
        "gaussian": (numeric > 1, "numeric columns that may move together", "it needs two numeric columns"),
        "gmm": (numeric > 1, "clusters in numeric columns", "it needs two numeric columns"),
        "mixture": (True, f"a likelihood for every column ({both}), missing cells summed out"),
        "ppca": (numeric > 2 and numeric >= discrete, "many numeric columns", "too few numeric columns"),
        "factor-analysis": (numeric > 2, "numeric columns with errors of their own", "too few numeric columns"),
        "vae": (enough and schema.width > 2, "curved structure, an embedding", "under 100 training rows"),
        "circuit": (
            enough and len(schema.modelled) > 1,
            "columns that hang together, missing cells summed out",
            "under 100 training rows, or one column",
        ),
        "chain": (enough and len(schema.modelled) > 1, f"exact on {both}", "under 100 training rows, or one column"),
        "nsf": (
            enough and numeric > 1,
            "smooth non-Gaussian numbers",
            "under 100 training rows, or one numeric column",
        ),
    }
    assert tuple(rules) == LINE_UP
    chosen = [model for model, (fits, *_) in rules.items() if fits and model in registry]
    reasons = {model: why[0] if fits else f"left out: {why[-1]}" for model, (fits, *why) in rules.items()}
    return chosen, reasons
