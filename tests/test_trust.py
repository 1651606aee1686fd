"""Whether a bound or a posterior is to be trusted: each way of telling, where the truth is known."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import matplotlib
import matplotlib.pyplot
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from typer.testing import CliRunner

from zoo.cli import app
from zoo.errors import UserError, quiet
from zoo.estimator import Estimator
from zoo.evaluate.annealed import _Path, annealed, check, simulated
from zoo.evaluate.card import bound_card
from zoo.evaluate.leave_one_out import leave_one_out
from zoo.evaluate.likelihood import score
from zoo.fitting.loop import fit
from zoo.fitting.settings import FitSettings
from zoo.log_weights import log_mean
from zoo.model import Model
from zoo.recovery import recover
from zoo.registry import Registry
from zoo.scope import scope
from zoo.simulation import FAILURE, Calibration, _of_rows, sbc, uniform
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema

PLAIN = {"*": "continuous"}
PRIOR = 2.0
CONJUGATE = f"""
import pyro
import pyro.distributions as dist
import torch


def normal(rows):
    d = len(rows.schema.numeric)
    loc = pyro.sample("loc", dist.Normal(torch.zeros(d, dtype=torch.float64), {PRIOR}).to_event(1))
    with rows.plate():
        rows.observe(torch.cat([loc, torch.zeros(d, dtype=torch.float64)]))  # of a standard deviation of 1
