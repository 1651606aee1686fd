"""The command line as users meet it: every command works, or says in one line what is wrong and what to do."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import tomli_w
import torch
from safetensors.torch import load_file, save_file

from zoo import cli, folder
from zoo.estimator import Estimator
from zoo.table.infer import infer_schema
from zoo.table.reader import read_table
from zoo.table.writer import write_table

N = 120
QUICK = ("--set", "fit.steps=5")


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def zoo(*arguments: object, stdin: bytes = b"", debug: bool = False) -> Said:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    argv, old_stdin = sys.argv, sys.stdin
    sys.argv = ["zoo", *map(str, arguments), *(["--debug"] if debug else [])]
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv, sys.stdin = argv, old_stdin
    return Said(code, out.getvalue(), err.getvalue())


def refused(said: Said, *words: str) -> str:
    """Hold that a command was refused in one line that holds these words; notes on the table may stand before it."""
    lines = said.err.strip().splitlines()
    assert said.code == 2, said
    assert said.out == ""
    assert "Traceback" not in said.err
    assert lines[-1].startswith("zoo: ")
    assert not any(line.startswith("zoo: ") for line in lines[:-1])
    assert "inside zoo" not in lines[-1]
    for word in words:
        assert word in lines[-1]
    return lines[-1]


def worked(said: Said) -> Said:
    assert said.code == 0, said
    assert "Traceback" not in said.err
    return said


def penguins() -> pd.DataFrame:
    """A table with every family of column, made up."""
    rng = np.random.default_rng(0)
    k = rng.integers(3, size=N)
    frame = pd.DataFrame(
        {
            "mass": np.round(3000 + 600 * k + rng.normal(size=N) * 200),
            "bill": 5.0 * k + rng.normal(size=N),
            "sex": np.where(rng.random(N) < 0.5, "f", "m"),
            "species": np.array(["Adelie", "Gentoo", "Chinstrap"])[k],
        }
    )
    frame.loc[3, "bill"] = np.nan
    frame.loc[7, "sex"] = np.nan
    return frame


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, runs of every sort, and a folder that is none."""
    folder = tmp_path_factory.mktemp("cli")
    penguins().to_csv(folder / "p.csv", index=False)
    (folder / "keep").mkdir()
    (folder / "keep" / "precious.txt").write_text("precious")
    with contextlib.chdir(folder):
        for name, model, *more in [
            ("mixture", "mixture", "--set", "components=3"),
            ("conditional", "mixture", "--set", "components=2", "--given", "species"),
            ("ppca", "ppca", "--set", "dim=1", "--ignore", "s*"),
            ("vae", "vae", "--set", "dim=2"),
        ]:
            worked(zoo("fit", model, "p.csv", "-o", f"runs/{name}", *QUICK, *more))
        worked(zoo("compare", "p.csv", "-m", "gaussian,mixture", "-o", "runs/both", "--set", "components=2", *QUICK))
    return folder


@pytest.fixture
def here(house: Path) -> Iterator[Path]:
    with contextlib.chdir(house):
        yield house


@pytest.fixture
def away(house: Path, tmp_path: Path) -> Iterator[Path]:
    """A fresh folder with a copy of the table."""
    shutil.copy(house / "p.csv", tmp_path)
    with contextlib.chdir(tmp_path):
        yield tmp_path


# ----------------------------------------------------------------------------------------------------- judging samples


@pytest.mark.slow
def test_judge_prints_every_figure_with_its_ceiling_and_floor(away: Path) -> None:
    penguins().sample(frac=1.0, random_state=0).to_csv("made.csv", index=False)
    said = worked(zoo("judge", "p.csv", "made.csv", "--target", "species"))
    for word in ("trend", "c2st", "copies", "utility", "real rows", "independent", "halved", "60 rows on each side"):
        assert word in said.out
    document = worked(zoo("judge", "p.csv", "made.csv", "--target", "species", "--json")).json
    assert document["figures"]["copies"]["value"] == 1
    assert document["rows"] == {"real": N, "synthetic": N, "compared": N // 2}
    assert set(document["columns"]) == {"mass", "bill", "sex", "species"}
    beside = worked(zoo("judge", "p.csv", "made.csv", "--train", "p.csv", "--json", "--ignore", "sex")).json
    assert beside["figures"]["nearer_to_training"]["ceiling"] == 0.5
    assert "sex" not in beside["columns"]
    refused(zoo("judge", "p.csv", "made.csv", "--target", "specis"), "did you mean 'species'?")
    Path("modes.csv").write_text("mass,bill\n4000,40\n5000,50\n9000,90\n")
    centred = worked(zoo("judge", "p.csv", "made.csv", "--modes", "modes.csv", "--sigma", "500", "--json")).json
    assert centred["figures"]["modes_covered"]["value"] == pytest.approx(2 / 3)
    refused(zoo("judge", "p.csv", "made.csv", "--modes", "modes.csv"), "--modes and --sigma go together")
    refused(zoo("judge", "p.csv", "nowhere.csv"), "no file 'nowhere.csv'")
    pd.read_csv("made.csv").drop(columns="bill").to_csv("less.csv", index=False)
    refused(zoo("judge", "p.csv", "less.csv"), "the synthetic table has no column 'bill'")


def test_judge_reads_both_tables_alike(away: Path) -> None:
    """Without a header, another separator, tokens for missing cells: the second is read like the first, or as it is."""
    frame = penguins()
    frame.to_csv("real.txt", sep=";", header=False, index=False, na_rep="-9")
    Path("names.txt").write_text("\n".join(frame))
    flags = ("--columns", "names.txt", "--sep", ";", "--missing", "-9")
    shuffled = frame.sample(frac=1.0, random_state=0)
    shuffled.to_csv("made.txt", sep=";", header=False, index=False, na_rep="-9")
    shuffled.to_csv("made.csv", index=False)
    both = [worked(zoo("judge", "real.txt", made, *flags, "--json")).json for made in ("made.txt", "made.csv")]
    assert both[0]["figures"] == both[1]["figures"]
    assert both[0]["figures"]["copies"]["value"] == 1


@pytest.mark.slow
def test_compare_with_and_without_samples(away: Path) -> None:
    sets = ("-m", "gaussian", *QUICK)
    said = worked(zoo("compare", "p.csv", *sets, "-o", "with"))
    for word in ("shape", "trend", "C2ST", "samples of 24 rows"):
        assert word in said.out
    assert max(map(len, said.out.splitlines()[:4])) <= 120
    assert "more figures of these samples: in the report, and with --figures" in said.err
    page = Path("with/report.html").read_text()
    assert all(f'<td class="name">{name}</td>' in page for name in ("mmd", "wasserstein", "copies", "frechet"))
    said = worked(zoo("compare", "p.csv", *sets, "-o", "all", "--figures", "--target", "species"))
    for name in ("mmd_p", "wasserstein", "authenticity", "frechet", "inception", "utility", "real rows"):
        assert name in said.out
    refused(zoo("compare", "p.csv", *sets, "-o", "no", "--target", "specis"), "did you mean 'species'?")
    said = worked(zoo("compare", "p.csv", *sets, "-o", "without", "--no-samples"))
    assert "C2ST" not in said.out
    assert json.loads(Path("without/comparison.json").read_text())["samples"] is None
    assert 'id="judged"' not in Path("without/report.html").read_text()


# ---------------------------------------------------------------------------------------------- tables that cannot be

BAD_TABLES = {
    "empty": ("", "is empty"),
    "header only": ("a,b\n", "has no rows"),
    "one row": ("a,b\n1,2\n", "no column is left to model"),
    "three rows": ("a,b\n1,2\n3,5\n4,7\n", "at least 10"),
    "constant": (
        "a,b\n" + "1,x\n" * 30,
        "no column is left to model: a: constant; b: constant; give columns that vary",
    ),
    "all missing": ("a,b\n" + "NA,\n" * 30, "no column is left to model"),
    "the same name twice": ("a,a\n1,2\n3,4\n", "more than once: 'a'"),
    "binary": ("a,b\n\0\0\n", "zero bytes"),
    "open quote": ('a,b\n1,"2\n3,4\n' * 3, ""),
    "uneven": ("a,b\n" + "1,2\n" * 20 + "1,2,3\n", "line 22"),
}


@pytest.mark.parametrize("command", ["fit", "compare"])
@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_table_that_cannot_be_fitted(case: str, command: str, tmp_path: Path) -> None:
    text, said = BAD_TABLES[case]
    (tmp_path / "t.csv").write_text(text)
    arguments = ["gaussian", tmp_path / "t.csv"] if command == "fit" else [tmp_path / "t.csv", "-m", "gaussian"]
    refused(zoo(command, *arguments, "-o", tmp_path / "run"), said)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("nowhere.csv", "no file 'nowhere.csv'"),
        ("p.cvs", "'p.csv'"),
        ("runs", "is a folder"),
        ("keep/x.xlsx", "no file"),
    ],
)
def test_a_file_that_is_not_there(table: str, said: str, here: Path) -> None:
    refused(zoo("inspect", table), said)


