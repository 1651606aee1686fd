"""What is to be compared: the models asked for or the line-up that suits a table, and the settings that each has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.arguments import names_in
from zoo.errors import UserError, nearest
from zoo.recipe import AXES
from zoo.registry import Registry
from zoo.table.schema import Schema

LINE_UP = ("independent", "gaussian", "gmm", "mixture", "ppca", "factor-analysis", "vae", "circuit", "chain", "nsf")


def check_request(registry: Registry, models: Any, settings: Mapping[str, Any] | None) -> list[str] | None:
    """The models asked for, each once; a misspelt model or setting is refused before a table is read."""
    if models is not None:
        models = list(dict.fromkeys(names_in(models, "models")))
        if not models:
            raise UserError("no model is named", f"name some of {', '.join(registry)}; or none, for a line-up")
        for model in models:
            registry[model]
    candidates = [model for model in models or LINE_UP if model in registry]
    sets = {model: legal(registry, model, settings) for model in candidates}
    all_used(settings, sets, registry)
    for model in models or []:
        registry.recipe(model, sets[model]).check()
    return models


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


def all_used(settings: Mapping[str, Any] | None, sets: Mapping[str, Mapping[str, Any]], registry: Registry) -> None:
    """Refuse a setting that none of the models has."""
    for key in settings or {}:
        if not any(key in own for own in sets.values()):
            known = {name for model in sets for name in _names(registry, model)}
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