"""
ENTRY = """
[conjugate]
program = { use = "conjugate:normal" }
guide = "normal"
fit = { learning_rate = 0.05, steps = 400, patience = 0, keep = "last" }
"""


# ---------------------------------------------------------------------------------------- annealed importance sampling


def factors(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2)) @ rng.normal(size=(2, 4)) + 0.7 * rng.normal(size=(n, 4))
    return pd.DataFrame(x, columns=list("abcd"))


@pytest.fixture(scope="module")
def pair() -> tuple[Model, Model, Model, pd.DataFrame]:
    """PPCA with its exact posterior; with an encoder; and with one of a wrong and narrow spread."""
    frame = factors()
    codec = Codec.fit(infer_schema(frame, kinds=PLAIN), frame)
    recipe = Registry.load()["ppca"].with_settings({"program.dim": 2})
    exact = Model(recipe, codec)
    fit(exact, exact.rows(frame), None, FitSettings())
    near = Model(recipe.with_settings({"guide": {"use": "encoder", "network": "linear"}}), codec)
    fit(near, near.rows(frame), None, FitSettings(steps=300, learning_rate=0.02, patience=0))
    broken = copy.deepcopy(near)
    with torch.no_grad():
        last = [m for m in broken.guide.modules() if isinstance(m, torch.nn.Linear)][-1]
        last.weight[2:] = 0.0
        last.bias[2:] = -3.0
    return exact, near, broken, frame


@pytest.mark.slow
def test_annealing_needs_no_good_guide(pair: tuple[Model, Model, Model, pd.DataFrame]) -> None:
    """A guide that misses by nats is annealed to the exact number: within five errors and the little that is left."""
    exact, near, broken, frame = pair
    card = bound_card(broken, broken.rows(frame), 1000, ais=8, steps=80)
    found = card.annealed
    assert found is not None
    some = np.sort(np.random.default_rng(0).permutation(len(frame))[:8])
    truth = score(exact, exact.rows(frame.iloc[some])).mean
    assert not card.trusted
    assert card.interval is None
    assert found.importance < truth - 1.0
    assert truth - 0.8 < found.bound < truth + 5 * found.monte_carlo_error
    assert "upper end only on simulated rows" in found.sentence
    # the weights of a short walk from a bad guide lie on few chains, and their spread cannot be told from them
    short = annealed(broken, broken.rows(frame.iloc[some]), np.zeros(8), steps=3)
    assert short.bound < found.bound - 0.5
    assert "chains carry the weight" in short.sentence
    good = annealed(near, near.rows(frame.iloc[some]), np.zeros(8), steps=20)
    assert 8 < good.carried <= good.chains
    assert "carry the weight" not in good.sentence
    assert card.to_json()["annealed"]["bound"] == found.bound


@pytest.mark.slow
def test_walks_from_both_ends_hold_the_log_likelihood(pair: tuple[Model, Model, Model, pd.DataFrame]) -> None:
    """The weights of either walk are unbiased, of p(x) and of 1 / p(x), so that their logs lie on its two sides.

    Five standard errors over rows: failure rate 6e-7 of each of four comparisons.
    """
    exact, near, broken, frame = pair
    for model, steps, gap in ((near, 20, 0.1), (broken, 60, 6.0)):
        with scope(3):
            own, z = simulated(model, model.rows(frame.head(24)))
            path = _Path(model, own, 12, steps)
            low, high = log_mean(path.forward()).numpy(), -log_mean(path.backward(z)).numpy()
        truth = score(exact, own).log_likelihood
        for below in (truth - low, high - truth):
            assert below.mean() > -5 * below.std() / np.sqrt(len(below))
        assert (high - low).mean() < gap
        assert 0.6 < path.accepted < 0.95


def test_annealing_is_exact_from_an_exact_guide(pair: tuple[Model, Model, Model, pd.DataFrame]) -> None:
    """q = p(z | x): every weight of every walk is p(x), whatever the steps, to the precision of float32."""
    exact, _, _, frame = pair
    rows = exact.rows(frame.head(6))
    truth = score(exact, rows).log_likelihood
    with scope(0):
        path = _Path(exact, rows, 3, 4)
        walks = path.forward()
        back = path.backward({"z": path.start[: rows.n]})
    np.testing.assert_allclose(walks, np.tile(truth, (3, 1)), atol=1e-4)
    np.testing.assert_allclose(-back, np.tile(truth, (3, 1)), atol=1e-4)


def test_hamiltonian_steps_keep_the_posterior(pair: tuple[Model, Model, Model, pd.DataFrame]) -> None:
    """Moved draws of the posterior are draws of it: Kolmogorov-Smirnov on each coordinate, failure rate 4e-4."""
    exact, _, _, frame = pair
    rows = exact.rows(frame.head(1))
    with scope(0):
        path = _Path(exact, rows, 800, 1)
        z = path.start
        for _ in range(10):
            z, taken = path.move(z, 1.0, torch.full((800,), 0.7, dtype=torch.float64))
        q = exact.program.posterior(rows)
    assert 0.5 < float(taken.mean()) < 1
    assert not torch.equal(z, path.start)
    loc, sd = q.loc[0].detach().numpy(), q.covariance_matrix[0].diagonal().sqrt().detach().numpy()
    for j in range(2):
        assert stats.kstest(z[:, j].numpy(), "norm", args=(loc[j], sd[j])).pvalue > 1e-4
        shuffled = stats.kstest(path.start[:, j].numpy(), "norm", args=(loc[j], sd[j])).pvalue
        assert shuffled > 1e-4


REFUSED = {
    "mixture": ({"components": 2}, "its latents are discrete"),
    "gaussian": ({}, "it has no latents"),
    "ppca": ({"dim": 1}, "its number is exact"),
    "bayesian-gmm": ({"components": 2}, "a posterior over its parameters"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_cannot_be_annealed_is_refused(name: str) -> None:
    settings, said = REFUSED[name]
    frame = factors(40)
    model = Model(Registry.load()[name].with_settings(settings), Codec.fit(infer_schema(frame, kinds=PLAIN), frame))
    with pytest.raises(UserError, match=said):
        check(model, model.rows(frame))


def test_the_interval_of_a_card_holds_the_exact_number(pair: tuple[Model, Model, Model, pd.DataFrame]) -> None:
    """At least 90 of 100 intervals of 95%; of sound ones fewer do once in 90."""
    exact, near, _, frame = pair
    rows = near.rows(frame.head(25))
    truth = score(exact, exact.rows(frame.head(25))).mean
    held = 0
    for seed in range(100):
        interval = bound_card(near, rows, 200, seed).interval
        assert interval is not None
        held += interval[0] < truth < interval[1]
    assert held >= 90


# ----------------------------------------------------------------------------------------------------- leave one out


@pytest.fixture(scope="module")
def conjugate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Estimator]]:
    """Fits the mean of Normal columns, whose posterior and leave-one-out densities have closed forms."""
    path = tmp_path_factory.mktemp("conjugate") / "models.toml"
    path.write_text(ENTRY)
    module = ModuleType("conjugate")
    exec(CONJUGATE, module.__dict__)
    sys.modules["conjugate"] = module

    def fitted(frame: pd.DataFrame, **settings: Any) -> Estimator:
        made = Estimator("conjugate", settings=settings, device="cpu", models_file=str(path))
        return made.fit_parts(frame, None, infer_schema(frame, kinds=PLAIN))

    fitted.file = str(path)  # type: ignore[attr-defined]
    yield fitted
    sys.modules.pop("conjugate", None)


def numbers(n: int = 40, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(rng.normal(size=(n, 2)) * [2.0, 0.5] + [1.0, 3.0], columns=["a", "b"])


def exact_loo(model: Estimator, frame: pd.DataFrame) -> np.ndarray:
    """log p(y_i | y_-i) of a Normal with a known scale and a Normal prior on its mean."""
    codec = model.model_.codec
    y, n = (frame.to_numpy() - codec.loc.numpy()) / codec.scale.numpy(), len(frame)
    variance = 1 + codec.min_scale.numpy() ** 2  # what the heads make of a log-scale of zero
    precision = PRIOR**-2 + (n - 1) / variance
    loc = (y.sum(0) - y) / variance / precision
    log = stats.norm.logpdf(y, loc, np.sqrt(variance + 1 / precision))
    return (log - np.log(codec.scale.numpy())).sum(1)


NUTS = {"use": "nuts", "draws": 200, "warmup": 50}


@pytest.mark.parametrize("guide", ["normal", pytest.param(NUTS, marks=pytest.mark.slow)])
def test_leaving_one_out_is_the_closed_form(conjugate: Callable[..., Estimator], guide: Any) -> None:
    """Within five Monte Carlo errors: failure rate 6e-7; every row within what so few draws can differ by."""
    frame = numbers()
    found = conjugate(frame, guide=guide)
    left, truth = found.loo(frame, draws=300), exact_loo(found, frame)
    assert left.elpd == pytest.approx(truth.sum(), abs=5 * left.monte_carlo)
    np.testing.assert_allclose(left.row, truth, atol=0.1)
    assert left.monte_carlo < 0.3
    assert left.p_loo == pytest.approx(2.0, abs=0.6)  # two means; the table's own spread moves it
    assert left.trusted
    assert left.corrected == (not isinstance(guide, dict))
    assert left.standard_error == pytest.approx(truth.std(ddof=1) * np.sqrt(len(truth)), rel=0.05)


@pytest.mark.slow
def test_a_guide_that_is_too_wide_is_corrected(
    conjugate: Callable[..., Estimator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draws of a guide 4.5 times too wide say something else, and weighed by p(theta, y) / q(theta) the truth."""
    frame = numbers()
    found = conjugate(frame)
    with torch.no_grad():
        found.model_.guide.log_scale += 1.5
    left, truth = found.loo(frame, draws=600), exact_loo(found, frame)
    assert left.corrected
    assert left.elpd == pytest.approx(truth.sum(), abs=5 * left.monte_carlo)
    assert left.monte_carlo < 0.6
    monkeypatch.setattr("zoo.evaluate.leave_one_out.K_HAT_GOOD", -10.0)
    assert found.loo(frame, draws=600).elpd < truth.sum() - 2.0


