"""Samples of every model beside its likelihood, and models that have nothing but samples."""

from __future__ import annotations

import json
import re
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import zoo
from zoo.catalogue import catalogue
from zoo.comparison import Comparison, compare, load_comparison
from zoo.errors import UserError, ZooWarning
from zoo.estimator import Estimator
from zoo.evaluate.quality.metrics import METRICS
from zoo.report.page import write_report
from zoo.table.writer import write_table

MINE = """
from zoo.objectives.elbo import Elbo


class Silent(Elbo):
    withdraws = ("score",)
"""

MODELS = """
[silent]
like = "gmm"
objective = "mine_of_sampled:Silent"
program = { components = 3 }
[blind]
like = "independent"
objective = "mine_of_sampled:Silent"
[mute]
like = "gmm"
program = { components = 3 }
"""


@pytest.fixture(scope="module")
def models_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two models whose objective withdraws the claim to a likelihood: a mixture, and independent columns."""
    folder = tmp_path_factory.mktemp("sampled")
    (folder / "mine_of_sampled.py").write_text(MINE)
    (folder / "models.toml").write_text(MODELS)
    yield str(folder / "models.toml")
    sys.modules.pop("mine_of_sampled", None)


def clusters(n: int = 700, seed: int = 0) -> pd.DataFrame:
    """Three clusters in two numbers and a level that goes with them: independent columns are easily told from it."""
    rng = np.random.default_rng(seed)
    k = rng.integers(3, size=n)
    x = np.array([[-5.0, 0.0], [0.0, 5.0], [5.0, -5.0]])[k] + rng.normal(size=(n, 2))
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "kind": np.array(["u", "v", "w"])[k]})


def quiet(table: Any, models: list[str], **options: Any) -> Comparison:
    settings = options.pop("settings", {"fit.steps": 30})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        return compare(table, models, device="cpu", settings=settings, **options)


@pytest.fixture(scope="module")
def judged(models_file: str) -> Comparison:
    return quiet(clusters(), ["blind", "silent", "mute"], models_file=models_file, name="clusters")


# ------------------------------------------------------------------------------------------------------------- figures


@pytest.mark.slow
def test_every_model_is_judged_by_its_samples(judged: Comparison) -> None:
    document = json.loads(json.dumps(judged.to_json(), allow_nan=False))
    samples = document["samples"]
    assert samples["rows"] == len(judged.parts.test) == 140
    for line in document["models"]:
        for name in samples["says"]:
            assert METRICS[name].low <= line[name] <= METRICS[name].high, (line["model"], name)
            assert line[f"{name}_se"] is None or line[f"{name}_se"] >= 0
    lines = {line["model"]: line for line in document["models"]}
    ceiling, floor = samples["ceiling"], samples["floor"]
    # the three components were found, and independent columns are what the floor is made of
    for name in ("trend", "c2st"):
        assert ceiling[name] > 0.8
        assert floor[name] < 0.75
        for model, end in (("mute", ceiling), ("silent", ceiling), ("independent", floor), ("blind", floor)):
            error = np.hypot(lines[model][f"{name}_se"], end[f"{name}_se"])
            assert abs(lines[model][name] - end[name]) < 5 * error, (model, name)
    assert lines["mute"]["nearer_to_training"] == pytest.approx(0.5, abs=5 * lines["mute"]["nearer_to_training_se"])


@pytest.mark.slow
def test_samples_cost_no_fit_its_time_and_can_be_left_out(models_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def slow(self: Estimator, *_: Any, **__: Any) -> pd.DataFrame:
        drawn.append(self.model)
        time.sleep(0.7)
        raise RuntimeError("no\nrow")

    monkeypatch.setattr(Estimator, "sample", slow)
    without = quiet(clusters(200), ["mute"], models_file=models_file, samples=False)
    assert drawn == []
    assert without.to_json()["samples"] is None
    assert without.table["shape"].isna().all()
    result = quiet(clusters(200), ["mute"], models_file=models_file)
    assert drawn == ["independent", "mute"]
    assert result.samples.seconds > 1.4
    for entry in result.entries:
        assert entry.seconds < 0.7 + next(e.seconds for e in without.entries if e.model == entry.model) + 0.5
        assert "samples could not be judged: RuntimeError: no row" in entry.warnings[-1]
        assert np.isfinite(entry.scores.mean)


def test_a_time_budget_ends_the_judging(models_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.comparison.fits.SAMPLING_SHARE", -1.0)
    result = quiet(clusters(200), ["mute"], models_file=models_file, time_budget=30)
    assert all("time budget ended before its samples" in e.warnings[-1] for e in result.entries)
    assert result.samples.models == {}


def test_few_rows_are_not_judged(models_file: str) -> None:
    assert quiet(clusters(40), ["mute"], models_file=models_file).samples is None


def test_models_that_are_conditional_draw_at_training_rows(models_file: str) -> None:
    settings = {"program.program.components": 1, "fit.steps": 30}
    result = quiet(clusters(), ["class-models"], models_file=models_file, given="kind", settings=settings)
    line = result.table.loc["class-models"]
    assert line["trend"] > 0.9  # the class, which is given, goes with the numbers that are drawn at it
    assert line["c2st"] > 1 - 5 * line["c2st_se"]
    assert result.table.loc["independent", "c2st"] < 0.5


def test_missing_cells_are_hidden_in_draws(models_file: str) -> None:
    """Draws are complete and rows are not: that alone must not part them."""
    frame = clusters()
    frame = frame.mask(np.random.default_rng(1).random(frame.shape) < 0.3)
    result = quiet(frame, ["mute"], models_file=models_file)
    assert "hidden" in result.samples.notes[0]
    line = result.table.loc["mute"]
    assert line["c2st"] > 1 - 5 * line["c2st_se"]


# ------------------------------------------------------------------------------------------------- without a likelihood


def test_without_a_likelihood_a_model_is_ranked_apart(judged: Comparison) -> None:
    lines = judged.to_json()["models"]
    assert {line["model"] for line in lines[:2]} == {"mute", "independent"}
    assert [line["model"] for line in lines[2:]] == ["silent", "blind"]  # by C2ST
    for line in lines[2:]:
        assert line["bound"] == "none"
        for blank in ("log_likelihood", "standard_error", "elbo", "gap", "difference", "above_baseline", "k_hat"):
            assert line[blank] is None
        assert line["parameters"] > 0
    assert judged.best.model == "mute"
    assert set(judged.scores) == {"mute", "independent"}
    assert judged.failures == []
    assert "none" in repr(judged)


def test_its_estimator_has_no_score(judged: Comparison, models_file: str) -> None:
    silent = judged["silent"]
    assert silent.model_.verbs == ["cluster", "sample", "impute"]
    for verb in ("log_likelihood", "score_samples", "score", "elbo"):
        with pytest.raises(UserError, match="model 'silent' cannot score"):
            getattr(silent, verb)
    assert silent.predict(clusters(20)).shape == (20,)
    entry = next(line for line in catalogue(models_file) if line["model"] == "silent")
    assert entry["bound"] == "none"
    assert "score" not in entry["verbs"]


def test_it_is_saved_loaded_and_shown(judged: Comparison, models_file: str, tmp_path: Path) -> None:
    folder = judged.save(tmp_path / "run")
    document = load_comparison(folder)
    assert document == json.loads(json.dumps(judged.to_json()))
    again = zoo.load(folder / "models" / "silent", models_file=models_file, device="cpu")
    pd.testing.assert_frame_equal(again.sample(20), judged["silent"].sample(20))
    page = write_report(folder, models_file).read_text(encoding="utf-8")
    assert "What could not be shown" not in page
    assert 'id="judged"' in page
    assert "<code>silent</code> and <code>blind</code> have no likelihood" in page
    assert "of these <code>silent</code> is best" in page
    assert page.count("ranked apart") == 1
    for line in document["models"]:
        assert f"{line['shape']:.3f} ± {line['shape_se']:.3f}" in page
    for end in ("ceiling", "floor"):
        assert f"{document['samples'][end]['trend']:.3f} ± {document['samples'][end]['trend_se']:.3f}" in page


@pytest.mark.slow
def test_nothing_but_models_without_a_likelihood(models_file: str, tmp_path: Path) -> None:
    """No baseline in the registry, so that none has a number: the best by samples stands for the comparison."""
    path = Path(models_file).with_name("alone.toml")
    path.write_text(MODELS)
    result = quiet(clusters(300), ["blind", "silent"], models_file=models_file)
    result.entries = [e for e in result.entries if e.model != "independent"]
    with pytest.raises(UserError, match="has a log-likelihood"):
        _ = result.best
    folder = result.save(tmp_path / "run")
    best = result.to_json()["models"][0]["model"]
    assert zoo.load(folder, models_file=models_file, device="cpu").get_params()["model"] == best
    page = write_report(folder, models_file).read_text(encoding="utf-8")
    assert "No model has a log-likelihood on this table." in page
    assert "What could not be shown" not in page


@pytest.mark.slow
def test_a_run_of_before_still_gives_its_page(judged: Comparison, tmp_path: Path, models_file: str) -> None:
    folder = judged.save(tmp_path / "run")
    document = load_comparison(folder)
    del document["samples"]
    for line in document["models"]:
        for name in METRICS:
            del line[name], line[f"{name}_se"]
    (folder / "comparison.json").write_text(json.dumps(document))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        page = write_report(folder, models_file).read_text(encoding="utf-8")
    assert "What could not be shown" not in page
    assert 'id="judged"' not in page
    assert not re.search(r"\bNone\b", re.sub(r"<style>.*?</style>", "", page, flags=re.S))


# --------------------------------------------------------------------------------------------------------- in python


@pytest.mark.slow
def test_judge_takes_any_table(tmp_path: Path) -> None:
    real, made = clusters(300, 1), clusters(300, 2)
    write_table(real, tmp_path / "real.parquet")
    write_table(made, tmp_path / "made.csv")
    one = zoo.judge(tmp_path / "real.parquet", tmp_path / "made.csv", train=clusters(300, 3), target="kind")
    other = zoo.judge(real, made, train=clusters(300, 3), target="kind")
    assert one["utility"].value > 0.95
    assert one["utility"].value == other["utility"].value
    assert one["shape"].value == pytest.approx(other["shape"].value)
    assert list(one.table.columns[:4]) == ["value", "standard_error", "ceiling", "floor"]
    with pytest.raises(UserError, match="did you mean 'kind'"):
        zoo.judge(real, made, target="kinds")
    assert "a" not in zoo.judge(real, made, ignore="a").columns