def test_an_ending_that_is_not_known(here: Path) -> None:
    refused(zoo("inspect", "runs/mixture/manifest.json"), "ending", ".parquet")
    refused(zoo("sample", "runs/mixture", "-o", "s.xlsx"), "ending", ".parquet")


def _column(name: str, n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    x = rng.normal(size=n)
    day = pd.date_range("2020-01-01", periods=n)
    return {
        "infinite": lambda: pd.DataFrame({"a": [np.inf, -np.inf, *x[2:]], "b": rng.normal(size=n)}),
        "one missing": lambda: pd.DataFrame({"a": np.nan, "b": x, "c": rng.normal(size=n)}),
        "one number": lambda: pd.DataFrame({"a": x}),
        "one text": lambda: pd.DataFrame({"a": rng.choice(list("pqr"), n)}),
        "all text": lambda: pd.DataFrame({c: rng.choice(list("pqr"), n) for c in "abc"}),
        "all binary": lambda: pd.DataFrame({c: rng.integers(0, 2, n) for c in "abc"}),
        "true and false": lambda: pd.DataFrame({"a": rng.choice(["True", "False"], n), "b": x}),
        "dates": lambda: pd.DataFrame({"a": day.strftime("%Y-%m-%d"), "b": x}),
        "unicode": lambda: pd.DataFrame({"größe [cm]": x, "色": rng.choice(["赤", "[/r]"], n), "cluster": x**2}),
        "ten rows": lambda: pd.DataFrame({"a": x[:10], "b": x[10:20]}),
        "far scales": lambda: pd.DataFrame({"a": 1e15 * x, "b": 1e-15 * rng.normal(size=n), "c": 1e9 + 1e-3 * x}),
    }[name]()  # fmt: skip


ODD = (
    *("infinite", "one missing", "one number", "one text", "all text", "all binary", "true and false", "dates"),
    *("unicode", "ten rows", "far scales"),
)


@pytest.mark.slow
@pytest.mark.parametrize("case", ODD)
def test_an_odd_table_works_through(case: str, tmp_path: Path) -> None:
    """Compare, score, sample, impute, cluster; the samples have the table's columns and can be scored."""
    frame = _column(case)
    table, run = tmp_path / "t.csv", tmp_path / "run"
    frame.to_csv(table, index=False)
    sets = ("--set", "components=2", *QUICK)
    ranking = worked(
        zoo("compare", table, "-m", "mixture,chain" if frame.shape[1] > 1 else "mixture", "-o", run, "--json", *sets)
    ).json
    for line in ranking["models"]:
        assert line["log_likelihood"] is not None, line
    worked(zoo("sample", run, "-n", 20, "-o", tmp_path / "s.csv"))
    drawn = pd.read_csv(tmp_path / "s.csv")
    modelled = [name for name in frame if frame[name].notna().any()]
    assert list(drawn) == modelled
    assert not drawn.isna().any().any()
    whole = zoo("score", run, tmp_path / "s.csv") if modelled == list(frame) else zoo("score", run, table)
    assert "log-likelihood" in worked(whole).out
    worked(zoo("impute", run, table, "-o", tmp_path / "i.csv"))
    assert "cluster" in worked(zoo("cluster", run / "models" / "mixture", table)).out


def test_nullable_columns_come_back_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "i": pd.array(rng.integers(0, 50, 60), dtype="Int64"),
            "f": pd.array(rng.normal(size=60), dtype="Float64"),
            "b": pd.array(rng.random(60) < 0.5, dtype="boolean"),
            "s": pd.array(rng.choice(list("abc"), 60), dtype="string"),
            "c": pd.Categorical(rng.choice(list("xyz"), 60)),
        }
    ).mask(rng.random((60, 5)) < 0.1)
    frame.to_parquet(tmp_path / "t.parquet")
    table, run = tmp_path / "t.parquet", tmp_path / "run"
    worked(zoo("fit", "mixture", table, "-o", run, "--set", "components=2", *QUICK))
    for command in (("sample", run, "-n", 9), ("impute", run, table)):
        worked(zoo(*command, "-o", tmp_path / "o.parquet"))
        result = pd.read_parquet(tmp_path / "o.parquet")
        assert not result.isna().any().any()
        assert list(result.dtypes.astype(str))[:3] == ["Int64", "Float64", "boolean"]
        assert isinstance(result["c"].dtype, pd.CategoricalDtype)


@pytest.mark.slow
def test_three_hundred_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 300)), columns=[f"c{i}" for i in range(300)])
    frame.to_csv(tmp_path / "t.csv", index=False)
    worked(zoo("fit", "mixture", tmp_path / "t.csv", "-o", tmp_path / "run", "--set", "components=2", *QUICK))
    profile = worked(zoo("cluster", tmp_path / "run", tmp_path / "t.csv")).out.splitlines()
    assert [line.split()[0] for line in profile[2:302]] == list(frame)  # one line a column


@pytest.mark.slow
def test_ten_thousand_levels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    levels = [f"z{i}" for i in rng.permutation(np.r_[np.arange(10_000), rng.integers(0, 10_000, 2_000)])]
    pd.DataFrame({"zip": levels, "x": rng.normal(size=12_000)}).to_csv(tmp_path / "t.csv", index=False)
    sets = ("--set", "components=2", *QUICK)
    worked(zoo("fit", "mixture", tmp_path / "t.csv", "-o", tmp_path / "run", *sets, "--kind", "zip=categorical"))
    worked(zoo("score", tmp_path / "run", tmp_path / "t.csv"))


# --------------------------------------------------------------------------------------- tables other than at the fit


