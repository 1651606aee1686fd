"""A recipe: one model on its four axes, complete, printable and checkable.

It is plain data until `Recipe.resolve`, `Recipe.settings` or `Recipe.check` imports the targets that it names.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path
from typing import Any

from zoo.errors import UserError, nearest
from zoo.targets import Spec, is_grid, legal_settings, merge, plain, resolve

AXES = ("program", "guide", "objective")
TABLES = (*AXES, "fit")
TEXTS = ("summary", "use_when", "reference", "limits")
KEYS = (*TEXTS, "like", *TABLES, "small")
NO_GUIDE, ELBO = Spec("none"), Spec("elbo")  # what an entry means that names no guide or objective
MOST_GRIDS = 2
STACK = "stack"
"""The program that is made of models."""


@dataclass(frozen=True)
class Recipe:
    """A model after `like` and `--set`: what `zoo show` prints and a run folder keeps."""

    model: str
    program: Spec
    guide: Spec = NO_GUIDE
    objective: Spec = ELBO
    summary: str = ""
    use_when: str = ""
    reference: str = ""
    limits: str = ""
    fit: Mapping[str, Any] = field(default_factory=dict)
    small_sets: Mapping[str, Any] = field(default_factory=dict)
    source: str = field(default="", compare=False)
    """The file that defined the model; for people, never for importing."""
    folder: Path | None = field(default=None, compare=False)
    """Where the user's own modules may lie. Never saved, so that a run folder cannot say where code is."""

    @classmethod
    def from_table(
        cls,
        model: str,
        table: Mapping[str, Any],
        *,
        parent: Recipe | None = None,
        source: str = "",
        folder: Path | None = None,
    ) -> Recipe:
        """One entry of a models.toml, laid over the recipe that it is `like`."""
        where = f"model {model!r}" + (f" in {source}" if source else "")
        check_table(table, where)
        base = parent or cls(model, Spec())
        below = {axis: getattr(base, axis) for axis in AXES}
        axes = below | {a: Spec.parse(a, table[a], where).over(below[a]) for a in AXES if a in table}
        if not axes["program"].use:
            raise UserError(f"{where} has no program", "say program = '...', or like = '...' to inherit one")
        texts = {key: table.get(key, getattr(base, key)) for key in TEXTS}
        fit = merge(base.fit, plain(table.get("fit", {}), f"{where}: fit"))
        kept = {key: v for key, v in base.small_sets.items() if _uses(below, key) == _uses(axes, key)}
        small = kept | plain(table.get("small", {}), f"{where}: small")
        return cls(model, **axes, **texts, fit=fit, small_sets=small, source=source, folder=folder)

    @classmethod
    def from_toml(cls, text: str, source: str = "") -> Recipe:
        """The recipe that `to_toml` wrote."""
        try:
            entries = list(tomllib.loads(text).items())
        except tomllib.TOMLDecodeError as error:
            raise UserError(f"{source or 'the recipe'} is not TOML: {error}", "mend it, or fit again") from None
        if len(entries) != 1 or not isinstance(entries[0][1], dict):
            raise UserError(f"{source or 'the recipe'} must hold one table, [model]; it has {len(entries)} entries")
        (model, table), *_ = entries
        if "like" in table:
            raise UserError(f"{source or 'the recipe'}: a recipe is complete, so [{model}] cannot say `like`")
        return cls.from_table(model, table, source=source)

    def to_table(self) -> dict[str, Any]:
        """The recipe as plain data, in the form of an entry of models.toml."""
        table: dict[str, Any] = {key: getattr(self, key) for key in TEXTS}
        table |= {axis: getattr(self, axis).to_data() for axis in AXES}
        table |= {"fit": dict(self.fit), "small": dict(self.small_sets)}
        return {key: value for key, value in table.items() if value or key in AXES}

    def to_toml(self) -> str:
        """The complete recipe as an entry that could be pasted into a models.toml."""
        lines = [f"{key} = {_literal(value)}" for key, value in self.to_table().items()]
        return "\n".join([f"[{_key(self.model)}]", *lines, ""])

    def set(self, key: str, value: Any) -> Recipe:
        """One setting changed: `set("program.components", 5)`, `set("guide", "none")`, or a bare `set("dim", 4)`."""
        return self.with_settings({key: value})

    def with_settings(self, sets: Mapping[str, Any]) -> Recipe:
        """Several settings changed, in whatever order they were given: whole axes first, then the deeper ones."""

        def rank(key: str) -> tuple[bool, int]:
            return "." not in key and key not in AXES, key.count(".")

        return reduce(Recipe._with, ((key, sets[key]) for key in sorted(sets, key=rank)), self)

    def _with(self, item: tuple[str, Any]) -> Recipe:
        key, value = item
        key = self.dotted(key)
        axis, *path = key.split(".")
        if axis not in TABLES or not all(path):
            raise UserError(f"{self._where}: cannot set {key!r}", nearest(axis, TABLES))
        for step in reversed(path):
            value = {step: value}
        if axis == "fit":
            if not isinstance(value, Mapping):
                raise UserError(f"{self._where}: fit = {value!r} is not a table", "set one of its keys: fit.epochs=20")
            return dataclasses.replace(self, fit=merge(self.fit, plain(value, f"{self._where}: fit")))
        spec = Spec.parse(axis, value, self._where).over(getattr(self, axis))
        return dataclasses.replace(self, **{axis: spec})  # type: ignore[arg-type]

    def dotted(self, key: str) -> str:
        """The one setting that a bare key can mean: the shallowest, and it must be alone there."""
        if "." in key or key in TABLES:
            return key
        legal = self.settings()
        found = [dotted for dotted in legal if dotted.rpartition(".")[2] == key]
        found = [dotted for dotted in found if dotted.count(".") == min(d.count(".") for d in found)]
        if not found:
            remedy = nearest(key, [*AXES, *(dotted.rpartition(".")[2] for dotted in legal)])
            raise UserError(f"{self._where} has no setting {key!r}", remedy)
        if len(found) > 1:
            raise UserError(f"{self._where}: {key!r} could be any of {', '.join(found)}", "name the one you mean")
        return found[0]

    def small(self) -> Recipe:
        """The recipe shrunk by its `small` table, for tests that must stay quick."""
        return self.with_settings(self.small_sets)

    def grid(self) -> dict[str, list[Any]]:
        """The settings that are chosen on validation rows, with their choices: at most two of them."""
        grids = {}
        for axis in TABLES:
            for dotted, value in _leaves(axis, getattr(self, axis)):
                if is_grid(value):
                    grids[dotted] = value["grid"]
        if len(grids) > MOST_GRIDS:
            raise UserError(f"{self._where} has {len(grids)} grids: {', '.join(grids)}", f"keep {MOST_GRIDS} at most")
        return grids

    def check(self) -> Recipe:
        """Import every target and hold every setting against its signature; UserError at the first that is wrong."""
        grids = self.grid()
        first = {key: choices[0] for key, choices in grids.items()}
        for sets in [first, *({**first, key: choice} for key in grids for choice in grids[key][1:])]:
            recipe = self.with_settings(sets)
            for axis in AXES:
                recipe.resolve(axis)
            _check_fit(recipe.fit, self._where)
        return self

    def resolve(self, axis: str) -> Callable[..., Any]:
        """The target of an axis with its settings bound: `recipe.resolve("program")(schema)`."""
        target = resolve(axis, getattr(self, axis), where=self._where, folder=self.folder)
        return partial(target, models=self.parts()) if axis == "program" and self.program.use == STACK else target

    def parts(self) -> dict[str, Recipe]:
        """The recipes of the models that a stack is made of, by name; their code is looked up where this one's is."""
        inside = self.program.settings.get("models") if self.program.use == STACK else None
        if not isinstance(inside, Mapping):
            return {}
        tables = {name: table for name, table in inside.items() if isinstance(name, str)}
        return {
            name: Recipe.from_table(name, table, source=self.source, folder=self.folder)
            for name, table in tables.items()
        }

    def settings(self) -> list[str]:
        """Every setting that this recipe could have, as `--set` takes it."""
        legal = []
        for axis in AXES:
            legal += legal_settings(axis, getattr(self, axis), where=self._where, folder=self.folder)
        return legal + [f"fit.{name}" for name in _fit_settings().model_fields]

    def specs(self) -> Iterator[tuple[str, Spec]]:
        """Every spec in the recipe with its axis, those of the models inside it and choices of a grid included."""
        for axis in AXES:
            yield from getattr(self, axis).within(axis)
        for part in self.parts().values():
            yield from part.specs()

    @property
    def _where(self) -> str:
        return f"model {self.model!r}"


