"""The laws, for every entry of the registry on every kind of table: a new entry is covered without a new test.

Statistical tests run with fixed seeds. The failure rate they state is that of a correct zoo at a fresh seed, for each
case.
"""

from __future__ import annotations

import copy
import itertools
import math
import random
import warnings

import numpy as np
import pandas as pd
import pyro.poutine as poutine
import pytest
import torch
from entries import entries, law
from scipy import stats

from zoo import run
from zoo.errors import ZooWarning
from zoo.evaluate import posterior
from zoo.evaluate.likelihood import score
from zoo.fitting.loop import Fitted, _Loop, fit
from zoo.fitting.settings import FitSettings
from zoo.model import Model
from zoo.registry import Registry
from zoo.rows.dense import Dense
from zoo.rows.joint import Joint
from zoo.rows.rows import Rows
from zoo.scope import scope
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema

TABLES = ("continuous", "pair", "mixed", "complete_mixed", "levels")


def likely(model: Model) -> Model:
    """The model, where it has a log-likelihood; a GAN has none."""
    if model.bound() == "none":
        pytest.skip("has no log-likelihood")
    return model


def says(model: Model) -> bool:
    """Whether the program makes its number itself: a bound or an estimate row by row, not of the density that it draws
    by, which its own tests hold against closed forms."""
    return hasattr(model.program, "log_prob")


def log_p(model: Model, rows: Rows, particles: int | None = None, seed: int = 0) -> np.ndarray:
    return score(model, rows, particles, seed).log_likelihood


def losses(model: Model, rows: Rows, repeats: int) -> np.ndarray:
    """The objective's loss at as many seeds, without what it asks beside the bound (a prior on weights, which counts
    once a table whatever its rows; free bits; smoothness); a loss that draws nothing is evaluated twice."""
    out: list[float] = []
    if not hasattr(model.objective, "loss"):
        pytest.skip("a game of several losses")
    objective = copy.copy(model.objective)
    objective.shrink = objective.free_bits = objective.spectral = 0.0
    for seed in range(repeats):
        with torch.no_grad(), scope(seed):
            out.append(float(objective.loss(model, rows)))
        if seed == 1 and abs(out[0] - out[1]) < 1e-9:
            return np.full(repeats, out[0])
    return np.array(out)


def same_mean(a: np.ndarray, b: np.ndarray, sigmas: float = 5.0, slack: float = 1e-9) -> bool:
    """Whether two sets of draws have one mean, within so many standard errors; exact where nothing varies."""
    error = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    return abs(a.mean() - b.mean()) <= sigmas * error + slack


# ------------------------------------------------------------------------------------------------------- one number


@entries(own=True)
def test_every_model_takes_numbers(name, build, continuous):
    recipe = build(name, continuous).recipe
    assert recipe.model == name
    assert recipe.summary
    assert recipe.reference


@law(*TABLES)
def test_a_finite_number_for_every_row(name, table, fitted, tables):
    model = likely(fitted(name, table))
    rows = model.rows(tables[table])
    scores = score(model, rows)
    assert scores.bound == model.bound(rows.complete)
    for values in (scores.log_likelihood, scores.elbo, scores.monte_carlo):
        assert values.shape == (len(tables[table]),)
        assert np.isfinite(values).all()
    if scores.bound == "exact":
        assert np.array_equal(scores.elbo, scores.log_likelihood)
        assert not scores.monte_carlo.any()
    assert score(model, rows.take(torch.arange(0))).log_likelihood.shape == (0,)


@law(*TABLES)
def test_an_outlier_and_an_empty_row_have_finite_numbers(name, table, fitted, tables):
    model = likely(fitted(name, table))
    frame = tables[table].head(4).copy()
    numbers = [c.name for c in model.schema.numeric]
    for row, value in ((0, 1e4), (1, -1e4)):
        frame.loc[frame.index[row], numbers] = frame[numbers].mean() + value * tables[table][numbers].std()
    for column in model.schema.numeric:
        frame[column.name] = frame[column.name].clip(column.lower, column.upper)
    frame[numbers] = frame[numbers].round(1)
    frame = frame.astype({c.name: object for c in model.schema.discrete})
    frame.iloc[2] = np.nan
    values = log_p(model, model.rows(frame))
    assert np.isfinite(values).all()
    # nothing was seen of this row, and the probability of that is one
    if model.bound(False) == "exact":
        assert values[2] == pytest.approx(0.0, abs=1e-6)  # weights of clusters are float32
    if numbers:
        assert values[:2].max() < values[3]


