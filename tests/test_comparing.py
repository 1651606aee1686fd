"""What a comparison claims, held against cases of which the truth is known. Failure rates are of a fresh seed."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from tests.test_cli import refused, worked
from tests.test_cli import zoo as command
from zoo.between import difference
from zoo.comparison import Comparison, compare, load_comparison
from zoo.comparison.entry import Fit
from zoo.comparison.fits import Fits
from zoo.comparison.parallel import side_by_side
from zoo.errors import UserError, ZooWarning
from zoo.estimator import Estimator
from zoo.evaluate.paired import beside_best, choice, paired
from zoo.evaluate.stacking import stacked, stacking_weights
from zoo.registry import Registry
from zoo.stacks import mix, stack
from zoo.sweep import names_of, swept
from zoo.table.split import folds, split

QUICK = {"fit.steps": 20}


def quiet(table: Any, models: list[str] | None, **options: Any) -> Comparison:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        return compare(table, models, device="cpu", **{"settings": QUICK, "samples": False, **options})


# --------------------------------------------------------------------------------------------------------- differences


def test_a_true_difference_is_found() -> None:
    """0.05 nats of unit spread on 5,000 rows are 3.5 standard errors: found in 94% of cases, in under 90 of 100 once in
    40 times; and where nothing differs in 5%, in over 13 of 100 once in 1,000."""
    rng = np.random.default_rng(0)
    assert sum(paired(0.05 + rng.normal(size=5000)).p < 0.05 for _ in range(100)) >= 90
    assert sum(paired(rng.normal(size=5000)).p < 0.05 for _ in range(100)) <= 13


@pytest.mark.parametrize("repeats", [2, 3, 5])
def test_the_luck_of_a_fit_is_no_difference(repeats: int) -> None:
    """Two sets of fits of one model, whose fits differ more than rows can: with seeds about 6 of 100 are told apart,
    over 11 once in 50 times; a single seed tells far too many apart."""
    rng = np.random.default_rng(1)

    def cases() -> np.ndarray:
        """A model less itself (R, n): what rows do, what fits do, what both do."""
        rows, fits = 0.5 * rng.normal(size=800), 0.06 * rng.normal(size=(repeats, 1))
        return rows + fits + 0.1 * rng.normal(size=(repeats, 800))

    drawn = [cases() for _ in range(100)]
    assert sum(paired(d).p < 0.05 for d in drawn) <= 11
    assert sum(paired(d[0]).p < 0.05 for d in drawn) >= 30


def test_the_parts_of_a_standard_error() -> None:
    """By hand, with weights of one and of none."""
    d = np.random.default_rng(2).normal(size=(3, 40)) + np.array([[0.0], [0.3], [0.5]])
    found = paired(d)
    assert found.mean == pytest.approx(d.mean())
    assert found.rows**2 == pytest.approx(d.mean(0).var(ddof=1) / 40)
    assert found.fits**2 == pytest.approx(d.mean(1).var(ddof=1) / 3)
    total = found.rows**2 + found.fits**2
    few = 2 * found.fits**2  # counted twice: of three seeds
    assert found.degrees == pytest.approx((found.rows**2 + few) ** 2 / (found.rows**4 / 39 + few**2 / 2))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.mean) / math.sqrt(total), found.degrees))
    low, high = found.interval()
    assert (low + high) / 2 == pytest.approx(found.mean)
    weight = np.repeat([1.0, 0.0], 20)
    assert paired(d, weight).mean == pytest.approx(d[:, :20].mean())
    one = paired(d[0])
    assert one.p == pytest.approx(stats.ttest_1samp(d[0], 0).pvalue)
    assert one.fits == 0


def test_models_that_are_one_differ_by_nothing() -> None:
    scores = np.random.default_rng(3).normal(size=(1, 2, 50)).repeat(3, 0)
    found = beside_best(scores)
    assert [(pair.mean, pair.standard_error, pair.p) for pair in found.pairs] == [(0.0, 0.0, 1.0)] * 3
    assert list(found.p) == [1.0] * 3
    assert not found.low.any()
    assert not found.high.any()


def test_simultaneous_intervals_cover() -> None:
    """Ten equal models, which hang together as models of the same rows do: some interval misses in 5% of tables, in
    over 13 of 100 once in 1,000 times. Uncorrected, the best of ten is told from some other in most."""
    rng, root = np.random.default_rng(4), np.linalg.cholesky(0.5 * np.eye(10) + 0.5)
    missed, alone = 0, 0
    for _ in range(100):
        found = beside_best((root @ rng.standard_t(8, size=(10, 300)))[:, None], draws=2000)
        assert ((found.p <= 0.05) == ((found.low > 0) | (found.high < 0))).mean() >= 0.9
        missed += bool(((found.low > 0) | (found.high < 0)).any())
        alone += any(pair.p < 0.05 for pair in found.pairs)
    assert missed <= 13
    assert alone >= 40


def test_a_worse_model_is_told_from_the_best() -> None:
    """Six standard errors below, among ten: missed once in 100 times."""
    scores = np.random.default_rng(5).normal(size=(10, 1, 400))
    scores[9] -= 0.6
    found = beside_best(scores)
    assert found.p[9] < 0.05
    assert found.high[9] < 0
    assert found.p[9] >= found.pairs[9].p


def test_the_number_of_a_chosen_model_is_honest() -> None:
    """The best of 20 equal models looks 1.9 standard errors too good; chosen on other rows it does not: off by over
    four standard errors once in 10,000 times."""
    rng = np.random.default_rng(6)
    looks, honest = [], []
    for _ in range(40):
        scores = rng.normal(size=(20, 100))
        found = choice(scores, halvings=20)
        assert found is not None
        assert found.picked.sum() == pytest.approx(1)
        honest.append(found.log_likelihood)
        looks.append(scores.mean(1).max())
    assert abs(np.mean(honest)) < 4 * np.std(honest, ddof=1) / math.sqrt(40)
    assert np.mean(looks) > 0.15
    assert choice(rng.normal(size=(2, 3))) is None


# ------------------------------------------------------------------------------------------------------------ stacking


def test_stacking_finds_the_weights_of_a_mixture() -> None:
    """0.3 N(-2, 1) + 0.7 N(3, 0.5) from its parts and a broad third: each weight within four standard errors, of 0.012;
    off once in 10,000 times. No other weights are better, and the stack is above each part."""
    rng = np.random.default_rng(7)
    first = rng.random(4000) < 0.3
    x = np.where(first, rng.normal(-2, 1, 4000), rng.normal(3, 0.5, 4000))
    log_p = np.stack([stats.norm.logpdf(x, -2, 1), stats.norm.logpdf(x, 3, 0.5), stats.norm.logpdf(x, 0, 5)])
    w = stacking_weights(log_p)
    assert np.abs(w - [0.3, 0.7, 0.0]).max() < 0.05
    assert w.sum() == pytest.approx(1)
    assert stacked(log_p, w).mean() > log_p.mean(1).max() + 0.5
    gain = np.exp(log_p - stacked(log_p, w)).mean(1)  # Karush, Kuhn and Tucker; left-out weights are worth 1e-3
    assert gain.max() < 1 + 2e-3
    twice = stacking_weights(log_p, np.where(first, 2.0, 1.0))
    assert twice[0] == pytest.approx(0.6 / 1.3, abs=0.05)
    assert np.exp(stacked(np.log([[0.2], [0.4]]), np.array([0.5, 0.5])))[0] == pytest.approx(0.3)


def test_a_row_that_no_model_allows_says_nothing() -> None:
    log_p = np.array([[-1.0, -np.inf, -3.0], [-2.0, -np.inf, -np.inf]])
    assert stacking_weights(log_p) == pytest.approx([1.0, 0.0])
    assert stacking_weights(np.full((2, 3), -np.inf)) == pytest.approx([0.5, 0.5])


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Two clusters of a number, and a level that goes with them."""
    rng = np.random.default_rng(8)
    k = rng.random(300) < 0.4
    x = np.where(k, rng.normal(-2, 0.6, 300), rng.normal(2, 1, 300))
    return pd.DataFrame({"x": x, "kind": np.where(rng.random(300) < np.where(k, 0.9, 0.2), "a", "b")})


