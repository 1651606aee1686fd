"""Figures of samples against what they are known to be.

A figure with a standard error is drawn many times: its z-scores against the closed form must have the spread of 1 and a
mean that is small beside it. 200 z-scores have a standard deviation within 1 +- 0.2 but once in 10,000 times, and
single values are held to 4 or 5 standard errors (1 in 16,000, 1 in 2 million).
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.linalg import sqrtm
from sklearn.linear_model import LogisticRegression

import zoo
from zoo.errors import UserError
from zoo.evaluate.quality import features, kernels, marginals, privacy, shapes, support, transport, trends, two_sample
from zoo.evaluate.quality.bench import Bench
from zoo.evaluate.quality.judge import Quality, judge
from zoo.evaluate.quality.metrics import METRICS
from zoo.evaluate.quality.modes import Modes, coverage
from zoo.evaluate.quality.sample import Sample
from zoo.evaluate.quality.spaces import Space, distances
from zoo.evaluate.quality.utility import utility
from zoo.evaluate.quality.value import Value
from zoo.table.infer import infer_schema
from zoo.table.schema import Column, Schema

PHI = stats.norm.cdf


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sample(**cells: np.ndarray) -> Sample:
    """Numbers as densities, whole numbers as levels."""
    columns = []
    for name, values in cells.items():
        levels = values.dtype.kind == "i"
        names = tuple(map(str, range(int(values.max()) + 1))) if levels else ()
        columns.append(Column(name=name, kind="categorical" if levels else "continuous", levels=names))
    return Sample(tuple(columns), tuple(cells.values()))


def calibrated(draw: Callable[[np.random.Generator], Value], truth: float, times: int = 200, bias: float = 0.4) -> None:
    """Errors in standard errors spread by 1, around a mean of at most `bias` of them (and what chance adds)."""
    values = [draw(rng(seed)) for seed in range(times)]
    z = np.array([(v.value - truth) / v.standard_error for v in values])
    assert 0.8 < z.std() < 1.2
    assert abs(z.mean()) < bias + 4 / math.sqrt(times)


# ------------------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize("shift", [0.4, 1.5])
def test_shape_of_shifted_normals(shift: float) -> None:
    """sup |F - G| = 2 Phi(shift / 2) - 1; missing cells take no part."""

    def draw(r: np.random.Generator) -> Value:
        x, y = r.normal(size=2000), shift + r.normal(size=1500)
        x[:300] = np.nan
        return shapes.shapes(sample(x=x), sample(x=y))[0]

    calibrated(draw, 2 - 2 * PHI(shift / 2), bias=0.6)  # a supremum is a little above


def test_shape_of_levels() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.3, 0.4])

    def draw(r: np.random.Generator) -> Value:
        return shapes.shapes(sample(c=r.choice(3, 1000, p=p)), sample(c=r.choice(3, 1500, p=q)))[0]

    calibrated(draw, 1 - np.abs(p - q).sum() / 2, bias=0.6)


def test_the_error_of_a_mean_over_columns_knows_that_they_move_together() -> None:
    """Two columns alike have the error of one, not a root of two less."""
    x, y = rng(0).normal(size=1000), 0.5 + rng(1).normal(size=1000)
    one, _ = shapes.shapes(sample(x=x), sample(x=y))
    two, each = shapes.shapes(sample(x=x, again=x), sample(x=y, again=y))
    assert two == pytest.approx(one)
    assert each == pytest.approx({"x": one.value, "again": one.value})


def test_shape_by_hand() -> None:
    """KS of 1, 2, 3, 4 and 3, 4, 5, 6 is 1/2; a missing level is a level."""
    assert shapes.kolmogorov_smirnov(np.arange(1.0, 5), np.arange(3.0, 7)).value == 0.5
    assert shapes.total_variation(np.array([0, 1, 1, 1]), np.array([1, 1, 1, 1])).value == 0.25
    nothing = np.full(4, np.nan)
    assert shapes.kolmogorov_smirnov(nothing, nothing).value == 0
    assert shapes.kolmogorov_smirnov(nothing, np.arange(4.0)).value == 1


def test_trend_of_two_correlations() -> None:
    """1 - |rho - rho'| / 2."""

    def draw(r: np.random.Generator) -> Value:
        x, y = (r.multivariate_normal([0, 3], [[1, rho], [rho, 1]], 800) for rho in (0.8, 0.2))
        x[:100, 1] = np.nan
        found = trends.trends(sample(a=x[:, 0], b=x[:, 1]), sample(a=y[:, 0], b=y[:, 1]), r)
        assert found is not None
        return found[0]

    calibrated(draw, 0.7)


