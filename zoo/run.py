"""The run folder: one fitted model, or one comparison, complete and readable by eye.

    manifest.json          what this is: format, kind, versions, seed, how the fit went, its held-out score, how the
                           table was read, and the checksum of every other file here
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
import platform
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from zoo.errors import UserError, ZooWarning, nearest
from zoo.fitting.loop import Fitted
from zoo.folder import FORMAT, MANIFEST, checksum, checksums, is_run, new_folder
from zoo.model import Model
from zoo.recipe import Recipe
from zoo.registry import Registry
from zoo.table.codec import Codec
from zoo.table.schema import Schema

__all__ = ["FORMAT", "MANIFEST", "is_run", "new_folder"]


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


_TYPES = {"seed": int, "model": str, "fit": dict, "choices": list, "n_train": int, "files": dict, "reading": dict,
          "clusters": dict}  # fmt: skip
"""What stands in a manifest, as far as it is there."""


def write_manifest(folder: Path, document: Mapping[str, Any]) -> None:
    """Write the manifest of a run folder, with the checksums of the files that lie there: it comes last."""
    write_json(folder / MANIFEST, {**document, "files": checksums(folder)})


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
    if not isinstance(document, dict) or not {"format", "kind"} <= set(document):
        raise UserError(f"{str(file)!r} is not a manifest of zoo", "the run is damaged; fit again")
    if document["format"] != FORMAT:
        raise UserError(f"{str(path)!r} has format {document['format']!r}, and this zoo reads {FORMAT}", "upgrade zoo")
    if kind is not None and document["kind"] != kind:
        raise UserError(f"{str(path)!r} holds a {document['kind']}, and a {kind} was expected")
    for key, expected in _TYPES.items():
        if key in document and (not isinstance(document[key], expected) or document[key] is True):
            what = f"{str(file)!r} is damaged: {key} = {document[key]!r} is no {expected.__name__}"
            raise UserError(what, "fit again, or fetch the folder again")
    if not 0 <= document.get("seed", 0) < 2**63:
        raise UserError(f"{str(file)!r} is damaged: seed = {document['seed']}", "fit again, or fetch the folder again")
    return document


def check_unchanged(folder: Path, document: Mapping[str, Any], name: str) -> None:
    """Say that a file of a run was changed since it was written: a ZooWarning where people may edit it, else an error.

    A run of an earlier zoo, whose manifest has no checksums, says nothing.
    """
    expected = document.get("files", {}).get(name)
    if expected is None or not (folder / name).is_file() or checksum(folder / name) == expected:
        return
    message = f"{str(folder / name)!r} was changed since it was written"
    if name.endswith(".safetensors"):
        raise UserError(f"{message}: these are not the weights that were fitted", "fit again, or fetch it again")
    warnings.warn(message, ZooWarning, stacklevel=4)


def write_model(folder: Path, model: Model, fitted: Fitted, document: dict[str, Any]) -> None:
    """Write one fitted model into a folder that exists."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(model.recipe.to_toml(), encoding="utf-8")
    (folder / "schema.toml").write_text(model.schema.to_toml(), encoding="utf-8")
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in model.state_dict().items()}
    save_file(tensors, folder / "weights.safetensors")
    if fitted.history:
        pd.DataFrame(fitted.history).to_parquet(folder / "history.parquet", index=False)
    write_manifest(folder, document)


def read_model(folder: str | Path, registry: Registry | None = None) -> tuple[Model, Fitted, dict[str, Any]]:
    """Load one fitted model. A recipe that names a user's own code loads only where `registry` names it too."""
    folder, registry = Path(folder), registry or Registry.load()
    with reading(folder):
        return _read_model(folder, registry)


def _read_model(folder: Path, registry: Registry) -> tuple[Model, Fitted, dict[str, Any]]:
    document = read_manifest(folder, "model")
    for name in ("weights.safetensors", "recipe.toml", "schema.toml", "history.parquet"):
        check_unchanged(folder, document, name)
    recipe = registry.admit(Recipe.from_toml(_text(folder / "recipe.toml"), str(folder / "recipe.toml")))
    schema = Schema.read(folder / "schema.toml")
    if document.get("model", recipe.model) != recipe.model:
        what = f"the manifest of {str(folder)!r} says {document['model']!r}, and its recipe {recipe.model!r}"
        raise UserError(what, "fit again, or fetch the folder again")
    model = Model(recipe, Codec(schema))
    weights = load_file(folder / "weights.safetensors")
    broken = [name for name, tensor in weights.items() if tensor.isnan().any()]
    if broken:
        what = f"the weights in {str(folder)!r} are damaged: {broken[0]} holds what is not a number"
        raise UserError(what, "fit again, or fetch the folder again")
    missing = model.load_state_dict(weights, strict=False)
    if missing.missing_keys or missing.unexpected_keys:
        raise UserError(f"the weights in {str(folder)!r} do not fit the recipe: {missing}", "fit again")
    history = folder / "history.parquet"
    fitted = Fitted(**document["fit"])
    if history.is_file():
        looks = pd.read_parquet(history).to_dict("records")
        fitted.history = [{str(key): float(value) for key, value in look.items() if value == value} for look in looks]
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
        document = read_manifest(path)
        if document["kind"] == "model":
            return path
        return model_folder(path, read_ranking(path, document)["models"][0]["model"])


def read_ranking(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """The ranking of a comparison, given its manifest."""
    check_unchanged(path, document, "comparison.json")
    file = path / "comparison.json"
    try:
        ranking: dict[str, Any] = json.loads(_text(file))
    except ValueError as error:
        raise UserError(f"{str(file)!r} is not JSON: {error}", "compare again, or fetch the folder again") from None
    return ranking


def model_folder(path: Path, model: object) -> Path:
    """The folder of one model of a comparison; a name that is none of its folders is a UserError."""
    folders = {p.name: p for p in (path / "models").iterdir() if p.is_dir()}
    if model not in folders:
        raise UserError(f"the run {str(path)!r} holds no model {model!r}", nearest(str(model), folders))
    return folders[str(model)]
