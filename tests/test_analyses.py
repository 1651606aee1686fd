"""The studies: listed in their gallery, quoted there as they came out, and still true at a small size."""

from __future__ import annotations

import runpy
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
ANALYSES = ROOT / "analyses"
STUDIES = sorted(path.stem for path in ANALYSES.glob("[!_]*.py"))
MOST_BYTES = 150_000


def gallery() -> str:
    """The text of the gallery, on one line and without the marks of a quotation."""
    lines = (ANALYSES / "README.md").read_text(encoding="utf-8").splitlines()
    return " ".join(" ".join(line.removeprefix(">") for line in lines).split())


def test_there_are_studies() -> None:
    assert STUDIES


@pytest.mark.parametrize("study", STUDIES)
def test_listed_with_figure_and_conclusion(study: str) -> None:
    text = gallery()
    assert f"{study}.py" in text
    assert f"results/{study}.png" in text
    conclusion = (ANALYSES / "results" / f"{study}.txt").read_text(encoding="utf-8")
    for sentence in conclusion.split("\n\n"):
        assert " ".join(sentence.split()) in text
    for ending in ("csv", "png", "txt"):
        assert 0 < (ANALYSES / "results" / f"{study}.{ending}").stat().st_size < MOST_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_runs(study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process: its imports are most of what a study in a process of its own would take."""
    monkeypatch.setattr(sys, "argv", [f"{study}.py", "--quick", "--output", str(tmp_path)])
    monkeypatch.syspath_prepend(str(ANALYSES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runpy.run_path(str(ANALYSES / f"{study}.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{study}.{e}" for e in ("csv", "png", "txt")]
    assert len(pd.read_csv(tmp_path / f"{study}.csv"))
    assert (tmp_path / f"{study}.png").read_bytes().startswith(b"\x89PNG")
    for sentence in (tmp_path / f"{study}.txt").read_text(encoding="utf-8").split("\n\n"):
        assert sentence.strip() in said