MODELS = ["mixture[components=1,2]", "ppca[dim=1]"]
PARTS = {"mixture[components=2]": 0.5, "ppca[dim=1]": 0.3, "independent": 0.2}


@pytest.fixture(scope="module")
def stacking(table: pd.DataFrame) -> Comparison:
    return quiet(table, MODELS, kinds={"x": "continuous"})


@pytest.fixture(scope="module")
def made(stacking: Comparison) -> Estimator:
    """With weights of our own, so that models of three kinds count."""
    estimators = {e.model: e.estimator for e in stacking.fitted if e.estimator}
    return mix(estimators, PARTS, Registry.load(), "cpu").estimator


def grid_of(made: Estimator, x: np.ndarray) -> np.ndarray:
    """The stack's density (2, len(x)) at both levels."""
    return np.stack([np.exp(made.score_samples(pd.DataFrame({"x": x, "kind": kind}))) for kind in "ab"])


def test_a_stack_is_the_mixture_of_its_models(stacking: Comparison, made: Estimator, table: pd.DataFrame) -> None:
    """Its density is the weighted mean of theirs, and integrates to one but for the level kept for the unseen."""
    assert made.model_.program.names == list(PARTS)
    expected = sum(w * np.exp(stacking[name].score_samples(table)) for name, w in PARTS.items())
    np.testing.assert_allclose(np.exp(made.score_samples(table)), expected, rtol=1e-5)
    assert made.log_likelihood(table).bound == max(
        (stacking[name].log_likelihood(table).bound for name in PARTS), key=["exact", "lower", "estimate"].index
    )
    x = np.linspace(-25, 25, 4001)
    total = np.trapezoid(grid_of(made, x), x).sum()
    assert total == pytest.approx(1, abs=0.01)
    assert made.model_.verbs == ["score", "sample", "impute"]