@law(*TABLES, own=True)
def test_every_parameter_gets_a_gradient(name, table, build, tables):
    model = build(name, tables[table])
    rows = model.rows(tables[table])
    names = {id(p): key for key, p in model.named_parameters()}
    model.train()
    moved = set()
    with scope(0):
        for turn in model.objective.turns(model):
            gradients = torch.autograd.grad(turn.loss(rows), turn.parameters, allow_unused=True)
            for parameter, gradient in zip(turn.parameters, gradients, strict=True):
                assert gradient is not None, f"{names[id(parameter)]} is not in the loss"
                assert torch.isfinite(gradient).all(), names[id(parameter)]
                if gradient.any():
                    moved.add(id(parameter))
    still = {names[id(p)] for p in model.parameters() if p.requires_grad and p.numel() and id(p) not in moved}
    assert not still, f"no turn moves {still}"


@law("mixed")
def test_a_fit_that_breaks_off_goes_back(name, table, build, tables, monkeypatch):
    """Where a step gives no number the fit says so, and keeps the best look or the start: the model is whole."""
    model = build(name, tables[table])
    rows = model.rows(tables[table])
    take, broken = _Loop._take, []

    def breaks(loop, step, index, batch):
        out = take(loop, step, index, batch)
        if step == 27 and not broken:
            broken.append(loop)
            *_, numbers = loop.unseen[-1]
            numbers[:] = [(turn, number * math.nan) for turn, number in numbers]
        return out

    monkeypatch.setattr(_Loop, "_take", breaks)
    settings = FitSettings(**model.recipe.fit).model_copy(update={"steps": 30, "epochs": None, "batch": 200})
    done = fit(model, rows, rows.take(torch.arange(50)), settings)
    if not broken:
        pytest.skip("fitted without steps")
    assert "not finite at step 28" in done.stopped
    assert "went back to" in done.stopped
    assert any(note.startswith("the fit broke off") for note in done.notes)
    assert all(t.isfinite().all() for t in model.state_dict().values())


@entries()
@pytest.mark.parametrize(
    ("table", "column", "factor"),
    [
        ("continuous", "b", 0.125),
        ("mixed", "height", 1000.0),
        ("mixed", "length", 0.125),
        ("complete_mixed", "length", 1000.0),
    ],
)
def test_scale_law(name, table, column, factor, fitted, tables):
    """Numbers in other units: log p shifts by -log s wherever the column was seen, densities and cells alike."""
    model, frame = likely(fitted(name, table)), tables[table]
    scaled = frame.assign(**{column: frame[column] * factor})
    schema = model.schema
    if schema[column].step:
        schema = schema.with_column(column, step=schema[column].step * factor)
    other = Model(model.recipe, Codec.fit(schema, scaled))
    state = {key: value for key, value in model.state_dict().items() if "codec." not in key}
    left = other.load_state_dict(state, strict=False)
    assert all("codec." in key for key in left.missing_keys)
    shift = log_p(other, other.rows(scaled), 20) - log_p(model, model.rows(frame), 20)
    # a power of two changes no digit of the codec's; another factor may change the last one of a float32 feature
    tolerance = 1e-9 if factor == 0.125 else 1e-3
    np.testing.assert_allclose(shift, -math.log(factor) * frame[column].notna(), atol=tolerance)


# ------------------------------------------------------------------------------------- densities integrate to one