def test_a_guide_that_is_too_narrow_is_told_of(conjugate: Callable[..., Estimator]) -> None:
    frame = numbers()
    found = conjugate(frame)
    with torch.no_grad():
        found.model_.guide.log_scale -= 2.0
    left, truth = found.loo(frame, draws=200), exact_loo(found, frame)
    assert left.guide_k_hat is not None
    assert left.guide_k_hat > 0.7
    assert not left.corrected
    assert not left.trusted
    assert "NOT corrected" in left.sentence
    assert left.elpd > truth.sum() + 1.0  # as if the parameters were known


@pytest.mark.slow
def test_a_row_far_off_has_a_bad_k_hat(conjugate: Callable[..., Estimator]) -> None:
    """The posterior of so few rows is another one without the row that pulls it: it is told of."""
    frame = numbers(10)
    found = conjugate(frame, guide={"use": "nuts", "draws": 200, "warmup": 50})
    far = found.model_.rows(frame.assign(a=frame["a"].where(frame.index > 0, 60.0)))
    left = leave_one_out(found.model_, far)
    assert left.k_hat.argmax() == 0
    assert left.k_hat[0] > left.threshold
    assert left.k_hat[1:].mean() < 0.5
    assert "fit without these" in left.sentence


def test_rows_left_out_are_those_that_were_fitted(conjugate: Callable[..., Estimator], tmp_path: Path) -> None:
    """A fit sets rows aside; loo finds the others, after saving too, and refuses a table of other rows."""
    frame = numbers(60).rename(index=lambda i: f"row {i}")
    made = Estimator("conjugate", kinds=PLAIN, device="cpu", models_file=conjugate.file)  # type: ignore[attr-defined]
    made.fit(frame)
    left = made.loo(frame, draws=50)
    assert len(left.row) == made.n_train_ == 48
    table = left.to_frame(frame.index)
    assert list(table) == ["elpd_loo", "log_likelihood", "k_hat"]
    again = Estimator.load(made.save(tmp_path / "run"), conjugate.file)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(again.loo(frame, draws=50).row, left.row)
    alone = made.loo(frame.loc[table.index], draws=50)
    np.testing.assert_allclose(alone.row, left.row)
    with pytest.raises(UserError, match="not the table of the fit"):
        made.loo(numbers(60, seed=1))
    with pytest.raises(UserError, match="is a point"):
        conjugate(frame, guide="map").loo(frame)


