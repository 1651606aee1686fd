"""Laws for the models that need a group or a column of levels that is given, which the tables of other laws lack."""

from __future__ import annotations

import functools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import quiet_schema, small

import zoo
from zoo.errors import UserError, ZooWarning
from zoo.estimator import Estimator
from zoo.evaluate.likelihood import score
from zoo.model import Model
from zoo.scope import scope
from zoo.table.codec import Codec

SIZES = {"north": 120, "south": 60, "east": 16, "west": 4}
ROLE = {"grouped-gmm": "group", "grouped-ppca": "group", "class-models": "given"}
every = pytest.mark.parametrize("name", ROLE)
on = pytest.mark.parametrize("table", ["pair", pytest.param("mixed", marks=pytest.mark.slow)])


def _table(numbers: bool) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    site = np.repeat(list(SIZES), list(SIZES.values()))
    centre = pd.Series(site).map({"north": -1.0, "south": 1.5, "east": 0.5, "west": 3.0}).to_numpy()
    a = centre + rng.normal(size=len(site))
    frame = pd.DataFrame({"a": 3 * a - 5, "b": 40 * (0.7 * a + rng.normal(size=len(site)))})
    if not numbers:
        frame["length"] = np.round(5 + a, 1)
        frame["visits"] = rng.poisson(np.exp(0.5 + 0.2 * centre)).astype(float)
        frame["smoker"] = (rng.random(len(site)) < 1 / (1 + np.exp(-a))).astype(float)
        frame["colour"] = np.array(["red", "green", "grün"], dtype=object)[
            (rng.random(len(site)) < 0.5).astype(int) + (a > 0)
        ]
        frame = frame.mask(rng.random(frame.shape) < 0.15)
    return frame.assign(site=site.astype(object)).sample(frac=1, random_state=0, ignore_index=True)


TABLES = {"pair": _table(True), "mixed": _table(False)}


@functools.cache
def fitted(name: str, table: str) -> Estimator:
    frame = TABLES[table]
    schema = quiet_schema(frame, **{ROLE[name]: "site"})
    steps = {"fit.steps": 300} if ROLE[name] == "group" else {}
    return Estimator(name, settings=small(name) | steps, device="cpu").fit_parts(frame, None, schema)


def numbers_of(name: str, frame: pd.DataFrame, table: str, particles: int = 50) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        return fitted(name, table).log_likelihood(frame, particles).log_likelihood


@pytest.mark.slow
@every
@on
def test_a_finite_number_for_every_row_of_any_group_or_none(name, table):
    frame = TABLES[table].head(40)
    for site in (frame["site"], "never seen", None):
        values = numbers_of(name, frame.assign(site=site), table)
        assert values.shape == (40,)
        assert np.isfinite(values).all()
    # where nothing is known of the site it is none of those seen, whatever it is called
    new, none = (numbers_of(name, frame.assign(site=site), table) for site in ("never seen", None))
    np.testing.assert_allclose(new, none, atol=1e-9)
    assert not np.allclose(new, numbers_of(name, frame, table), atol=0.01)


@every
@on
def test_every_parameter_gets_a_gradient(name, table):
    frame = TABLES[table]
    model = Model(fitted(name, table).model_.recipe, fitted(name, table).model_.codec)
    rows = model.rows(pd.concat([frame, frame.head(9).assign(site=None)], ignore_index=True))
    parameters = {key: p for key, p in model.named_parameters() if p.requires_grad and p.numel()}
    with scope(0):
        loss = model.objective.loss(model, rows)
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    for key, gradient in zip(parameters, gradients, strict=True):
        assert gradient is not None, key
        assert torch.isfinite(gradient).all(), key
        assert gradient.any(), key


@every
@on
@pytest.mark.parametrize("factor", [0.125, 1000.0])
def test_scale_law(name, table, factor):
    model, frame = fitted(name, table).model_, TABLES[table]
    scaled = frame.assign(b=frame["b"] * factor)
    other = Model(model.recipe, Codec.fit(model.schema, scaled))
    other.load_state_dict({k: v for k, v in model.state_dict().items() if "codec." not in k}, strict=False)
    shift = score(other, other.rows(scaled), 50).log_likelihood - score(model, model.rows(frame), 50).log_likelihood
    tolerance = 1e-9 if factor == 0.125 else 1e-3
    np.testing.assert_allclose(shift, -math.log(factor) * frame["b"].notna(), atol=tolerance)


