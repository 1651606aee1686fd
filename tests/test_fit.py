"""The loop: what stops it, what it keeps, what it says, and how settings are chosen."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

from zoo import Estimator
from zoo.errors import UserError
from zoo.fitting.choose import fit_recipe
from zoo.fitting.forensics import NonFiniteError
from zoo.fitting.loop import fit, validation_score
from zoo.fitting.settings import FitSettings
from zoo.fitting.step import EagerStep
from zoo.objectives.turn import Turn
from zoo.recipe import Recipe
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema


def user(program, **more):
    return Recipe.from_table(program, {"program": f"{__name__}:{program}", **more})


def table(n=100, loc=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": loc + rng.normal(size=n), "b": rng.normal(size=n)})


def of(recipe, train):
    """A model in the table's own units, and its rows."""
    from zoo.model import Model

    codec = Codec(infer_schema(train, kinds={"*": "continuous"}))
    model = Model(recipe, codec)
    return model, model.rows(train)


def location(rows):
    """Two columns of scale one, their means free."""
    loc = pyro.param("loc", torch.zeros(2, dtype=torch.float64))
    with rows.plate():
        rows.observe(torch.cat([loc, torch.zeros_like(loc)]))


# ----------------------------------------------------------------------------------------------------- what stops a fit


def test_epochs_are_epochs():
    """20 epochs of 100 rows in batches of 32: 80 steps, and every row in every epoch."""
    model, rows = of(user("location"), table())
    seen = []
    turns = model.objective.turns

    def spied(model):
        for turn in turns(model):
            yield Turn(turn.parameters, lambda r, turn=turn: (seen.append(r.cells.x[:, 0].clone()), turn.loss(r))[1])

    model.objective.turns = spied
    fitted = fit(model, rows, rows, FitSettings(epochs=20, batch=32, patience=0))
    assert (fitted.epochs, fitted.steps) == (20.0, 80)
    assert [len(x) for x in seen] == [32, 32, 32, 4] * 20
    every = rows.cells.x[:, 0].sort().values
    epochs = [torch.cat(seen[i : i + 4]) for i in range(0, 80, 4)]
    assert all(torch.equal(epoch.sort().values, every) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])  # in another order
    assert fitted.history[-1]["epoch"] == 20
    assert fitted.stopped == "all planned steps taken"


def test_set_epochs_reaches_the_fit():
    """`--set fit.epochs=20 --set fit.patience=0` means what it says, on nine tenths of the table's rows."""
    kept = Estimator("vae", settings={"dim": 1, "fit.epochs": 20, "fit.patience": 0, "fit.batch": 16}, device="cpu")
    kept.fit(table(50))
    assert kept.fitted_.epochs == 20
    assert kept.fitted_.steps == 20 * math.ceil(45 / 16)


@pytest.mark.parametrize(("steps", "cool", "last"), [(2000, 0.1, 250), (150, 0.8, 150)])
def test_a_fit_that_stops_early_cools_down(steps, cool, last, monkeypatch):
    """The rate goes on from where it is and reaches zero in the steps that are left to it."""
    rates = []
    told = EagerStep.set_learning_rate
    monkeypatch.setattr(EagerStep, "set_learning_rate", lambda self, rate: (rates.append(rate), told(self, rate))[1])
    model, rows = of(user("location"), table(loc=2.0))
    settings = FitSettings(steps=steps, batch=100, patience=2, cool=cool, learning_rate=0.01, tier="eager")
    fitted = fit(model, rows, model.rows(table(loc=-2.0)), settings)
    assert fitted.steps == last
    assert (
        fitted.stopped == f"no gain on validation rows for 2 looks, then {last - 50} steps to a learning rate of zero"
    )
    alone = [0.005 * (1 + math.cos(math.pi * step / steps)) for step in range(51)]
    np.testing.assert_allclose(rates[:51], alone)
    assert all(0 < b < a for a, b in itertools.pairwise(rates[50:]))
    assert rates[-1] < 0.01 * (2 / (last - 50)) ** 2 * 3


