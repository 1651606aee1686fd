"""A spec is a name and settings; a target is what it stands for: a class or a function, imported only when asked.

To write a target of your own, write a class or function whose parameters without a default are those that zoo gives
on that axis (a program: `schema`; a network: its two shapes; ...). Every parameter with a default, and every
keyword-only one, is a setting: legal in models.toml and in `--set`, held against its annotation, and nothing else is.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from zoo.errors import UserError, nearest

PACKAGES = {
    "program": "zoo.programs",
    "guide": "zoo.guides",
    "objective": "zoo.objectives",
    "network": "zoo.networks",
    "flow": "zoo.flows",
}
"""Where the short names of an axis are looked up. A setting that has one of these names is itself a spec."""

Target = Callable[..., Any]


@dataclass(frozen=True)
class Spec:
    """One point on an axis: the name of a target and its settings.

    A nested spec may have no `use`: its settings are then those of whatever the enclosing target uses by default.
    """

    use: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, axis: str, value: Any, where: str = "") -> Spec:
        """A spec from a name, or from a table with `use` and settings."""
        if isinstance(value, Spec):
            return value
        if isinstance(value, str) and value:
            return cls(value)
        if not isinstance(value, Mapping) or not isinstance(value.get("use", ""), str):
            raise UserError(f"{where}: {axis} = {value!r} is neither a name nor a table", "give it a name as `use`")
        settings = {key: _setting(axis, key, v, where) for key, v in value.items() if key != "use"}
        return cls(value.get("use", ""), settings)

    def over(self, below: Spec) -> Spec:
        """This spec laid over another: the same or no `use` merges the settings, a different one replaces all."""
        if self.use not in ("", below.use):
            return self
        return Spec(below.use, merge(below.settings, self.settings))

    def to_data(self) -> Any:
        """The spec as it is written in TOML: a bare name when it has no settings."""
        data = {key: v.to_data() if isinstance(v, Spec) else v for key, v in self.settings.items()}
        return ({"use": self.use} if self.use else {}) | data if data or not self.use else self.use

    def within(self, axis: str) -> Iterator[tuple[str, Spec]]:
        """This spec and every spec in its settings, each with its axis; a grid of specs counts with all its choices."""
        yield axis, self
        for key, value in self.settings.items():
            if key in PACKAGES:
                for choice in value["grid"] if is_grid(value) else [value]:
                    yield from Spec.parse(key, choice).within(key)


def is_grid(value: Any) -> bool:
    """Whether a setting's value is a choice to be made on validation rows: `{ grid = [...] }`."""
    return isinstance(value, Mapping) and "grid" in value


def resolve(axis: str, spec: Spec, *, where: str = "recipe", folder: Path | None = None) -> Target:
    """The target of a spec with its settings bound, and the specs among them resolved in the same way."""
    return _bind(axis, spec, locate(axis, spec.use, where=where, folder=folder), where, folder)


def locate(axis: str, use: str, *, where: str = "recipe", folder: Path | None = None) -> Target:
    """What a name on an axis stands for: a short name from the axis's package, or the user's own `module:Name`."""
    names: Mapping[str, str] = importlib.import_module(PACKAGES[axis]).NAMES
    path = use if ":" in use else names.get(use, "")
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        what = f"no {axis} is called {use!r}" if use else f"{axis} has no `use`"
        raise UserError(f"{where}: {what}", f"{nearest(use, names)}; or 'module:Name' of your own")
    try:
        module = _import(module_name, folder) if path is use else importlib.import_module(module_name)
    except Exception as error:
        looked = f" (looked in {folder} first)" if folder and path is use else ""
        what = f"{where}: {axis} {use!r}: importing {module_name!r} failed{looked}: {type(error).__name__}: {error}"
        raise UserError(what, "see that the module is there, and that it imports by itself") from error
    if not hasattr(module, name):
        place = getattr(module, "__file__", None) or module_name
        what = f"{where}: {axis} {use!r}: there is no {name!r} in {place}"
        raise UserError(what, nearest(name, [n for n in vars(module) if not n.startswith("_")]))
    target: Target = getattr(module, name)
    if not callable(target):
        raise UserError(f"{where}: {axis} {use!r} is {target!r}, which cannot be called", "name a class or a function")
    return target


def _import(name: str, folder: Path | None) -> ModuleType:
    """A user's own module, with the folder of the models.toml importable for as long as this takes."""
    if folder is None:
        return importlib.import_module(name)
    importlib.invalidate_caches()
    top = name.partition(".")[0]
    here, loaded = PathFinder.find_spec(top, [str(folder)]), sys.modules.get(top)
    if loaded and here and here.origin:
        origin = getattr(loaded, "__file__", None)
        if origin is None or Path(origin).resolve() != Path(here.origin).resolve():
            raise ImportError(f"{here.origin} is hidden by {origin or 'a built-in'}, already loaded; rename it")
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


