"""The sweep over a folder reads what its README says, and finds what does not hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.every_table import Table, flags_of, sweep, tables_of, write_results

README = """
| file | rows x cols | read_csv arguments | remarks |
|---|---|---|---|
| plain.csv | 80 x 2 | `-` | - |
| odd.data | 80 x 2 | `sep=';', na_values=['?', 'no'], names='columns.json', skipinitialspace=True` | - |

| file | content |
|---|---|
| other.bin | arrays |
"""
FAST = ["components=2", "restarts=1", "fit.steps=5"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=80), "k": rng.choice(["a", "b", "c"], 80)})
    (tmp_path / "README.md").write_text(README)
    frame.to_csv(tmp_path / "plain.csv", index=False)
    frame.mask(rng.random(frame.shape) < 0.1).to_csv(
        tmp_path / "odd.data", sep=";", na_rep="no", index=False, header=False
    )
    (tmp_path / "columns.json").write_text(json.dumps({"odd.data": ["höhe", "k"]}))
    return tmp_path


def test_arguments_become_flags(folder: Path) -> None:
    assert [table.name for table in tables_of(folder)] == ["plain.csv", "odd.data"]
    columns = str(folder / "columns.json")
    assert tables_of(folder)[1].flags == ["--sep", ";", "--missing", "?,no", "--columns", columns]
    assert flags_of(r"sep='\\s+', header=None", folder) == ["--sep", "whitespace", "--no-header"]
    with pytest.raises(SystemExit, match="no reading flag for thousands"):
        flags_of("thousands=','", folder)


def test_a_sweep(folder: Path) -> None:
    lines = [sweep(table, "mixture", FAST, None) for table in tables_of(folder)]
    assert [line.get("failed") for line in lines] == [None, None]
    assert [line["columns"] for line in lines] == ["1 continuous, 1 categorical"] * 2
    assert all(np.isfinite([line["nats"], line["se"]]).all() for line in lines)
    write_results(lines, folder / "results", "quick")
    assert pd.read_csv(folder / "results.csv")["file"].tolist() == ["plain.csv", "odd.data"]
    assert "| odd.data | 80 | 1 continuous, 1 categorical |" in (folder / "results.md").read_text(encoding="utf-8")


def test_what_does_not_hold_is_said(folder: Path) -> None:
    (folder / "short.csv").write_text("x,k\n1,a\n2,b\n")
    line = sweep(Table(str(folder / "short.csv")), "mixture", FAST, None)
    assert line["failed"].startswith("fit: exit code 2: zoo: the table has 2 rows")


@pytest.mark.slow
def test_rows_are_limited_where_a_table_is_wide(folder: Path) -> None:
    np.save(folder / "wide.npy", np.random.default_rng(0).normal(size=(90, 64)))
    line = sweep(Table(str(folder / "wide.npy")), "independent", ["fit.steps=3"], 40)
    assert line["rows"] == "40 of 90"
    assert "failed" not in line