@pytest.mark.slow
def test_leaving_one_out_is_fitting_without_it() -> None:
    """Of a mixture with priors, six rows of 60 left out by fitting the other 59: the sums agree within five errors
    of the difference over rows, and within what a row of it may matter."""
    rng = np.random.default_rng(1)
    x = np.where(rng.random(60) < 0.6, rng.normal(-2.0, 0.7, 60), rng.normal(1.5, 1.0, 60))
    frame = pd.DataFrame({"x": x})
    schema = infer_schema(frame, kinds=PLAIN)
    settings = {"components": 2, "restarts": 2, "guide": "multivariate", "fit.steps": 200, "fit.learning_rate": 0.05}
    whole = Estimator("bayesian-gmm", settings=settings, device="cpu").fit_parts(frame, None, schema)
    left = whole.loo(frame, draws=400)
    assert left.corrected
    some = rng.choice(60, 6, replace=False)
    codec = Codec.fit(schema, frame)  # priors are in its units
    without = []
    for i in some:
        other = Estimator("bayesian-gmm", settings=settings | {"guide.views": 100}, device="cpu")
        other.fit_parts(frame.drop(index=i), None, schema, codec=codec)
        without.append(other.score(frame.iloc[[i]]))
    apart = left.row[some] - np.array(without)
    assert abs(apart.mean()) < 5 * apart.std(ddof=1) / np.sqrt(6) + 0.02
    assert np.abs(apart).max() < 0.25
    assert (left.in_sample[some] - left.row[some]).sum() > 0


# ---------------------------------------------------------------------------------------- simulation-based calibration


