"""One honest ranking: paired differences by hand, failures that cost nobody else, a line-up that suits the table."""

from __future__ import annotations

import functools
import json
import math
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import zoo
from zoo.comparison import Comparison, compare, load_comparison
from zoo.errors import UserError, ZooWarning
from zoo.estimator import Estimator
from zoo.line_up import LINE_UP, line_up
from zoo.registry import Registry
from zoo.table.infer import infer_schema
from zoo.table.split import split

QUICK = {"fit.steps": 20}
MIXTURE = {"components": 2, "restarts": 1, "fit.steps": 20}

MINE = """
import pyro
import pyro.distributions as dist
import torch


def far(rows):  # a density that sits where no row is
    with rows.plate():
        rows.observe(torch.full((1, rows.width), 8.0))


def broken(rows):
    pyro.param("W", lambda: torch.zeros(2))
    with rows.plate():
        rows.observe(torch.zeros(1, rows.width))
    if rows.n > 2:
        raise RuntimeError("no\\nrow can stand this")


def nameless(rows):
    with rows.plate():
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        rows.observe(z @ torch.ones(2, rows.width))
"""

MODELS = """
[far]
program = "mine_of_compare:far"
[broken]
program = "mine_of_compare:broken"
[nameless]
program = "mine_of_compare:nameless"
[twin]
like = "gaussian"
"""