def density(name: str, site: str | None) -> tuple[np.ndarray, np.ndarray, float]:
    """Places of a grid over `a` and `b`, log-densities there in one group, and the area of a cell."""
    frame = TABLES["pair"]
    axes = [np.linspace(frame[c].mean() - 7 * frame[c].std(), frame[c].mean() + 7 * frame[c].std(), 141) for c in "ab"]
    middle = [(axis[1:] + axis[:-1]) / 2 for axis in axes]
    cells = np.stack(np.meshgrid(*middle, indexing="ij"), -1).reshape(-1, 2)
    grid = pd.DataFrame(cells, columns=["a", "b"]).assign(site=site)
    return cells, numbers_of(name, grid, "pair"), (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])


@every
@pytest.mark.parametrize("site", ["north", "south", None])
def test_samples_agree_with_the_density_of_their_group(name, site):
    """It integrates to one, and the draws' mean place and mean log-density are its own. Failure rate 2e-4."""
    cells, log, area = density(name, site)
    masses = np.exp(log) * area
    # a group never seen may lie far off
    assert masses.sum() == pytest.approx(1.0, abs=0.01 if site else 0.05)
    drawn = fitted(name, "pair").sample(4000, seed=3, given={"site": [site]})
    logs = numbers_of(name, drawn, "pair")
    # the slack is the grid's
    for values, expected in ((logs, log), (drawn["a"], cells[:, 0]), (drawn["b"], cells[:, 1])):
        mean = (masses * expected).sum() / masses.sum()
        error = np.std(values, ddof=1) / math.sqrt(len(values))
        slack = 0.01 if values is logs else 0.02 * np.std(values)
        assert np.mean(values) == pytest.approx(mean, abs=4 * error + slack)


@every
@on
def test_draws_are_told_their_group_and_say_it(name, table):
    kept, frame = fitted(name, table), TABLES[table]
    drawn = kept.sample(50, given=frame)
    assert list(drawn.columns) == list(frame.columns)
    assert list(drawn["site"]) == list(frame["site"].head(50))
    assert set(kept.sample(4, given={"site": "west"})["site"]) == {"west"}
    assert set(kept.sample(4, given={"site": ["west", "east"]})["site"].iloc[:2]) == {"west", "east"}
    with pytest.raises(UserError, match=r"'wset'.*west"):
        kept.sample(4, given={"site": "wset"})
    with pytest.raises(UserError, match="'site'"):
        kept.sample(4, given={"sight": "west"})


@pytest.mark.parametrize("name", ["grouped-gmm", "grouped-ppca"])
def test_draws_without_a_group_are_of_one_never_seen(name):
    kept = fitted(name, "pair")
    drawn = kept.sample(500, seed=1)
    assert list(drawn.columns) == ["a", "b"]
    pd.testing.assert_frame_equal(drawn, kept.sample(500, seed=1, given={"site": [None]})[["a", "b"]])


@every
@on
def test_save_and_load_give_the_same_numbers(name, table, tmp_path):
    kept, frame = fitted(name, table), TABLES[table]
    kept.save(tmp_path / "run")
    again = zoo.load(tmp_path / "run")
    assert np.array_equal(again.log_likelihood(frame, 50).log_likelihood, kept.log_likelihood(frame, 50).log_likelihood)
    pd.testing.assert_frame_equal(again.sample(20, given=frame), kept.sample(20, given=frame), check_exact=True)


@pytest.mark.slow
@every
@on
def test_imputation_fills_what_is_missing_and_nothing_else(name, table):
    kept, frame = fitted(name, table), TABLES[table].head(30)
    holes = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.2)
    with pytest.warns(ZooWarning, match="'site' is conditioned upon"):
        completed = [kept.impute(holes), *kept.impute(holes, draws=2)]
    for filled in completed:
        pd.testing.assert_series_equal(filled["site"], holes["site"])
        for column in holes.columns.drop("site"):
            assert not filled[column].isna().any()
            seen = holes[column].notna()
            assert filled.loc[seen, column].equals(holes.loc[seen, column])