@pytest.mark.slow
def test_ranks_of_a_sound_posterior_pass_and_of_a_narrow_one_do_not() -> None:
    """1,000 sets of 20 even ranks are refused no more often than said: a share above 2% has a chance of 2e-3. Of a
    posterior half as wide as it should be, a standard deviation to one side, or too wide, 20 tables mostly tell."""
    rng = np.random.default_rng(0)
    refused = np.mean([uniform(rng.integers(100, size=20), 99) < FAILURE for _ in range(1000)])
    assert refused < 0.02
    truth, draws = rng.normal(size=(200, 20, 1)), rng.normal(size=(200, 20, 99))
    for scale, shift, power in ((1.0, 0.0, None), (0.5, 0.0, 0.7), (1.0, 1.0, 0.85), (2.5, 0.0, 0.9)):
        ranks = (scale * draws + shift < truth).sum(-1)
        found = np.mean([uniform(r, 99) < FAILURE for r in ranks])
        assert found < 0.05 if power is None else found > power


@pytest.mark.slow
def test_a_posterior_in_closed_form_is_calibrated(conjugate: Callable[..., Estimator]) -> None:
    """A guide that reaches the posterior passes, on a table with holes (failure rate 1%, as it says)."""
    frame = numbers(30).mask(np.random.default_rng(1).random((30, 2)) < 0.1)
    quick = {"fit.steps": 300, "fit.learning_rate": 0.1}
    file = conjugate.file  # type: ignore[attr-defined]
    (sound,) = sbc(
        "conjugate", frame, simulations=20, draws=19, settings=quick, kinds=PLAIN, device="cpu", models_file=file
    )
    assert sound.holds, sound.sentence
    assert [found.name for found in sound.quantities] == ["loc 1", "loc 2", "log-likelihood"]


def test_latents_of_rows_after_importance_resampling(pair: tuple[Model, Model, Model, pd.DataFrame]) -> None:
    """A guide too narrow by a third fails as it is and passes once resampled; the exact posterior passes both:
    failure rate 1% each, of three."""
    exact, near, _, frame = pair
    narrow = copy.deepcopy(near)
    with torch.no_grad():
        last = [m for m in narrow.guide.modules() if isinstance(m, torch.nn.Linear)][-1]
        last.bias[2:] -= 0.4
    raw, chosen = _of_rows(narrow, narrow.rows(frame), 300, 49, 0)
    assert not raw.holds
    assert "too narrow" in raw.sentence
    assert chosen.holds, chosen.sentence
    assert all(found.holds for found in _of_rows(exact, exact.rows(frame), 300, 49, 0))


def of_prior(model: str, guide: Any, frame: pd.DataFrame, simulations: int, **more: Any) -> Calibration:
    settings = {"guide": guide, "fit.learning_rate": 0.03, "fit.steps": 500, **more}
    kinds = dict.fromkeys([c for c in frame if c != "group"], "continuous")
    group = "group" if "group" in frame else None
    with quiet():
        (found,) = sbc(
            model, frame, simulations=simulations, draws=49, settings=settings, kinds=kinds, group=group, device="cpu"
        )
    return found


@pytest.mark.slow
def test_the_posterior_of_a_mixture_is_not_refused() -> None:
    """Failure rate 1%, as it says; so few tables tell of widths off by a half, and not of a quarter."""
    found = of_prior(
        "bayesian-gmm",
        "normal",
        numbers(50),
        20,
        components=2,
        **{"program.restarts": 2, "fit.steps": 90, "fit.learning_rate": 0.05},
    )
    assert found.holds, found.sentence


@pytest.mark.slow
def test_independent_loadings_are_told_of() -> None:
    """Loadings and locations hang together where rows are few: the mean-field guide of factors is far too narrow."""
    frame = factors(50)[["a", "b", "c"]]
    found = of_prior("bayesian-ppca", "normal", frame, 20, dim=1, **{"fit.steps": 60, "fit.learning_rate": 0.1})
    assert not found.holds
    assert min(line.covered for line in found.quantities) < 0.6
    assert "too narrow" in found.sentence


