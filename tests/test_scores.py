"""Normal scores: what goes in comes out, coordinates are standard Normal, and the base density integrates to one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from zoo.rows.heads import Heads
from zoo.rows.marginals import BY_CHANCE, gaps
from zoo.rows.rows import Rows
from zoo.rows.scores import NormalScores, early_score, log_phi
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema


def spiked(n: int = 3000) -> pd.DataFrame:
    """A density with a spike at zero, a rounded column with one, a wide lattice, a cycle, two and four levels."""
    rng = np.random.default_rng(3)
    gain = np.where(rng.random(n) < 0.7, 0.0, rng.lognormal(3, 1, n))
    return pd.DataFrame(
        {
            "rain": gain,
            "paid": np.where(rng.random(n) < 0.9, 0.0, np.round(rng.lognormal(8, 1, n))),
            "height": rng.normal(170, 9, n),
            "price": np.round(rng.lognormal(5, 1.5, n), 2),
            "hour": rng.integers(0, 24, n).astype(float),
            "yes": np.where(rng.random(n) < 0.2, "no", "yes"),
            "town": rng.choice(["a", "b", "c", "d"], n, p=[0.6, 0.3, 0.09, 0.01]),
        }
    ).mask(rng.random((n, 7)) < 0.05)


def made(frame: pd.DataFrame, **settings) -> tuple[Rows, NormalScores]:
    schema = infer_schema(frame)
    if "hour" in frame:
        schema = schema.with_column("hour", period=24.0)
    codec = Codec.fit(schema, frame)
    rows = Rows.of(codec, Heads(codec), codec.encode(frame))
    scores = NormalScores(codec.schema, **settings)
    scores.fit(rows)
    return rows, scores


@pytest.mark.parametrize("marginals", ["scores", "codec"])
def test_rows_come_back_as_they_were(marginals):
    rows, scores = made(spiked(), marginals=marginals, levels=True)
    assert rows.schema["rain"].atoms
    coded = scores.encode(rows)
    x = rows.codec.snap(scores.decode(coded.u, coded.codes, rows.codec))
    n = len(rows.schema.numeric)
    back = rows.codec.decode(x)
    for j, column in enumerate(rows.schema.modelled):
        seen = rows.cells.seen[:, j].numpy()
        told = rows.codec.decode(rows.cells.x)[column.name]
        if j < n and column.resolution is None:
            np.testing.assert_allclose(back[column.name][seen], told[seen], rtol=1e-8)
        else:
            assert (back[column.name][seen] == told[seen]).all(), column.name
    # a spike is a spike again, to the last digit
    seen = rows.cells.seen[:, rows.schema.names.index("rain")].numpy()
    assert (back["rain"][seen] == 0).sum() == (spiked()["rain"] == 0).sum()


def test_coordinates_are_standard_normal():
    """Kolmogorov-Smirnov for each coordinate; failure rate 1e-6 each."""
    rows, scores = made(spiked(), levels=True)
    coded = scores.encode(rows)
    assert coded.u.shape[1] == 5 + 1 + 5
    for c in range(coded.u.shape[1]):
        u = coded.u[coded.seen[:, c], c].numpy()
        if scores.owners[c] == rows.schema.names.index("town") and c == coded.u.shape[1] - 1:
            continue  # the level reserved for the unseen is not there
        assert stats.kstest(u, "norm").pvalue > 1e-6, c


@pytest.mark.slow
def test_the_base_density_integrates_to_one():
    """Atoms and the density beside them; cells of a lattice, a cycle's among them; levels."""
    rows, scores = made(spiked(), levels=True)
    schema = rows.schema
    for name, values, width in (
        ("hour", np.arange(24.0), 1.0),
        ("paid", np.arange(0.0, 2e5), 1.0),
        ("yes", np.array(["yes", "no"]), 1.0),
        ("town", np.array(["a", "b", "c", "d", "unseen"]), 1.0),
    ):
        frame = pd.DataFrame({c: values if c == name else np.full(len(values), np.nan) for c in schema.names})
        with pytest.warns(Warning, match="never seen") if name == "town" else warns_nothing():
            data = rows.codec.encode(frame)
        base = scores.encode(Rows.of(rows.codec, rows.heads, data)).base
        assert float(base.exp().sum()) * width == pytest.approx(1.0, abs=1e-3), name
    for name in ("rain", "height"):
        column = schema[name]
        values = np.unique(np.concatenate([np.linspace(-60, 400, 200_001), np.geomspace(1e-9, 1e4, 200_001)]))
        values = values[(values >= (column.lower if column.lower is not None else -np.inf)) & (values != 0)]
        frame = pd.DataFrame({c: values if c == name else np.full(len(values), np.nan) for c in schema.names})
        base = scores.encode(Rows.of(rows.codec, rows.heads, rows.codec.encode(frame))).base.exp().numpy()
        total = float(((base[1:] + base[:-1]) / 2 * np.diff(values)).sum())
        if column.atoms:
            one = pd.DataFrame({c: [0.0] if c == name else [np.nan] for c in schema.names})
            mass = float(scores.encode(Rows.of(rows.codec, rows.heads, rows.codec.encode(one))).base.exp())
            assert mass == pytest.approx((spiked()[name].dropna() == 0).mean(), abs=1e-3)
            total += mass
        assert total == pytest.approx(1.0, abs=4e-3), name