def changed(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    frame = frame.astype({column: object})
    frame.loc[5, column] = value
    return frame


OTHER = {
    "text": (
        lambda f: changed(f, "bill", "oops"),
        "column 'bill' is continuous and needs numbers, not 'oops' in row 5",
    ),
    "a column less": (lambda f: f.drop(columns="bill"), "no column 'bill'"),
    "a column misspelt": (lambda f: f.rename(columns={"bill": "bil"}), "did you mean 'bil'"),
    "a third value": (lambda f: changed(f, "sex", "x"), "it is binary with the levels 'f' and 'm'"),
}


@pytest.mark.parametrize("command", ["score", "cluster", "impute"])
@pytest.mark.parametrize("case", OTHER)
def test_a_table_that_does_not_fit_the_run(case: str, command: str, here: Path, tmp_path: Path) -> None:
    change, said = OTHER[case]
    change(penguins()).to_csv(tmp_path / "t.csv", index=False)
    refused(zoo(command, "runs/mixture", tmp_path / "t.csv"), said)


def test_what_may_differ_from_the_fit(here: Path, tmp_path: Path) -> None:
    """Columns in another order, further columns, one row, infinities, no cell at all; and levels never seen, noted."""
    frame = penguins()
    asked = worked(zoo("score", "runs/mixture", "p.csv")).out

    def score(table: pd.DataFrame, run: str = "mixture") -> Said:
        table.to_csv(tmp_path / "t.csv", index=False)
        return worked(zoo("score", f"runs/{run}", tmp_path / "t.csv", "--json"))

    assert zoo("score", "runs/mixture", "-", stdin=Path("p.csv").read_bytes()).out == asked
    told = score(frame).json
    assert score(frame[frame.columns[::-1]]).json == told
    assert score(frame.assign(more=1)).json == told
    unseen = score(changed(frame, "species", "Dodo"))
    assert "'Dodo', never seen before (first in row 5)" in unseen.err
    assert unseen.json["log_likelihood"] < told["log_likelihood"]
    one = score(frame[:1]).json
    assert one["rows"] == 1
    assert one["standard_error"] is None
    assert "nan" not in worked(zoo("score", "runs/mixture", tmp_path / "t.csv")).out
    hidden = frame[:3].astype(object)
    hidden[:] = np.nan
    nothing = score(hidden)
    assert nothing.json["log_likelihood"] == pytest.approx(0, abs=1e-6)
    assert "3 of 3 rows have no cell that is seen (first: row 0)" in nothing.err
    infinite, missing = frame.assign(bill=np.inf), frame.assign(bill=np.nan)
    assert score(infinite).json["log_likelihood"] == pytest.approx(score(missing).json["log_likelihood"])
    far = score(changed(frame, "bill", 1e300))
    assert far.json["log_likelihood"] < -1e6
    assert "row 5 alone pulls the mean" in far.err
    assert score(frame[:1], "vae").json["bound"] == "lower"


# ---------------------------------------------------------------------------------------------------- words and flags

REFUSED = {
    "no such model": ("fit gausian p.csv -o x", "did you mean 'gaussian'?"),
    "no such model to compare": ("compare p.csv -m gausian -o x", "did you mean 'gaussian'?"),
    "no such model to show": ("show gausian", "did you mean 'gaussian'?"),
    "no model to compare": ("compare p.csv -m , -o x", "no model is named"),
    "setting misspelt": ("fit mixture p.csv -o x --set componnts=3", "did you mean 'components'?"),
    "setting of none": ("compare p.csv -m mixture,ppca -o x --set componnts=3", "did you mean 'components'?"),
    "fit setting misspelt": ("fit mixture p.csv -o x --set fit.stepz=3", "did you mean 'steps'?"),
    "fit setting misspelt for all": ("compare p.csv -m mixture -o x --set fit.stepz=3", "did you mean 'steps'?"),
    "setting that is no number": ("fit mixture p.csv -o x --set components=lots", "a valid integer"),
    "bad setting for all": ("compare p.csv -m mixture -o x --set components=lots", "a valid integer"),
    "setting out of range": ("fit mixture p.csv -o x --set components=0", "components = 0"),
    "setting without value": ("fit mixture p.csv -o x --set components", "is not key=value"),
    "setting that is no choice": ("fit mixture p.csv -o x --set covariance=foo", "'full'"),
    "steps below one": ("fit mixture p.csv -o x --set fit.steps=-3", "greater than or equal to 1"),
    "learning rate": ("fit vae p.csv -o x --set fit.learning_rate=1e30 --set dim=2 --set fit.steps=9", "not finite"),
    "kind without a column": ("fit gaussian p.csv -o x --kind x", "GLOB=KIND"),
    "no such kind": ("fit gaussian p.csv -o x --kind bill=contin", "did you mean 'continuous'?"),
    "kind of no column": ("fit gaussian p.csv -o x --kind bil=count", "did you mean 'bill'?"),
    "kind that cannot be": ("fit gaussian p.csv -o x --kind species=continuous", "'Chinstrap' in row"),
    "budget": ("fit gaussian p.csv -o x --time-budget soon", "90s, 10m or 1h"),
    "budget of nothing": ("compare p.csv -o x --time-budget 0", "90s, 10m or 1h"),
    "device": ("fit gaussian p.csv -o x --device tpu", "auto, cpu or cuda"),
    "device that zoo has not": ("fit gaussian p.csv -o x --device mps", "auto, cpu or cuda"),
    "seed": ("fit gaussian p.csv -o x --seed -1", "--seed"),
    "seed too large": (f"fit gaussian p.csv -o x --seed {2**63}", "--seed"),
    "weight": ("fit gaussian p.csv -o x --weight bil", "did you mean 'bill'?"),
    "group": ("fit gaussian p.csv -o x --group specis", "did you mean 'species'?"),
    "given": ("fit gaussian p.csv -o x --given specis", "did you mean 'species'?"),
    "nothing left": ("fit gaussian p.csv -o x --given *", "no column is left"),
    "separator": ("inspect p.csv --sep ::", "one character"),
    "names": ("inspect p.csv --columns no.txt", "no file 'no.txt'"),
    "models file": ("models --models-file no.toml", "no.toml"),
    "models file that is none": ("models --models-file p.csv", "not TOML"),
    "schema": ("fit gaussian p.csv -o x --schema no.toml", "no schema file"),
    "option": ("fit gaussian p.csv -o x --bogus", "--bogus"),
    "command": ("compair p.csv", "'compare'"),
    "argument": ("fit", "Missing argument"),
    "output": ("fit gaussian p.csv", "--output"),
    "not a run": ("score nowhere p.csv", "is not a run of zoo"),
    "a file for a run": ("score p.csv p.csv", "is not a run of zoo"),
    "a folder for a run": ("report keep", "is not a run of zoo"),
    "cannot cluster": ("cluster runs/ppca p.csv", "models that can: gmm, mixture, "),
    "too many clusters": ("cluster runs/mixture p.csv --clusters 99", "cannot be made of"),
    "clusters and components": ("cluster runs/mixture p.csv --clusters 2 --components", "say one"),
    "stability of components": ("cluster runs/mixture p.csv --stability 2 --components", "leave one of them out"),
    "cannot embed": ("embed runs/mixture p.csv", "models that can: ppca, pca, bayesian-ppca, "),
    "particles": ("score runs/vae p.csv --particles 0", "--particles"),
    "draws": ("impute runs/mixture p.csv --draws 0", "--draws"),
    "rows": ("sample runs/mixture -n 0", "--rows"),
    "given missing": ("sample runs/conditional", "needs values of species"),
    "given misspelt": ("sample runs/conditional --given specis=Adelie", "did you mean 'species'?"),
    "given no value": ("sample runs/conditional --given species", "column=value"),
    "given no level": ("sample runs/conditional --given species=Adely", "did you mean 'Adelie'?"),
    "given another": (
        "sample runs/conditional --given species=Adelie --given bull=3",
        "no column 'bull' to draw at; did you mean 'bill'",
    ),
    "example": ("example wein", "did you mean 'wine'?"),
    "no folder for a table": ("sample runs/mixture -o nowhere/x.csv", "no folder 'nowhere'"),
    "no folder for a schema": ("inspect p.csv -o nowhere/x.toml", "nowhere/x.toml"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str, here: Path) -> None:
    line, said = REFUSED[case]
    before = sorted(here.rglob("*"))
    refused(zoo(*line.split()), said)
    assert sorted(here.rglob("*")) == before


def test_a_command_that_cannot_run_is_refused_before_the_table_is_read(here: Path) -> None:
    for line in (
        "fit gausian none.csv -o x",
        "fit gaussian none.csv -o keep",
        "compare none.csv -m gausian -o x",
        "compare none.csv -m mixture -o x --set componnts=3",
        "compare none.csv -o x --set componnts=3",
        "compare none.csv -o keep",
        "impute runs/mixture none.csv -o nowhere/x.csv",
    ):
        assert "none.csv" not in refused(zoo(*line.split()))


@pytest.mark.parametrize("target", ["keep", "p.csv", "p.csv/run", "/proc/run", "."])
@pytest.mark.parametrize("command", ["fit", "compare"])
def test_nothing_is_lost_to_a_run(command: str, target: str, here: Path) -> None:
    before = {p: p.read_bytes() for p in here.rglob("*") if p.is_file()}
    refused(zoo(command, *(["gaussian"] if command == "fit" else []), "p.csv", "-o", target, *QUICK), "-o")
    assert {p: p.read_bytes() for p in here.rglob("*") if p.is_file()} == before


def test_a_number_of_fitted_rows_says_so(away: Path) -> None:
    fitted = worked(zoo("fit", "gaussian", "p.csv", "-o", "run"))
    assert f"on {N // 5} rows that were held out" in fitted.out
    pd.read_csv("p.csv").iloc[: N // 2].to_csv("half.csv", index=False)
    told = f"gaussian was fitted to {N - 2 * (N // 5)} of these {N} rows"
    for command in ("score", "bound"):
        assert told in worked(zoo(command, "run", "p.csv")).err
        assert "was fitted to" not in worked(zoo(command, "run", "half.csv")).err
    pd.read_csv("p.csv").head(5).to_csv("few.csv", index=False)
    refused(zoo("check", "gaussian", "few.csv"), "5 rows")


def test_a_run_replaces_a_run_and_fills_an_empty_folder(away: Path) -> None:
    (away / "run").mkdir()
    for model in ("independent", "gaussian"):
        worked(zoo("fit", model, "p.csv", "-o", "run", *QUICK))
        assert json.loads((away / "run" / "manifest.json").read_text())["model"] == model
    assert [p.name for p in away.iterdir() if p.name.startswith(".")] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "target"),
    [*(("fit", t) for t in ("run", "run/", ".", "link", "deep/../run")), ("compare", "run"), ("compare", "link")],
)
def test_a_run_is_replaced_wherever_it_is_named_from(command: str, target: str, away: Path) -> None:
    """The new run is whole, files of the user's own in its folder stay, and what the old run had more is gone."""
    worked(zoo("compare", "p.csv", "-m", "gaussian", "-o", "run", "--no-samples", *QUICK))
    Path("link").symlink_to("run")
    Path("deep").mkdir()
    Path("run/notes.txt").write_text("mine")
    Path("run/models/mine").mkdir()
    Path("run/models/mine/a.txt").write_text("mine too")
    table = away / "p.csv"
    with contextlib.chdir("run") if target == "." else contextlib.nullcontext():
        model = ["independent"] if command == "fit" else []
        said = worked(
            zoo(
                command,
                *model,
                table,
                "-o",
                target,
                *QUICK,
                *(["-m", "ppca", "--no-samples"] if command == "compare" else []),
            )
        )
        assert "replaced the run in" in said.err
        assert "log-likelihood" in worked(zoo("score", target, table)).out
    assert Path("run/notes.txt").read_text() == "mine"
    assert Path("run/models/mine/a.txt").read_text() == "mine too"
    assert not Path("run/models/gaussian").exists()
    assert Path("run/comparison.json").exists() == (command == "compare")
    assert not list(away.rglob(".*"))
    assert Path("link").is_symlink()


def test_a_run_comes_back_where_its_successor_cannot_be_put_there(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worked(zoo("fit", "gaussian", "p.csv", "-o", "run", *QUICK))
    before = {p.name: p.read_bytes() for p in Path("run").iterdir()}
    move, moves = folder._move, []

    def full(source: Path, target: Path) -> None:
        moves.append(source)
        if len(moves) == len(before) + 2:
            raise OSError(28, "No space left on device")
        move(source, target)

    monkeypatch.setattr(folder, "_move", full)
    refused(zoo("fit", "independent", "p.csv", "-o", "run", *QUICK), "No space left")
    assert {p.name: p.read_bytes() for p in Path("run").iterdir()} == before


def test_a_file_of_the_users_in_the_way_of_a_run(away: Path) -> None:
    worked(zoo("fit", "gaussian", "p.csv", "-o", "run", *QUICK))
    worked(zoo("score", "run", "p.csv", "-o", "run/scores.parquet"))
    refused(zoo("compare", "p.csv", "-m", "gaussian", "-o", "run", *QUICK), "did not write: 'scores.parquet'")
    worked(zoo("fit", "gaussian", "p.csv", "-o", "run", *QUICK))
    assert len(pd.read_parquet("run/scores.parquet")) == N


NO_PLACE = {
    "manifest of another program": "'foreign' holds something that is not a run",
    "manifest that is a list": "'list' holds something that is not a run",
    "link to nothing": "'dangling' is a link to 'nowhere'",
    "file above": "cannot write to 'p.csv/sub/run'",
    "name too long": "File name too long",
}


@pytest.mark.parametrize("case", NO_PLACE)
@pytest.mark.parametrize("command", ["fit", "compare"])
def test_where_no_run_can_be_written(command: str, case: str, away: Path) -> None:
    """Said before the table is read, in one line that names the path, and nothing is left behind."""
    for name, text in (("foreign", '{"name": "an extension", "version": 3}'), ("list", "[]")):
        Path(name).mkdir()
        Path(name, "manifest.json").write_text(text)
    Path("dangling").symlink_to("nowhere")
    target = dict(zip(NO_PLACE, ["foreign", "list", "dangling", "p.csv/sub/run", "x" * 300], strict=True))[case]
    before = sorted(away.rglob("*"))
    said = zoo(command, *(["gaussian"] if command == "fit" else []), "p.csv", "-o", target, *QUICK)
    assert target in refused(said, NO_PLACE[case])
    assert said.err.count("\n") == 1
    assert sorted(away.rglob("*")) == before


# ------------------------------------------------------------------------------------------------------------- schema


@pytest.mark.slow
def test_a_schema_goes_round(away: Path) -> None:
    """`zoo inspect > schema.toml`, edited, is what `--schema` takes; what it cannot mean is refused."""
    said = worked(zoo("inspect", "p.csv"))
    assert [c["name"] for c in tomllib.loads(said.out)["column"]] == ["mass", "bill", "sex", "species"]
    assert "120 rows" in said.err
    schema = away / "s.toml"

    def fit(text: str, *more: str) -> Said:
        schema.write_text(text)
        return zoo("fit", "gaussian", "p.csv", "-o", "run", "--schema", schema, *more)

    worked(fit(said.out))
    refused(fit(said.out.replace('name = "bill"', 'name = "bill"\nstep = 0.1')), "of its cells lie beside")
    penguins().round({"bill": 1}).to_csv("p.csv", index=False)
    rounded = worked(fit(said.out.replace('name = "bill"', 'name = "bill"\nstep = 0.1')))
    assert "2 rounded columns" in rounded.out
    assert rounded.err.count("note:") == 0
    refused(fit(said.out.replace('kind = "continuous"', 'knd = "continuous"')), "column 'bill'")
    refused(fit(said.out.replace('name = "bill"', 'name = "bill"\nstepp = 0.1')), "did you mean 'step'?")
    refused(fit("colour = 1\n" + said.out), "key 'colour'")
    refused(fit(said.out.replace("version = 1", "version = 9")), "version")
    refused(fit(said.out.replace('"bill"', '"beak"')), "no column 'beak'")
    refused(fit(said.out.replace('"bill"', '"mass"')), "twice: 'mass'")
    refused(fit("version = 1"), "no [[column]]")
    refused(fit("column = [3]"), "no list of tables")
    refused(fit("[["), "not valid TOML")
    refused(fit(said.out, "--kind", "*=continuous"), "--kind cannot be added")
    schema.write_bytes(bytes(range(256)))
    refused(zoo("fit", "gaussian", "p.csv", "-o", "run", "--schema", schema), "not text")


NUMBERS = {"kind": "continuous"}
SCHEMAS = {
    "a count below zero": ({"bill": {"kind": "count"}}, 2, "is count and needs numbers >= 0, not '-"),
    "a step beside the cells": ({"mass": NUMBERS | {"step": 7.5}}, 2, "of its cells lie beside that lattice (first "),
    "a step beside a few": (
        {"mass": NUMBERS | {"step": 10.0}},
        0,
        "'mass' is continuous with step = 10, and 40 of its",
    ),
    "an infinite step": ({"mass": NUMBERS | {"step": np.inf}}, 2, "'mass', key 'step': Input should be a finite"),
    "a step that is none": ({"mass": NUMBERS | {"step": np.nan}}, 2, "column 'mass', key 'step'"),
    "a step too fine": ({"mass": NUMBERS | {"step": 1e-300}}, 2, "too fine for floats to tell"),
    "an end before the cells": ({"bill": NUMBERS | {"lower": 0.0}}, 2, "beyond its end 0"),
    "few levels": ({"species": {"kind": "categorical", "levels": ["Dodo"]}}, 2, "120 of the 120 cells of column"),
    "a level less": ({"species": {"kind": "categorical", "levels": ["Adelie", "Gentoo"]}}, 0, "(first in row 0)"),
    "a column less": ({"bill": None}, 0, "note: columns that the schema does not list are left out: 'bill'\n"),
    "text as numbers": ({"species": NUMBERS}, 2, "needs numbers, not 'Chinstrap' in row 0"),
}


@pytest.mark.parametrize("command", ["fit", "compare"])
@pytest.mark.parametrize("case", SCHEMAS)
def test_a_schema_is_held_against_the_table(case: str, command: str, away: Path) -> None:
    """Said once, of the whole table and in its rows, before anything is fitted."""
    changes, code, told = SCHEMAS[case]
    table = penguins()
    if case == "a step beside a few":
        table["mass"] = (table["mass"] / 10).round() * 10 + (table.index % 3 == 0)
    table.to_csv("p.csv", index=False)
    numbers, levels = {"kind": "continuous"}, {"kind": "categorical", "levels": ["Adelie", "Chinstrap", "Gentoo"]}
    columns = {"mass": numbers, "bill": numbers, "sex": {"kind": "ignored"}, "species": levels} | changes
    entries = [{"name": name, **entry} for name, entry in columns.items() if entry]
    Path("s.toml").write_text(tomli_w.dumps({"column": entries}))
    model = ["independent", "p.csv"] if command == "fit" else ["p.csv", "-m", "independent"]
    said = zoo(command, *model, "-o", "run", "--schema", "s.toml")
    assert told in (worked(said).err if code == 0 else refused(said))
    assert said.err.count("note:") == (code == 0)


def test_the_rows_of_messages_are_those_of_the_table(away: Path) -> None:
    changed(penguins(), "species", "Dodo").to_csv("p.csv", index=False)
    schema = infer_schema(penguins())
    Path("s.toml").write_text(schema.to_toml())
    said = worked(zoo("fit", "independent", "p.csv", "-o", "run", "--schema", "s.toml"))
    assert said.err.count("'Dodo', never seen before (first in row 5)") == 1


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        (
            "mass",
            3500.5,
            "is integer with step = 1, and 1 of its cells lie beside that lattice (first 3500.5 in row 5)",
        ),
        ("mass", 3500 + 1e-9, ""),
        ("bill", 3.14159, ""),
        ("mass", np.inf, "column 'mass' holds 1 infinite values: they count as missing (first in row 5)"),
        ("bill", -np.inf, "column 'bill' holds 1 infinite values: they count as missing (first in row 5)"),
    ],
)
@pytest.mark.parametrize("verb", ["score", "cluster", "impute"])
def test_cells_that_count_as_others_are_told(verb: str, column: str, value: float, told: str, here: Path) -> None:
    text = changed(penguins(), column, value).to_csv(index=False).encode()
    said = worked(zoo(verb, "runs/mixture", "-", stdin=text))
    assert told in said.err
    assert said.err.count("note:") == bool(told)


