"""The report of a run: complete, self-contained, and saying only what the numbers say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from zoo.comparison import compare
from zoo.errors import ZooWarning
from zoo.estimator import Estimator
from zoo.report import figures, summaries, tables, words
from zoo.report.page import code, write_report
from zoo.report.profiles import profiles
from zoo.table.infer import infer_schema
from zoo.table.schema import Column, Schema

NASTY = "<b>x</b>"
SMALL = {"fit.steps": 30, "program.components": 2, "program.dim": 1}


def mixed(n: int = 150) -> pd.DataFrame:
    """Two groups, numbers and levels, missing cells, column names to trip over."""
    rng = np.random.default_rng(3)
    group = rng.integers(0, 2, n)
    frame = pd.DataFrame(
        {
            NASTY: rng.normal(4.0 * group, 1.0),
            "größe $m$": rng.normal(group, 0.5) + 10,
            "age": rng.poisson(30 + 20 * group).astype(float),
            "colour & co": np.where(group == 1, "r<ed", rng.choice(["blue", "green"], n)),
        }
    )
    frame.loc[rng.random(n) < 0.1, "age"] = np.nan
    frame.loc[rng.random(n) < 0.1, "colour & co"] = None
    return frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "wine & <i>co</i>"
    comparison = compare(mixed(), models=["mixture", "ppca"], settings=SMALL, name="wine & <i>co</i>")
    return comparison.save(path)


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def line(model: str, difference: float, error: float | None, **more: Any) -> dict[str, Any]:
    """A line of comparison.json."""
    return {
        "model": model,
        "log_likelihood": -1.26 + difference,
        "standard_error": 0.16,
        "bound": "exact",
        "elbo": -1.26 + difference,
        "gap": 0.0,
        "k_hat": None,
        "particles": 1,
        "monte_carlo_error": 0.0,
        "difference": difference,
        "difference_se": error,
        "above_baseline": None,
        "above_baseline_se": None,
        "seconds": 1.0,
        "parameters": 10,
        "clusters": None,
        "settings": {},
        "warnings": [],
    } | more


def failed(model: str, reason: str) -> dict[str, Any]:
    return dict.fromkeys(line(model, 0.0, 0.0)) | {"model": model, "seconds": 1.0, "warnings": [reason]}


def document(*lines: dict[str, Any], test: int = 490) -> dict[str, Any]:
    return {"models": list(lines), "rows": {"train": 10, "validation": 10, "test": test}}


# ---- the page


@pytest.mark.slow
def test_page_needs_nothing_but_itself(page: str, folder: Path) -> None:
    assert not re.search(r"https?://", page)
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert "<script" not in page
    for path in (str(folder), str(folder.parent), str(Path.home()), "/tmp/"):
        assert path not in page


def test_user_text_is_escaped(page: str) -> None:
    assert NASTY not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<i>co</i>" not in page
    assert "r<ed" not in page


def test_page_names_every_model_with_its_log_likelihood(page: str, folder: Path) -> None:
    models = json.loads((folder / "comparison.json").read_text())["models"]
    assert {m["model"] for m in models} == {"independent", "mixture", "ppca"}
    for m in models:
        assert m["model"] in page
        assert words.with_error(m["log_likelihood"], m["standard_error"]) in page


def test_every_section_is_there(page: str) -> None:
    for section in ("ranking", "elbo", "samples", "clusters", "lowest", "models", "fits", "columns", "made"):
        assert f'id="{section}"' in page
    assert "What could not be shown" not in page


def test_page_of_a_model_without_rows(tmp_path: Path) -> None:
    Estimator("mixture", settings={"fit.steps": 30, "program.components": 2}).fit(mixed(60)).save(tmp_path / "run")
    text = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "mixture" in text
    assert "What could not be shown" not in text
    assert 'id="samples"' in text
    assert 'id="clusters"' in text
    assert 'id="ranking"' not in text


def test_page_of_one_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=40)})
    folder = compare(frame, models=["mixture"], settings={"fit.steps": 30, "components": 2}).save(tmp_path / "one")
    assert "What could not be shown" not in write_report(folder).read_text(encoding="utf-8")


def test_a_section_that_fails_costs_only_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> Figure:
        raise RuntimeError("no <ink>")

    monkeypatch.setattr(figures, "ranking", broken)
    with pytest.warns(ZooWarning, match="ranking"):
        text = write_report(folder).read_text(encoding="utf-8")
    assert "no &lt;ink&gt;" in text
    assert 'id="samples"' in text


# ---- the verdict


def test_verdict_tells_models_apart_at_two_standard_errors() -> None:
    close = words.verdict(document(line("chain", 0.0, 0.0), line("nsf", -0.09, 0.05)))
    assert close[0] == "`chain` is best: -1.26 ± 0.16 nats per row on 490 held-out rows (exact)."
    assert close[1] == "`nsf` (difference 0.09 ± 0.05) is not distinguishable from it."
    apart = words.verdict(document(line("chain", 0.0, 0.0), line("nsf", -0.11, 0.05)))
    assert not any("not distinguishable" in sentence for sentence in apart)
    assert "`nsf`, is 0.11 ± 0.05 below it" in apart[1]


def test_verdict_on_the_baseline() -> None:
    best = line("chain", 0.0, 0.0, above_baseline=1.0, above_baseline_se=0.1)
    base = line("independent", -1.0, 0.1, above_baseline=0.0, above_baseline_se=0.0)
    good = line("gmm", -0.5, 0.1, above_baseline=0.5, above_baseline_se=0.1)
    unsure = line("vae", -0.9, 0.1, above_baseline=0.1, above_baseline_se=0.1)
    worse = line("ppca", -2.0, 0.1, above_baseline=-1.0, above_baseline_se=0.1)
    assert "All beat independent columns, by at least 0.50 ± 0.10" in " ".join(
        words.verdict(document(best, good, base))
    )
    text = " ".join(words.verdict(document(best, good, unsure, base, worse)))
    assert "`chain` and `gmm` beat independent columns, by at least 0.50" in text
    assert "`vae` is not distinguishable from independent columns" in text
    assert "`ppca` is worse than independent columns" in text


def test_verdict_names_bounds_and_failures() -> None:
    lower = line("vae", -0.5, 0.1, bound="lower")
    text = " ".join(words.verdict(document(line("gmm", 0.0, 0.0), lower, failed("gan", "no density"))))
    assert "The number of `vae` is a lower bound: its log-likelihood may be higher." in text
    assert "`gan` has no log-likelihood here" in text
    assert words.verdict(document(failed("gan", "no density")))[0] == "No model has a log-likelihood on this table."


def test_one_held_out_row_tells_nothing_apart() -> None:
    text = " ".join(words.verdict(document(line("a", 0.0, None), line("b", -1.0, None), test=1)))
    assert "cannot tell models apart" in text


def test_backticks_become_escaped_code() -> None:
    assert code("`<a>` & b") == "<code>&lt;a&gt;</code> &amp; b"


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(-1.2649, 0.16, "-1.26 ± 0.16"), (0.0212, 0.004, "0.021 ± 0.004"), (-0.001, 0.2, "0.00 ± 0.20")],
)
def test_decimals_follow_the_standard_error(value: float, error: float, text: str) -> None:
    assert words.with_error(value, error) == text


# ---- tables


def test_lowest_rows_are_the_lowest(folder: Path) -> None:
    scores = pd.read_parquet(folder / "scores.parquet")["mixture"]
    held_out = pd.read_parquet(folder / "held_out.parquet")
    found = tables.lowest_rows(scores, held_out, held_out, Schema.read(folder / "schema.toml"), k=5)
    lowest = scores.sort_values()[:5]
    assert [row[0] for row in found.rows] == [str(i) for i in lowest.index]
    assert [row[1] for row in found.rows] == [f"{v:.2f}" for v in lowest]
    shown = found.rows[0][2][found.columns.index("größe $m$")][0]
    assert float(shown) == pytest.approx(mixed().loc[lowest.index[0], "größe $m$"], rel=1e-6)


def test_rare_cells_are_marked() -> None:
    reference = pd.DataFrame({"x": [*np.linspace(0, 1, 299), 50.0], "c": ["a"] * 299 + ["b"]})
    schema = infer_schema(reference, kinds={"x": "continuous", "c": "categorical"})
    odd = reference.tail(1)
    cells = tables.lowest_rows(pd.Series([-9.0], index=odd.index), odd, reference, schema).rows[0][2]
    assert cells == [("50", True), ("b", True)]
    even = reference.iloc[[150]]
    cells = tables.lowest_rows(pd.Series([-1.0], index=even.index), even, reference, schema).rows[0][2]
    assert [rare for _, rare in cells] == [False, False]


def test_profiles_are_means_and_most_common_levels() -> None:
    frame = pd.DataFrame({"x": [1.0, 3.0, 10.0, np.nan, 12.0], "c": ["a", "a", "b", "a", "b"]})
    schema = infer_schema(frame, kinds={"x": "continuous", "c": "categorical"})
    found = profiles(frame, np.array([7, 7, 2, 2, 2]), schema)
    assert (found.clusters, found.sizes) == ([2, 7], [3, 2])
    by_name = {one.column: one for one in found.lines}
    assert [float(t) for t in by_name["x"].texts] == [11.0, 2.0]
    assert by_name["c"].texts == ["b 67%", "a 100%"]
    spread = np.nanstd(frame["x"])
    assert by_name["x"].away == pytest.approx([(11 - 6.5) / spread, (2 - 6.5) / spread])


# ---- what the figures show


@pytest.mark.parametrize("step", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("points", [2, 20, 500])
def test_bins_hold_equally_many_lattice_points(step: float, points: int) -> None:
    values = step * np.arange(points)
    edges, log = summaries.bin_edges(values, Column(name="x", kind="continuous", step=step))
    assert not log
    counts = np.histogram(values, edges)[0]
    assert counts.sum() == points
    assert len(set(counts[1:-1])) <= 1
    ticks = edges / step - 0.5
    assert np.allclose(ticks, np.rint(ticks))


def test_level_shares_add_up_with_other() -> None:
    levels = tuple(f"l{i:02d}" for i in range(40))
    frame = pd.DataFrame({"c": np.repeat(levels, range(1, 41))})
    column = Column(name="c", kind="categorical", levels=levels)
    names = summaries.top_levels(frame, column)
    assert len(names) == 13
    assert names[-1] == summaries.OTHER
    assert summaries.level_shares(frame, names, column).sum() == pytest.approx(1.0)


def test_dependence_finds_the_pair() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    frame = pd.DataFrame({"x": x, "y": x + 0.1 * rng.normal(size=600), "z": rng.normal(size=600)})
    schema = infer_schema(frame)
    a, b = summaries.dependent_pairs(frame, schema, 1)[0]
    assert {a.name, b.name} == {"x", "y"}
    coded = [summaries.codes(frame, schema[name]) for name in "xyz"]
    assert summaries.dependence(coded[0], coded[0]) > 0.9
    assert summaries.dependence(coded[0], coded[2]) < 0.02


def test_plane_keeps_the_variance() -> None:
    points = np.random.default_rng(0).normal(size=(200, 5)) @ np.diag([5.0, 2.0, 0.1, 0.1, 0.1])
    plane = summaries.plane(points, "points")
    assert np.allclose(np.var(plane.xy, 0) / points.var(0).sum(), plane.share)
    assert plane.share[0] > plane.share[1]
    assert summaries.plane(points[:, :1], "one").xy[:, 1] == pytest.approx(0.0)


def _comparison() -> dict[str, Any]:
    return document(
        line("chain", 0.0, 0.0),
        line("vae", -0.4, 0.3, bound="lower", elbo=-2.0, gap=0.34, monte_carlo_error=0.01),
        line("independent", -40.0, 2.0),
        failed("gan", "no density"),
    )


def _game(**more: float) -> pd.DataFrame:
    looks = {"step": [25.0, 50.0], "loss": [1.0, 0.5], "validation": [-1.0, -0.5], "coverage": [0.5, 0.9]}
    return pd.DataFrame(looks | {name: [value, value / 2] for name, value in more.items()})


FIGURES: dict[str, Callable[[], Figure]] = {
    "ranking": lambda: figures.ranking(_comparison()),
    "elbo": lambda: figures.elbo_against_likelihood(_comparison()),
    "learning": lambda: figures.learning_curves(
        {
            "a$b$": pd.DataFrame({"step": [1.0, 2.0], "loss": [3.0, 2.0]}),
            "b": pd.DataFrame({"step": [1.0], "loss": [1.0]}),
        }
    ),
    "games": lambda: figures.games({"gan": _game(critic_accuracy=0.7, critic_gradient=2.0), "mmd-generator": _game()}),
    "choices": lambda: figures.choice_curves(
        {"gmm": [{"settings": {"program.components": k}, "validation": -1.0 / k} for k in (1, 2, 3)]}
    ),
    "samples": lambda: figures.columns_against_samples(None, mixed(), infer_schema(mixed())),
    "pairs": lambda: figures.pairs_against_samples(mixed(), mixed(), infer_schema(mixed())),
    "profiles": lambda: figures.cluster_profiles(mixed(), np.arange(150) % 30, infer_schema(mixed())),
    "map": lambda: figures.cluster_map(mixed(), np.arange(150) % 30, np.full((150, 30), 1 / 30), infer_schema(mixed())),
}


@pytest.mark.parametrize("name", list(FIGURES))
def test_figures_leave_no_trace(name: str, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    figure = FIGURES[name]()
    figure.savefig(tmp_path / "figure.png")
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in str(type(figure.canvas.manager))
    assert figure.canvas.manager is None


def test_ranking_shows_models_with_a_number_only() -> None:
    figure = figures.ranking(_comparison())
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["chain", "vae", "independent (baseline)"]
