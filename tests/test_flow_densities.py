"""Flow densities on tables: normalised with levels, atoms and missing cells, and finite wherever a row may lie."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import zoo
from zoo.distilled import _divergence, distil
from zoo.estimator import Estimator
from zoo.evaluate.likelihood import score
from zoo.table.infer import infer_schema


def numbers(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 3)) @ np.array([[1.0, 0.5, 0.2], [0.0, 1.0, -0.4], [0.0, 0.0, 1.0]])
    return pd.DataFrame(z * [3.0, 0.2, 40.0] + [1.0, 0.1, -5.0], columns=["a", "b", "c"])


def fitted(model: str, frame: pd.DataFrame, schema: zoo.Schema | None = None, **settings: object) -> Estimator:
    return Estimator(model, settings=settings, device="cpu").fit_parts(frame, None, schema or infer_schema(frame))


# ------------------------------------------------------------------------------------------------------------ far out


@pytest.mark.parametrize("flow", ["nsf", "maf", "naf", "cnf"])
def test_a_row_far_from_all_others_costs_a_few_nats(flow: str) -> None:
    """At 50 standard deviations and at a million: finite, gradients too, and no worse than the floor's heavy tail."""
    frame = numbers(200)
    kept = fitted("maf", frame, **{"program.flow": {"use": flow, "hidden": [8]}, "fit.steps": 20})
    far = pd.concat([frame.mean() + frame.std() * k for k in (50, -50, 1e6)], axis=1).T.reset_index(drop=True)
    rows = kept.model_.rows(far)
    kept.model_.train()
    loss = kept.model_.objective.loss(kept.model_, rows)
    gradients = torch.autograd.grad(loss, list(kept.model_.program.parameters()), allow_unused=True)
    assert all(torch.isfinite(g).all() for g in gradients if g is not None)
    kept.model_.eval()
    found = kept.score_samples(far)
    # (1 + 3) log(r) nats of a Cauchy in three dimensions, beside the density at the centre and the share of 0.001
    centre = kept.score_samples(frame.mean().to_frame().T)[0]
    r = np.sqrt(3) * np.array([50, 50, 1e6])
    assert (found > centre - 4 * np.log(3 * r) - 20).all()


def test_tails_are_learned() -> None:
    """Of Student's t with two degrees of freedom a t base is closer to the truth than a Normal one."""
    rng = np.random.default_rng(1)
    train, fresh = (pd.DataFrame({"a": rng.standard_t(2, size=4000)}) for _ in range(2))
    options = {"fit.steps": 300, "fit.learning_rate": 0.02}
    schema = infer_schema(train).with_column("a", transform="none")
    found = {
        tails: fitted("linear-flow", train, schema, **options, **{"program.tails": tails}).score_samples(fresh)
        for tails in ("normal", "student-t")
    }
    truth = stats.t(2).logpdf(fresh["a"])
    assert (truth - found["student-t"]).mean() < 0.02
    assert (found["student-t"] - found["normal"]).mean() > 0.1


# ---------------------------------------------------------------------------------------------------- missing cells


def test_missing_cells_are_marginalised() -> None:
    """A linear flow is a Gaussian, of which every marginal is known; beside its floor, which is a thousandth."""
    frame = numbers()
    kept = fitted("linear-flow", frame, **{"fit.steps": 60, "program.flow.hidden": [8]})
    model, program = kept.model_, kept.model_.program.numbers
    with torch.no_grad():
        density = program(torch.zeros(1, 0))
        white = torch.eye(3, dtype=torch.float64).float()
        at, zero = (density.transform(x).double() for x in (white, torch.zeros(1, 3)))
        to_u = (at - zero).T @ torch.linalg.inv(program.frame)
        spread = torch.linalg.inv(to_u)
        loc = program.loc - spread @ zero[0]
        covariance = (spread @ spread.T).numpy()
    holes = frame.head(40).copy()
    holes.iloc[:, 0] = np.nan
    rows = model.rows(holes)
    found = score(model, rows, particles=2000)
    x = model.rows(frame.head(40)).cells.x[:, 1:].numpy()
    unit = model.rows(frame.head(40)).cells.unit[:, 1:].sum(-1).numpy()
    truth = stats.multivariate_normal(loc[1:].numpy(), covariance[1:, 1:]).logpdf(x) + unit
    assert found.bound == "lower"
    np.testing.assert_allclose(found.log_likelihood, truth, atol=5 * found.monte_carlo.max() + 0.02)