def test_patience_stops_and_zero_never_does():
    """Validation rows that are far away get worse with every step: a fit waits as many looks as its patience."""
    train, far = table(loc=2.0), table(loc=-2.0)
    for patience in (1, 3):
        model, rows = of(user("location"), train)
        settings = FitSettings(steps=2000, batch=100, patience=patience, cool=0)
        fitted = fit(model, rows, model.rows(far), settings)
        assert fitted.stopped == f"no gain on validation rows for {patience} looks"
        assert len(fitted.history) == patience
        assert fitted.steps == patience * 25
    model, rows = of(user("location"), train)
    fitted = fit(model, rows, model.rows(far), FitSettings(steps=200, batch=100, patience=0))
    assert fitted.steps == 200
    assert fitted.stopped == "all planned steps taken"


def test_the_best_state_on_validation_rows_is_kept():
    """Of the start too: a fit may not end below it."""
    model, rows = of(user("location"), table(loc=2.0))
    far = model.rows(table(loc=-2.0))
    before = validation_score(model, far)
    fitted = fit(model, rows, far, FitSettings(steps=100, batch=100, patience=0, learning_rate=0.05))
    assert fitted.history[-1]["validation"] < before - 1
    assert validation_score(model, far) == before
    assert model.program.store["loc"].tolist() == [0.0, 0.0]

    # validation rows at 1 on the way from 0 to 2: the best look is in the middle, and its state is what is left
    model, rows = of(user("location"), table(loc=2.0))
    near = model.rows(table(loc=1.0, seed=1))
    fitted = fit(model, rows, near, FitSettings(steps=1000, batch=100, patience=0, learning_rate=0.01))
    looks = [look["validation"] for look in fitted.history]
    assert 0 < int(np.argmax(looks)) < len(looks) - 1
    assert validation_score(model, near) == pytest.approx(max(looks), abs=1e-4)
    assert model.program.store["loc"][0].item() == pytest.approx(1.0, abs=0.3)


def test_without_validation_rows_the_last_state_is_kept_and_is_the_maximum():
    model, rows = of(user("location"), table(loc=2.0))
    fitted = fit(model, rows, None, FitSettings(steps=1500, batch=100, learning_rate=0.02))
    assert model.program.store["loc"].tolist() == pytest.approx(rows.cells.x.mean(0).tolist(), abs=1e-3)
    truth = 0.5 * (math.log(2 * math.pi) * 2 + float(rows.cells.x.var(0, correction=0).sum()))
    assert fitted.loss == pytest.approx(truth, abs=0.01)
    assert "validation" not in fitted.history[-1]
    assert [look["step"] for look in fitted.history] == [25.0 * i for i in range(1, 61)]


def test_a_time_budget_stops_and_says_where():
    model, rows = of(user("location"), table())
    fitted = fit(model, rows, None, FitSettings(steps=10**6), deadline=time.perf_counter() + 0.3)
    assert 1 <= fitted.steps < 10**6
    assert fitted.seconds < 5
    assert fitted.stopped == f"the time budget ended at step {fitted.steps} of 1000000"
    assert fitted.history[-1]["step"] == fitted.steps

    kept = Estimator(
        "chain", settings={"hidden": [8], "fit.steps": 10**6, "fit.patience": 0}, time_budget=0.5, device="cpu"
    )
    kept.fit(table())
    assert "time budget" in kept.fitted_.stopped
    assert np.isfinite(kept.score(table()))


def test_a_time_budget_covers_the_choices_too():
    grid = {"grid": [1, 2, 3, 4, 5, 6]}
    settings = {"hidden": [8], "program.kernels": grid, "fit.steps": 10**6, "fit.patience": 0}
    started = time.perf_counter()
    kept = Estimator("chain", settings=settings, time_budget=1.0, device="cpu").fit(table())
    assert time.perf_counter() - started < 5
    assert "time budget" in kept.fitted_.stopped


def test_a_finished_start_takes_no_step_and_stays():
    model, rows = of(Recipe.from_table("g", {"program": "gaussian"}), table())
    fitted = fit(model, rows, rows, FitSettings(steps=100))
    assert (fitted.steps, fitted.tier, fitted.stopped) == (0, "closed form", "the start is the maximum")
    # where only the guide is left to fit, the program and its scales stay at their maximum
    train = pd.DataFrame(np.random.default_rng(0).normal(size=(100, 4)) @ np.random.default_rng(1).normal(size=(4, 4)))
    train.columns = list("abcd")
    states = []
    for guide in ("exact", "encoder"):
        recipe = Recipe.from_table("f", {"program": {"use": "latent", "network": "linear", "dim": 1}, "guide": guide})
        model, rows = of(recipe, train)
        fit(model, rows, None, FitSettings(steps=20))
        states.append({k: v for k, v in model.state_dict().items() if k.startswith(("program", "heads.log_scale"))})
        assert all(p.requires_grad for p in model.program.parameters())
        assert model.heads.log_scale.requires_grad
    assert states[0].keys() == states[1].keys()
    for key in states[0]:
        assert torch.equal(states[0][key], states[1][key]), key