class warns_nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


def test_standard_normal_draws_have_the_columns_own_distribution():
    """Masses of cells and atoms; failure rate 1e-6 each."""
    rows, scores = made(spiked(), levels=True)
    x = scores.decode(torch.randn(20_000, scores.width, dtype=torch.float64), torch.zeros(0), rows.codec)
    drawn = rows.codec.decode(rows.codec.snap(x))
    told = spiked()
    for name in ("rain", "paid", "height", "price", "hour"):
        assert stats.ks_2samp(drawn[name], told[name].dropna()).pvalue > 1e-6, name
    assert (drawn["rain"] == 0).mean() == pytest.approx((told["rain"].dropna() == 0).mean(), abs=0.02)
    for name in ("yes", "town"):
        share = told[name].value_counts(normalize=True)
        np.testing.assert_allclose(drawn[name].value_counts(normalize=True)[share.index], share, atol=0.02)


def test_no_row_is_drawn_in_a_gap():
    """Five modes of sd 0.05, 2 apart: draws lie at a mode as rows do, and the density is nearly the true one."""
    rng = np.random.default_rng(4)
    centres = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])

    def sample(n: int) -> pd.DataFrame:
        return pd.DataFrame({"a": centres[rng.integers(5, size=n)] + 0.05 * rng.normal(size=n)})

    rows, scores = made(sample(4500))
    x = scores.decode(torch.randn(20_000, 1, dtype=torch.float64), torch.zeros(0), rows.codec)
    drawn = rows.codec.decode(x)["a"].to_numpy()
    away = np.abs(drawn[:, None] - centres).min(1)
    # of a row in 4500 each gap holds a share, and a bin reaches so far beyond its rows
    assert (away > 0.25).mean() < 2e-3
    assert (away > 0.15).mean() < 0.02
    held_out = sample(20_000)
    base = scores.encode(Rows.of(rows.codec, rows.heads, rows.codec.encode(held_out))).base.numpy()
    near = np.abs(held_out["a"].to_numpy()[:, None] - centres).min(1)
    truth = stats.norm.logpdf(near, scale=0.05) - np.log(5)
    assert 0 < (truth - base).mean() < 0.1


@pytest.mark.parametrize("name", ["norm", "expon", "uniform", "lognorm", "t", "arcsine"])
def test_a_column_without_gaps_has_none(name):
    """Failure rate `BY_CHANCE` for each draw."""
    assert BY_CHANCE <= 1e-3
    settings = {"lognorm": (1.5,), "t": (2,)}.get(name, ())
    for n, seed in ((20, 0), (300, 1), (5000, 2), (50_000, 3)):
        values = np.unique(getattr(stats, name)(*settings).rvs(n, random_state=seed))
        assert not len(gaps(values)[0]), (n, seed)


def test_far_cells_keep_their_mass():
    """log F(b) - log F(a) where both are 1 in floating point, and a value far outside is not impossible."""
    rows, scores = made(spiked())
    j = rows.schema.names.index("price")
    lo = torch.zeros(2, len(rows.schema.numeric), dtype=torch.float64)
    lo[:, j] = torch.tensor([1e6, 1e9], dtype=torch.float64)
    hi = lo + 1e-3
    got = scores.log_mass(lo, hi)[:, j]
    expected = scores.log_density(lo)[:, j] + np.log(1e-3)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert torch.isfinite(got).all()


def test_a_race_is_won_by_its_level_and_has_its_base_mass():
    """P(level) is its share, and the scores of a race are independent standard Normals. Failure rate 1e-6."""
    _, scores = made(spiked(), levels=True)
    share = scores.shares[1, :5]
    codes = torch.distributions.Categorical(share).sample((20_000,))
    u = scores._race(1, codes)
    wait = -torch.special.log_ndtr(u) / share
    assert torch.equal(wait.argmin(-1), codes)
    for c in range(4):
        assert stats.kstest(u[:, c].numpy(), "norm").pvalue > 1e-6
    correlation = np.corrcoef(u.numpy().T)
    assert np.abs(correlation - np.eye(5)).max() < 5 / np.sqrt(20_000)
    np.testing.assert_allclose(
        early_score(torch.tensor([1e-3, 1.0, 5.0]).double()), stats.norm.ppf(np.exp([-1e-3, -1.0, -5.0])), rtol=1e-7
    )
    assert float(log_phi(torch.zeros(1))) == pytest.approx(-0.5 * np.log(2 * np.pi))