def test_trend_of_levels_and_numbers() -> None:
    """A number in ten bins of equal width beside a level that is its sign, and beside one that is none of it."""
    x = rng(0).uniform(-1, 1, 40_000)
    real = sample(x=x, c=(x > 0).astype(int))
    free = sample(x=x, c=rng(1).integers(0, 2, len(x)))
    found = trends.trends(real, free, rng(2))
    assert found is not None
    value, error, _ = found[0]
    assert abs(value - 0.5) < 4 * error + 0.01  # of each bin half the rows have the other level
    again = trends.trends(real, real, rng(2))
    assert again is not None
    assert again[0].value == 1


def test_trend_by_hand() -> None:
    a = sample(c=np.array([0, 0, 1, 1]), d=np.array([0, 0, 1, 1]))
    b = sample(c=np.array([0, 0, 1, 1]), d=np.array([0, 1, 0, 1]))
    found = trends.trends(a, b, rng())
    assert found is not None
    assert found[1] == {("c", "d"): 0.5}
    assert trends.trends(sample(x=np.arange(4.0)), sample(x=np.arange(4.0)), rng()) is None


def test_divergences_of_shifted_normals() -> None:
    """Bins that hold 1/20 of N(0, 1) each hold of N(shift, 1) what Phi says."""
    n, shift = 40_000, 0.5
    edges = stats.norm.ppf(np.linspace(0, 1, 21))
    p, q = np.full(20, 0.05), np.diff(PHI(edges - shift))
    found = [
        marginals.divergences(sample(x=rng(k).normal(size=n)), sample(x=shift + rng(99 + k).normal(size=n)))
        for k in range(10)
    ]
    middle = (p + q) / 2
    js = (stats.entropy(p, middle) + stats.entropy(q, middle)) / 2
    for name, truth in (("kl", stats.entropy(p, q)), ("jensen_shannon", js)):
        values = np.array([one[name].value for one in found])
        # the mean of ten, five of its standard errors, and 20 cells over 2n of bias
        assert abs(values.mean() - truth) < 5 * values.std(ddof=1) / math.sqrt(10) + 20 / n
    apart = marginals.divergences(sample(x=rng(0).normal(size=500)), sample(x=1e6 + rng(1).normal(size=500)))
    assert apart["jensen_shannon"].value < math.log(2)
    levels = marginals.divergences(sample(c=np.array([0, 0, 1, 1])), sample(c=np.array([2, 2, 2, 2])))
    assert levels["jensen_shannon"].value == pytest.approx(math.log(2))


# ---------------------------------------------------------------------------------------------------------- two samples


def test_area_under_the_curve_of_shifted_normals() -> None:
    """AUC = Phi(shift / sqrt 2), and DeLong's error is its spread."""

    def draw(r: np.random.Generator) -> Value:
        x = np.concatenate([r.normal(size=300), 0.7 + r.normal(size=200)])
        value, error, influence = two_sample.area(x, np.arange(500) >= 300)
        assert error == pytest.approx(math.sqrt(float(np.square(influence).mean()) / 500))
        return Value(value, error)

    calibrated(draw, PHI(0.7 / math.sqrt(2)))


@pytest.mark.slow
def test_a_classifier_of_one_source_tells_nothing() -> None:
    def draw(r: np.random.Generator) -> Value:
        return two_sample.boosted_test(sample(x=r.normal(size=90)), sample(x=r.normal(size=90)), 0)["c2st_auc"]

    values = [draw(rng(seed)) for seed in range(20)]
    z = np.array([(v.value - 0.5) / v.standard_error for v in values])
    assert abs(z.mean()) < 4 / math.sqrt(20)
    assert z.std() < 1.7  # folds share rows: a little more than 1


def test_the_best_classifier_of_shifted_normals_is_found() -> None:
    """Phi(shift / sqrt 2), of which 1 - (2 AUC - 1) is the score; accuracy Phi(shift / 2)."""
    x, y = rng(0).normal(size=(3000, 1)), 1 + rng(1).normal(size=(3000, 1))
    score, auc, accuracy = two_sample.c2st(LogisticRegression(), x, y, 0)
    assert abs(auc.value - PHI(1 / math.sqrt(2))) < 4 * auc.standard_error
    assert abs(accuracy.value - PHI(0.5)) < 4 * accuracy.standard_error
    assert score.value == pytest.approx(2 - 2 * auc.value)