def grid(frame: pd.DataFrame, points: int) -> tuple[pd.DataFrame, float]:
    """Midpoints of a grid over two columns, three standard deviations beyond the data, and the area of a cell."""
    axes, area = [], 1.0
    for column in frame:
        low, high = frame[column].min() - 3 * frame[column].std(), frame[column].max() + 3 * frame[column].std()
        edges = np.linspace(low, high, points + 1)
        axes.append((edges[1:] + edges[:-1]) / 2)
        area *= edges[1] - edges[0]
    return pd.DataFrame(list(itertools.product(*axes)), columns=frame.columns), area


@pytest.fixture(scope="session")
def on_grid(fitted, pair):
    """(log p, area of a cell) of a model fitted to `pair`, on a grid over it."""
    known = {}

    def get(name: str) -> tuple[np.ndarray, float]:
        if name not in known:
            model = likely(fitted(name, "pair"))
            cells, area = grid(pair, 40 if says(model) else 150 if model.bound() == "exact" else 60)
            known[name] = log_p(model, model.rows(cells), 40 if says(model) else 100), area
        return known[name]

    return get


@entries(own=True)
def test_a_density_integrates_to_one(name, on_grid, fitted):
    log_density, area = on_grid(name)
    total = np.exp(log_density).sum() * area
    if fitted(name, "pair").bound() == "exact":
        assert total == pytest.approx(1.0, abs=1e-2)
    elif says(fitted(name, "pair")):  # a bound may be loose after a few steps, but not too high
        assert 0.3 < total <= 1.1
    else:  # exp of a bound is an unbiased estimate of the density, cell by cell, and its errors average out
        assert 0.9 < total <= 1.02


@entries()
def test_masses_sum_to_one(name, fitted, levels):
    """Over every cell of a table of levels, the reserved unseen level with them."""
    model = likely(fitted(name, "levels"))
    cells = pd.DataFrame(
        list(itertools.product(["no", "yes"], ["x", "y", "z", "never seen"])), columns=["answer", "letter"]
    )
    with pytest.warns(ZooWarning, match="'never seen', never seen before"):
        rows = model.rows(cells)
    scores = score(model, rows, 200 if says(model) else 5000)
    masses = np.exp(scores.log_likelihood)
    assert (masses > 0).all()
    if scores.bound == "exact":
        assert masses.sum() == pytest.approx(1.0, abs=1e-6)  # weights of clusters are float32
    elif says(model):
        error = np.sqrt(np.square(masses * scores.monte_carlo).sum())
        assert 0.3 < masses.sum() <= 1.01 + 5 * error
    else:  # failure rate 6e-7
        error = np.sqrt(np.square(masses * scores.monte_carlo).sum())
        assert masses.sum() == pytest.approx(1.0, abs=5 * error + 1e-9)


@law("mixed")
@pytest.mark.parametrize("column", ["count", "length"])
def test_a_rounded_column_has_masses(name, table, column, fitted):
    check_masses(likely(fitted(name, table)), column, 40)


@entries()
def test_a_rounded_column_with_atoms_has_masses(name, fitted):
    """In cells that are not one wide, where a mass for a density would show."""
    model = likely(fitted(name, "spiked"))
    assert (model.schema["price"].step, len(model.schema["price"].atoms)) == (50, 3)
    check_masses(model, "price", 10_000)


def check_masses(model: Model, column: str, most: float) -> None:
    """The other cells missing, mass = density x width sums to one over the lattice; a joint density, which is blind to
    the column's ends, may lose some beyond them, or in the cells of atoms."""
    step = model.schema[column].step
    low, high = model.schema[column].lower, model.schema[column].upper or most
    values = np.arange(round(low / step), round(high / step) + 1) * step
    frame = pd.DataFrame({c: values if c == column else np.nan for c in model.schema.names})
    scores = score(model, model.rows(frame), 50 if says(model) else 200)
    masses = np.exp(scores.log_likelihood) * step
    # 0.001 of a heavy tail may lie beyond; failure rate 6e-7 where the number is a bound
    error = np.sqrt(np.square(masses * scores.monte_carlo).sum())
    if says(model):
        assert 0.3 < masses.sum() < 1.01 + 5 * error
    elif any(isinstance(density, Dense | Joint) for density in model.sites.observed.values()):
        assert 0.9 - 5 * error < masses.sum() < 1 + 2e-3 + 5 * error
    else:
        assert masses.sum() == pytest.approx(1.0, abs=2e-3 + 5 * error)