# ------------------------------------------------------------------------------------------------- levels and atoms


def spiked(n: int, seed: int) -> pd.DataFrame:
    """A level, and a number that is often zero, the more so where the level is a; else normal about it."""
    rng = np.random.default_rng(seed)
    level = rng.random(n) < 0.4
    zero = rng.random(n) < np.where(level, 0.7, 0.2)
    spend = np.where(zero, 0.0, np.where(level, 8.0, 3.0) + np.where(level, 0.5, 1.0) * rng.normal(size=n))
    return pd.DataFrame({"level": np.where(level, "a", "b"), "spend": spend})


def log_spiked(frame: pd.DataFrame) -> np.ndarray:
    level, spend = (frame["level"] == "a").to_numpy(), frame["spend"].to_numpy()
    share = np.where(level, 0.7, 0.2)
    density = stats.norm(np.where(level, 8.0, 3.0), np.where(level, 0.5, 1.0)).pdf(spend)
    return np.log(np.where(level, 0.4, 0.6) * np.where(spend == 0, share, (1 - share) * density))


def test_settings_that_a_mixed_table_does_not_use_are_named() -> None:
    """There `nsf` is a chain of splines: it has networks of its own, and no layers of a flow."""
    settings = {"program.hidden": [8], "program.flow.layers": 2, "program.floor": 1e-6, "fit.steps": 2}
    schema = infer_schema(spiked(100, 0))
    notes = [Estimator("nsf", settings=settings).fit_parts(f, None, s).fitted_.notes
             for f, s in ((spiked(100, 0), schema), (numbers(100), infer_schema(numbers(100))))]  # fmt: skip
    assert "program.flow.layers, program.floor: not used, for on this table nsf is a chain" in notes[0]
    assert not any("not used" in note for note in notes[1])
    guided = Estimator("nsf", settings=settings | {"guide": "encoder"}).fit(numbers(100)).fitted_.notes
    assert "guide: not used, for nsf has no latents to guide" in guided


@pytest.fixture(scope="module")
def spender() -> Estimator:
    train = spiked(4000, 0)
    options = {"program.flow": {"use": "nsf", "hidden": [8], "layers": 1, "bins": 4}, "program.hidden": [16]}
    return fitted("maf", train, **options, **{"fit.steps": 250, "fit.learning_rate": 2e-2})


@pytest.mark.slow
def test_levels_atoms_and_numbers_sum_to_one(spender: Estimator) -> None:
    """Over both levels: the atom's mass, and the integral of the density beside it."""
    assert spender.schema_["spend"].atoms == (0.0,)
    grid = np.linspace(-20, 30, 4001)
    values = np.concatenate([[0.0], (grid[1:] + grid[:-1]) / 2])
    total = 0.0
    for level in ("a", "b"):
        scores = spender.log_likelihood(pd.DataFrame({"level": level, "spend": values}), 20)
        p = np.exp(scores.log_likelihood)
        total += p[0] + p[1:].sum() * (grid[1] - grid[0])
    # a thousandth has heavy tails; levels and atoms keep a little mass for what was never seen
    assert total == pytest.approx(1.0, abs=0.01)


@pytest.mark.slow
def test_a_mixed_table_is_learned(spender: Estimator) -> None:
    """To a twentieth of a nat of the truth, on fresh rows; that of 4,000 rows is known to 0.02."""
    fresh = spiked(4000, 1)
    gap = log_spiked(fresh) - spender.log_likelihood(fresh, 20).log_likelihood
    assert -0.02 < gap.mean() < 0.05