def test_what_columns_one_by_one_do_not_show_boosted_trees_find() -> None:
    """Alike in every column, and of opposite correlation: means are alike too, and logistic regression is blind."""
    x = rng(0).multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 1500)
    real, other = sample(a=x[:, 0], b=x[:, 1]), sample(a=x[:, 0], b=-x[:, 1])
    assert two_sample.boosted_test(real, other, 0)["c2st"].value < 0.35
    blind = two_sample.logistic_test(x, x * [1, -1], 0)["c2st_logistic_auc"]
    assert abs(blind.value - 0.5) < 5 * blind.standard_error


def test_levels_and_missing_cells_are_told_apart() -> None:
    x = rng(0).normal(size=400)
    holes = np.where(rng(1).random(400) < 0.5, np.nan, x)
    # 3/4 is the best there is: half of the rows with holes have none
    assert two_sample.boosted_test(sample(x=x), sample(x=holes), 0)["c2st_auc"].value > 0.62
    levels = [
        sample(c=rng(2).choice(5, 400, p=p)) for p in ([0.8, 0.05, 0.05, 0.05, 0.05], [0.05, 0.05, 0.05, 0.05, 0.8])
    ]
    assert two_sample.boosted_test(levels[0], levels[1], 0)["c2st"].value < 0.5


def test_mmd_of_shifted_normals() -> None:
    """E k(x, y) = (h^2 / (h^2 + 2))^(d/2) exp(-|shift|^2 / 2 (h^2 + 2)) with a kernel of width h = 1."""
    shift, d = np.array([0.8, 0.0]), 2

    def expected(delta: float) -> float:
        return (1 / 3) ** (d / 2) * math.exp(-delta / 6)

    def draw(r: np.random.Generator) -> Value:
        x = np.concatenate([r.normal(size=(150, d)), shift + r.normal(size=(150, d))])
        return kernels.permuted(np.exp(-np.square(distances(x, x)) / 2), 150, r)[0]

    calibrated(draw, 2 * expected(0) - 2 * expected(float(shift @ shift)))


def test_energy_distance_of_shifted_normals() -> None:
    """E|X - Y| of a difference N(shift, 2), in one dimension."""
    shift, s = 0.8, math.sqrt(2)
    between = s * math.sqrt(2 / math.pi) * math.exp(-(shift**2) / (2 * s**2)) + shift * (1 - 2 * PHI(-shift / s))

    def draw(r: np.random.Generator) -> Value:
        return kernels.energy(r.normal(size=(150, 1)), shift + r.normal(size=(150, 1)), r)[0]

    calibrated(draw, 2 * between - 4 / math.sqrt(math.pi))


@pytest.mark.parametrize("test", [kernels.mmd, kernels.energy])
def test_p_values_are_uniform_where_there_is_no_difference(
    test: Callable[..., tuple[Value, float]],
) -> None:
    """300 of them against the uniform; the seed is fixed, and 1 seed in 1,000 would fail."""
    found = []
    for seed in range(300):
        r = rng(seed)
        found.append(test(r.normal(size=(20, 2)), r.normal(size=(25, 2)), r)[1])
    assert stats.kstest(found, "uniform").pvalue > 1e-3
    r = rng(1)
    assert test(r.normal(size=(100, 2)), 1 + r.normal(size=(100, 2)), r)[1] == pytest.approx(1 / 201)


def test_unbiased_discrepancies_are_zero_on_the_mean() -> None:
    values = []
    for seed in range(200):
        r = rng(seed)
        values.append(kernels.mmd(r.normal(size=(20, 3)), r.normal(size=(20, 3)), r)[0].value)
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(200)
    assert min(values) < 0


# ------------------------------------------------------------------------------------------------------------ transport


def test_wasserstein_of_a_translation_is_its_length() -> None:
    x, c = rng(0).normal(size=(60, 3)), np.array([1.0, -2.0, 2.0])
    assert transport.wasserstein(x, rng(1).permutation(x) + c).value == pytest.approx(3)
    assert transport.wasserstein(x, x + c, power=2).value == pytest.approx(3)
    found = transport.sliced_wasserstein(x, x + c, rng(2))
    # E|<c, u>| over the sphere in three dimensions is |c| / 2
    assert abs(found.value - 1.5) < 4 * found.standard_error


def test_wasserstein_is_the_least_of_all_assignments() -> None:
    x, y = rng(0).normal(size=(6, 2)), rng(1).normal(size=(6, 2))
    cost = distances(x, y)
    least = min(cost[range(6), list(order)].mean() for order in itertools.permutations(range(6)))
    assert transport.wasserstein(x, y).value == pytest.approx(least)