@pytest.mark.slow
@every
def test_what_is_filled_in_is_near_its_group(name):
    """The groups' centres differ by a few standard deviations, and are what an empty row is filled with."""
    frame = TABLES["pair"]
    empty = pd.DataFrame({"a": [np.nan] * 2, "b": [np.nan] * 2, "site": ["north", "south"]})
    north, south = fitted(name, "pair").impute(empty)["a"]
    means = frame.groupby("site")["a"].mean()
    assert south - north > 0.3 * (means["south"] - means["north"])


@every
@on
def test_a_table_without_the_column_is_refused_in_one_line(name, table):
    kept, frame = fitted(name, table), TABLES[table].drop(columns="site")
    for verb in (kept.score_samples, kept.impute):
        with pytest.raises(UserError, match="'site'") as caught:
            verb(frame)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=f"--{ROLE[name]} COLUMN") as caught:
        Estimator(name, settings=small(name)).fit(frame)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@every
def test_rows_of_no_weight_count_for_nothing(name):
    """A fit to rows of which some have no weight is that of the others, but for how they are drawn."""
    frame = TABLES["pair"]
    stray = frame.head(60).assign(a=frame["a"].head(60) + 200.0)
    both = pd.concat([frame.assign(w=1.0), stray.assign(w=0.0)], ignore_index=True)
    schema = quiet_schema(both, kinds={"a": "continuous", "b": "continuous"}, **{ROLE[name]: "site"}, weight="w")
    settings = {**small(name), "fit.steps": 300} if ROLE[name] == "group" else small(name)
    kept = Estimator(name, settings=settings, device="cpu").fit_parts(both, None, schema)
    values = kept.score_samples(both)
    assert values[: len(frame)].mean() > values[len(frame) :].mean() + 5
    drawn = kept.sample(500, given=frame.assign(w=1.0))
    assert drawn["a"].quantile(0.9) < 100


@every
@on
def test_the_order_of_rows_is_irrelevant(name, table):
    frame = TABLES[table]
    order = np.random.default_rng(0).permutation(len(frame))
    model = fitted(name, table).model_
    straight, shuffled = (score(model, model.rows(f), 100) for f in (frame, frame.iloc[order]))
    if model.bound_of_rows(straight.bound == "exact") == "exact":
        np.testing.assert_allclose(shuffled.log_likelihood, straight.log_likelihood[order], atol=1e-5)
    else:  # failure rate 6e-7
        error = math.hypot(straight.monte_carlo_error, shuffled.monte_carlo_error)
        assert shuffled.mean == pytest.approx(straight.mean, abs=5 * error)


@pytest.mark.slow
def test_draws_of_the_posterior(continuous):
    """They come by site, again at the same seed, about where they are centred; a point has none."""
    kept = fitted("grouped-ppca", "pair")
    draws = kept.posterior(400, seed=1)
    groups = len(SIZES) + 1
    assert draws["means_offset"].shape == (400, groups, 2)
    assert np.array_equal(draws["loc"], kept.posterior(400, seed=1)["loc"])
    assert not np.array_equal(draws["loc"], kept.posterior(400, seed=2)["loc"])
    guide = kept.model_.guide
    part = next(p for p in guide.parts if p.site.name == "loc")
    q = guide.posterior()
    middle, spread = q.mean[part.span].detach().numpy(), q.stddev[part.span].detach().numpy()
    # loc has no bounds, and so no transform; failure rate 6e-7 for each of its entries
    assert (np.abs(draws["loc"].mean(0) - middle) < 5 * spread / 20).all()
    assert (np.abs(draws["loc"].std(0) / spread - 1) < 5 / math.sqrt(800)).all()
    with pytest.raises(UserError, match="no posterior"):
        Estimator("gmm", settings={"components": 1}).fit(continuous).posterior()


def test_draws_of_a_point(continuous):
    """Under `map` every draw is the one value."""
    settings = {"components": 2, "guide": "map", "fit.steps": 5}
    draws = Estimator("bayesian-gmm", settings=settings, device="cpu").fit(continuous).posterior(3)
    assert all((values == values[:1]).all() for values in draws.values())
