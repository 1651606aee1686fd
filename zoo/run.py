"""The run folder: one fitted model, or one comparison, complete and readable by eye.

    manifest.json          what this is: format, kind, versions, seed, how the fit went, its held-out score
    recipe.toml            the recipe, complete
    schema.toml            the schema: the base measure of every number here
    weights.safetensors    parameters, and the codec's locations and scales
    history.parquet        the learning curve
    comparison.json, scores.parquet, held_out.parquet, rows.parquet, models/NAME/     (a comparison)

Nothing here is executed on loading: a program that is a user's own is looked up in the loader's registry.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from zoo.errors import UserError
from zoo.fitting.loop import Fitted
from zoo.model import Model
from zoo.recipe import Recipe
from zoo.registry import Registry
from zoo.table.codec import Codec
from zoo.table.schema import Schema

FORMAT = 1
MANIFEST = "manifest.json"


def check_free(path: str | Path) -> Path:
    """The path where a run may be written: nothing is there, or an empty folder, or an earlier run."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise UserError(f"{str(path)!r} is a file, and a run is a folder", "give another path to -o")
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise UserError(f"the folder {str(path)!r} holds something that is not a run of zoo", "give another path to -o")
    return path


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder that appears under `path` whole or not at all. An earlier run there is replaced, nothing else is."""
    path = check_free(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise UserError(f"cannot write to {str(path.parent)!r}: {error.strerror}", "give another path to -o") from None
    try:
        yield work
        work.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        os.replace(work, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def manifest(kind: str, seed: int, **more: Any) -> dict[str, Any]:
    """What every run records of how it was made."""
    packages = ("torch", "pyro-ppl", "pandas", "numpy", "zuko")
    return {
        "format": FORMAT,
        "kind": kind,
        "zoo": version("zoo-density"),
        "seed": seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        **more,
    }


def write_json(path: Path, document: Any) -> None:
    path.write_text(to_json(document) + "\n", encoding="utf-8")


def to_json(document: Any) -> str:
    """A document as JSON; numbers that are not finite, which JSON has no word for, are null."""
    return json.dumps(_plain(document), indent=2, allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)


@contextlib.contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Whatever goes wrong while a run folder is read is damage, and said in one line."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        said = str(error).strip().splitlines() or [""]
        what = f"the run {str(path)!r} is damaged: {type(error).__name__}: {said[0]}"
        raise UserError(what, "fit again, or fetch the folder again") from error


def read_manifest(path: str | Path, kind: str | None = None) -> dict[str, Any]:
    """The manifest of a run folder; a folder that is none, or of another kind, is a UserError."""
    path = Path(path)
    file = path / MANIFEST
    if not file.is_file():
        there = "there is no such folder" if not path.exists() else f"it has no {MANIFEST}"
        raise UserError(f"{str(path)!r} is not a run of zoo: {there}", "`zoo fit MODEL TABLE -o RUN` makes one")
    try:
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{str(file)!r} is not JSON: {error}", "the run is damaged; fit again") from None
    if not isinstance(document, dict):
        raise UserError(f"{str(file)!r} is not a manifest", "the run is damaged; fit again")
    if document.get("format") != FORMAT:
        raise UserError(
            f"{str(path)!r} has format {document.get('format')!r}, and this zoo reads {FORMAT}", "upgrade zoo"
        )
    if kind is not None and document.get("kind") != kind:
        raise UserError(f"{str(path)!r} holds a {document.get('kind')}, and a {kind} was expected")
    return document


def write_model(folder: Path, model: Model, fitted: Fitted, document: dict[str, Any]) -> None:
    """Write one fitted model into a folder that exists."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(model.recipe.to_toml(), encoding="utf-8")
    (folder / "schema.toml").write_text(model.schema.to_toml(), encoding="utf-8")
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in model.state_dict().items()}
    save_file(tensors, folder / "weights.safetensors")
    if fitted.history:
        pd.DataFrame(fitted.history).to_parquet(folder / "history.parquet", index=False)
    write_json(folder / MANIFEST, document)


def read_model(folder: str | Path, registry: Registry | None = None) -> tuple[Model, Fitted, dict[str, Any]]:
    """Load one fitted model. A recipe that names a user's own code loads only where `registry` names it too."""
    folder, registry = Path(folder), registry or Registry.load()
    with reading(folder):
        return _read_model(folder, registry)


def _read_model(folder: Path, registry: Registry) -> tuple[Model, Fitted, dict[str, Any]]:
    document = read_manifest(folder, "model")
    recipe = registry.admit(Recipe.from_toml(_text(folder / "recipe.toml"), str(folder / "recipe.toml")))
    schema = Schema.read(folder / "schema.toml")
    model = Model(recipe, Codec(schema))
    missing = model.load_state_dict(load_file(folder / "weights.safetensors"), strict=False)
    if missing.missing_keys or missing.unexpected_keys:
        raise UserError(f"the weights in {str(folder)!r} do not fit the recipe: {missing}", "fit again")
    history = folder / "history.parquet"
    fitted = Fitted(**document["fit"])
    if history.is_file():
        looks = pd.read_parquet(history).to_dict("records")
        fitted.history = [{str(key): float(value) for key, value in look.items()} for look in looks]
    return model.eval(), fitted, document


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {str(path)!r}: {said}", "the run is damaged; fit again") from None


def best_model(path: str | Path) -> Path:
    """The folder of the model that a run stands for: itself, or the best of a comparison."""
    path = Path(path)
    with reading(path):
        if read_manifest(path)["kind"] == "model":
            return path
        ranking = json.loads(_text(path / "comparison.json"))["models"]
        return path / "models" / str(ranking[0]["model"])