@pytest.mark.slow
def test_draws_of_a_stack_have_its_density(made: Estimator) -> None:
    """Kolmogorov-Smirnov of its number, and a binomial of its level, at 1e-4 each; given the level too."""
    x = np.linspace(-25, 25, 4001)
    p = grid_of(made, x)

    def cdf(density: np.ndarray) -> Any:
        steps = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
        return lambda at: np.interp(at, x, steps / steps[-1])

    drawn = made.sample(3000, seed=1)
    assert stats.kstest(drawn["x"], cdf(p.sum(0))).pvalue > 1e-4
    share = p[0].sum() / p.sum()
    assert stats.binomtest(int((drawn["kind"] == "a").sum()), 3000, share).pvalue > 1e-4
    for i, kind in enumerate("ab"):
        given = made.sample(1500, seed=2, given={"kind": kind})
        assert (given["kind"] == kind).all()
        assert stats.kstest(given["x"], cdf(p[i])).pvalue > 1e-4
    holes = pd.DataFrame({"x": np.repeat(-2.0, 1500), "kind": pd.Series([None] * 1500, dtype=object)})
    filled = made.impute(holes, draws=1)[0]
    at = grid_of(made, np.array([-2.0]))[:, 0]
    assert stats.binomtest(int((filled["kind"] == "a").sum()), 1500, at[0] / at.sum()).pvalue > 1e-4


@pytest.mark.slow
def test_a_stack_is_a_run(stacking: Comparison, table: pd.DataFrame, tmp_path: Path) -> None:
    """Made from the folder of a comparison it has the number that the comparison gave it, and loads again."""
    document = load_comparison(stacking.save(tmp_path / "run"))
    found = document["stacking"]
    assert sum(found["weights"].values()) == pytest.approx(1)
    made = stack(tmp_path / "run", device="cpu")
    assert set(made.weights) == {name for name, w in found["weights"].items() if w >= 1e-3}
    held_out = table.iloc[split(len(table)).test]
    scores = made.estimator.log_likelihood(held_out)
    assert scores.mean == pytest.approx(found["log_likelihood"], abs=1e-6)
    best = document["models"][0]["log_likelihood"]
    assert scores.mean - best == pytest.approx(found["difference"], abs=1e-6)
    made.estimator.save(tmp_path / "stack")
    again = Estimator.load(tmp_path / "stack", device="cpu")
    np.testing.assert_array_equal(again.score_samples(table), made.estimator.score_samples(table))
    pd.testing.assert_frame_equal(again.sample(20, seed=3), made.estimator.sample(20, seed=3))
    np.testing.assert_array_equal(stacking.stack().score_samples(table), made.estimator.score_samples(table))


@pytest.mark.filterwarnings("ignore::zoo.errors.ZooWarning")
def test_a_stack_brings_no_code(made: Estimator, tmp_path: Path) -> None:
    """A program of someone's own inside the stack of a run folder is refused like one of the run itself."""
    folder = made.save(tmp_path / "stack")
    recipe = (folder / "recipe.toml").read_text()
    (folder / "recipe.toml").write_text(recipe.replace('program = "independent"', 'program = "antigravity:fly"'))
    assert "antigravity" in (folder / "recipe.toml").read_text()
    with pytest.raises(UserError, match="is not zoo's own"):
        Estimator.load(folder, device="cpu")


# ----------------------------------------------------------------------------------------------- sweeps, repeats, folds