def test_what_has_no_posterior_is_refused() -> None:
    frame = factors(40)
    for model, settings, said in (
        ("gaussian", {}, "no posterior over parameters"),
        ("mixture", {"components": 2}, "no posterior over parameters"),
        ("bayesian-gmm", {"guide": "map"}, "is a point"),
    ):
        with pytest.raises(UserError, match=said):
            sbc(model, frame, settings=settings, kinds=PLAIN, device="cpu")


# ---------------------------------------------------------------------------------------------------------- recovery


@pytest.mark.slow
def test_what_estimation_costs_is_half_a_parameter_a_row() -> None:
    """Of a Gaussian with p parameters fitted to n rows KL(truth || fit) is p / (2 n) on average, up to 1 / n^2: within
    five standard errors, failure rate 3e-5 (of t with 9 degrees of freedom 7e-4)."""
    frame = factors(400)[["a", "b", "c"]]
    found = recover("gaussian", frame, repeats=10, judged=2000, kinds=PLAIN, device="cpu")
    assert found.exact
    expected = 9 / (2 * 320)  # a fifth of the rows is set aside
    assert found.loss == pytest.approx(expected, abs=5 * found.standard_error)
    assert found.standard_error < expected / 2
    assert found.sentence.startswith(f"a table like yours of 400 rows loses {found.loss:.3f} ±")


# ------------------------------------------------------------------------------------------------------------- ArviZ


@pytest.mark.slow
def test_draws_for_arviz_belong_together(conjugate: Callable[..., Estimator]) -> None:
    """Of a sampler: its chains; and log-likelihoods and rows of the same draw of the parameters."""
    frame = numbers()
    found = conjugate(frame, guide=NUTS | {"draws": 400})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = found.to_arviz(frame, draws=400)
    loc = np.asarray(tree["posterior"]["loc"])
    assert loc.shape == (2, 200, 2)
    np.testing.assert_allclose(loc.reshape(-1, 2), found.model_.guide.sampled.numpy())
    codec = found.model_.codec
    places = loc * codec.scale.numpy() + codec.loc.numpy()
    sd = codec.scale.numpy() * np.sqrt(1 + codec.min_scale.numpy() ** 2)
    expected = stats.norm.logpdf(frame.to_numpy(), places[:, :, None], sd).sum(-1)
    np.testing.assert_allclose(np.asarray(tree["log_likelihood"]["row"]), expected, rtol=1e-9)
    # the mean of 40 rows varies about its own draw's as much as draws vary: their correlation is 0.7
    means = np.asarray(tree["posterior_predictive"]["a"]).mean(-1)
    assert np.corrcoef(means.ravel(), places[..., 0].ravel())[0, 1] > 0.5
    left = found.loo(frame)
    from arviz_stats.base import array_stats

    row = np.asarray(tree["log_likelihood"]["row"])
    theirs = [array_stats.loo(row[..., i], chain_axis=0, draw_axis=1)[0] for i in range(len(frame))]
    np.testing.assert_allclose(left.row, theirs, atol=0.02)


def arviz() -> Any:
    """The ArviZ that is installed: before 1.0 a package of its own, from then on three in one; none: skipped."""
    if importlib.util.find_spec("arviz"):
        return importlib.import_module("arviz")
    parts = [pytest.importorskip(name) for name in ("arviz_stats", "arviz_plots")]
    return SimpleNamespace(**{name: getattr(part, name) for part in parts for name in dir(part) if name[0] != "_"})