def test_text_among_numbers_is_told_though_it_makes_a_column_look_like_an_identifier(away: Path) -> None:
    changed(penguins(), "bill", "oops").to_csv("t.csv", index=False)
    said = worked(zoo("inspect", "t.csv"))
    assert "'bill' is 99.2% numbers, but holds 'oops' in row 5: set aside; if these mean missing" in said.err
    assert "--missing 'oops'" in said.err
    assert 'name = "bill"\nkind = "continuous"' in worked(zoo("inspect", "t.csv", "--missing", "oops")).out


# ---------------------------------------------------------------------------------------------- read as the fit's was


@pytest.mark.slow
def test_a_table_is_read_as_that_of_the_fit(away: Path) -> None:
    """Tokens, names and separator of the fit hold for the verbs, unless others are given or the table has its own."""
    table = penguins()
    table.fillna({"bill": -999}).to_csv("p.csv", index=False)
    table.fillna({"bill": -999}).to_csv("bare.csv", index=False, header=False, sep="~")
    Path("names.txt").write_text("\n".join(table))
    flags = ("--missing", "-999", "--sep", "~", "--no-header", "--columns", "names.txt")
    worked(zoo("fit", "mixture", "bare.csv", "-o", "run", *flags, "--set", "components=2", *QUICK))
    kept = json.loads(Path("run/manifest.json").read_text())["reading"]
    assert kept == {"missing": ["-999"], "sep": "~", "header": False, "columns": list(table)}
    told = worked(zoo("score", "run", "bare.csv", "--json")).json
    assert told == worked(zoo("score", "run", "bare.csv", *flags, "--json")).json
    table.to_parquet("p.parquet")
    for same in ("p.csv", "p.parquet"):
        assert worked(zoo("score", "run", same, "--json")).json == told
    np.testing.assert_allclose(Estimator.load("run").score("bare.csv"), told["log_likelihood"])
    other = worked(zoo("score", "run", "p.csv", "--missing", "-1", "--json")).json
    assert other["log_likelihood"] < told["log_likelihood"] - 1
    filled = worked(zoo("impute", "run", "bare.csv"))
    assert "-999" not in filled.out
    assert filled.err.startswith("filled ")
    worked(zoo("compare", "bare.csv", "-m", "gaussian", "-o", "both", *flags, *QUICK))
    for run in ("both", "both/models/gaussian"):
        assert json.loads(Path(run, "manifest.json").read_text())["reading"] == kept
    assert worked(zoo("score", "both", "bare.csv")).out == worked(zoo("score", "both", "p.csv")).out