def test_sweeps_are_read() -> None:
    asked = swept(names_of("gmm[components=2..4], vae[dim=2,4; beta=1,0.5],nsf, mixture[network.hidden=[8,8],[16]]"))
    assert [one.label for one in asked] == [
        *(f"gmm[components={k}]" for k in (2, 3, 4)),
        *(f"vae[dim={d};beta={b}]" for d in (2, 4) for b in ("1", "0.5")),
        "nsf",
        "mixture[network.hidden=[8,8]]",
        "mixture[network.hidden=[16]]",
    ]
    assert asked[0].sets == {"components": 2}
    assert asked[4].sets == {"dim": 2, "beta": 0.5}
    assert asked[-2].sets == {"network.hidden": [8, 8]}
    assert swept([one.label for one in asked]) == asked  # a label is itself such a text
    assert swept(["gmm[components=-2..0]"])[0].sets == {"components": -2}
    assert [one.label for one in swept(["gmm", "gmm", "gmm[components=2,2]"])] == ["gmm", "gmm[components=2]"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gmm[components=2..4", "without its other half"),
        ("gmm]components=2", "without its other half"),
        ("gmm[]", "gives no setting a value"),
        ("gmm[components]", "gives no setting a value"),
        ("gmm[components=]", "gives no setting a value"),
        ("gmm[=2]", "gives no setting a value"),
        ("gmm[components=2,,3]", "is no value"),
        ("gmm[components=5..2]", "is empty"),
        ("gmm[components=1..2.5]", "a range is a..b"),
        ("gmm[components=1..999999999999999]", "999,999,999,999,999 values"),
        ("gmm[components=1..100;restarts=1..100]", "10,000 entries"),
        ("gmm[components=1..150],gmm[restarts=1..150]", "300 entries"),
        ("gmm[components=2;components=3]", "twice"),
        ("[components=2]", "is not MODEL"),
        ("gmm[components=2]x", "is not MODEL"),
        ("gmm[covariance='../../etc']", "is no value"),
        ("gmm[covariance=/etc]", "cannot name a folder"),
        ("gmm[componnts=2]", "did you mean"),
        ("gmn[components=2]", "did you mean 'gmm'"),
        ("gmm[components=many]", "valid integer"),
    ],
)
def test_a_hostile_sweep_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    """Refused before the table, which is not there, is read."""
    line = refused(command("compare", tmp_path / "none.csv", "-m", text, "-o", tmp_path / "run"), said)
    assert len(line) < 700


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--repeats", "0"), "repeats"),
        (("--folds", "1"), "folds=1"),
        (("--repeats", "2", "--set", "fit.seed=1"), "fit.seed is set"),
        (("-m", ""), "no model is named"),
    ],
)
def test_bad_counts_are_one_line(flags: tuple[str, ...], said: str, tmp_path: Path) -> None:
    refused(command("compare", tmp_path / "none.csv", *flags, "-o", tmp_path / "run"), said)


def test_every_row_is_held_out_once() -> None:
    parts = folds(103, 4, seed=1)
    assert sorted(np.concatenate([part.test for part in parts])) == list(range(103))
    for part in parts:
        assert sorted(np.concatenate(list(part))) == list(range(103))
        assert len(part.validation) == round(0.2 * (103 - len(part.test)))
    with pytest.raises(UserError, match="leave some without a row"):
        folds(20, 21)


@pytest.mark.slow
def test_sweeps_seeds_and_folds_of_a_table(table: pd.DataFrame, tmp_path: Path) -> None:
    """Every row's number is that of the fit that had not seen it, averaged over seeds; rows are in their order."""
    result = quiet(table[:90], ["vae[dim=1]", "gaussian", "vae[dim=2]"], repeats=2, folds=3, seed=5)
    assert {e.model for e in result.scored} == {"vae[dim=1]", "vae[dim=2]", "gaussian", "independent"}
    document = load_comparison(result.save(tmp_path / "run"))
    assert document["rows"] == {"train": 48, "validation": 12, "test": 90}
    assert (document["folds"], document["repeats"]) == (3, 2)
    assert list(result.scores.index) == list(range(90))
    vae = next(e for e in result.entries if e.model == "vae[dim=1]")
    np.testing.assert_allclose(result.scores["vae[dim=1]"], vae.every.mean(0))
    part = folds(90, 3, 5)[1]
    fits = Fits(table[:90], result.schema, folds(90, 3, 5), 5, {"device": "cpu", "models_file": None})
    asked = swept(["vae[dim=1]"])[0]
    again = fits.one(type(asked)(asked.label, "vae", {"dim": 1, "fit.steps": 20}), 1, 6, None)
    assert isinstance(again, Fit)
    np.testing.assert_allclose(again.scores.log_likelihood, vae.every[1, part.test], rtol=1e-6)
    lines = {line["model"]: line for line in document["models"]}
    assert lines["vae[dim=1]"]["difference_fits_se"] > 0 or document["models"][0]["model"] == "vae[dim=1]"
    for line in lines.values():
        assert line["difference_se"] == pytest.approx(
            math.hypot(line["difference_rows_se"], line["difference_fits_se"])
        )
    kept = Estimator.load(tmp_path / "run" / "models" / "vae[dim=1]", device="cpu")
    first = folds(90, 3, 5)[0].test
    np.testing.assert_allclose(kept.score_samples(table[:90].iloc[first]), vae.every[0, first], rtol=1e-5)
    assert "halves" in document["stacking"]["weighed_on"]
    assert (tmp_path / "run" / "report.html").is_file()


