"""What each registered model is and can do.

`bound` and `verbs` are read from the model itself, made on a small reference table. That takes torch and seconds, so
what was read of zoo's own code is kept in the user's cache folder until zoo's files, or the entry, change; of code of
the user's own nothing is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from zoo.errors import UserError
from zoo.recipe import AXES, Recipe
from zoo.registry import Registry

PACKAGE = Path(__file__).parent
Facts = dict[str, Any]


def catalogue(models_file: str | None = None) -> list[dict[str, Any]]:
    """One line a model; `bound` and `verbs` are those on a table of continuous columns."""
    registry = Registry.load(models_file)
    facts = _facts(registry)
    lines = []
    for name, recipe in registry.items():
        axes = {axis: getattr(recipe, axis).use for axis in AXES}
        lines.append({"model": name, "summary": recipe.summary, **axes, **facts[name]})
    return lines


def can(model: str, verb: str, models_file: str | None = None) -> bool:
    """Whether a model can do a verb on the reference table; True where it cannot be made there."""
    try:
        found = _read(Registry.load(models_file)[model])
    except UserError:  # there is no such model, which its fit will say
        return True
    return "error" in found or verb in found["verbs"]


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


# ----------------------------------------------------------------------------------------------------- bound and verbs


def _facts(registry: Mapping[str, Recipe]) -> dict[str, Facts]:
    """The bound and the verbs of every model, those known from earlier as they are."""
    file = user_cache_path("zoo") / "catalogue.json"
    state = _state()
    keys = {name: _key(recipe, state) for name, recipe in registry.items() if not _own(recipe)}
    known = _kept(file)
    facts = {name: known.get(keys.get(name, "")) or _read(recipe) for name, recipe in registry.items()}
    keep = {key: facts[name] for name, key in keys.items() if "error" not in facts[name]}
    if keep.keys() - known.keys():
        # a folder that cannot be written is no fault of the asker's
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(keep), encoding="utf-8")
    return facts


def _kept(file: Path) -> dict[str, Facts]:
    try:
        known: dict[str, Facts] = json.loads(file.read_text(encoding="utf-8"))
        return {key: {"bound": str(line["bound"]), "verbs": list(line["verbs"])} for key, line in known.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _own(recipe: Recipe) -> bool:
    """Whether a recipe names code that is not zoo's."""
    return any(":" in spec.use for _, spec in (*recipe.specs(), *recipe.small().specs()))


def _key(recipe: Recipe, state: str) -> str:
    return hashlib.sha256((state + repr(recipe.to_table())).encode()).hexdigest()


def _state() -> str:
    """zoo's files as they are."""
    files = ((file, file.stat()) for file in sorted(PACKAGE.rglob("*.py")))
    return repr([(str(file), about.st_mtime_ns, about.st_size) for file, about in files])


def _read(recipe: Recipe) -> Facts:
    from zoo.reference import built

    try:
        model = built(recipe)
    except Exception as error:  # a program of the user's own may break in any way
        said = (
            str(error) if isinstance(error, UserError) else f"model {recipe.model!r}: {type(error).__name__}: {error}"
        )
        return {"bound": "none", "verbs": [], "error": " ".join(said.split())}
    return {"bound": model.bound(), "verbs": model.verbs}