def check_table(table: Any, where: str) -> None:
    """Refuse an entry of models.toml that has an unknown key, or a key of the wrong kind."""
    if not isinstance(table, Mapping):
        raise UserError(f"{where} is {table!r}, not a table", "write a model as [name] with its keys below")
    for key, value in table.items():
        if key not in KEYS:
            raise UserError(f"{where}: unknown key {key!r}", nearest(key, KEYS))
        if key in (*TEXTS, "like") and not isinstance(value, str):
            raise UserError(f"{where}: {key} = {value!r} is not text", f'write {key} = "..."')
        if key in ("fit", "small") and not isinstance(value, Mapping):
            raise UserError(f"{where}: {key} = {value!r} is not a table", f"write {key} = {{ key = value }}")
    for dotted in table.get("small", {}):
        if dotted.partition(".")[0] not in TABLES:
            raise UserError(f"{where}: small has {dotted!r}", f"write a dotted key; {nearest(dotted, TABLES)}")


def _fit_settings() -> Any:
    """The pydantic model of the fifth table of a recipe; imported late, since listing models has no need of it."""
    return importlib.import_module("zoo.fitting.settings").FitSettings


def _check_fit(fit: Mapping[str, Any], where: str) -> None:
    from pydantic import ValidationError

    model = _fit_settings()
    for key in fit:
        if key not in model.model_fields:
            raise UserError(f"{where}: fit has no setting {key!r}", nearest(key, model.model_fields))
    try:
        model.model_validate(dict(fit))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(step) for step in ("fit", *first["loc"]))
        raise UserError(f"{where}: {path} = {first['input']!r} does not fit", first["msg"]) from None


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every value in a spec or a table with its dotted name; a grid is one value."""
    inside = value.settings if isinstance(value, Spec) else value
    if not isinstance(inside, Mapping) or is_grid(inside):
        yield path, value
        return
    for key, v in inside.items():
        yield from _leaves(f"{path}.{key}", v)


def _uses(axes: Mapping[str, Spec], dotted: str) -> list[str]:
    """What a dotted setting belongs to: the `use` of each spec around it."""
    axis, *path = dotted.split(".")
    uses: list[str] = []
    inside: Any = axes.get(axis)
    for step in path:
        if isinstance(inside, Spec):
            uses.append(inside.use)
            inside = inside.settings.get(step)
    return uses


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _literal(name)


def _literal(value: Any) -> str:
    """Plain data as TOML on one line."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)} = {_literal(v)}" for key, v in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list):
        return f"[{', '.join(_literal(v) for v in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
