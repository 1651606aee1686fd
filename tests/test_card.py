"""The bound card, and what makes a row unusual, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from zoo.em import fit as em
from zoo.estimator import Estimator
from zoo.evaluate.card import bound_card
from zoo.evaluate.likelihood import score
from zoo.evaluate.unusual import surprise
from zoo.fitting.loop import fit
from zoo.fitting.settings import FitSettings
from zoo.model import Model
from zoo.registry import Registry
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema
from zoo.table.schema import Column


def table(n: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)) @ rng.normal(size=(2, 4)) + 0.7 * rng.normal(size=(n, 4))
    return pd.DataFrame(x, columns=list("abcd"))


@pytest.fixture(scope="module")
def pair() -> tuple[Model, Model, pd.DataFrame]:
    """Probabilistic PCA with its exact posterior, and the same program with an encoder that is fitted a little."""
    frame = table()
    codec = Codec.fit(infer_schema(frame, kinds={"*": "continuous"}), frame)
    recipe = Registry.load()["ppca"].with_settings({"program.dim": 2})
    exact = Model(recipe, codec)
    fit(exact, exact.rows(frame), None, FitSettings())
    other = Model(recipe.with_settings({"guide": {"use": "encoder", "network": "linear"}}), codec)
    fit(other, other.rows(frame), None, FitSettings(steps=25, learning_rate=0.02, patience=0))
    return exact, other, frame


def test_the_ladder_stands_between_elbo_and_exact(pair: tuple[Model, Model, pd.DataFrame]) -> None:
    """Rungs rise, and the exact value lies within five Monte Carlo errors of the last: failure rate 6e-7."""
    exact, other, frame = pair
    truth = score(exact, exact.rows(frame)).mean
    card = bound_card(other, other.rows(frame), 1000)
    bounds = [rung.bound for rung in card.ladder]
    assert [rung.particles for rung in card.ladder] == [1, 10, 100, 1000]
    assert bounds == sorted(bounds)
    assert card.elbo == pytest.approx(bounds[0])
    assert card.elbo < truth - 0.01
    last = card.ladder[-1]
    assert last.bound == pytest.approx(truth, abs=5 * last.monte_carlo_error + 1e-4)
    assert card.extrapolated == pytest.approx(truth, abs=10 * last.monte_carlo_error + 1e-3)
    assert card.trusted
    assert card.sentence.startswith(f"at least {last.bound:.3f}")
    assert card.elbo == pytest.approx(card.reconstruction - sum(card.kl.values()) - card.global_kl, abs=1e-6)


def test_the_card_of_an_exact_number(pair: tuple[Model, Model, pd.DataFrame]) -> None:
    exact, _, frame = pair
    card = bound_card(exact, exact.rows(frame))
    assert card.bound == "exact"
    assert card.log_likelihood == pytest.approx(score(exact, exact.rows(frame)).mean)
    assert card.sentence.startswith("exactly ")
    assert card.k_hat is None
    assert card.extrapolated is None


def test_a_broken_guide_is_flagged(pair: tuple[Model, Model, pd.DataFrame]) -> None:
    """Proposals a fifth as wide as the posterior miss its tails: their weights have no variance."""
    exact, other, frame = pair
    broken = Model(other.recipe, other.codec)
    broken.load_state_dict(other.state_dict())
    with torch.no_grad():
        last = [m for m in broken.guide.modules() if isinstance(m, torch.nn.Linear)][-1]
        last.weight[2:] = 0.0
        last.bias[2:] = -3.0
    card = bound_card(broken, broken.rows(frame), 1000)
    assert card.unreliable > 0.5
    assert not card.trusted
    assert "k-hat is above 0.7" in card.sentence
    assert card.log_likelihood < score(exact, exact.rows(frame)).mean


def test_tail_probabilities_of_a_models_own_rows_are_uniform() -> None:
    """A Kolmogorov-Smirnov test at 1e-4, which is its failure rate."""
    frame = table(1000)
    found = Estimator("gaussian", device="cpu", kinds={"*": "continuous"}).fit(frame)
    own = found.sample(600, seed=7)
    assert stats.kstest(found.tail_probability(own), "uniform").pvalue > 1e-4
    far = frame.head(3) + 100.0
    assert (found.tail_probability(far) <= 1 / 2001).all()


def test_surprise_is_the_conditional_density() -> None:
    """Of a Gaussian: each cell given the others by the closed form."""
    frame = table(1000)
    found = Estimator("gaussian", device="cpu", kinds={"*": "continuous"}).fit(frame)
    some = frame.head(30).copy()
    some.iloc[3, 1] = np.nan
    surprise = found.surprise(some)
    assert surprise.index.equals(some.index)
    assert np.isnan(surprise.iloc[3, 1])
    codec, program = found.model_.codec, found.model_.program
    with torch.no_grad():
        tril = (codec.scale[:, None] * em.tril(program.spread)).numpy()
        mean = (codec.loc + codec.scale * program.loc).numpy()
    precision = np.linalg.inv(tril @ tril.T)
    for i, row in enumerate(some.to_numpy()):
        if i == 3:
            continue
        for j in range(4):
            others = [k for k in range(4) if k != j]
            centre = mean[j] - precision[j, others] @ (row - mean)[others] / precision[j, j]
            expected = -stats.norm.logpdf(row[j], centre, precision[j, j] ** -0.5)
            assert surprise.iloc[i, j] == pytest.approx(expected, abs=1e-6)


def every_level(column: Column) -> list[str]:
    """The column's, and one never seen where it has a place for that."""
    return [*column.levels, *(["new"] if column.kind == "categorical" else [])]