def test_schedules_and_annealing():
    """A cosine ends at a standstill; an annealed ELBO begins without its divergence and ends with all of it."""
    moves = {}
    for schedule in ("cosine", "constant"):
        model, rows = of(user("location"), table(loc=50.0))
        places = []

        def watch(step, planned, look, places=places, model=model):
            places.append(model.program.store["loc"][0].item())

        fit(model, rows, None, FitSettings(steps=200, batch=100, schedule=schedule, learning_rate=0.01), progress=watch)
        moves[schedule] = np.diff(places)
    assert moves["cosine"][-1] < 0.2 * moves["cosine"][0]
    assert moves["constant"][-1] == pytest.approx(moves["constant"][0], rel=0.2)

    table_ = {"program": {"use": "latent", "dim": 1}, "guide": "encoder", "objective": {"use": "elbo", "anneal": 0.5}}
    model, rows = of(Recipe.from_table("v", table_), table())
    betas = []

    def spy(step, planned, look):
        betas.append(float(model.objective.progress) / model.objective.anneal)

    fit(model, rows, None, FitSettings(steps=100, batch=100), progress=spy)
    assert betas == pytest.approx([0.48, 0.98, 1.48, 1.98])
    with torch.no_grad():
        losses = {}
        for share in (0.0, 0.25, 0.5, 1.0):
            model.objective.progress.fill_(share)
            torch.manual_seed(0)
            losses[share] = float(model.objective.loss(model, rows))
    assert losses[0.0] < losses[0.25] < losses[0.5] == losses[1.0]
    assert losses[0.25] == pytest.approx((losses[0.0] + losses[0.5]) / 2)


# ------------------------------------------------------------------------------------------------------ what went wrong


def explosive(rows):
    """Column b has no finite density where its value is above 3."""
    theta = pyro.param("theta", torch.zeros(rows.full, dtype=torch.float64))
    with rows.plate():
        theta = theta.expand(rows.n, -1)
        if rows.cells is not None:
            bad = torch.zeros_like(theta)
            bad[:, 1] = torch.where(rows.cells.x[:, 1] > 3, torch.inf, 0.0)
            theta = theta + bad
        rows.observe(theta)


