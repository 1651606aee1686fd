"""The folder that a run is written into: it appears whole or not at all, and nothing of the user's is lost to it.

A folder is a run of zoo where its manifest says so. An earlier run is replaced file by file inside its folder, so that
links to it, and a shell that stands in it, go on working; files that zoo did not write stay where they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from zoo.errors import UserError

FORMAT = 1
MANIFEST = "manifest.json"
PAGE = "report.html"
KINDS = ("model", "comparison")

_MODEL = r"(manifest\.json|recipe\.toml|schema\.toml|weights\.safetensors|history\.parquet|report\.html)"
_TABLES = r"(comparison\.json|scores\.parquet|held_out\.parquet|rows\.parquet)"
_WRITTEN = {"model": _MODEL, "comparison": rf"{_MODEL}|{_TABLES}|models/[^/]+/{_MODEL}"}
_REMEDY = "give another path to -o"


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run of zoo; None where the folder is none."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    own = isinstance(document, dict) and {"format", "kind", "zoo"} <= set(document) and document["kind"] in KINDS
    return document if own else None


def is_run(folder: str | Path) -> bool:
    """Whether a folder holds a run of zoo."""
    return manifest_of(Path(folder)) is not None


# ---- where a run may go


def check_free(path: str | Path, kind: str = "model") -> Path:
    """The path where a run of this kind may be written, made and removed again as a proof.

    Nothing is there, or an empty folder, or an earlier run without a file of the user's in the way. Raises UserError
    for everything else, and where no folder can be made.
    """
    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise UserError(f"{str(path)!r} is a link to {os.readlink(path)!r}, which is not there", _REMEDY)
    if path.exists() and not path.is_dir():
        raise UserError(f"{str(path)!r} is a file, and a run is a folder", _REMEDY)
    try:
        if path.is_dir():
            _check_holds_a_run(path, kind)
        _try(path)
    except OSError as error:
        raise UserError(f"cannot write to {str(path)!r}: {error.strerror}", _REMEDY) from None
    return path


def _check_holds_a_run(path: Path, kind: str) -> None:
    if not any(path.iterdir()):
        return
    document = manifest_of(path)
    if document is None:
        raise UserError(f"the folder {str(path)!r} holds something that is not a run of zoo", _REMEDY)
    own = set(_own_files(path, document))
    others = [p for p in _files(path) if p not in own and re.fullmatch(_WRITTEN[kind], p)]
    if others:
        listed = ", ".join(map(repr, others[:5]))
        raise UserError(f"the run in {str(path)!r} holds files that zoo did not write: {listed}", "move them away")


def _try(path: Path) -> None:
    """Make the folder, or a folder in it, and remove what was made."""
    if path.is_dir():
        os.rmdir(tempfile.mkdtemp(prefix=".zoo-", dir=path))
        return
    missing = [p for p in (path, *path.parents) if not p.exists()]
    made: list[Path] = []
    try:
        for folder in reversed(missing):
            folder.mkdir()
            made.append(folder)
    finally:
        for folder in reversed(made):
            folder.rmdir()


@contextlib.contextmanager
def new_folder(path: str | Path, kind: str = "model") -> Iterator[Path]:
    """A folder to write a run into, which appears under `path` whole or not at all.

    An earlier run there is replaced, and comes back where that fails. Files that zoo did not write stay.
    """
    path = check_free(path, kind)
    there = path.is_dir()
    place = path if there else path.parent
    try:
        place.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".zoo-", dir=place))
    except OSError as error:
        raise UserError(f"cannot write to {str(path)!r}: {error.strerror}", _REMEDY) from None
    try:
        yield work
        work.chmod(0o755)
        if there:
            _replace(path, work)
        else:
            os.replace(work, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _replace(folder: Path, new: Path) -> None:
    """Put the files of `new`, a folder inside `folder`, in the place of the run there."""
    old = Path(tempfile.mkdtemp(prefix=".zoo-old-", dir=folder))
    own = _own_files(folder, manifest_of(folder) or {})
    moves = [(folder / name, old / name) for name in own] + [(new / name, folder / name) for name in _files(new)]
    begun: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            begun.append((source, target))
            _move(source, target)
    except BaseException:
        for source, target in reversed(begun):
            if target.exists() and not source.exists():
                _move(target, source)
        shutil.rmtree(old)
        raise
    shutil.rmtree(old)
    _remove_empty(folder, own)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)


def _remove_empty(folder: Path, names: Iterable[str]) -> None:
    """Remove the folders that hold none of these files any more."""
    for parent in sorted({p for name in names for p in Path(name).parents if p != Path(".")}, reverse=True):
        with contextlib.suppress(OSError):
            (folder / parent).rmdir()


# ---- what zoo wrote there


def _files(folder: Path) -> list[str]:
    """The files under a folder, by their path in it; what zoo is writing just now is left out."""
    found = (p.relative_to(folder) for p in folder.rglob("*") if not p.is_dir() or p.is_symlink())
    return sorted(p.as_posix() for p in found if not p.parts[0].startswith(".zoo-"))


def _own_files(folder: Path, document: dict[str, Any]) -> list[str]:
    """The files of a run that zoo wrote: those its manifests list, the manifests and the page."""
    written = _WRITTEN.get(document.get("kind", ""), "")
    files = [name for name in _files(folder) if re.fullmatch(written, name)]
    listed = document.get("files")
    if not isinstance(listed, dict):
        return files
    return [name for name in files if name in (MANIFEST, PAGE) or name in listed or name.startswith("models/")]


def checksum(file: Path) -> str:
    """The SHA-256 of a file's bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """The checksum of each file that lies in a run folder itself, but for its manifest and its page."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and p.name not in (MANIFEST, PAGE)]
    return {p.name: checksum(p) for p in files}