@pytest.mark.filterwarnings("ignore:column 'colour' holds 'new'")
@pytest.mark.parametrize("model", ["chain", "nsf", "maf"])
def test_surprise_is_of_the_joint_where_missing_cells_have_a_density_of_their_own(
    model: str, complete_mixed: pd.DataFrame
) -> None:
    """Against a sum over every level, one never seen too, and the integral over a number.

    The integral is that of 4,000 draws a row, 8 rows: an error of .03 of each, so that .3 is ten of them.
    """
    found = Estimator(model, settings={"fit.steps": 80}, device="cpu").fit(complete_mixed)
    some = complete_mixed.head(8)
    here = surprise(found.model_, found.model_.rows(some), particles=4000)
    own = found.score_samples(some)
    for j, column in enumerate(found.schema_.modelled):
        if column.is_number and (column.step or model == "maf"):
            continue
        for i in range(len(some)):
            x = some.iloc[[i]]
            if column.is_number:
                values = np.linspace(complete_mixed[column.name].min() - 9, complete_mixed[column.name].max() + 9, 3001)
                found_log = found.score_samples(pd.concat([x] * len(values)).assign(**{column.name: values}))
                total = np.log(np.trapezoid(np.exp(found_log - own[i]), values))
            else:
                levels = every_level(column)
                many = pd.concat([x] * len(levels)).assign(**{column.name: levels})
                total = logsumexp(found.score_samples(many)) - own[i]
            error = 0.3 if column.is_number else 0.05 if model == "maf" else 1e-6
            assert here[i, j] == pytest.approx(total, abs=error), (column.name, i)


@pytest.mark.filterwarnings("ignore:column 'colour' holds 'new'")
def test_numbers_that_are_all_missing_have_a_density_of_one(complete_mixed: pd.DataFrame) -> None:
    """Of a flow after its levels: the masses of every pair of levels sum to one, without an error of draws."""
    found = Estimator("maf", settings={"fit.steps": 30}, device="cpu").fit(complete_mixed)
    levels = {c.name: every_level(c) for c in found.schema_.modelled if not c.is_number}
    pairs = pd.MultiIndex.from_product(list(levels.values()), names=list(levels)).to_frame(index=False)
    mass = np.exp(found.score_samples(pairs.reindex(columns=complete_mixed.columns)))
    assert mass.sum() == pytest.approx(1, abs=1e-6)


def test_no_cell_is_less_surprising_than_one_that_is_certain(mixed: pd.DataFrame) -> None:
    """Of levels 0 nats, of a rounded column the log of its cell's width, however the bounds behind it were drawn."""
    found = Estimator("vae", settings={"dim": 1, "fit.steps": 60}, device="cpu").fit(mixed)
    least = [0.0 if not c.is_number else math.log(c.step) if c.step else -np.inf for c in found.schema_.modelled]
    surprise = found.surprise(mixed)
    assert surprise.ge(least).where(surprise.notna(), True).to_numpy().all()
    assert found.log_likelihood(mixed).k_hat.shape == (len(mixed),)
