"""What each registered model is and can do, read from the model itself on a small reference table."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np
import pandas as pd

from zoo.errors import UserError
from zoo.model import Model
from zoo.recipe import Recipe
from zoo.registry import Registry
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema


@functools.cache
def reference_codec(**roles: str) -> Codec:
    """The codec of three continuous columns without ties or missing cells, and of columns with these roles."""
    frame = pd.DataFrame({name: np.linspace(0.1, 1.7, 24) ** p for p, name in enumerate("abc", start=1)})
    more = frame.assign(**dict.fromkeys(roles.values(), ["one", "two"] * 12))
    return Codec.fit(infer_schema(more, kinds={"[abc]": "continuous"}, **roles), more)


ROLES: tuple[dict[str, str], ...] = ({}, {"given": "label"}, {"group": "place"})


def built(recipe: Recipe) -> Model:
    """The recipe at its small size on the reference table, with a given or a group column where it needs one."""
    small = recipe.small()
    small = small.with_settings({key: values[0] for key, values in small.grid().items()})
    refused = []
    for roles in ROLES:
        try:
            return Model(small, reference_codec(**roles))
        except UserError as error:
            refused.append(error)
    raise refused[0]


def catalogue(models_file: str | None = None) -> list[dict[str, Any]]:
    """One line a model; `bound` and `verbs` are those on a table of continuous columns."""
    lines = []
    for name, recipe in Registry.load(models_file).items():
        axes = {axis: getattr(recipe, axis).use for axis in ("program", "guide", "objective")}
        line: dict[str, Any] = {"model": name, "summary": recipe.summary, **axes}
        try:
            model = built(recipe)
        except Exception as error:  # a program of the user's own may break in any way
            said = str(error) if isinstance(error, UserError) else f"model {name!r}: {type(error).__name__}: {error}"
            lines.append(line | {"bound": "none", "verbs": [], "error": " ".join(said.split())})
            continue
        lines.append(line | {"bound": model.bound(), "verbs": model.verbs})
    return lines


def can(model: str, verb: str, models_file: str | None = None) -> bool:
    """Whether a model can do a verb on the reference table; True where it cannot be made there."""
    try:
        return verb in built(Registry.load(models_file)[model]).verbs
    except Exception:
        return True


def able_to(verb: str, models_file: str | None = None) -> list[str]:
    """Names of the models that can do a verb."""
    return [line["model"] for line in catalogue(models_file) if verb in line["verbs"]]


def process(recipe: Recipe) -> str:
    """The generative process as text: the docstring of the program."""
    first = {key: values[0] for key, values in recipe.grid().items()}
    target = recipe.with_settings(first).resolve("program")
    text = inspect.getdoc(getattr(target, "func", target)) or "no description"
    lines = [f"{recipe.model}: {recipe.summary}", "", text, ""]
    for key in ("use_when", "limits", "reference"):
        value = getattr(recipe, key)
        if value:
            lines.append(f"{key.replace('_', ' ')}: {value}")
    return "\n".join(lines)