def test_wasserstein_between_gaussians() -> None:
    """On a line W1 of N(0, 1) and N(0, s^2) is (s - 1) sqrt(2 / pi), and W2^2 of N(m, s^2) is m^2 + (s - 1)^2."""
    for shift, s, power, truth in ((0.0, 3.0, 1, 2 * math.sqrt(2 / math.pi)), (2.0, 2.0, 2, math.sqrt(5))):
        values = np.array(
            [
                transport.wasserstein(rng(k).normal(size=(300, 1)), rng(99 + k).normal(shift, s, (300, 1)), power).value
                for k in range(20)
            ]
        )
        # the mean of 20, and a hundredth for the distance of two samples of one source
        assert abs(values.mean() - truth) < 4 * values.std(ddof=1) / math.sqrt(20) + 0.02


# -------------------------------------------------------------------------------------------------- fidelity, diversity


@pytest.mark.parametrize("s", [0.6, 1.0, 1.5])
def test_alpha_precision_of_a_scaled_gaussian(s: float) -> None:
    """In the plane the ball of share alpha holds 1 - (1 - alpha)^(1 / s^2) of N(0, s^2 I)."""
    alphas = np.linspace(0, 1, support.LEVELS)
    truth = 1 - 2 * np.abs(1 - (1 - alphas) ** (1 / s**2) - alphas).mean()
    found = support.alpha_precision(rng(0).normal(size=(40_000, 2)), s * rng(1).normal(size=(2000, 2)))
    # at s = 1 every difference is chance, and the score lies below 1 by some errors of a share
    assert abs(found.value - truth) < 4 * found.standard_error + (0.03 if s == 1 else 0.004)


def reach(x: np.ndarray) -> np.ndarray:
    return support.reaches(x, 1)[0]


def test_beta_recall_among_real_rows_is_a_half() -> None:
    """Of 2n - 1 rows beside a real one, n are the others: the nearest is one of these half the time."""
    values = []
    for seed in range(20):
        x, y = rng(seed).normal(size=(400, 2)), rng(99 + seed).normal(size=(400, 2))
        values.append(support.beta_recall(reach(x), distances(y, x), y).value)
    assert abs(np.mean(values) - 0.5) < 4 * np.std(values) / math.sqrt(20) + 0.005
    lump = np.zeros((400, 2)) + 1e-3 * rng(1).normal(size=(400, 2))
    assert support.beta_recall(reach(x), distances(lump, x), lump).value < 0.05


def test_authenticity_of_copies_and_of_strangers() -> None:
    x = rng(0).normal(size=(300, 3))
    assert privacy.authenticity(x, x).value == 0
    assert privacy.authenticity(x + 50, x).value == 1
    half = np.concatenate([x[:150], x[:150] + 50])
    assert privacy.authenticity(half, x).value == 0.5
    strangers = privacy.authenticity(rng(1).normal(size=(300, 3)), x)
    assert abs(strangers.value - 0.5) < 4 * strangers.standard_error


def test_precision_and_recall_of_one_cluster_in_two() -> None:
    """All that is made lies in one of two clusters, which holds 30% of the real rows."""
    near, far = rng(0).normal(size=(300, 2)), 100 + rng(1).normal(size=(700, 2))
    real, made = np.concatenate([near, far]), rng(2).normal(size=(1000, 2))
    found = support.precision_recall(
        support.reaches(real, support.NEIGHBOURS)[0],
        support.reaches(made, support.NEIGHBOURS)[0],
        distances(made, real),
    )
    p, r, f1 = (found[k].value for k in ("nn_precision", "nn_recall", "nn_f1"))
    assert p > 0.93
    assert 0.28 < r <= 0.3
    assert f1 == pytest.approx(2 * p * r / (p + r))


# --------------------------------------------------------------------------------------------------------------- copies


def test_copies_are_found() -> None:
    train = sample(x=rng(0).normal(size=500), c=rng(1).integers(0, 4, 500))
    fresh = sample(x=rng(2).normal(size=500), c=rng(3).integers(0, 4, 500))
    mixed = Sample(
        train.columns, tuple(np.concatenate([a[:150], b[:350]]) for a, b in zip(train.cells, fresh.cells, strict=True))
    )
    assert privacy.copies(mixed, train).value == 0.3
    assert privacy.copies(fresh, train).value == 0
    gone = train.hide([np.arange(500) < 10, np.zeros(500, dtype=bool)])
    assert privacy.copies(gone, gone).value == 1
    assert privacy.copies(gone, train).value == 0.98