def quiet(table: Any, models: list[str] | None = None, **options: Any) -> Comparison:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        return compare(table, models, device="cpu", **{"settings": QUICK, "samples": False, **options})


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models.toml with entries that are there to go wrong."""
    folder = tmp_path_factory.mktemp("compare")
    (folder / "mine_of_compare.py").write_text(MINE)
    (folder / "models.toml").write_text(MODELS)
    return folder / "models.toml"


@pytest.fixture(scope="module")
def ranked(mixed: pd.DataFrame) -> Comparison:
    return quiet(mixed, ["mixture", "gaussian", "vae"], settings={**MIXTURE, "dim": 2}, name="made up", samples=True)


# ------------------------------------------------------------------------------------------------------------ numbers


def test_all_models_are_scored_on_the_same_rows(ranked: Comparison, mixed: pd.DataFrame) -> None:
    parts = split(len(mixed), 0)
    for kept, expected in zip(ranked.parts, parts, strict=True):
        np.testing.assert_array_equal(kept, expected)
    assert sorted(np.concatenate(list(parts))) == list(range(len(mixed)))
    held_out = mixed.iloc[parts.test]
    assert list(ranked.scores.index) == list(held_out.index)
    for model in ranked.scores:
        np.testing.assert_allclose(ranked[model].score_samples(held_out), ranked.scores[model], rtol=1e-6)


def test_differences_are_paired(ranked: Comparison) -> None:
    """Mean and standard error of the row-by-row differences, by hand."""
    scores, lines = ranked.scores, ranked.to_json()["models"]
    best = lines[0]["model"]
    assert {line["model"] for line in lines} == {"mixture", "gaussian", "vae", "independent"}
    assert [line["log_likelihood"] for line in lines] == sorted((scores[m].mean() for m in scores), reverse=True)
    for line in lines:
        own = scores[line["model"]].to_numpy()
        assert line["log_likelihood"] == pytest.approx(own.mean())
        assert line["standard_error"] == pytest.approx(own.std(ddof=1) / math.sqrt(len(own)))
        for other, value, spread in (
            (best, "difference", "difference_se"),
            ("independent", "above_baseline", "above_baseline_se"),
        ):
            paired = own - scores[other].to_numpy()
            assert line[value] == pytest.approx(paired.mean(), abs=1e-12)
            assert line[spread] == pytest.approx(paired.std(ddof=1) / math.sqrt(len(paired)), abs=1e-12)
        assert line["gap"] == pytest.approx(line["log_likelihood"] - line["elbo"])
    assert lines[0]["difference"] == 0


def test_two_fits_alike_differ_by_nothing(complete_mixed: pd.DataFrame, mine: Path) -> None:
    result = quiet(complete_mixed, ["gaussian", "twin"], models_file=str(mine))
    assert result.difference("gaussian", "twin") == (0.0, 0.0)
    np.testing.assert_array_equal(result.scores["gaussian"], result.scores["twin"])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_ranking(mixed: pd.DataFrame) -> None:
    def numbers(seed: int) -> tuple[list[str], np.ndarray]:
        result = quiet(mixed, ["mixture", "vae"], settings={**MIXTURE, "dim": 2}, seed=seed)
        return [e.model for e in result.entries], result.scores[sorted(result.scores)].to_numpy()

    (names, first), (names_again, again), (_, other) = numbers(0), numbers(0), numbers(1)
    assert names == names_again
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_json_fields(ranked: Comparison) -> None:
    document = json.loads(json.dumps(ranked.to_json(), allow_nan=False))
    assert document["table"] == {"name": "made up", "rows": 200, "columns": 5}
    assert document["rows"] == {"train": 120, "validation": 40, "test": 40}
    assert document["measure"].startswith("nats per row: ")
    promised = "model log_likelihood standard_error bound elbo gap difference difference_se seconds parameters clusters"
    for line in document["models"]:
        assert {*promised.split(), "warnings"} <= set(line)
        assert line["bound"] in ("exact", "lower", "estimate", "none")
        assert line["clusters"] == (2 if line["model"] == "mixture" else None)
        assert line["parameters"] > 0
    table = ranked.table
    assert list(table.index) == [line["model"] for line in document["models"]]
    assert table.loc["vae", "bound"] == "lower"
    assert "held-out rows" in ranked._repr_html_()


def test_the_folder_holds_the_ranking(ranked: Comparison, mixed: pd.DataFrame, tmp_path: Path) -> None:
    folder = ranked.save(tmp_path / "run")
    assert load_comparison(folder) == json.loads(json.dumps(ranked.to_json()))
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "scores.parquet"), ranked.scores, check_index_type=False, check_dtype=False
    )
    best = zoo.load(folder, device="cpu")
    assert best.get_params()["model"] == ranked.best.model
    np.testing.assert_array_equal(best.score_samples(mixed), ranked[ranked.best.model].score_samples(mixed))
    for model in ranked.scores:
        assert (folder / "models" / model / "weights.safetensors").is_file()
    assert (folder / "report.html").stat().st_size > 10_000


# ----------------------------------------------------------------------------------------------------- what goes wrong


def test_a_model_that_fails_costs_no_other(mixed: pd.DataFrame, mine: Path, tmp_path: Path) -> None:
    """Illegal for its latent, or breaking in the middle: listed last with the reason, the others ranked and saved."""
    names = ["broken", "nameless", "gaussian"]
    result = quiet(mixed, names, models_file=str(mine))
    lines = {line["model"]: line for line in result.to_json()["models"]}
    assert [e.model for e in result.entries][:2] in (["gaussian", "independent"], ["independent", "gaussian"])
    assert lines["broken"]["log_likelihood"] is None
    assert "RuntimeError: no row can stand this" in lines["broken"]["warnings"][0]
    assert "does not infer the row latent 'z'" in lines["nameless"]["warnings"][0]
    assert np.isfinite(lines["gaussian"]["log_likelihood"])
    with pytest.raises(UserError, match="no fitted model 'broken'"):
        result["broken"]
    folder = result.save(tmp_path / "run")
    assert sorted(p.name for p in (folder / "models").iterdir()) == ["gaussian", "independent"]
    assert len(load_comparison(folder)["models"]) == 4


def test_nothing_could_be_fitted(mixed: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise UserError("not today")

    monkeypatch.setattr(Estimator, "fit_parts", fail)
    result = quiet(mixed, ["gaussian"])
    with pytest.raises(UserError, match=r"no model could be fitted: .*gaussian: not today"):
        _ = result.best
    assert [line["log_likelihood"] for line in result.to_json()["models"]] == [None, None]


def test_worse_than_independent_columns_is_said(continuous: pd.DataFrame, mine: Path) -> None:
    result = quiet(continuous, ["far", "gaussian"], models_file=str(mine), settings={"fit.steps": 1})
    warned = {e.model: any(w.startswith("worse than independent columns") for w in e.warnings) for e in result.entries}
    assert warned == {"gaussian": False, "independent": False, "far": True}
    far = result.to_json()["models"][-1]
    assert far["model"] == "far"
    assert far["above_baseline"] < -1


def test_refused_before_anything_is_fitted(continuous: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[str] = []
    monkeypatch.setattr(Estimator, "fit_parts", lambda self, *_, **__: fitted.append(self.model))
    for models, settings, said in [
        (["gaussian", "mixtur"], {}, "did you mean 'mixture'"),
        ([], {}, "no model is named"),
        (["gaussian", "mixture"], {"componnts": 3}, "did you mean 'components'"),
        (["mixture"], {"components": "many"}, "valid integer"),
        (["mixture"], {"fit.stepz": 3}, "did you mean 'steps'"),
    ]:
        with pytest.raises(UserError, match=said):
            compare(continuous, models, settings=settings)
    assert fitted == []


def test_a_setting_goes_to_the_models_that_have_it(continuous: pd.DataFrame) -> None:
    result = quiet(continuous, ["mixture", "gaussian"], settings={"components": 3, "fit.steps": 7})
    assert result["mixture"].model_.program.components == 3
    assert result["gaussian"].model_.recipe.fit["steps"] == 7


def test_a_time_budget_is_kept_and_named(mixed: pd.DataFrame) -> None:
    settings = {"dim": 2, "fit.steps": 100_000, "fit.patience": 0}
    started = time.perf_counter()
    result = quiet(mixed, ["vae", "chain"], settings=settings, time_budget=2.0)
    assert time.perf_counter() - started < 12
    for model in ("vae", "chain"):
        (entry,) = (e for e in result.entries if e.model == model)
        assert any("time budget ended at step" in w for w in entry.warnings)
        assert 0 < entry.estimator.fitted_.steps < 100_000


# ------------------------------------------------------------------------------------------------------------- line-up


def chosen(frame: pd.DataFrame) -> tuple[set[str], dict[str, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        schema = infer_schema(frame)
    models, reasons = line_up(schema, len(split(len(frame)).train), Registry.load())
    assert set(models) == {m for m, why in reasons.items() if not why.startswith("left out")}
    assert all(reasons.values())
    return set(models), reasons


def test_the_line_up_suits_the_table(levels: pd.DataFrame, pair: pd.DataFrame, mixed: pd.DataFrame) -> None:
    always = {"independent", "mixture"}
    everything = set(LINE_UP)
    assert chosen(levels)[0] == always | {"vae", "circuit", "chain"}
    assert chosen(pair)[0] == always | {"gaussian", "gmm", "circuit", "chain", "nsf"}
    assert chosen(mixed)[0] == everything
    few, reasons = chosen(mixed[:90])
    assert few == everything - {"vae", "circuit", "chain", "nsf"}
    assert "under 100 training rows" in reasons["vae"]
    assert chosen(pair[["a"]])[0] == always


@pytest.mark.parametrize("table", ["levels", "pair", "ninety rows"])
def test_the_line_up_can_be_fitted(table: str, tables: dict[str, pd.DataFrame]) -> None:
    frame = tables["mixed"][:90] if table == "ninety rows" else tables[table]
    settings = {"fit.steps": 3, "components": 2} | ({} if table == "pair" else {"dim": 1})
    result = quiet(frame, settings=settings)
    assert {e.model: e.failure for e in result.entries if e.failure} == {}
    assert set(result.reasons) == set(LINE_UP)


def test_the_baseline_is_always_there(continuous: pd.DataFrame) -> None:
    result = quiet(continuous, ["gaussian"])
    assert {e.model for e in result.entries} == {"gaussian", "independent"}
    assert quiet(continuous, ["independent"]).to_json()["models"][0]["difference"] == 0


def test_few_rows_are_said(continuous: pd.DataFrame) -> None:
    result = quiet(continuous[:40], ["gaussian"])
    assert all("only 8 held-out rows" in e.warnings[-1] for e in result.entries)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy, of -inf less -inf
def test_one_far_row_leaves_the_rest_readable(continuous: pd.DataFrame, tmp_path: Path) -> None:
    """One held-out row of no density to speak of: it is named, the document is JSON, the run is written."""
    frame = continuous.copy()
    frame.iloc[split(len(frame), 0).test[0], 1] = 1e300
    result = quiet(frame, ["gaussian"])
    lines = result.to_json()["models"]
    assert all(line["log_likelihood"] < -1e6 for line in lines)
    row = split(len(frame), 0).test[0]
    assert all(any(f"row {row} alone pulls the mean" in warning for warning in line["warnings"]) for line in lines)
    assert load_comparison(result.save(tmp_path / "run"))["models"] == json.loads(json.dumps(lines))


@functools.cache
def _table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"x": rng.normal(size=60), "y": rng.normal(size=60)}, index=[f"r{i}" for i in range(60)])


def test_given_a_path_or_a_frame_it_is_the_same(tmp_path: Path) -> None:
    _table().to_csv(tmp_path / "t.csv", index=False)
    from_path, from_frame = quiet(tmp_path / "t.csv", ["gaussian"]), quiet(_table(), ["gaussian"])
    assert from_path.name == "t.csv"
    np.testing.assert_array_equal(from_path.scores, from_frame.scores)
    assert from_frame.scores.index[0].startswith("r")