def test_an_index_of_parquet_comes_back_as_the_index(here: Path, tmp_path: Path) -> None:
    frame = penguins().set_axis(pd.Index([f"bird {i}" for i in range(N)], name="who"))
    for ending in ("parquet", "feather"):
        source, target = tmp_path / f"t.{ending}", tmp_path / f"o.{ending}"
        write_table(frame, source)
        for verb in ("impute", "score", "cluster"):
            worked(zoo(verb, "runs/mixture", source, "-o", target))
            pd.testing.assert_index_equal(read_table(target).index, frame.index)
        assert list(read_table(tmp_path / f"t.{ending}")) == list(frame)
    worked(zoo("impute", "runs/mixture", tmp_path / "t.parquet", "-o", tmp_path / "o.csv"))
    assert list(pd.read_csv(tmp_path / "o.csv")) == ["who", *frame]


# ------------------------------------------------------------------------------------------------------- damaged runs


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {"empty": b"", "half": data[: len(data) // 2], "garbage": bytes(range(256)), "list": b"[]"}[how]
        )


@pytest.mark.parametrize("how", ["gone", "empty", "half", "garbage", "list"])
@pytest.mark.parametrize("file", ["manifest.json", "recipe.toml", "schema.toml", "weights.safetensors"])
def test_a_damaged_run(file: str, how: str, here: Path, tmp_path: Path) -> None:
    shutil.copytree("runs/mixture", tmp_path / "run")
    damage(tmp_path / "run" / file, how)
    refused(zoo("score", tmp_path / "run", "p.csv"))
    said = zoo("report", tmp_path / "run")  # leaves out what it cannot read, or says that it cannot
    assert said.code in (0, 2), said


@pytest.mark.slow
@pytest.mark.parametrize("how", ["gone", "empty", "half", "garbage", "list"])
@pytest.mark.parametrize(
    "file", ["comparison.json", "scores.parquet", "held_out.parquet", "rows.parquet", "schema.toml"]
)
def test_a_damaged_comparison(file: str, how: str, here: Path, tmp_path: Path) -> None:
    shutil.copytree("runs/both", tmp_path / "run")
    damage(tmp_path / "run" / file, how)
    said = zoo("score", tmp_path / "run", "p.csv")
    refused(said) if file == "comparison.json" else worked(said)
    said = zoo("report", tmp_path / "run")
    assert said.code in (0, 2), said
    if said.code == 2:
        refused(said, "run")


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": "abc"}, "seed = 'abc' is no int"),
        ({"seed": True}, "seed = True is no int"),
        ({"seed": -3}, "seed = -3"),
        ({"seed": 2**70}, f"seed = {2**70}"),
        ({"model": ["mixture"]}, "model = ['mixture'] is no str"),
        ({"model": "ppca"}, "says 'ppca', and its recipe 'mixture'"),
        ({"fit": 3}, "fit = 3 is no dict"),
        ({"fit": {"evil": 1}}, "damaged"),
        ({"choices": None}, "choices = None"),
        ({"n_train": "72"}, "n_train = '72'"),
        ({"files": []}, "files = [] is no dict"),
    ],
)
def test_a_manifest_with_a_value_of_the_wrong_type(changes: dict, said: str, here: Path, tmp_path: Path) -> None:
    shutil.copytree("runs/mixture", tmp_path / "run")
    edit(tmp_path / "run" / "manifest.json", **changes)
    refused(zoo("score", tmp_path / "run", "p.csv"), said)