# ---------------------------------------------------------------------------------- samples agree with densities


@entries(own=True)
def test_samples_agree_with_the_density(name, on_grid, fitted):
    """The mean log p of a model's samples is its negative entropy, integrated on the grid. Failure rate 6e-5."""
    model = density_of_draws(fitted(name, "pair"))
    log_density, area = on_grid(name)
    x = posterior.sample(model, 4000, seed=3)
    drawn = log_p(model, model.rows(model.codec.decode(x)), 100)
    entropy = -(np.exp(log_density) * log_density).sum() * area
    error = drawn.std(ddof=1) / math.sqrt(len(drawn))
    # the slack is the grid's; a bound is a noisy density on both sides
    slack = 0.01 if model.bound() == "exact" else 0.03
    assert drawn.mean() == pytest.approx(-entropy, abs=4 * error + slack)


def density_of_draws(model: Model) -> Model:
    """The model, where its number is the density that it draws by."""
    if says(likely(model)):
        pytest.skip("its number is a bound or an estimate, not the density that it draws by")
    return model


def chi_square(observed: np.ndarray, expected: np.ndarray) -> float:
    """p-value of counts against expected ones, cells that expect less than 5 pooled."""
    rare = expected < 5
    observed = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    if expected[-1] < 1:
        observed[-2], expected[-2] = observed[-2] + observed[-1], expected[-2] + expected[-1]
        observed, expected = observed[:-1], expected[:-1]
    return float(stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue)


