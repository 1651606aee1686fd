"""Tables read part by part: every row once, and the numbers that the whole table gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_cli import worked, zoo

from zoo import streaming
from zoo.errors import UserError
from zoo.estimator import Estimator
from zoo.table import reader, size, stream
from zoo.table.reader import read_table
from zoo.table.stream import Stream, streamed

N = 3000


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Parquet file of 7 row groups that counts as larger than memory; parts of 256 rows."""
    rng = np.random.default_rng(0)
    k = rng.integers(2, size=N)
    frame = pd.DataFrame(
        {
            "x": rng.normal(4.0 * k, 1.0),
            "n": rng.poisson(2 + 5 * k),
            "colour": np.array(["red", "blue"])[k],
            "w": rng.random(N) + 0.5,
        }
    )
    frame.loc[rng.random(N) < 0.1, "x"] = None
    path = tmp_path / "t.parquet"
    frame.to_parquet(path, index=False, row_group_size=450)
    for module in (stream, streaming):
        monkeypatch.setattr(module, "PART", 256)
    monkeypatch.setattr(stream.Stream.parts, "__defaults__", (None, 256))
    monkeypatch.setattr(stream, "fits", lambda rows, columns: False)
    return path


@pytest.mark.parametrize("seed", [None, 0])
def test_every_row_comes_once(table: Path, seed: int | None) -> None:
    whole, left_out = pd.read_parquet(table), np.array([0, 7, 449, 450, N - 1])
    parts = list(Stream.of(table).leaving_out(left_out).parts(seed))
    assert max(map(len, parts)) <= 256
    together = pd.concat(parts)
    assert len(together) == len(Stream.of(table).leaving_out(left_out)) == N - 5
    if seed is None:
        assert together.index.is_monotonic_increasing
    else:
        assert not together.index.is_monotonic_increasing
        again = pd.concat(Stream.of(table).leaving_out(left_out).parts(seed))
        pd.testing.assert_frame_equal(again, together)
    pd.testing.assert_frame_equal(together.sort_index(), whole.drop(left_out))


def test_a_folder_is_one_table(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    whole = pd.read_parquet(table)
    whole[:1000].to_parquet(folder / "a.parquet", index=False)
    whole[1000:].to_parquet(folder / "b.parquet", index=False)
    pd.testing.assert_frame_equal(pd.concat(Stream.of(folder).parts()), whole)
    some = Stream.of(folder).some(100, seed=0)
    pd.testing.assert_frame_equal(some, whole.loc[some.index])
    assert len(some) == 100


@pytest.mark.slow
def test_verbs_give_what_the_whole_table_gives(table: Path, tmp_path: Path) -> None:
    """Fit from the stream by the command line; then every verb from the stream and from the frame."""
    run = tmp_path / "run"
    fast = ["--set", "components=2", "--set", "fit.epochs=1"]
    said = worked(zoo("fit", "mixture", table, "-o", run, "--weight", "w", *fast))
    assert f"{N:,} rows are read part by part" in said.err
    frame, estimator = read_table(table), Estimator.load(run)
    assert estimator.fitted_.steps == int(np.ceil((N - 600) / 256))  # a tenth chooses, a tenth judges
    told = worked(zoo("score", run, table, "-o", tmp_path / "s.parquet", "--json")).json
    scores = estimator.log_likelihood(frame)
    for key, value in scores.to_json().items():
        assert told[key] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value)
    rows = pd.read_parquet(tmp_path / "s.parquet")
    np.testing.assert_allclose(rows["log_likelihood"], scores.log_likelihood, atol=1e-9)
    worked(zoo("cluster", run, table, "-o", tmp_path / "c.csv"))
    assert pd.read_csv(tmp_path / "c.csv")["cluster"].tolist() == estimator.predict(frame).tolist()
    worked(zoo("impute", run, table, "-o", tmp_path / "i.parquet"))
    filled = pd.read_parquet(tmp_path / "i.parquet")
    seen = frame["x"].notna()
    pd.testing.assert_series_equal(filled.loc[seen, "x"], frame.loc[seen, "x"])
    assert not filled.isna().any().any()


def test_what_cannot_be_done_part_by_part(table: Path, tmp_path: Path) -> None:
    Estimator("independent", settings={"fit.epochs": 1}, device="cpu").fit(str(table)).save(tmp_path / "run")
    assert "needs a file to write to" in zoo("impute", tmp_path / "run", table).err
    assert "name a .parquet or a .csv file" in zoo("impute", tmp_path / "run", table, "-o", tmp_path / "i.feather").err
    assert not list(tmp_path.glob("*.feather*"))


@pytest.mark.slow
def test_a_streamed_fit_is_as_good_as_one_in_memory(table: Path) -> None:
    """Fresh rows under both, paired: within three standard errors, or a hundredth of a nat."""
    options: dict[str, Any] = {"settings": {"components": 2, "fit.epochs": 4}, "weight": "w", "device": "cpu"}
    far = Estimator("mixture", **options).fit(table)
    again = Estimator("mixture", **options).fit(table)
    near = Estimator("mixture", **options).fit(read_table(table))
    fresh = read_table(table)
    difference = far.score_samples(fresh) - near.score_samples(fresh)
    assert abs(difference.mean()) < 3 * difference.std() / np.sqrt(N) + 0.01
    assert np.array_equal(far.score_samples(fresh), again.score_samples(fresh))


def test_draws_in_parts(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.cli.MOST_AT_ONCE", 500)
    Estimator("independent", settings={"fit.epochs": 1}, device="cpu").fit(table).save(tmp_path / "run")
    said = worked(zoo("sample", tmp_path / "run", "-n", 1000, "-o", tmp_path / "d.csv", "--json")).json
    drawn = pd.read_csv(tmp_path / "d.csv")
    assert said["rows"] == len(drawn) == 1000
    assert drawn["x"].nunique() == 1000


def test_text_too_large_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "1.5,2.5\n" * 1000)
    monkeypatch.setattr(size, "available", lambda: 10_000)
    monkeypatch.setattr(reader, "content_of", lambda path: pytest.fail("read"))
    with pytest.raises(UserError, match="GiB are free; write it as Parquet, which is read part by part"):
        read_table(tmp_path / "t.csv")


def test_only_parquet_too_large_is_streamed(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    frame.to_parquet(tmp_path / "t.parquet")
    assert streamed(tmp_path / "t.parquet") is None
    assert streamed(frame) is None
    assert streamed("-") is None
    assert size.available() > 0