def test_twins_are_told_apart_by_nothing(table: pd.DataFrame) -> None:
    """Two fits alike, under two labels: no difference, no error, no stack that prefers one by chance."""
    result = quiet(table[:60], ["gaussian", "gaussian[fit.patience=6]"], repeats=2)
    found = result.paired("gaussian", "gaussian[fit.patience=6]")
    assert (found.mean, found.standard_error, found.p) == (0.0, 0.0, 1.0)
    weights = result.to_json()["stacking"]["weights"]
    assert weights["gaussian"] == pytest.approx(weights["gaussian[fit.patience=6]"])


@pytest.mark.slow
def test_seeds_of_one_model_are_not_told_apart(table: pd.DataFrame) -> None:
    """A real fit with real luck: two sets of seeds of a small VAE; wrongly told apart in 5% of seeds."""
    one = quiet(table[:150], ["vae[dim=1]"], repeats=3, seed=0, settings={"fit.steps": 30})
    other = quiet(table[:150], ["vae[dim=1]"], repeats=3, seed=100, settings={"fit.steps": 30})
    rows = np.intersect1d(one.judges, other.judges)
    both = [
        next(e for e in c.entries if e.model == "vae[dim=1]").every[:, np.isin(c.judges, rows)] for c in (one, other)
    ]
    found = paired(both[0] - both[1])
    assert found.fits > 0
    assert found.p > 0.05