def test_nearer_to_training_rows() -> None:
    """Half where both are of one source, all where rows are copies, and what lies between by how many are copies."""
    r = rng(0)
    train, held_out, fresh = (r.normal(size=(2000, 2)) for _ in range(3))
    found = privacy.nearer_to_training(fresh, train, held_out)
    assert abs(found.value - 0.5) < 4 * found.standard_error + 0.02  # rows near to each other share a nearest row
    assert privacy.nearer_to_training(train, train, held_out).value == 1
    assert privacy.nearer_to_training(fresh, train, train).value == 0.5
    some = np.concatenate([train[:1000], fresh[:1000]])
    found = privacy.nearer_to_training(some, train, held_out)
    assert abs(found.value - 0.75) < 4 * found.standard_error + 0.01
    assert privacy.median(privacy.closest(held_out + 1e3, held_out)).value > 1e3
    moved = privacy.closest(train + np.array([1e-3, 0]), train)
    assert privacy.median(moved).value == pytest.approx(1e-3, rel=1e-2)


def test_a_few_copies_are_too_close() -> None:
    """One row in twenty where rows are new; where a fifth are copies, all of these beside a twentieth of the rest."""
    r = rng(0)
    train, held_out, fresh = (r.normal(size=(4000, 3)) for _ in range(3))
    usual = privacy.closest(held_out, train)
    found = privacy.too_close(privacy.closest(fresh, train), usual)
    assert abs(found.value - 0.05) < 4 * math.sqrt(2) * found.standard_error  # the quantile strays too
    some = np.concatenate([train[:400], fresh[:1600]])
    found = privacy.too_close(privacy.closest(some, train), usual)
    assert abs(found.value - 0.24) < 4 * math.sqrt(2) * found.standard_error
    # the error of a median is its spread over samples
    median = [privacy.median(rng(k).exponential(size=400)) for k in range(200)]
    assert np.std([m.value for m in median]) == pytest.approx(np.mean([m.standard_error for m in median]), rel=0.25)


# ------------------------------------------------------------------------------------------------------- feature spaces


def test_frechet_distance_of_gaussians() -> None:
    x = rng(0).normal(size=(300, 3)) @ np.array([[1.0, 0.4, 0], [0, 2.0, 0.3], [0, 0, 0.5]])
    c = np.array([1.0, 2.0, -2.0])
    assert features.frechet(x, x + c).value == pytest.approx(9)
    a = np.cov(x, rowvar=False)
    assert features.frechet(x, 3 * x).value == pytest.approx(4 * np.square(x.mean(0)).sum() + 4 * np.trace(a))
    y = rng(1).normal(size=(200, 3))
    b = np.cov(y, rowvar=False)
    moved = np.square(x.mean(0) - y.mean(0)).sum()
    assert features.frechet(x, y).value == pytest.approx(moved + np.trace(a + b - 2 * sqrtm(a @ b).real))
    assert features.frechet(x[:, :1], x[:, :1] + 2).value == pytest.approx(4)


def test_inception_counts_groups() -> None:
    assert features.inception(np.eye(5).repeat(10, 0)).value == pytest.approx(5)
    assert features.inception(np.full((50, 5), 0.2)).value == pytest.approx(1)
    assert features.inception(np.eye(5)[np.zeros(50, dtype=int)]).value == pytest.approx(1)
    uneven = np.eye(2)[np.array([0] * 90 + [1] * 10)]
    assert features.inception(uneven).value == pytest.approx(math.exp(stats.entropy([0.9, 0.1])))


def test_axes_hold_the_variance() -> None:
    x = rng(0).normal(size=(2000, 6)) @ np.diag([10, 5, 0.1, 0.1, 0.1, 0.1])
    axes = features.Axes(x)
    assert axes(x).shape == (2000, 2)
    np.testing.assert_allclose(np.cov(axes(x), rowvar=False), np.diag([100, 25]), atol=5 * 100 * math.sqrt(2 / 2000))


# ---------------------------------------------------------------------------------------------------------------- modes


GRID = np.array([[i, j] for i in range(-2, 3) for j in range(-2, 3)], dtype=float) * 2


def grid(n: int, modes: np.ndarray, seed: int, sigma: float = 0.05) -> Sample:
    r = rng(seed)
    x = modes[r.integers(len(modes), size=n)] + sigma * r.normal(size=(n, 2))
    return sample(x=x[:, 0], y=x[:, 1])


