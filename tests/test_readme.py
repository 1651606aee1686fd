"""What the README shows works as it stands there."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import typer

from zoo import cli
from zoo.comparison import compare
from zoo.estimator import Estimator
from zoo.registry import Registry
from zoo.sweep import names_of, swept

README = Path(__file__).parent.parent / "README.md"
if not README.is_file():
    pytest.skip("no README beside these tests", allow_module_level=True)
TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
PYTHON = [text for language, text in BLOCKS if language == "python"]
TOML = [text for language, text in BLOCKS if language == "toml"]

# the models that the README names, without their grids
QUICK = """
[gmm]
like = "gmm"
program = { components = 2, restarts = 2 }
[mixture]
like = "mixture"
program = { components = 2, restarts = 2 }
[ppca]
like = "ppca"
program = { dim = 2 }
fit = { steps = 30 }
[vae]
like = "vae"
program = { dim = 2, network = { hidden = [16] } }
guide = { network = { hidden = [16] } }
fit = { steps = 30 }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    matplotlib.use("agg")
    with contextlib.chdir(tmp_path):
        yield tmp_path
    sys.modules.pop("mine", None)


def table(n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    z = rng.normal(size=n)
    columns = {"a": z + 0.3 * rng.normal(size=n), "b": -z + 0.3 * rng.normal(size=n), "c": rng.normal(size=n)}
    return pd.DataFrame(columns).assign(d=np.where(z > 0, "high", "low")).mask(rng.random((n, 4)) < 0.05)


@pytest.mark.slow
def test_the_python_of_the_readme(folder: Path) -> None:
    """The block that uses zoo, run from its first line to its last with small models of the same names."""
    (folder / "models.toml").write_text(QUICK)
    names: dict[str, Any] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for block in PYTHON:
            exec(compile(block, "README.md", "exec"), names)
    assert names["filled"].notna().all().all()
    assert set(names["comparison"].scores) == {"gmm", "mixture", "ppca", "independent"}
    assert "log_likelihood" in said.getvalue()
    assert " lower " in said.getvalue().splitlines()[-1]


@pytest.mark.slow
def test_the_model_of_the_readme(folder: Path) -> None:
    """mine.py and both entries, pasted as they are: fitted, scored, sampled, imputed, embedded, saved and loaded."""
    (mine,) = (block for block in PYTHON if "rows.observe" in block)
    (loss,) = (block for block in PYTHON if "def sliced" in block)
    (folder / "mine.py").write_text(f"{mine}\n\n{loss}")
    (folder / "models.toml").write_text("\n".join(TOML))
    assert {"line", "small-vae"} <= set(Registry.load())
    frame = table()
    result = compare(frame, ["line", "small-vae", "ppca"], settings={"fit.steps": 60, "dim": 2}, device="cpu")
    assert {e.model: e.failure for e in result.entries if e.failure} == {}
    line = result["line"]
    assert line.model_.verbs == ["score", "embed", "sample", "impute"]
    assert line.log_likelihood(frame).bound == "lower"
    assert line.transform(frame).shape == (120, 2)
    assert list(line.sample(5)) == list(frame)
    assert line.impute(frame).notna().all().all()
    above = {entry["model"]: entry["above_baseline"] for entry in result.to_json()["models"]}
    assert above["line"] > 0  # the columns do move together
    loaded = Estimator.load(line.save(folder / "run"), device="cpu")
    np.testing.assert_array_equal(loaded.score_samples(frame), line.score_samples(frame))


def test_the_loss_of_the_readme(folder: Path) -> None:
    """The sliced Wasserstein distance, pasted as it is: its draws have the table's levels and means, and no number."""
    (loss,) = (block for block in PYTHON if "def sliced" in block)
    (entry,) = (block for block in TOML if "sliced" in block)
    (folder / "mine.py").write_text(loss)
    (folder / "models.toml").write_text(entry)
    frame = table(300)
    settings = {"fit.steps": 100, "program.prior.components": 16, "directions": 16}
    kept = Estimator("sliced", settings=settings, device="cpu").fit(frame)
    assert kept.model_.verbs == ["sample"]
    drawn = kept.sample(1000)
    assert abs(drawn["a"].corr(drawn["b"]) - frame["a"].corr(frame["b"])) < 0.25
    assert abs((drawn["d"] == "high").mean() - (frame["d"] == "high").mean()) < 0.15
    again = Estimator.load(kept.save(folder / "run"), device="cpu")
    pd.testing.assert_frame_equal(again.sample(5), kept.sample(5))


def test_the_toml_of_the_readme_is_toml() -> None:
    for block in TOML:
        assert tomllib.loads(block)


def commands() -> list[str]:
    """Every `zoo ...` of the README: in blocks of a shell, and in backticks."""
    shells = [text for language, text in BLOCKS if language in ("", "sh", "console")]
    lines = [line.partition("#")[0] for text in shells for line in text.splitlines()]
    parts = [part.partition(">")[0].strip() for line in lines for part in line.split("&&")]
    prose = re.sub(r"^```.*?^```", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    return sorted({p for p in (*parts, *re.findall(r"`([^`\n]+)`", prose)) if re.match(r"zoo [a-z]", p)})


APP: Any = typer.main.get_command(cli.app)


@pytest.mark.parametrize("command", commands())
def test_the_commands_of_the_readme_exist(command: str) -> None:
    _, name, *arguments = shlex.split(command)
    assert name in APP.commands
    if arguments or name == "models":
        APP.commands[name].make_context(name, list(arguments))  # refuses unknown options and missing arguments
    own = {entry for block in TOML for entry in tomllib.loads(block)}
    if name in ("fit", "show"):
        assert arguments[0] in {*Registry.load(), *own}
    for flag, models in pairwise(arguments):
        if flag == "-m":
            assert {one.model for one in swept(names_of(models))} <= {*Registry.load(), *own}


def test_the_flags_of_the_readme_exist() -> None:
    known = {flag for command in APP.commands.values() for p in command.params for flag in (*p.opts, *p.secondary_opts)}
    named = {flag for span in re.findall(r"`(--[^`]+)`", TEXT) for flag in re.findall(r"--[a-z-]+", span)}
    assert named
    assert named <= known


def test_every_command_has_the_reading_flags_that_the_readme_promises() -> None:
    """A schema, kinds and roles belong to a fit; how a file is read belongs to every command that reads one."""
    fits, reads = ("inspect", "fit", "compare", "judge"), ("score", "cluster", "embed", "impute")
    layout = {"--missing", "--header", "--columns", "--sep", "--query"}
    roles = {"--schema", "--kind", "--ignore", "--weight", "--group", "--given"}
    for name in (*fits, *reads):
        flags = {flag for p in APP.commands[name].params for flag in p.opts}
        assert layout <= flags
        assert name not in fits or roles <= flags
