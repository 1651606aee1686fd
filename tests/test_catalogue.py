"""What models are and can do, and that what is kept of it from one call to the next is no older than the code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zoo import catalogue as room
from zoo import reference
from zoo.catalogue import able_to, catalogue
from zoo.recipe import Recipe

MINE = """
[mine]
program = "line:line"

[halves]
like = "gmm"
program = { components = 2 }
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where facts are kept, in a folder of this test's own, for a registry of two entries."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(room, "user_cache_path", lambda name: tmp_path / "cache" / name)
    builtin = tmp_path / "builtin.toml"
    builtin.write_text('[gmm]\nprogram = "mixture"\nguide = "none"\n', encoding="utf-8")
    monkeypatch.setattr("zoo.registry.builtin_file", lambda: builtin)
    (tmp_path / "line.py").write_text("from zoo.programs.gaussian import Gaussian as line\n", encoding="utf-8")
    (tmp_path / "models.toml").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "zoo" / "catalogue.json"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that are made, in order."""
    names: list[str] = []
    real = reference.built

    def built(recipe: Recipe) -> object:
        names.append(recipe.model)
        return real(recipe)

    monkeypatch.setattr(reference, "built", built)
    return names


def test_models_are_made_once(file: Path, made: list[str]) -> None:
    """Those of zoo's own code, until an entry changes; those of a user's own every time."""
    first = catalogue()
    assert made == ["gmm", "mine", "halves"]
    assert {line["model"]: line["bound"] for line in first} == dict.fromkeys(("gmm", "mine", "halves"), "exact")
    made.clear()
    assert catalogue() == first
    assert made == ["mine"]
    made.clear()
    Path("models.toml").write_text(MINE.replace("= 2", "= 3"), encoding="utf-8")
    catalogue()
    assert sorted(made) == ["halves", "mine"]


def test_changed_code_is_read_again(file: Path, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue()
    made.clear()
    monkeypatch.setattr(room, "PACKAGE", file.parent.parent)
    (file.parent.parent / "other.py").write_text("", encoding="utf-8")
    catalogue()
    assert sorted(made) == ["gmm", "halves", "mine"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "null", '{"a": {"bound": "exact"}}'])
def test_a_damaged_file_is_as_none(text: str, file: Path) -> None:
    expected = catalogue()
    file.write_text(text, encoding="utf-8")
    assert catalogue() == expected
    assert len(json.loads(file.read_text(encoding="utf-8"))) == 2


def test_a_folder_that_cannot_be_written(file: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way", encoding="utf-8")
    assert {"gmm", "halves"} <= set(able_to("score"))


def test_what_cannot_be_made_is_not_kept(file: Path) -> None:
    Path("models.toml").write_text('[broken]\nlike = "gmm"\nprogram = { components = -1 }\n', encoding="utf-8")
    for _ in range(2):
        line = next(line for line in catalogue() if line["model"] == "broken")
        assert line["verbs"] == []
        assert "components" in line["error"]