def test_modes_are_counted() -> None:
    """25 Gaussians: within three sigma lie 1 - exp(-9/2) of the rows; five modes lost are a fifth of all."""
    real = grid(5000, GRID, 0)
    modes = Modes.of((GRID, 0.05), real.columns)
    every = coverage(modes, real, grid(5000, GRID, 1))
    within = every["within_modes"]
    assert every["modes_covered"].value == 1
    assert abs(within.value - (1 - math.exp(-4.5))) < 4 * within.standard_error
    assert every["mode_balance"].value > 0.94
    some = coverage(modes, real, grid(5000, GRID[5:], 2))
    assert some["modes_covered"].value == 0.8
    assert some["mode_balance"].value == pytest.approx(0.8, abs=0.06)
    wide = coverage(modes, real, grid(5000, GRID, 3, sigma=0.1))["within_modes"]
    assert abs(wide.value - (1 - math.exp(-4.5 / 4))) < 4 * wide.standard_error
    nowhere = sample(x=np.full(20, 99.0), y=np.full(20, np.nan))
    assert {name: value.value for name, value in coverage(modes, real, nowhere).items()} == {
        "modes_covered": 0.0,
        "within_modes": 0.0,
        "mode_balance": 0.0,
    }
    noise = rng(4).normal(size=(5000, 2)) * 3  # some rows in most modes, none of its size
    nothing = coverage(modes, real, sample(x=noise[:, 0], y=noise[:, 1]))
    assert nothing["modes_covered"].value == 0


# -------------------------------------------------------------------------------------------------------------- utility


def world(n: int, seed: int) -> pd.DataFrame:
    """Two numbers, a level that goes with one of them, and a number that goes with both."""
    r = rng(seed)
    x, z = r.normal(size=n), r.normal(size=n)
    label = np.where(r.random(n) < PHI(1.5 * x), "yes", "no")
    return pd.DataFrame({"x": x, "z": z, "label": label, "y": x + z + r.normal(size=n)})


KINDS = {"x": "continuous", "z": "continuous", "y": "continuous"}
SCHEMA = infer_schema(world(500, 0), kinds=KINDS)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["label", "y"])
def test_rows_of_the_true_generator_are_as_good_as_real_ones(target: str) -> None:
    """The difference of two trainings on as many rows of one source, several times, is chance."""
    test = Sample.of(world(2000, 1), SCHEMA)
    differences = []
    for seed in range(6):
        real, made = (Sample.of(world(600, 10 + 2 * seed + k), SCHEMA) for k in (0, 1))
        a, b = utility(real, test, target, 0), utility(made, test, target, 0)
        assert a is not None
        assert b is not None
        assert 0.5 < a.value < 0.95
        differences.append(b.value - a.value)
    assert abs(np.mean(differences)) < 5 * np.std(differences, ddof=1) / math.sqrt(6)


def test_rows_without_structure_are_of_no_use() -> None:
    test, made = Sample.of(world(2000, 1), SCHEMA), Sample.of(world(600, 2), SCHEMA).shuffled(rng(0))
    none = utility(made, test, "label", 0)
    assert none is not None
    assert abs(none.value - 0.5) < 0.1
    none = utility(made, test, "y", 0)
    assert none is not None
    assert none.value < 0.1
    alone = test.take(test.cells[2] == 0)  # a target of one value cannot be discerned
    assert utility(made, alone, "label", 0) is None
    one = utility(alone, test, "label", 0)
    assert one is not None
    assert one.value == 0.5


def test_the_r2_of_a_linear_target() -> None:
    """y = x + z + e explains 2/3 at best, and boosted trees on 4,000 rows come near to it from below."""
    found = utility(Sample.of(world(4000, 1), SCHEMA), Sample.of(world(4000, 2), SCHEMA), "y", 0)
    assert found is not None
    assert 0.55 < found.value < 2 / 3 + 4 * found.standard_error


# ------------------------------------------------------------------------------------------------------- one judgement


@pytest.fixture(scope="module")
def quality() -> Quality:
    return judge(world(600, 1), world(500, 2), SCHEMA, train=world(700, 3), target="label")


def test_every_figure_with_its_ceiling_and_floor(quality: Quality) -> None:
    expected = {n for n, m in METRICS.items() if m.group != "modes"} - {"missing"}
    assert set(quality.figures) == expected
    for name, figure in quality.figures.items():
        assert figure.low <= figure.value <= figure.high, name
        assert figure.ceiling is not None
        assert figure.floor is not None
    assert quality.rows == {"real": 600, "synthetic": 500, "train": 700, "compared": 500}
    document = json.loads(json.dumps(quality.to_json(), allow_nan=False))
    assert document["figures"]["c2st"]["range"] == [0, 1]
    assert document["figures"]["trend"]["better"] == "higher"
    assert set(document["columns"]) == {"x", "z", "label", "y"}
    assert len(document["pairs"]) == 6
    assert "standard deviations" in document["spaces"]["clouds"]
    assert "principal axes" in document["spaces"]["frechet"]
    assert "levels of label" in document["spaces"]["inception"]
    assert "trend" in repr(quality)
    with pytest.raises(UserError, match="did you mean 'trend'"):
        _ = quality["trnd"]