def test_a_number_that_is_not_finite_names_site_column_and_rows():
    train = table()
    train.loc[[17, 42], "b"] = 5.0
    model, rows = of(user("explosive"), train)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(NonFiniteError) as caught:
        fit(model, rows, None, FitSettings(steps=50, batch=100))
    message = str(caught.value)
    assert "not finite at step 1:" in message
    assert "site 'x', column 'b', rows [" in message
    assert sorted(eval(message.split("rows ")[1].split(";")[0])) == [17, 42]
    assert "learning_rate" in caught.value.remedy
    assert isinstance(caught.value, UserError)
    # the model keeps its last good parameters
    assert all(torch.equal(v, start[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad for p in model.program.parameters())


def dense_explosive(rows):
    scale = pyro.param("scale", torch.ones(2, dtype=torch.float64))
    with rows.plate():
        loc = torch.zeros(rows.n, 2, dtype=torch.float64)
        if rows.cells is not None:
            loc = torch.where(rows.cells.x[:, :2] > 3, torch.nan, loc)
        rows.observe(dist.MultivariateNormal(loc, scale_tril=torch.diag(scale)), columns="numeric")


def test_a_joint_density_names_its_site_and_rows():
    train = table()
    train.loc[[8], "a"] = 7.0
    model, rows = of(user("dense_explosive"), train)
    with pytest.raises(NonFiniteError, match=r"site 'numeric', rows \[8\]"):
        fit(model, rows, None, FitSettings(steps=50, batch=100))


def test_a_choice_that_is_not_finite_is_left_out():
    recipe = user("sometimes", fit={"steps": 100}).set("program.bad", {"grid": [True, False]})
    train = table()
    codec = Codec.fit(infer_schema(train), train)
    outcome = fit_recipe(recipe, codec, codec.encode(train), codec.encode(table(seed=1)))
    assert [choice["settings"] for choice in outcome.choices] == [{"program.bad": False}]
    hopeless = recipe.set("program.bad", {"grid": [True, True]})
    with pytest.raises(NonFiniteError):
        fit_recipe(hopeless, codec, codec.encode(train), codec.encode(table(seed=1)))


def sometimes(rows, *, bad: bool = False):
    loc = pyro.param("loc", torch.zeros(2, dtype=torch.float64))
    with rows.plate():
        rows.observe(torch.cat([loc * (torch.nan if bad else 1.0), torch.zeros_like(loc)]))


# ---------------------------------------------------------------------------------------------------------- choices


def blobs(n, seed):
    rng = np.random.default_rng(seed)
    centres = np.array([[-8, -8], [-8, 8], [8, -8], [8, 8]])[rng.integers(4, size=n)]
    return pd.DataFrame(centres + rng.normal(size=(n, 2)), columns=["a", "b"])


def chosen(grid, validation=True, name="mixture"):
    recipe = Recipe.from_table(
        name, {"program": {"use": "mixture", "components": {"grid": grid}, "restarts": 4}, "fit": {"steps": 50}}
    )
    train, held = blobs(300, 0), blobs(200, 1)
    codec = Codec.fit(infer_schema(train), train)
    return fit_recipe(recipe, codec, codec.encode(train), codec.encode(held) if validation else None)


def test_a_grid_finds_the_number_of_clusters_and_says_how():
    outcome = chosen([1, 2, 4, 8, 16, 32])
    assert outcome.model.recipe.program.settings["components"] == 4
    assert outcome.model.program.components == 4
    tried = [choice["settings"]["program.components"] for choice in outcome.choices]
    curve = {k: choice["validation"] for k, choice in zip(tried, outcome.choices, strict=True)}
    assert max(curve, key=curve.get) == 4
    # four far blobs are worth log 4 in each of two columns' positions: well above one or two
    assert curve[4] > curve[2] + 0.5 > curve[1] + 0.5
    assert tried == [1, 2, 4, 8, 16]  # two in a row that were worse end it


def test_the_curve_is_the_score_of_the_validation_rows():
    from zoo.evaluate.likelihood import score

    outcome = chosen([3, 4])
    best = next(c for c in outcome.choices if c["settings"]["program.components"] == 4)
    assert best["validation"] == score(outcome.model, outcome.model.rows(blobs(200, 1))).mean


def test_without_validation_rows_the_first_choice_is_taken():
    outcome = chosen([2, 4], validation=False)
    assert outcome.model.program.components == 2
    assert outcome.choices == []


def test_two_grids_are_crossed():
    recipe = Recipe.from_table(
        "m",
        {
            "program": {
                "use": "mixture",
                "components": {"grid": [1, 4]},
                "covariance": {"grid": ["diagonal", "spherical"]},
                "restarts": 4,
            }
        },
    )
    train = blobs(300, 0)
    codec = Codec.fit(infer_schema(train), train)
    outcome = fit_recipe(recipe, codec, codec.encode(train), codec.encode(blobs(200, 1)))
    tried = [tuple(choice["settings"].values()) for choice in outcome.choices]
    assert tried == [(1, "diagonal"), (1, "spherical"), (4, "diagonal"), (4, "spherical")]
    assert outcome.model.program.components == 4


def test_an_estimator_keeps_its_choices(tmp_path):
    settings = {"program.components": {"grid": [1, 4]}, "program.restarts": 4}
    kept = Estimator("gmm", settings=settings, device="cpu").fit(blobs(300, 0))
    assert [choice["settings"] for choice in kept.choices_] == [{"program.components": 1}, {"program.components": 4}]
    loaded = Estimator.load(kept.save(tmp_path / "run"), device="cpu")
    assert loaded.choices_ == kept.choices_
    assert loaded.model_.recipe.program.settings["components"] == 4
    assert loaded.score(blobs(50, 2)) == kept.score(blobs(50, 2))


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"patience": -1}, {"learning_rate": 0}, {"epoch": 3}])
def test_fit_settings_that_mean_nothing_are_refused(bad):
    with pytest.raises(UserError, match="fit"):
        Estimator("independent", settings={f"fit.{key}": value for key, value in bad.items()}, device="cpu").fit(
            table()
        )