@pytest.mark.slow
@pytest.mark.parametrize("guide", ["normal", NUTS])
def test_arviz_reads_the_result(conjugate: Callable[..., Estimator], guide: Any) -> None:
    """loo, compare and predictive checks; leave-one-out ranks are uniform (Kolmogorov-Smirnov at 1e-4)."""
    matplotlib.use("agg")
    frame = numbers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        az = arviz()
        if not hasattr(az, "loo"):
            pytest.skip("ArviZ's parts are here without what its tables need")
        found = conjugate(frame, guide=guide)
        data, alone = found.to_arviz(frame, draws=200), found.to_arviz(frame, draws=200, column="a")
        other = found.to_arviz(frame + 1.0, draws=50)
        left, ours = az.loo(data), found.loo(frame, draws=200)
        value = float(getattr(left, "elpd", None) or left.elpd_loo)
        assert value == pytest.approx(ours.elpd, abs=10 * ours.monte_carlo)
        assert list(az.compare({"far": other, "near": data}).index) == ["near", "far"]
        if hasattr(az, "plot_ppc"):  # before 1.0
            az.plot_ppc(data)
            az.plot_loo_pit(alone, y="a")
            pit = az.loo_pit(alone, y="a")
        else:
            az.plot_ppc_dist(data, backend="matplotlib")
            az.plot_loo_pit(alone, backend="matplotlib")
            pit = az.loo_pit(alone)["a"]
    assert stats.kstest(np.asarray(pit).ravel(), "uniform").pvalue > 1e-4
    matplotlib.pyplot.close("all")


def test_a_column_that_is_not_there(conjugate: Callable[..., Estimator]) -> None:
    frame = numbers()
    with pytest.raises(UserError, match="no column 'c'"):
        conjugate(frame).to_arviz(frame, draws=2, column="c")


# ------------------------------------------------------------------------------------------------- the command line


def said(*arguments: object) -> Any:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code in (0, 1), done.output
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_commands(tmp_path: Path) -> None:
    """What each prints is what Python gives."""
    factors(60)[["a", "b", "c"]].to_csv(tmp_path / "t.csv", index=False)
    table, plain = tmp_path / "t.csv", ("--kind", "*=continuous")
    ppca = Estimator("ppca", settings={"dim": 1, "guide": "encoder", "fit.steps": 40}, kinds=PLAIN, device="cpu")
    ppca.fit(str(table)).save(tmp_path / "ppca")
    few = ("--particles", 50, "--ais", "--ais-rows", 4, "--ais-steps", 3)
    card = said("bound", tmp_path / "ppca", table, *few)
    assert card["annealed"]["rows"] == 4
    assert card["annealed"] == ppca.bound_card(str(table), 50, 4, 3).to_json()["annealed"]
    assert said("bound", tmp_path / "ppca", table, "--particles", 50)["annealed"] is None
    settings = {"dim": 1, "fit.steps": 150}
    bayes = Estimator("bayesian-ppca", settings=settings, kinds=PLAIN, device="cpu").fit(str(table))
    bayes.save(tmp_path / "bayes")
    left = said("loo", tmp_path / "bayes", table, "--draws", 40, "-o", tmp_path / "rows.csv")
    assert left["elpd_loo"] == pytest.approx(bayes.loo(str(table), 40).elpd)
    assert left["rows"] == 48
    assert pd.read_csv(tmp_path / "rows.csv")["elpd_loo"].sum() == pytest.approx(left["elpd_loo"])
    quick = ("--set", "dim=1", "--set", "fit.steps=5", "--set", "fit.tier=eager")
    ranked = said("sbc", "bayesian-ppca", table, *plain, *quick, "--simulations", 20, "--draws", 9)
    (found,) = ranked["calibrations"]
    assert found["simulations"] == 20
    assert {len(each["ranks"]) for each in found["quantities"]} == {20}
    again = said("recover", "gaussian", table, *plain, "--repeats", 2)
    assert again["loss"] == pytest.approx(recover("gaussian", str(table), repeats=2, kinds=PLAIN).loss)
    done = CliRunner().invoke(app, ["recover", "gaussian", str(table), *plain, "--repeats", "1"])
    assert done.stdout.startswith("a table like yours of 60 rows loses")