def test_the_true_generator_is_at_the_ceiling_and_independent_columns_at_the_floor(quality: Quality) -> None:
    for name in ("trend", "c2st", "beta_recall", "nn_f1", "utility"):
        figure = quality[name]
        assert figure.ceiling > figure.floor
        assert abs(figure.value - figure.ceiling) < abs(figure.value - figure.floor), name
    assert quality["mmd_p"].value > 0.01
    assert quality["mmd_p"].floor < 0.01
    assert quality["copies"].value == 0
    assert abs(quality["nearer_to_training"].value - 0.5) < 5 * quality["nearer_to_training"].standard_error


def test_the_same_seed_gives_the_same_figures(quality: Quality) -> None:
    again = judge(world(600, 1), world(500, 2), SCHEMA, train=world(700, 3), target="label")
    assert {n: f.value for n, f in again.figures.items()} == {n: f.value for n, f in quality.figures.items()}


def test_copied_rows_are_seen_in_a_judgement() -> None:
    train = world(400, 3)
    only = ("privacy", "support")
    copied = judge(world(400, 1), train, SCHEMA, train=train, only=only)
    assert copied["copies"].value == 1
    assert copied["copies"].ceiling == 0
    assert copied["authenticity"].value == 0
    assert abs(copied["authenticity"].ceiling - 0.5) < 0.15
    assert copied["nearer_to_training"].value == 1
    assert copied["too_close"].value == 1
    assert copied["too_close"].ceiling == pytest.approx(0.05, abs=0.01)
    assert copied["closest_record"].value < 1e-3 < copied["closest_record"].ceiling
    without = judge(train, train.iloc[::2], SCHEMA, only=only)
    assert without["copies"].value == 1
    assert without["copies"].ceiling == 0
    assert without["authenticity"].value == 0
    assert "nearer_to_training" not in without.figures
    assert any("halved" in note for note in without.notes)


@pytest.mark.slow
def test_missing_cells_that_a_density_says_nothing_of() -> None:
    """Real rows with holes at random, and complete draws of their source: told apart by nothing but the holes."""
    real, train = (world(900, s).mask(rng(s).random((900, 4)) < 0.2) for s in (1, 3))
    schema = infer_schema(train, kinds=KINDS)
    found = judge(real, world(900, 2), schema, train=train, only=("columns", "classifier"))
    assert found["missing"].value == pytest.approx(0.2, abs=0.05)
    assert any("hidden" in note for note in found.notes)
    assert found["c2st_auc"].value < 0.5 + 4 * found["c2st_auc"].standard_error
    assert abs(found["trend"].value - found["trend"].ceiling) < 5 * found["trend"].standard_error
    some = world(900, 2).mask(rng(9).random((900, 4)) < 0.01)  # holes of their own are kept, and told
    assert judge(real, some, schema, train=train, only=("classifier",))["c2st_auc"].value > 0.6


def test_units_and_order_change_nothing() -> None:
    real, made = world(300, 1), world(300, 2)
    only = ("columns", "clouds", "support", "transport")
    base = judge(real, made, SCHEMA, train=world(300, 3), only=only)
    scaled = [
        f.assign(x=1e6 * f["x"] + 5, y=1e-6 * f["y"])[["y", "label", "x", "z"]] for f in (real, made, world(300, 3))
    ]
    again = judge(scaled[0], scaled[1], infer_schema(scaled[2], kinds=KINDS), train=scaled[2], only=only)
    for name in set(base.figures) - {"sliced_wasserstein"}:  # whose random directions meet other columns
        assert again[name].value == pytest.approx(base[name].value, rel=1e-6, abs=1e-9), name