@pytest.mark.slow
def test_draws_keep_levels_and_numbers_together(spender: Estimator) -> None:
    """Shares and means of 4,000 draws, within five standard errors and what the model misses by."""
    drawn = spender.sample(4000, seed=3)
    for level, zero, mean in (("a", 0.7, 8.0), ("b", 0.2, 3.0)):
        mine = drawn.loc[drawn["level"] == level, "spend"]
        assert (mine == 0).mean() == pytest.approx(zero, abs=5 * 0.5 / math.sqrt(len(mine)) + 0.03)
        assert mine[mine != 0].median() == pytest.approx(mean, abs=0.25)


@pytest.mark.slow
def test_a_missing_level_is_imputed_from_the_number(spender: Estimator) -> None:
    """Around 8 the level is a, around 3 it is b: odds of more than a hundred to one in the truth."""
    holes = pd.DataFrame({"level": [None] * 40, "spend": [8.0, 8.2, 7.9, 8.1] * 5 + [3.0, 2.5, 2.0, 3.5] * 5})
    filled = spender.impute(holes)
    assert (filled["level"][:20] == "a").mean() > 0.9
    assert (filled["level"][20:] == "b").mean() > 0.9


# ----------------------------------------------------------------------------------------------- given, and distilled


@pytest.mark.slow
@pytest.mark.parametrize("flow", ["linear", "radial", "realnvp", "maf", "nsf"])
def test_flows_are_conditional(flow: str) -> None:
    """y = 2 x + 0.5 e: log p(y | x) is known."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, 3000))
    train, fresh = (pd.DataFrame({"x": v, "y": 2 * v + 0.5 * rng.normal(size=3000)}) for v in x)
    settings = {"program.flow": flow, "fit.steps": 200, "fit.learning_rate": 2e-2}
    kept = fitted("maf", train, infer_schema(train, given="x"), **settings)
    truth = stats.norm(2 * fresh["x"], 0.5).logpdf(fresh["y"])
    assert -0.03 < (truth - kept.score_samples(fresh)).mean() < 0.1


def test_the_divergence_is_that_of_two_gaussians() -> None:
    """In closed form, within five standard errors."""
    p, q = (fitted("gaussian", numbers() * s) for s in (1.0, 1.2))

    def moments(kept: Estimator) -> tuple[np.ndarray, np.ndarray]:
        codec, program = kept.model_.codec, kept.model_.program
        tril = zoo_tril(program.spread.detach())
        scale = codec.scale.numpy()
        factor = tril.numpy() * scale[:, None]
        return program.loc.detach().numpy() * scale + codec.loc.numpy(), factor @ factor.T

    (m, a), (k, b) = moments(p), moments(q)
    inverse = np.linalg.inv(b)
    truth = 0.5 * (
        np.trace(inverse @ a) - 3 + (k - m) @ inverse @ (k - m) + np.linalg.slogdet(b)[1] - np.linalg.slogdet(a)[1]
    )
    found = _divergence(p, q, 4000, 0)
    assert found.exact
    assert found.value == pytest.approx(truth, abs=5 * found.standard_error)


def zoo_tril(raw: torch.Tensor) -> torch.Tensor:
    return raw.tril(-1) + torch.diag_embed(raw.diagonal().exp())


def test_a_flow_stands_in_for_a_mixture() -> None:
    """Two clusters, which the Gaussian that the student begins as is far from; both divergences come down."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"a": rng.normal(size=1000) + np.where(rng.random(1000) < 0.5, 4.0, -4.0)})
    teacher = fitted("gmm", frame, **{"program.components": 2})
    options = {"rows": 2000, "judged": 2000}
    quick = {"program.flow": {"use": "nsf", "layers": 1, "bins": 8}, "fit.learning_rate": 0.02}
    start = distil(teacher, settings={**quick, "fit.steps": 1}, **options)
    done = distil(teacher, settings={**quick, "fit.steps": 150}, **options)
    assert done.forward.exact
    assert start.forward.value > 0.2
    for found in (done.forward, done.reverse):
        assert -5 * found.standard_error < found.value < 0.05 + 5 * found.standard_error