@entries()
def test_samples_of_levels_come_as_often_as_their_masses_say(name, fitted):
    model = density_of_draws(fitted(name, "levels"))
    cells = pd.DataFrame(
        list(itertools.product(["no", "yes"], ["x", "y", "z", "<unseen>"])), columns=["answer", "letter"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        masses = np.exp(log_p(model, model.rows(cells), 5000))
    drawn = model.codec.decode(posterior.sample(model, 3000, seed=4)).value_counts()
    observed = np.array([drawn.get(tuple(cell), 0) for cell in cells.to_numpy()])
    assert observed.sum() == 3000
    assert chi_square(observed, 3000 * masses) > 1e-6  # that is the failure rate


@entries()
@pytest.mark.parametrize("column", ["height", "count", "smoker", "colour"])
def test_samples_of_a_column_agree_with_its_marginal(name, column, fitted):
    """Frequencies of one column's draws against its marginal: the density with every other cell missing."""
    model = density_of_draws(fitted(name, "mixed"))
    order = getattr(getattr(model.program, "conditionals", model.program), "order", [0])
    if model.pattern_wise and column != model.schema.names[order[0]]:
        pytest.skip("with missing cells the density is not the marginal of the joint")
    n = 3000
    drawn = model.codec.decode(posterior.sample(model, n, seed=5))[column]
    if column == "height":
        edges = np.linspace(-40, 40, 2001)
        values, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    elif column == "count":
        values, width = np.arange(model.schema[column].lower, model.schema[column].upper + 1), 1.0
    else:
        values, width = np.array([*model.schema[column].levels, "<unseen>"][: 2 + 3 * (column == "colour")]), 1.0
    frame = pd.DataFrame({c: values if c == column else np.full(len(values), np.nan) for c in model.schema.names})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        masses = np.exp(log_p(model, model.rows(frame), 100 if column == "height" else 2000)) * width
    if column == "height":
        ladder = np.linspace(-3.5, 4.5, 17)
        observed = np.histogram(drawn, [-np.inf, *ladder, np.inf])[0]
        masses = np.histogram(values, [-np.inf, *ladder, np.inf], weights=masses)[0]
    else:
        text = drawn.map(lambda v: f"{v:g}" if isinstance(v, float) else v)
        observed = np.array([(text == (f"{v:g}" if isinstance(v, float) else v)).sum() for v in values])
    assert observed.sum() == n
    if column == "count" and any(isinstance(density, Dense | Joint) for density in model.sites.observed.values()):
        # a joint density's number leaves out of the end cells what it has beyond them
        observed, masses = observed[1:-1], masses[1:-1]
        n = observed.sum() / masses.sum()
    assert chi_square(observed, n * masses) > 1e-6  # that is the failure rate


# ----------------------------------------------------------------------------------------------------------- bounds


@law(*TABLES)
def test_the_elbo_is_below_the_log_likelihood(name, table, fitted, tables):
    model = likely(fitted(name, table))
    scores = score(model, model.rows(tables[table]), 50)
    assert (scores.elbo <= scores.log_likelihood + 1e-9).all()
    # and more particles do not lower a bound; failure rate 6e-7
    fewer = score(model, model.rows(tables[table]), 5, seed=1)
    error = math.hypot(scores.monte_carlo_error, fewer.monte_carlo_error)
    assert fewer.mean <= scores.mean + 5 * error + 1e-9


@law("continuous", "mixed", "levels")
def test_the_loss_of_an_elbo_is_the_elbo(name, table, fitted, tables):
    """What is minimised is, in expectation, what is reported. Failure rate 6e-7."""
    model = likely(fitted(name, table))
    if model.recipe.objective.use != "elbo" or model.sites.globals or model.objective.beta != 1:
        pytest.skip("the loss is not the ELBO of each row")
    rows = model.rows(tables[table])
    reported = np.array([score(model, rows, 20, seed).elbo.mean() for seed in range(100, 110)])
    assert same_mean(-losses(model, rows, 40), reported)


# ----------------------------------------------------------------------------------------------- no shared state


@law("continuous", "mixed")
def test_save_and_load_give_the_same_numbers(name, table, estimator, tables, tmp_path):
    kept = estimator(name, table)
    kept.save(tmp_path / "run")
    model, fitted, _ = run.read_model(tmp_path / "run", Registry.load())
    assert fitted == kept.fitted_
    for key, value in kept.model_.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key
    assert model.schema == kept.schema_
    if "sample" in model.verbs:
        pd.testing.assert_frame_equal(
            model.codec.decode(posterior.sample(model, 20, seed=1)), kept.sample(20, seed=1), check_exact=True
        )
    if model.bound() != "none":
        frame = tables[table]
        assert np.array_equal(log_p(model, model.rows(frame), 5), kept.log_likelihood(frame, 5).log_likelihood)


def fit_small(model: Model, frame: pd.DataFrame, progress=None) -> Fitted:
    settings = FitSettings(**{**model.recipe.fit, "batch": 100, "steps": 6})
    return fit(model, model.rows(frame), None, settings, progress=progress)


def state(model: Model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.slow
@law("mixed")
def test_two_fits_do_not_touch_each_other(name, table, build, tables):
    """A alone, then B, then A again while B is fitted inside each of its looks: A is the same, bit for bit."""
    frame, other = tables[table], tables["mixed"]
    a = build(name, frame)
    fit_small(a, frame)
    alone = state(a)
    b = build(name, other, **{"fit.seed": 7})
    fit_small(b, other)
    b_alone = state(b)
    assert equal(state(a), alone)

    looks = []

    def nested(step, planned, look):
        inner = build(name, other, **{"fit.seed": 7})
        fit_small(inner, other)
        looks.append(equal(state(inner), b_alone))

    again = build(name, frame)
    fitted = fit_small(again, frame, nested)
    assert equal(state(again), alone)
    assert all(looks)
    assert bool(looks) == bool(fitted.steps)


@law("pair", "mixed")
def test_same_seed_same_numbers(name, table, build, tables):
    frame = tables[table]
    first, second = build(name, frame), build(name, frame)
    # whatever the caller's generators are at
    torch.manual_seed(1)
    fitted = fit_small(first, frame)
    torch.manual_seed(2)
    fit_small(second, frame)
    assert equal(state(first), state(second))
    draws = [posterior.sample(m, 10, seed=5) for m in (first, second)]
    assert torch.equal(*draws)
    assert not torch.equal(draws[0], posterior.sample(first, 10, seed=6))
    if fitted.steps:
        other = build(name, frame, **{"fit.seed": 1})
        fit_small(other, frame)
        assert not equal(state(first), state(other))


@entries()
def test_the_callers_generators_are_left_alone(name, build, mixed):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    model = build(name, mixed)
    fit_small(model, mixed)
    if model.bound() != "none":
        score(model, model.rows(mixed), 5)
    posterior.sample(model, 5)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


# --------------------------------------------------------------------------------------------------- one row at a time


@law(*TABLES)
def test_the_order_of_rows_is_irrelevant(name, table, fitted, tables):
    model, frame = likely(fitted(name, table)), tables[table]
    order = np.random.default_rng(0).permutation(len(frame))
    scores, shuffled = (score(model, model.rows(f)) for f in (frame, frame.iloc[order]))
    if scores.bound == "exact":
        np.testing.assert_allclose(shuffled.log_likelihood, scores.log_likelihood[order], atol=1e-5)
    else:  # the draws are others; failure rate 6e-7
        error = math.hypot(scores.monte_carlo_error, shuffled.monte_carlo_error)
        assert shuffled.mean == pytest.approx(scores.mean, abs=5 * error + 1e-9)


@law(*TABLES)
def test_the_order_of_columns_and_more_columns_are_irrelevant(name, table, fitted, tables):
    model, frame = likely(fitted(name, table)), tables[table]
    turned = frame[frame.columns[::-1]].assign(other="nothing")
    assert np.array_equal(log_p(model, model.rows(turned), 5), log_p(model, model.rows(frame), 5))


@law("pair", "continuous")
def test_a_start_in_closed_form_does_not_depend_on_order(name, table, build, tables):
    """Where the maximum is known, shuffled rows and columns have the same one."""
    frame = tables[table]
    model = build(name, frame)
    if fit_small(model, frame).steps or model.sites.clusters:
        pytest.skip("the fit is a search")
    shuffled = frame.sample(frac=1, random_state=0)[frame.columns[::-1]]
    other = build(name, shuffled)
    fit_small(other, shuffled)
    np.testing.assert_allclose(log_p(other, other.rows(frame)), log_p(model, model.rows(frame)), atol=1e-6)


@law(*TABLES)
def test_a_row_does_not_depend_on_the_others_in_its_batch(name, table, fitted, tables):
    model = likely(fitted(name, table))
    rows = model.rows(tables[table])
    keep, n = torch.arange(0, rows.n, 7), rows.n
    index = torch.randperm(n)
    index[keep] = keep  # every seventh row stays where it is, and so keeps its draws
    full = log_p(model, rows, 20)
    np.testing.assert_allclose(log_p(model, rows.take(index), 20)[keep], full[keep], atol=1e-5)
    index[:] = 3
    index[keep] = keep
    np.testing.assert_allclose(log_p(model, rows.take(index), 20)[keep], full[keep], atol=1e-5)
    if model.bound(rows.complete) == "exact":
        np.testing.assert_allclose(log_p(model, rows.take(keep)), full[keep], atol=1e-5)


@law(*TABLES)
def test_hiding_a_cell_changes_no_other_row(name, table, fitted, tables):
    model, frame = likely(fitted(name, table)), tables[table]
    hidden = frame.copy()
    column = frame.columns[0]
    row = int(np.flatnonzero(frame[column].notna() & frame[frame.columns[1]].notna())[0])
    hidden.iloc[row, 0] = np.nan
    before, after = (log_p(model, model.rows(f), 100) for f in (frame, hidden))
    others = np.arange(len(frame)) != row
    np.testing.assert_allclose(after[others], before[others], atol=1e-6)
    assert after[row] != pytest.approx(before[row], abs=1e-6)


# --------------------------------------------------------------------------------------------------- what models do


@law(*TABLES)
def test_clusters(name, table, estimator, tables):
    kept, frame = estimator(name, table), tables[table]
    if "cluster" not in kept.model_.verbs:
        pytest.skip("has no clusters")
    p = kept.predict_proba(frame)
    k = next(s for s in kept.model_.sites.summed if s.name == "cluster")
    assert p.shape == (len(frame), k.support.upper_bound + 1)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-9)
    assert np.array_equal(kept.predict(frame), p.argmax(1))


@law("complete_mixed")
def test_clusters_are_bayes_rule(name, table, fitted, tables):
    """p(k | x) = p(k) p(x | k) / p(x): the prior averages the posterior, over the model's own samples.

    E_x[p(k | x)] = p(k), and p(k) is the posterior of a row of which nothing is seen; where that posterior is proposed
    by an encoder, which never saw such a row, p(k) is how often k is drawn. Failure rate 6e-7 for each k.
    """
    model = fitted(name, table)
    if "cluster" not in likely(model).verbs:
        pytest.skip("has no clusters")
    empty = tables[table].head(1).astype(object)
    empty[:] = np.nan
    prior = posterior.cluster_probabilities(model, model.rows(empty))[0].numpy()
    slack = 0.0
    if model.bound_of_rows() == "lower" and model.sites.continuous:
        slack = math.sqrt(0.25 / 20_000)
        with torch.no_grad(), scope(0):
            drawn = poutine.trace(model.program).get_trace(model.blank(20_000)).nodes["cluster"]["value"]
        prior = torch.bincount(drawn, minlength=len(prior)).numpy() / 20_000
    rows = model.rows(model.codec.decode(posterior.sample(model, 2000, seed=1)))
    p = posterior.cluster_probabilities(model, rows).numpy()
    error = p.std(0, ddof=1) / math.sqrt(len(p))
    assert (np.abs(p.mean(0) - prior) <= 5 * np.hypot(error, slack) + 1e-3).all()


@law(*TABLES)
def test_embedding(name, table, estimator, tables):
    kept, frame = estimator(name, table), tables[table]
    if "embed" not in kept.model_.verbs:
        pytest.skip("has no embedding")
    z = kept.transform(frame)
    assert z.shape[0] == len(frame)
    assert z.shape[1] >= 1
    assert np.isfinite(z).all()
    assert z.std(0).max() > 0
    assert np.array_equal(z, kept.transform(frame))


@law("continuous", "mixed", "levels")
def test_imputation_fills_what_is_missing_and_nothing_else(name, table, estimator, tables):
    kept = estimator(name, table)
    if "impute" not in kept.model_.verbs:
        pytest.skip("fills nothing in")
    frame = tables[table].head(30).set_axis([f"row {i}" for i in range(30)])
    holes = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.2)
    missing = holes.isna()
    one, two = kept.impute(holes, draws=2, particles=5)
    assert not one.equals(two)
    for filled in (kept.impute(holes, particles=1), one, two):
        assert not filled.isna().to_numpy().any()
        assert filled.index.equals(holes.index)
        assert list(filled.columns) == list(holes.columns)
        for column in holes:
            seen = ~missing[column]
            assert filled.loc[seen, column].equals(holes.loc[seen, column])
            assert filled[column].dtype == holes[column].dtype


@law("continuous", "mixed", "levels")
def test_samples_look_like_the_table(name, table, estimator, tables):
    kept, frame = estimator(name, table), tables[table]
    if "sample" not in kept.model_.verbs:
        pytest.skip("draws no rows")
    drawn = kept.sample(50)
    assert list(drawn.columns) == list(frame.columns)
    assert len(drawn) == 50
    assert not drawn.isna().to_numpy().any()
    for column in kept.schema_.numeric:
        if column.step:
            ticks = drawn[column.name] / column.step
            np.testing.assert_allclose(ticks, ticks.round(), atol=1e-6)
    for column in kept.schema_.discrete:
        known = infer_schema(frame)[column.name].levels
        text = drawn[column.name].map(lambda v: f"{v:g}" if isinstance(v, float) else v)
        assert set(text) <= {*known, "<unseen>"}


@law("continuous", "mixed", "levels", own=True)
def test_draws_without_a_likelihood_are_sane(name, table, fitted, tables):
    """Finite numbers, between the column's ends; levels about as often as in the table: total variation below 0.4."""
    model, frame = fitted(name, table), tables[table]
    if model.bound() != "none" or "sample" not in model.verbs:
        pytest.skip("has a likelihood, which says more")
    x = posterior.sample(model, 500)
    assert torch.isfinite(x).all()
    drawn = model.codec.decode(x)
    assert not drawn.isna().to_numpy().any()
    for column in model.schema.numeric:
        assert (
            drawn[column.name]
            .between(
                -math.inf if column.lower is None else column.lower, math.inf if column.upper is None else column.upper
            )
            .all()
        )
    for column in model.schema.discrete:
        known = frame[column.name].dropna()
        shares = [f.map(lambda v: f"{v:g}" if isinstance(v, float) else v).value_counts(normalize=True)
                  for f in (known, drawn[column.name])]  # fmt: skip
        assert 0.5 * shares[0].sub(shares[1], fill_value=0).abs().sum() < 0.4


# ------------------------------------------------------------------------------------------------ batches and weights


@law("continuous", "mixed", "levels")
def test_the_mean_over_batches_is_the_full_loss(name, table, fitted, tables):
    """Of a partition into equal batches; exactly where the loss draws nothing. Failure rate 6e-7 otherwise."""
    model = likely(fitted(name, table))
    rows = model.rows(tables[table])
    parts = [rows.take(index) for index in torch.randperm(rows.n).split(50)]
    full = losses(model, rows, 20)
    batched = np.mean([losses(model, part, 20) for part in parts], 0)
    # float32 networks round by the shape of the batch
    assert same_mean(batched, full, slack=1e-6)


@law("continuous", "mixed", "levels")
def test_a_weight_is_a_repeated_row(name, table, fitted, tables):
    """In the loss, exactly where it draws nothing. Failure rate 6e-7 otherwise."""
    model, frame = likely(fitted(name, table)), tables[table]
    if model.sites.globals:
        pytest.skip("weights of mean one leave the number of rows as it is")
    times = np.random.default_rng(0).integers(1, 4, size=len(frame))
    heavy = frame.assign(times=times.astype(float))
    weighted = Model(model.recipe, Codec.fit(infer_schema(heavy, weight="times"), heavy))
    weighted.load_state_dict(model.state_dict())
    weighted.codec.weight_mean.fill_(times.mean())
    repeated = frame.loc[frame.index.repeat(times)]
    a, b = losses(weighted, weighted.rows(heavy), 30), losses(model, model.rows(repeated), 30)
    assert same_mean(a, b, slack=1e-6)
    if not np.ptp(a):
        assert not same_mean(a, losses(model, model.rows(frame), 2), slack=1e-6)


@pytest.mark.slow
@law("continuous", "mixed", "levels")
def test_a_start_in_closed_form_takes_weights_as_repeated_rows(name, table, build, fitted, tables):
    frame = tables[table]
    times = np.random.default_rng(0).integers(1, 4, size=len(frame))
    heavy = frame.assign(times=times.astype(float))
    weighted = build(name, heavy, schema=infer_schema(heavy, weight="times"))
    if fit_small(weighted, heavy).steps or weighted.sites.clusters:
        pytest.skip("the fit is a search")
    repeated = frame.loc[frame.index.repeat(times)]
    other = build(name, repeated, schema=fitted(name, table).schema)
    other.codec.load_state_dict(weighted.codec.state_dict())
    fit_small(other, repeated)
    # a start that fills cells with random numbers first finds its maximum from another draw of them
    tolerance = 0.05 if other.schema.has_lattice and other.bound() == "lower" else 1e-3
    np.testing.assert_allclose(
        log_p(other, other.rows(frame), 50).mean(), log_p(weighted, weighted.rows(heavy), 50).mean(), atol=tolerance
    )