def test_levels_never_seen_lattices_and_far_values() -> None:
    """None of these costs the judgement: a new level, three as 3.0000000001, a number beyond all others."""
    r = rng(0)
    real = pd.DataFrame(
        {"n": r.integers(0, 5, 200).astype(float), "c": r.choice(["a", "b"], 200), "x": r.normal(size=200)}
    )
    schema = infer_schema(real, kinds={"n": "integer", "c": "categorical", "x": "continuous"})
    made = real.sample(frac=1.0, random_state=0).assign(n=lambda f: f["n"] + 1e-10)
    made.loc[made.index[0], ["c", "x"]] = ["new", 1e300]
    found = judge(real, made, schema, train=real)
    assert found.columns["n"] == 1
    assert found["copies"].value == 199 / 200
    assert np.isfinite([figure.value for figure in found.figures.values()]).all()


def test_one_column_and_few_rows() -> None:
    frame = pd.DataFrame({"x": rng(0).normal(size=24)})
    schema = infer_schema(frame, kinds={"x": "continuous"})
    found = judge(frame, frame + 0.01, schema)
    assert "trend" not in found.figures
    assert found.rows["compared"] == 12
    with pytest.raises(UserError, match="needs 10 of each kind, and there are 9"):
        judge(frame[:18], frame, schema)


def test_weighted_rows_stand_for_more() -> None:
    frame = pd.DataFrame({"c": ["a", "b"] * 500, "x": rng(0).normal(size=1000), "w": [3.0, 1.0] * 500})
    schema = infer_schema(frame, weight="w", kinds={"x": "continuous"})
    made = pd.DataFrame({"c": np.where(rng(1).random(1000) < 0.75, "a", "b"), "x": rng(2).normal(size=1000)})
    found = judge(frame, made, schema, train=frame, only=("columns",))
    assert found.columns["c"] > 0.93
    assert any("drawn by their w" in note for note in found.notes)


def test_what_cannot_be_judged_is_said() -> None:
    real = world(60, 1)
    for arguments, said in (
        ({"synthetic": real.drop(columns="z")}, "the synthetic table has no column 'z'"),
        ({"target": "labl"}, "did you mean 'label'"),
        ({"only": ("colums",)}, "did you mean 'columns'"),
        ({"modes": ([[0.0, 0.0]], 1.0)}, "modes= takes"),
        ({"modes": (pd.DataFrame({"w": [0.0]}), 1.0)}, "names 'w'"),
        ({"modes": (pd.DataFrame({"x": [0.0]}), 0.0)}, "above 0"),
    ):
        with pytest.raises(UserError, match=said):
            judge(**{"real": real, "synthetic": real, "schema": SCHEMA, **arguments})


def test_modes_in_a_judgement() -> None:
    x, y = (pd.DataFrame({"x": s.cells[0], "y": s.cells[1]}) for s in (grid(400, GRID, 0), grid(400, GRID[:20], 1)))
    found = zoo.judge(x, y, kinds={"*": "continuous"}, modes=(pd.DataFrame(GRID, columns=["x", "y"]), 0.05))
    assert found["modes_covered"].value == 0.8
    assert found["modes_covered"].ceiling == 1


def test_large_samples_are_cut_and_it_is_said() -> None:
    big = Schema(columns=(Column(name="x", kind="continuous"), Column(name="z", kind="continuous")))
    frame = pd.DataFrame(rng(0).normal(size=(12_000, 2)), columns=["x", "z"])
    found = judge(frame[:4000], frame[4000:8000], big, train=frame[8000:], only=("support", "transport", "clouds"))
    assert found["beta_recall"].rows == 2000
    assert found["mmd"].rows == 1000
    assert found["wasserstein"].rows == 500
    assert any("clouds 1,000" in note for note in found.notes)


def test_cyclic_numbers_lie_on_a_circle() -> None:
    column = Column(name="hour", kind="continuous", period=24.0)
    real = Sample((column,), (rng(0).uniform(0, 24, 500),))
    points = Space(real)(Sample((column,), (np.array([23.9, 0.1, 12.0]),)))
    near, far = np.linalg.norm(points[0] - points[1]), np.linalg.norm(points[0] - points[2])
    assert near < 0.1 < far
    assert np.mean(np.square(Space(real)(real))) == pytest.approx(1, abs=0.1)


def test_a_bench_is_the_same_for_whoever_comes() -> None:
    """Two samples judged on one bench have the figures that they would have alone."""
    real, second = Sample.of(world(300, 1), SCHEMA), Sample.of(world(300, 3), SCHEMA)
    made = [Sample.of(world(300, s), SCHEMA) for s in (5, 6)]
    bench = Bench(real, second, 300, 0, seen=True)
    both = [bench.figures(bench.drawn(one)) for one in made]
    other = Bench(real, second, 300, 0, seen=True)
    assert other.figures(other.drawn(made[1])) == both[1]
    assert both[0] != both[1]