@pytest.mark.parametrize("model", ["../../mixture", "..", "", "nix", 3, None, ["mixture"], "models/mixture"])
def test_a_comparison_that_names_a_model_elsewhere(model: object, here: Path, tmp_path: Path) -> None:
    shutil.copytree("runs/mixture", tmp_path / "mixture")
    shutil.copytree("runs/both", tmp_path / "run")
    file = tmp_path / "run" / "comparison.json"
    lines = json.loads(file.read_text())["models"]
    edit(file, models=[lines[0] | {"model": model}, *lines[1:]])
    refused(zoo("score", tmp_path / "run", "p.csv"))
    said = zoo("report", tmp_path / "run")
    assert said.code in (0, 2), said
    assert "comparison.json' was changed since it was written" in said.err


def test_a_file_that_was_changed_since_it_was_written(here: Path, tmp_path: Path) -> None:
    """People may edit what is text, and are told; weights that are not those of the fit are refused."""
    run = tmp_path / "run"
    shutil.copytree("runs/mixture", run)
    told = f"mixture was fitted to {N - 2 * (N // 5)} of these {N} rows, and looks better on them than it is\n"
    assert worked(zoo("score", run, "p.csv")).err == told
    (run / "recipe.toml").write_text("# mine\n" + (run / "recipe.toml").read_text())
    said = worked(zoo("score", run, "p.csv"))
    assert said.err == f"note: '{run}/recipe.toml' was changed since it was written\n{told}"
    weights = load_file(run / "weights.safetensors")
    save_file({name: tensor * 1.001 for name, tensor in weights.items()}, run / "weights.safetensors")
    refused(zoo("score", run, "p.csv"), "weights.safetensors' was changed")
    edit(run / "manifest.json", files={})  # a run of an earlier zoo
    worked(zoo("score", run, "p.csv"))
    save_file({name: tensor * torch.nan for name, tensor in weights.items()}, run / "weights.safetensors")
    refused(zoo("score", run, "p.csv"), "not a number")


@pytest.mark.parametrize(
    ("axis", "spec"),
    [
        ("program", '"os:system"'),
        ("program", '{ use = "os:system", command = "touch pwned" }'),
        ("program", '{ use = "latent", network = "subprocess:run" }'),
        ("program", '{ use = "latent", network = { grid = ["linear", "os:system"] } }'),
        ("guide", '"builtins:eval"'),
        ("objective", '"mine:evil"'),
    ],
)
def test_a_run_cannot_bring_code(axis: str, spec: str, house: Path, tmp_path: Path) -> None:
    shutil.copytree(house / "runs/mixture", tmp_path / "run")
    shutil.copy(house / "p.csv", tmp_path)
    (tmp_path / "run" / "mine.py").write_text("raise SystemExit('ran')")
    recipe = tmp_path / "run" / "recipe.toml"
    lines = [line for line in recipe.read_text().splitlines() if not line.startswith(f"{axis} =")]
    recipe.write_text("\n".join([*lines, f"{axis} = {spec}"]))
    with contextlib.chdir(tmp_path):
        for command in (("score", "run", "p.csv"), ("cluster", "run", "p.csv"), ("sample", "run")):
            refused(zoo(*command), "is not zoo's own")
        assert zoo("report", "run").code in (0, 2)
        assert not Path("pwned").exists()


def test_a_run_of_another_format(here: Path, tmp_path: Path) -> None:
    shutil.copytree("runs/mixture", tmp_path / "run")
    file = tmp_path / "run" / "manifest.json"
    file.write_text(file.read_text().replace('"format": 1', '"format": 99'))
    refused(zoo("score", tmp_path / "run", "p.csv"), "format 99")


# --------------------------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("models", "models"),
        ("show vae", "model process program guide objective"),
        ("example iris", "rows columns records"),
        ("inspect p.csv", "rows measure columns"),
        ("fit gaussian p.csv -o {tmp}/run", "model seconds epochs steps step_tier loss log_likelihood run"),
        (
            "compare p.csv -m gaussian -o {tmp}/run",
            "table measure rows models",
        ),
        ("score runs/vae p.csv", "rows log_likelihood standard_error bound elbo gap k_hat measure"),
        ("cluster runs/mixture p.csv", "clusters sizes unsure"),
        ("embed runs/ppca p.csv", "rows columns records"),
        ("sample runs/mixture", "rows columns records"),
        ("impute runs/mixture p.csv -o {tmp}/i.csv", "rows columns output"),
        ("report runs/mixture", "run report"),
    ],
)
def test_json_has_the_fields_that_were_promised(line: str, fields: str, here: Path, tmp_path: Path) -> None:
    said = worked(zoo(*line.format(tmp=tmp_path).split(), "--json"))
    assert set(fields.split()) <= set(said.json)


