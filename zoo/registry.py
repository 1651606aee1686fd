"""The registry: every named model, from the built-in models.toml, installed packages and the user's own models.toml.

To add a model of your own, put a models.toml into the working folder. An entry names a program, a guide and an
objective, or says which model it is `like` and states only the difference; `"mine:line"` is `line` in mine.py beside
that file. A package brings entries through the entry-point group `zoo.models`: each entry point loads to the path of
a TOML file, or to a dict of entries. Later layers lie over earlier ones, and `like` looks at its own layer and below.
"""

from __future__ import annotations

import dataclasses
import functools
import tomllib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from os import PathLike
from pathlib import Path
from typing import Any

from zoo.errors import UserError, ZooWarning, nearest
from zoo.recipe import Recipe, check_table

FILE = "models.toml"
GROUP = "zoo.models"
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, eq=False)
class Layer:
    """The entries of one source, as they stand in its file."""

    source: str
    tables: Mapping[str, Mapping[str, Any]]

    def __post_init__(self) -> None:
        for name, table in self.tables.items():
            check_table(table, f"model {name!r} in {self.source}")

    @classmethod
    def read(cls, path: Path) -> Layer:
        """The layer in a TOML file; read once, while the file stays as it is."""
        try:
            about = path.stat()
            return _layer(path, about.st_mtime_ns, about.st_size)
        except OSError as error:
            raise UserError(f"cannot read the models in {path}: {error.strerror}", "name a TOML file") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not TOML: {error}", "mend the file") from None


@functools.lru_cache(maxsize=64)
def _layer(path: Path, changed: int, size: int) -> Layer:
    return Layer(str(path), tomllib.loads(path.read_text(encoding="utf-8")))


class Registry(Mapping[str, Recipe]):
    """Models by name, each a complete recipe. Nothing but TOML has been read: listing them is fast."""

    def __init__(self, layers: Sequence[Layer], folder: Path | None = None):
        self.folder = folder
        names = dict.fromkeys(name for layer in layers for name in layer.tables)
        self._recipes = {name: _inherit(layers, name, len(layers) - 1, folder) for name in names}

    @classmethod
    def load(
        cls, models_file: str | PathLike[str] | None = None, folder: str | PathLike[str] | None = None
    ) -> Registry:
        """The built-in models, those of installed packages, and the user's: a named file, else the one in `folder`."""
        builtin = builtin_file()
        place = Path(folder or ".").resolve()
        user = Path(models_file).resolve() if models_file is not None else place / FILE
        layers = [Layer.read(builtin), *package_layers()]
        if user != builtin.resolve() and (models_file is not None or user.is_file()):
            layers.append(Layer.read(user))
        return _registry(tuple(layers), user.parent)

    @property
    def names(self) -> list[str]:
        """Every model's name: the built-in ones first, in the order of their file."""
        return list(self._recipes)

    def __getitem__(self, name: str) -> Recipe:
        try:
            return self._recipes[name]
        except (KeyError, TypeError):
            raise UserError(f"no model is called {name!r}", nearest(str(name), self._recipes)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._recipes

    def __iter__(self) -> Iterator[str]:
        return iter(self._recipes)

    def __len__(self) -> int:
        return len(self._recipes)

    def recipe(self, name: str, sets: Mapping[str, Any] | Sequence[str] = ()) -> Recipe:
        """A model with settings changed: a mapping, or `key=value` texts as `--set` takes them."""
        return self[name].with_settings(sets if isinstance(sets, Mapping) else dict(map(parse_set, sets)))

    def allows(self, recipe: Recipe) -> None:
        """Refuse a recipe from a run folder that names code which none of this registry's own entries names."""
        named = {(axis, spec.use) for own in self._recipes.values() for axis, spec in own.specs()}
        for axis, spec in (*recipe.specs(), *recipe.small().specs()):
            if ":" in spec.use and (axis, spec.use) not in named:
                raise UserError(
                    f"model {recipe.model!r}: its {axis} {spec.use!r} is not zoo's own, and no entry here names it",
                    f"if you trust that code, give it an entry in your {FILE} and have its module beside that file",
                )

    def admit(self, recipe: Recipe) -> Recipe:
        """An allowed recipe from a run folder, its modules to be looked up where this registry's are."""
        self.allows(recipe)
        return dataclasses.replace(recipe, folder=self.folder)


@functools.lru_cache(maxsize=16)
def _registry(layers: tuple[Layer, ...], folder: Path) -> Registry:
    return Registry(layers, folder)


def builtin_file() -> Path:
    """The models.toml that comes with zoo: inside an installed package, or at the top of a checkout."""
    for path in (HERE / FILE, HERE.parent / FILE):
        if path.is_file():
            return path
    raise UserError(f"zoo's own {FILE} is neither in {HERE} nor beside it", "install zoo again")


def package_layers() -> list[Layer]:
    """The entries that installed packages bring, by entry-point name; one that fails is left out with a warning."""
    layers = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            brought = point.load()
            source = f"entry point {point.name} = {point.value}"
            layers.append(Layer(source, brought) if isinstance(brought, Mapping) else Layer.read(Path(brought)))
        except Exception as error:
            what = f"the models of entry point {point.name} = {point.value} are left out: {error}"
            warnings.warn(what, ZooWarning, stacklevel=2)
    return layers


def parse_set(text: str) -> tuple[str, Any]:
    """`key=value` of `--set`: the value is a TOML literal where it reads as one, otherwise text."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not key or not equals:
        raise UserError(f"--set {text!r} is not key=value", "write for example --set program.components=8")
    value = {"True": "true", "False": "false"}.get(value, value)
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key, value
    literal = parsed["value"]
    dated = hasattr(literal, "isoformat")  # a bare date is text to us, as it would be in JSON
    return key, value if dated or len(parsed) > 1 else literal


def _inherit(
    layers: Sequence[Layer], name: str, top: int, folder: Path | None, below: tuple[tuple[int, str], ...] = ()
) -> Recipe:
    """The recipe of a name as seen from layer `top`; `below` are the entries that led here by `like`."""
    level = next((i for i in range(top, -1, -1) if name in layers[i].tables), None)
    if level is None:
        child_level, child = below[-1]
        known = {known for layer in layers[: top + 1] for known in layer.tables} - {child}
        where = f"model {child!r} in {layers[child_level].source}"
        raise UserError(f"{where} is like {name!r}, which is not a model below it", nearest(name, known))
    if (level, name) in below:
        chain = " -> ".join([*(n for _, n in below), name])
        raise UserError(f"{layers[level].source}: `like` goes in a circle: {chain}", "let one of them name its program")
    table = layers[level].tables[name]
    parent = None
    if "like" in table:
        like = table["like"]
        parent = _inherit(layers, like, level - (like == name), folder, (*below, (level, name)))
    return Recipe.from_table(name, table, parent=parent, source=layers[level].source, folder=folder)