def settings_of(target: Target) -> dict[str, inspect.Parameter]:
    """The settings of a target: its keyword parameters, apart from those that zoo gives (they have no default)."""
    parameters = _signature(target).parameters.values()
    optional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty]
    return {p.name: p for p in [*optional, *(p for p in parameters if p.kind is p.KEYWORD_ONLY)]}


def legal_settings(path: str, spec: Spec, *, where: str = "recipe", folder: Path | None = None) -> list[str]:
    """Every setting that a spec could have, nested ones included, as dotted names below `path`."""
    return _legal(path, spec, locate(path, spec.use, where=where, folder=folder), where, folder)


def _legal(path: str, spec: Spec, target: Target, where: str, folder: Path | None) -> list[str]:
    legal = []
    for name, parameter in settings_of(target).items():
        legal.append(f"{path}.{name}")
        if name in PACKAGES:
            value = spec.settings.get(name, {})
            inner = Spec.parse(name, value["grid"][0] if is_grid(value) else value, where)
            if inner.use or callable(parameter.default):
                legal += _legal(legal[-1], inner, _inner(name, inner, parameter, where, folder), where, folder)
    return legal


def _bind(path: str, spec: Spec, target: Target, where: str, folder: Path | None) -> Target:
    label = f"{where}: {path} {spec.use or getattr(target, '__name__', target)!r}"
    legal = settings_of(target)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in _signature(target).parameters.values())
    bound: dict[str, Any] = {}
    for name, value in spec.settings.items():
        if name not in legal and not takes_any:
            raise UserError(f"{label} has no setting {name!r}", nearest(name, legal))
        if is_grid(value):
            raise UserError(f"{label}: {name} is a grid, {value['grid']}", "choose one of its values before this")
        if isinstance(value, Spec):
            inner = _inner(name, value, legal.get(name), f"{where}: {path}", folder)
            bound[name] = _bind(f"{path}.{name}", value, inner, where, folder)
        else:
            bound[name] = plain(value, f"{label}: {name}")
            if name in legal:
                _check_kind(legal[name], value, f"{label}: {name}")
    missing = [name for name, p in legal.items() if p.default is p.empty and name not in bound]
    if missing:
        raise UserError(f"{label} needs {', '.join(missing)}", f"set {path}.{missing[0]}")
    return partial(target, **bound)


def _inner(name: str, spec: Spec, parameter: inspect.Parameter | None, where: str, folder: Path | None) -> Target:
    """The target of a nested spec; without `use`, the one that the enclosing target has as its default."""
    if not spec.use and parameter is not None and callable(parameter.default):
        default: Target = parameter.default
        return default
    return locate(name, spec.use, where=where, folder=folder)


def _signature(target: Target) -> inspect.Signature:
    with suppress(Exception):  # an annotation may exist for type checkers only, or be no expression at all
        return inspect.signature(target, eval_str=True)
    try:
        return inspect.signature(target)
    except (TypeError, ValueError) as error:
        raise UserError(f"the settings of {target!r} cannot be read: {error}", "wrap it in a function") from None


def _check_kind(parameter: inspect.Parameter, value: Any, where: str) -> None:
    """Hold a value against the annotation of its parameter, where that is a type of plain data."""
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    if parameter.annotation is parameter.empty or isinstance(parameter.annotation, str):
        return
    try:
        TypeAdapter(parameter.annotation).validate_json(json.dumps(value), strict=True)
    except PydanticUserError:
        return
    except ValidationError as error:
        said = "; ".join(dict.fromkeys(e["msg"].removeprefix("Input should be ") for e in error.errors()))
        raise UserError(f"{where} = {value!r} does not fit", f"it should be {said}") from None


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings laid over settings: specs and tables merge, anything else (a grid too) is replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = below.get(key)
        if isinstance(old, Spec) and isinstance(value, Spec):
            value = value.over(old)
        elif isinstance(old, Mapping) and isinstance(value, Mapping) and not is_grid(old) and not is_grid(value):
            value = merge(old, value)
        merged[key] = value
    return merged


def plain(value: Any, where: str) -> Any:
    """A fresh copy of a value as data that TOML and JSON can hold, or a UserError."""
    if isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        if is_grid(value) and not (len(value) == 1 and isinstance(value["grid"], (list, tuple)) and value["grid"]):
            raise UserError(f"{where} = {value!r} is not a grid", "write { grid = [2, 4] }")
        return {key: plain(v, f"{where}.{key}") for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, where) for v in value]
    if hasattr(value, "tolist"):  # a scalar or an array of numpy or torch
        return plain(value.tolist(), where)
    raise UserError(f"{where} = {value!r} cannot be written in TOML", "use numbers, text, true or false, lists, tables")


def _setting(axis: str, key: str, value: Any, where: str) -> Any:
    if key in PACKAGES and not is_grid(value):
        return Spec.parse(key, value, f"{where}: {axis}")
    return plain(value, f"{where}: {axis}.{key}")