def test_json_of_the_models_and_of_a_comparison(here: Path, tmp_path: Path) -> None:
    models = zoo("models", "--json").json["models"]
    assert {"model", "summary", "program", "guide", "objective", "bound", "verbs"} <= set(models[0])
    ranking = json.loads((here / "runs" / "both" / "comparison.json").read_text())
    promised = "model log_likelihood standard_error bound elbo gap difference difference_se seconds parameters clusters"
    assert ranking["rows"] == {"train": 72, "validation": 24, "test": 24}
    for line in ranking["models"]:
        assert {*promised.split(), "warnings"} <= set(line)
    best = [line["log_likelihood"] for line in ranking["models"]]
    assert best == sorted(best, reverse=True)


# ------------------------------------------------------------------------------------------------- results and notes


@pytest.mark.parametrize("line", ["sample runs/mixture -n 4", "impute runs/mixture p.csv", "embed runs/ppca p.csv"])
def test_standard_output_carries_only_the_result(line: str, here: Path) -> None:
    said = worked(zoo(*line.split()))
    frame = pd.read_csv(io.StringIO(said.out))
    assert len(frame) == (4 if "sample" in line else N)
    assert said.err == ("filled 2 cells: bill 1, sex 1\n" if "impute" in line else "")


def test_what_a_number_or_a_draw_is_of_is_told(here: Path) -> None:
    best = zoo("sample", "runs/both", "-n", "1").err
    assert re.search(r"of the models in runs/both this is \w+, the first of its ranking", best)
    assert "of the models" not in zoo("sample", "runs/both/models/gaussian", "-n", "1").err
    told = worked(zoo("impute", "runs/ppca", "p.csv")).err
    assert re.search(r"drawn by importance: 1 row, whose proposals are worth [\d.]+ draws\n", told)


def test_notes_go_to_standard_error(away: Path) -> None:
    penguins().assign(id=range(N), bill=lambda f: f["bill"].where(f.index != 0, np.inf)).to_csv("t.csv", index=False)
    said = worked(zoo("fit", "gaussian", "t.csv", "-o", "run"))
    assert re.fullmatch(r"log-likelihood .*nats per row.*\n", said.out)  # one line, however long
    assert "id (ID-like" in said.err
    assert "1 infinite values" in said.err
    assert worked(zoo("fit", "gaussian", "t.csv", "-o", "run", "--json")).json["run"] == "run"


def test_every_format_goes_out_and_comes_in(here: Path, tmp_path: Path) -> None:
    """Scores of a table do not depend on the format that it was kept in."""
    plain = worked(zoo("score", "runs/mixture", "p.csv", "--json")).json
    for ending in ("csv", "tsv", "csv.gz", "parquet", "feather", "jsonl"):
        worked(zoo("impute", "runs/mixture", "p.csv", "--draws", 1, "-o", tmp_path / f"i.{ending}"))
        worked(zoo("score", "runs/mixture", tmp_path / f"i.{ending}", "-o", tmp_path / f"s.{ending}"))
    tables = [worked(zoo("score", "runs/mixture", f, "--json")).json for f in sorted(tmp_path.glob("i.*"))]
    assert all(table == tables[0] for table in tables)
    assert plain["rows"] == tables[0]["rows"]
    scored = pd.read_parquet(tmp_path / "s.parquet")
    assert scored["log_likelihood"].mean() == pytest.approx(tables[0]["log_likelihood"])


def test_conditional_sampling_follows_its_condition(here: Path) -> None:
    def mean(species: str) -> float:
        said = worked(zoo("sample", "runs/conditional", "-n", 300, "--given", f"species={species}"))
        return float(pd.read_csv(io.StringIO(said.out))["mass"].mean())

    by_species = penguins().groupby("species")["mass"].mean()
    drawn = {species: mean(species) for species in by_species.index}
    assert drawn["Adelie"] <= drawn["Chinstrap"]


def test_values_given_come_back(away: Path) -> None:
    """In the order of the table; commas part several, and one without an equals sign behind it is part of a value."""
    table = penguins().replace({"species": {"Gentoo": "Gentoo, big"}})
    table.to_csv("p.csv", index=False)
    worked(zoo("fit", "mixture", "p.csv", "-o", "run", "--given", "mass,species", "--set", "components=2", *QUICK))
    for given in (["mass=3000,species=Gentoo, big"], ["mass=3000", "species=Gentoo, big"]):
        flags = [part for one in given for part in ("--given", one)]
        drawn = pd.read_csv(io.StringIO(worked(zoo("sample", "run", "-n", 5, *flags)).out))
        assert list(drawn) == list(table)
        assert set(drawn["mass"]) == {3000}
        assert set(drawn["species"]) == {"Gentoo, big"}
    table.assign(mass=np.nan).to_csv("holes.csv", index=False)
    said = worked(zoo("impute", "run", "holes.csv")).err
    assert "its 120 missing cells cannot be filled" in said
    assert "filled 2 cells: bill 1, sex 1" in said


@pytest.mark.slow
def test_draws_of_a_group_say_it(away: Path) -> None:
    settings = ("--set", "components=2", "--set", "restarts=1")
    worked(zoo("fit", "grouped-gmm", "p.csv", "-o", "run", "--group", "species", *settings, *QUICK))
    drawn = pd.read_csv(io.StringIO(worked(zoo("sample", "run", "-n", 5, "--given", "species=Adelie")).out))
    assert set(drawn["species"]) == {"Adelie"}
    assert "species" not in pd.read_csv(io.StringIO(worked(zoo("sample", "run", "-n", 5)).out))
    assert "did you mean 'Adelie'?" in zoo("sample", "run", "--given", "species=Adely").err


def test_a_grid_says_what_it_chose(away: Path) -> None:
    said = worked(zoo("fit", "gmm", "p.csv", "-o", "run", "--set", "components={grid=[1,2]}", *QUICK))
    assert said.err.count("components = ") == 2
    assert said.err.count("on validation rows, chosen") == 1
    settings = zoo("fit", "gmm", "p.csv", "-o", "run", "--set", "components={grid=[1,2]}", *QUICK, "--json").json[
        "settings"
    ]
    assert f"components = {settings['program.components']}: " in next(x for x in said.err.splitlines() if "chosen" in x)


@pytest.mark.slow
def test_clusters_that_have_no_place_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centre = 30 * rng.integers(14, size=(280, 1))
    frame = pd.DataFrame(centre + rng.normal(size=(280, 14)), columns=[f"c{i}" for i in range(14)])
    frame.to_csv(tmp_path / "t.csv", index=False)
    worked(
        zoo(
            "fit",
            "gmm",
            tmp_path / "t.csv",
            "-o",
            tmp_path / "run",
            "--set",
            "components=14",
            "--set",
            "covariance=diagonal",
        )
    )
    said = worked(zoo("cluster", tmp_path / "run", tmp_path / "t.csv")).out
    found = len(worked(zoo("cluster", tmp_path / "run", tmp_path / "t.csv", "--json")).json["sizes"])
    assert found > 11
    assert f"{found} clusters, of which the 11 largest are shown" in said


@pytest.mark.slow
def test_models_that_fail_are_named(away: Path) -> None:
    """A comparison works where one of those asked for does, and says which did not; else it is refused."""
    broken = ("--set", "fit.learning_rate=1e30", "--set", "fit.steps=9", "--set", "components=2")
    said = worked(zoo("compare", "p.csv", "-m", "gmm,vae", "-o", "run", *broken))
    assert re.search(r"note: model 'vae' could not be fitted: .*not finite", said.err)
    document = worked(zoo("compare", "p.csv", "-m", "gmm,vae", "-o", "run", *broken, "--json")).json
    assert any("model 'vae' could not be fitted" in line for line in document["warnings"])
    said = zoo("compare", "p.csv", "-m", "vae,nsf", "-o", "none", *broken[:4])
    assert "vae: " in refused(said, "no model could be fitted", "nsf: ")
    assert not Path("none").exists()