def test_all_fits_share_the_budget(table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve fits in one minute: the first may take about a twelfth, and none may end after all."""
    ends: list[float] = []

    def fit(self: Fits, asked: Any, fold: int, seed: int, deadline: float | None) -> Fit:
        assert deadline is not None
        ends.append(deadline)
        return Fit(0.0, failure="not today")

    monkeypatch.setattr(Fits, "one", fit)
    quiet(table, ["gaussian"], repeats=2, folds=3, time_budget=60)
    assert len(ends) == 12
    assert 0.5 * 51 / 12 < ends[1] - ends[0] + 51 / 12 < 2 * 51 / 12
    assert max(ends) - min(ends) < 51


# --------------------------------------------------------------------------------------------- runs that are finished


@pytest.mark.slow
def test_the_difference_of_two_runs(table: pd.DataFrame, tmp_path: Path) -> None:
    table.to_csv(tmp_path / "t.csv", index=False)
    runs = {}
    for name, model, *more in (
        ("one", "mixture", "--set", "components=2"),
        ("two", "gaussian"),
        ("narrow", "gaussian", "--ignore", "kind"),
        ("rough", "gaussian", "--kind", "x=integer"),
        ("given", "mixture", "--set", "components=2", "--given", "kind"),
    ):
        runs[name] = tmp_path / ("mixture[components=2]" if name == "one" else name)
        if name == "rough":
            table.assign(x=table["x"].round()).to_csv(tmp_path / "r.csv", index=False)
        source = tmp_path / ("r.csv" if name == "rough" else "t.csv")
        worked(command("fit", model, source, "-o", runs[name], "--set", "fit.steps=20", "--device", "cpu", *more))
    rows = tmp_path / "t.csv"
    found = worked(command("difference", runs["one"], runs["two"], rows, "--json")).json
    one, two = (Estimator.load(runs[name], device="cpu").score_samples(table) for name in ("one", "two"))
    assert found["models"] == ["mixture[components=2]", "gaussian"]
    assert found["difference"] == pytest.approx((one - two).mean(), abs=1e-6)
    assert found["difference_se"] == pytest.approx((one - two).std(ddof=1) / math.sqrt(300), rel=1e-4)
    assert found["p"] == pytest.approx(stats.ttest_rel(one, two).pvalue, rel=1e-2, abs=1e-12)
    n = Estimator.load(runs["one"], device="cpu").n_train_
    assert f"the second was fitted to {n} of these rows" in " ".join(found["notes"])
    fresh = difference(runs["one"], runs["two"], table.sample(100, random_state=1), device="cpu")
    assert not any("fitted" in note for note in fresh.notes)
    same = difference(runs["one"], runs["one"], table, device="cpu").paired
    assert (same.mean, same.standard_error, same.p) == (0.0, 0.0, 1.0)
    worked(command("difference", runs["one"], runs["two"], rows))
    for other, said in (
        ("narrow", "only the first models 'kind'"),
        ("rough", "'x' is"),
        ("given", "only the second conditions upon 'kind'"),
    ):
        refused(command("difference", runs["one"], runs[other], rows), "do not measure the same thing", said)
    refused(command("difference", runs["one"], tmp_path / "none", rows), "is not a run")
    refused(command("stack", runs["one"], "-o", tmp_path / "s"), "a comparison was expected")


@pytest.mark.slow
def test_a_comparison_and_its_stack_on_the_command_line(table: pd.DataFrame, tmp_path: Path) -> None:
    table.to_csv(tmp_path / "t.csv", index=False)
    flags = ("--set", "fit.steps=20", "--repeats", "2", "--no-samples", "--device", "cpu")
    models = "mixture[components=1,2],vae[dim=1]"
    said = worked(command("compare", tmp_path / "t.csv", "-m", models, *flags, "-o", tmp_path / "run"))
    for words in ("mixture[components=2]", "2 seeds", "cannot be told from the best", "stack of"):
        assert words in said.out
    worked(command("stack", tmp_path / "run", "-o", tmp_path / "stack"))
    found = worked(command("score", tmp_path / "stack", tmp_path / "t.csv", "--json")).json
    assert math.isfinite(found["log_likelihood"])
    page = (tmp_path / "run" / "report.html").read_text()
    assert "A stack of" in page or len(json.loads((tmp_path / "run" / "comparison.json").read_text())["models"]) < 2
    refused(command("bound", tmp_path / "stack", tmp_path / "t.csv"), "says its number itself")
    assert torch.is_grad_enabled()


# ------------------------------------------------------------------------------------------------------- side by side


@pytest.mark.slow
def test_fits_side_by_side_are_those_one_after_another(table: pd.DataFrame) -> None:
    models = ["gaussian", "vae[dim=1,2]", "nonsense-of-mine"]
    with pytest.raises(UserError, match="nonsense-of-mine"):
        compare(table, models, jobs=2)
    told: list[str] = []
    alone, beside = (
        quiet(table, models[:2], jobs=jobs, repeats=2, settings=QUICK | {"fit.steps": 20}, told=told.append)
        for jobs in (1, 2)
    )
    assert sorted(told[: len(told) // 2]) == sorted(told[len(told) // 2 :])
    for one, other in zip(alone.scored, beside.scored, strict=True):
        assert one.model == other.model
        np.testing.assert_allclose(one.every, other.every, rtol=1e-4, atol=1e-4)
        assert one.estimator is not None
        assert other.estimator is not None
        assert other.estimator.score(table) == pytest.approx(one.estimator.score(table), abs=1e-4)


@pytest.mark.slow
def test_a_process_that_dies_costs_its_own_fit_alone() -> None:
    """And nothing waits for it; warnings come back, deadlines count the fits left to a worker."""

    def one(name: str, deadline: float | None) -> Fit:
        import os
        import warnings

        from zoo.comparison.entry import Fit
        from zoo.errors import ZooWarning

        if name == "bad":
            os._exit(1)
        warnings.warn(f"{name} is odd", ZooWarning, stacklevel=1)
        return Fit(deadline or 0.0)

    jobs = [("a",), ("b",), ("bad",), ("c",), ("d",), ("e",)]
    asked: list[int] = []
    with pytest.warns(ZooWarning, match="is odd"):
        fits = side_by_side(one, jobs, 2, lambda left: asked.append(left) or float(left), lambda job: None)
    assert [bool(fit.failure) for fit in fits] == [job == ("bad",) for job in jobs]
    assert "ended without an answer" in fits[2].failure
    assert asked[:2] == [3, 3]