def test_the_version() -> None:
    assert re.fullmatch(r"zoo \d+\.\d+\.\d+\n", worked(zoo("--version")).out)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("show gausian", "did you mean 'gaussian'?"),
        ("score nowhere p.csv", "makes one"),
        ("fit gaussian p.csv -o x --seed -1", "--help"),
        ("compair", "--help"),
        ("compare p.csv -o x --set componnts=3", "did you mean 'components'?"),
    ],
)
def test_an_error_as_json(line: str, remedy: str, here: Path) -> None:
    said = zoo(*line.split(), "--json")
    assert said.code == 2
    assert set(said.json) == {"error", "remedy"}
    assert remedy in said.json["remedy"]
    assert said.err == f"zoo: {said.json['error']}; {said.json['remedy']}\n"


def test_cluster_agrees_with_the_estimator(here: Path, tmp_path: Path) -> None:
    worked(zoo("cluster", "runs/mixture", "p.csv", "-o", tmp_path / "c.csv"))
    table = pd.read_csv(tmp_path / "c.csv")
    estimator, frame = Estimator.load("runs/mixture"), pd.read_csv("p.csv")
    np.testing.assert_array_equal(table["cluster"], estimator.predict(frame))
    np.testing.assert_allclose(table[["p0", "p1", "p2"]].sum(axis=1), 1)
    assert (table["unsure"] == (table[["p0", "p1", "p2"]].max(axis=1) < 0.8)).all()
    sizes = worked(zoo("cluster", "runs/mixture", "p.csv", "--json")).json["sizes"]
    assert sizes == {str(k): n for k, n in table["cluster"].value_counts().items()}


def test_show_prints_a_recipe_that_can_be_read_back(here: Path) -> None:
    said = worked(zoo("show", "vae", "--set", "dim=3"))
    assert "Kingma" in said.out
    entry = tomllib.loads(said.out[said.out.index("[vae]") :])["vae"]
    assert entry["program"]["dim"] == 3


def test_a_time_budget_is_kept_and_named(away: Path) -> None:
    sets = ("--set", "dim=2", "--set", "fit.steps=100000", "--set", "fit.patience=0")
    said = worked(zoo("fit", "vae", "p.csv", "-o", "run", "--time-budget", "0.5s", "--json", *sets)).json
    assert "budget" in said["stopped"]
    assert said["seconds"] < 3
    assert 0 < said["steps"] < 100_000


# ------------------------------------------------------------------------------------------------------- interruptions


def test_interrupted(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a fit leaves no folder behind, and no traceback."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Estimator, "write", interrupt)
    said = zoo("fit", "gaussian", "p.csv", "-o", "run")
    assert said.code == 130
    assert said.err.splitlines()[-1] == "zoo: interrupted"
    assert sorted(p.name for p in away.iterdir()) == ["p.csv"]


def test_a_fault_of_zoo_is_one_line_and_a_traceback_only_on_request(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object, **__: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(Estimator, "log_likelihood", fault)
    said = zoo("score", "runs/mixture", "p.csv")
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert "ZeroDivisionError: two lines" in said.err
    with pytest.raises(ZeroDivisionError):
        zoo("score", "runs/mixture", "p.csv", debug=True)


def test_without_a_command_the_help_is_shown() -> None:
    said = zoo()
    assert said.code == 2
    assert "Usage" in said.out + said.err
    assert "zoo:" not in said.err


PIPES: dict[str, Callable[[], list[str]]] = {
    "table": lambda: ["example", "digits"],
    "json": lambda: ["models", "--json"],
}


@pytest.mark.slow
@pytest.mark.parametrize("case", PIPES)
@pytest.mark.skipif(sys.platform == "win32", reason="a closed pipe is another thing there")
def test_a_reader_that_has_read_enough(case: str, tmp_path: Path) -> None:
    """`zoo ... | head -1`: nothing on standard error, and no failure."""
    code = "import sys; sys.argv = ['zoo', *sys.argv[1:]]; from zoo.cli import main; main()"
    command = [sys.executable, "-c", code, *PIPES[case]()]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 0, said
        assert said == b""


# -------------------------------------------------------------------------------------- what a first reader stumbles on


def test_help_shows_settings_to_try(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = worked(zoo("compare", "--help")).out
    assert "vae[dim=2,4]" in told
    assert "components=8" in told


def test_the_remedy_for_text_among_numbers_is_one_that_works(away: Path) -> None:
    frame = penguins().astype({"bill": object})
    frame.loc[[5, 6, 9], "bill"] = ["oops", "it's", "7;5,1"]
    frame.to_csv("t.csv", index=False)
    said = refused(zoo("fit", "mixture", "t.csv", "--kind", "bill=continuous", "-o", "r", *QUICK), "'7;5,1' in row 9")
    tokens = re.search(r"\((--missing .*)\)", said)
    assert tokens is not None
    frame.drop(index=9).to_csv("t.csv", index=False)
    words = shlex.split(tokens[1])
    assert words == ["--missing", "oops,it's"]
    worked(zoo("inspect", "t.csv", "--kind", "bill=continuous", *words))
    frame.loc[[5, 6, 9], "bill"] = ["7;5,1", "7;5,1", "7;5,1"]
    frame.to_csv("t.csv", index=False)
    said = refused(zoo("fit", "mixture", "t.csv", "--kind", "bill=continuous", "-o", "r", *QUICK), "mend them")
    assert "--missing" not in said  # it would take the comma for the end of a token, and hide every 1


@pytest.mark.parametrize("given", [["species=Adelie", "species=Gentoo"], ["species=Adelie,species=Gentoo"]])
def test_a_value_to_draw_at_is_given_once(given: list[str], here: Path) -> None:
    flags = [word for one in given for word in ("--given", one)]
    refused(zoo("sample", "runs/mixture", *flags), "gives 'species' twice")


@pytest.mark.parametrize("value", ["tall", "", "nan"])
def test_a_value_to_draw_at_is_a_number(value: str, here: Path) -> None:
    said = refused(zoo("sample", "runs/mixture", "--given", f"bill={value}"), f"needs numbers, not {value!r} in row 0")
    assert "--missing" not in said
    assert "row 1" not in said


def test_names_stand_one_a_line(away: Path) -> None:
    Path("names.txt").write_text("a,b,c,d")
    pd.read_csv("p.csv").to_csv("bare.csv", index=False, header=False)
    refused(zoo("inspect", "bare.csv", "--columns", "names.txt"), "4 columns and 1 names", "give 4 names, one a line")


def test_clusters_without_rows_are_counted(away: Path) -> None:
    pd.DataFrame({"x": np.repeat([0.0, 1.13, 7.71], 30)}).to_csv("t.csv", index=False)
    worked(zoo("fit", "mixture", "t.csv", "--kind", "x=continuous", "--set", "components=5", "-o", "r", *QUICK))
    assert "3 of 5 clusters hold rows of this table; 0 of 90 rows unsure" in worked(zoo("cluster", "r", "t.csv")).out


def test_a_number_of_hundreds_of_digits_is_short(away: Path) -> None:
    frame = pd.DataFrame({"x": np.r_[np.random.default_rng(0).normal(size=59), 1e200]})
    frame.to_csv("t.csv", index=False)
    worked(zoo("fit", "mixture", "t.csv", "--kind", "x=continuous", "--set", "components=1", "-o", "r", *QUICK))
    frame.tail(1).to_csv("one.csv", index=False)
    assert len(worked(zoo("score", "r", "one.csv")).out) < 120
