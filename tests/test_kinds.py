"""The laws of one column, for every kind, transform, end, atom, cycle and likelihood that a schema can give it.

Each case is a column `v` beside a plain one, `u`, which is hidden where the law is about `v` alone. Statistical tests
run with fixed seeds; chi-square tests have a failure rate of 1e-6 for each case.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import zoo
from zoo.errors import ZooWarning
from zoo.estimator import Estimator
from zoo.evaluate import posterior
from zoo.evaluate.likelihood import score
from zoo.evaluate.profiles import beyond, centre
from zoo.model import Model
from zoo.report.profiles import profiles as cluster_figures
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema
from zoo.table.restore import restored
from zoo.table.schema import UNSEEN, Column, Schema
from zoo.table.transforms import KNOTS

N = 400
MODELS: dict[str, dict[str, Any]] = {"independent": {}, "mixture": {"components": 2, "restarts": 2}}
LEVELS = ("low", "mid", "high", "top")
EPOCH = pd.Timestamp("1970-01-01")


@dataclass(frozen=True)
class Case:
    """values: draws (n,) in table units, or of indices of levels, given a latent (n,); fields: of the column."""

    values: Callable[[np.random.Generator, np.ndarray], np.ndarray]
    fields: dict[str, Any]


def case(
    values: Callable[[np.random.Generator, np.ndarray], np.ndarray], kind: str = "continuous", **fields: Any
) -> Case:
    return Case(values, {"transform": "none", **fields, "kind": kind})


def bell(rng: np.random.Generator, z: np.ndarray) -> np.ndarray:
    return 2 * z + rng.normal(size=len(z)) - 5


def positive(rng: np.random.Generator, z: np.ndarray) -> np.ndarray:
    return np.exp(0.5 * z + 0.5 * rng.normal(size=len(z)))


def heavy(rng: np.random.Generator, z: np.ndarray) -> np.ndarray:
    return z + rng.standard_t(3, size=len(z))


def between(rng: np.random.Generator, z: np.ndarray) -> np.ndarray:
    return 1 + 4 / (1 + np.exp(-z - rng.normal(size=len(z))))


def level(rng: np.random.Generator, z: np.ndarray, most: int = 3) -> np.ndarray:
    return np.rint(1.5 + z + 0.7 * rng.normal(size=len(z))).clip(0, most)


def zeroed(values: Callable[[np.random.Generator, np.ndarray], np.ndarray]) -> Any:
    return lambda rng, z: np.where(rng.random(len(z)) < 0.3, 0.0, values(rng, z))


def tenths(values: Callable[[np.random.Generator, np.ndarray], np.ndarray]) -> Any:
    return lambda rng, z: np.rint(values(rng, z) * 10) / 10


CASES: dict[str, Case] = {
    "none": case(bell),
    "log": case(positive, transform="log", lower=0.0),
    "arcsinh": case(heavy, transform="arcsinh"),
    "yeo-johnson": case(lambda rng, z: -positive(rng, z), transform="yeo-johnson"),
    "quantile": case(lambda rng, z: bell(rng, z) + 9 * (rng.random(len(z)) < 0.4), transform="quantile"),
    "positive": case(positive, lower=0.0),
    "positive, yeo-johnson": case(positive, lower=0.0, transform="yeo-johnson"),
    "from below": case(lambda rng, z: -positive(rng, z), upper=0.0),
    "bounded": case(between, lower=1.0, upper=5.0),
    "bounded, arcsinh": case(between, lower=1.0, upper=5.0, transform="arcsinh"),
    "rounded": case(tenths(bell), step=0.1),
    "rounded, log": case(tenths(positive), step=0.1, lower=0.0, transform="log"),
    "rounded, yeo-johnson": case(tenths(positive), step=0.1, lower=0.0, transform="yeo-johnson"),
    "integer": case(lambda rng, z: np.rint(3 * bell(rng, z)), "integer"),
    "integer with ends": case(
        lambda rng, z: np.rint(2 * level(rng, z) + rng.random(len(z))), "integer", lower=0, upper=7
    ),
    "count": case(lambda rng, z: rng.poisson(np.exp(1 + 0.5 * z)), "count"),
    "count, atom": case(zeroed(lambda rng, z: rng.poisson(np.exp(2 + 0.3 * z))), "count", atoms=(0.0,)),
    "ordinal": case(level, "ordinal", levels=LEVELS),
    "ordinal, quantile": case(level, "ordinal", levels=LEVELS, transform="quantile"),
    "time": case(lambda rng, z: np.rint(18000 + 100 * bell(rng, z)), "time", step=1.0),
    "cycle on a lattice": case(lambda rng, z: np.rint(22 + 2 * bell(rng, z)) % 24, step=1.0, period=24.0),
    "cycle off a lattice": case(lambda rng, z: (350 + 30 * bell(rng, z)) % 360, period=360.0),
    "cycle from below zero": case(lambda rng, z: (30 * bell(rng, z)) % 360 - 180, period=360.0, lower=-180.0),
    "spiked on a lattice": case(zeroed(tenths(positive)), step=0.1, lower=0.0, atoms=(0.0,)),
    "spiked off a lattice": case(zeroed(positive), lower=0.0, atoms=(0.0,)),
    "spiked off a lattice, log": case(zeroed(positive), lower=0.0, atoms=(0.0,), transform="log"),
    "two atoms amid a density": case(lambda rng, z: np.where(z > 1, 1.0, zeroed(bell)(rng, z)), atoms=(0.0, 1.0)),
    "student-t": case(heavy, likelihood="student-t"),
    "student-t on a lattice": case(tenths(heavy), likelihood="student-t", step=0.1),
    "student-t, positive": case(positive, likelihood="student-t", lower=0.0),
    "binary": case(lambda rng, z: (z + rng.normal(size=len(z)) > 0.5).astype(float), "binary", levels=LEVELS[:2]),
    "categorical": case(level, "categorical", levels=LEVELS),
}
every = pytest.mark.parametrize("name", CASES)
both = pytest.mark.parametrize("model", MODELS)
numbers = [name for name, c in CASES.items() if c.fields["kind"] == "continuous"]


# ---- tables and models


def cells_of(column: Column, values: np.ndarray) -> pd.Series:
    """Values in table units, or indices of levels, as the user has them; NaN is a missing cell."""
    if column.kind == "time":
        return pd.Series(EPOCH + pd.to_timedelta(values, unit="D")).astype("datetime64[s]")
    if column.levels:
        names = np.array([*column.levels, UNSEEN], dtype=object)
        return pd.Series([None if np.isnan(v) else names[int(v)] for v in values], dtype="str")
    return pd.Series(values)


@functools.cache
def table(name: str) -> tuple[pd.DataFrame, Schema]:
    """The table of a case, and its schema."""
    rng = np.random.default_rng(sorted(CASES).index(name))
    z = rng.choice([-1.0, 1.0], size=N) + 0.3 * rng.normal(size=N)
    column = Column(name="v", **{**CASES[name].fields})
    cells = cells_of(column, CASES[name].values(rng, z).astype(float))
    frame = pd.DataFrame({"u": 3 * z + rng.normal(size=N), "v": cells})
    plain = infer_schema(frame[["u"]], kinds={"u": "continuous"}).columns
    return frame, Schema(columns=(*plain, column.model_copy(update={"dtype": str(cells.dtype)})))


def fit(model: str, frame: pd.DataFrame, schema: Schema) -> Estimator:
    settings = {"fit.steps": 30, **MODELS[model]}
    return Estimator(model, settings=settings, device="cpu").fit_parts(frame, None, schema)


@functools.cache
def fitted(model: str, name: str) -> Model:
    return fit(model, *table(name)).model_


def log_p(model: Model, frame: pd.DataFrame) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)  # the level reserved for the unseen is scored too
        scores = score(model, model.rows(frame))
    assert scores.bound == "exact"
    return scores.log_likelihood


def at(model: Model, values: np.ndarray, u: float | None = None) -> np.ndarray:
    """log p of values of `v` (or indices of its levels), beside one value of `u` or none."""
    cells = cells_of(model.schema["v"], values)
    return log_p(model, pd.DataFrame({"u": np.full(len(values), np.nan if u is None else u), "v": cells}))


def support(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Places of `v` and what each stands for: the width of a cell, 1 for a level or an atom beside a density.

    Places without an end reach as far as the density does; a density is cut into cells at its own scale.
    """
    column, codec = model.schema["v"], model.codec
    if column.kind in ("binary", "categorical"):
        n = len(column.levels) + (column.kind == "categorical")
        return np.arange(n, dtype=float), np.ones(n)
    j = [c.name for c in model.schema.numeric].index("v")
    lower, upper = column.ends
    step = column.resolution
    if step is not None:
        far = 12 * float(codec.scale[j]) if column.transform == "none" else 60.0
        middle = float(codec.loc[j]) if column.transform == "none" else 0.0
        far *= 400 if column.likelihood == "student-t" else 1
        first = lower if lower is not None else middle - far
        last = upper if upper is not None else middle + far
        if column.kind == "count":
            last = 400.0
        if column.period is not None:
            first, last = lower or 0.0, (lower or 0.0) + column.period - step
        ticks = np.arange(round(first / step), round(last / step) + 1)
        return ticks * step, np.full(len(ticks), step)
    if column.period is not None:
        edges = np.linspace(lower or 0.0, (lower or 0.0) + column.period, 4001)
    else:
        y = np.linspace(-15, 15, 8001)
        y = np.sinh(y) if column.likelihood == "student-t" else y
        both = torch.from_numpy(y)[:, None].expand(-1, len(model.schema.numeric))
        edges = codec.inverse(both)[:, j].numpy()
        knots = (
            codec.shape[j, :KNOTS].numpy() if column.transform == "quantile" else edges[:0]
        )  # the density jumps there
        edges = np.unique([*edges[np.isfinite(edges)], *knots])
    middles, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    keep = [column.inside(v) and v not in column.atoms and v not in column.ends for v in middles]
    atoms = np.array(column.atoms)
    return np.append(middles[keep], atoms), np.append(widths[keep], np.ones(len(atoms)))


def tolerance(column: Column) -> float:
    """Of a sum over the support: what lies beyond it, and of a density what midpoints leave out."""
    if column.likelihood == "student-t":
        return 5e-3
    return 1e-6 if column.resolution is not None or column.levels else 1e-3


# ---- (a), (b)  one, and samples


@every
@both
def test_density_and_masses_come_to_one(model: str, name: str) -> None:
    found = fitted(model, name)
    places, widths = support(found)
    total = (np.exp(at(found, places)) * widths).sum()
    assert total == pytest.approx(1.0, abs=tolerance(found.schema["v"]))


@pytest.mark.slow
@every
@both
def test_samples_agree_with_the_density_and_keep_to_the_support(model: str, name: str) -> None:
    found, draws = fitted(model, name), 4000
    column = found.schema["v"]
    drawn = found.codec.decode(posterior.sample(found, draws, seed=3))["v"]
    assert not drawn.isna().any()
    places, widths = support(found)
    masses = np.exp(at(found, places)) * widths
    if column.levels:
        names = [*column.levels, UNSEEN][: len(places)]
        observed = np.array([(drawn == label).sum() for label in names])
    else:
        values = ((drawn - EPOCH) / pd.Timedelta(days=1) if column.kind == "time" else drawn).to_numpy(float)
        assert np.isfinite(values).all()
        assert all(column.inside(v) for v in values)
        if column.period is not None:
            assert (values < (column.lower or 0) + column.period).all()
        if column.step is not None:
            np.testing.assert_allclose(values, np.rint(values / column.step) * column.step, atol=1e-9)
        observed, masses = binned(values, places, masses, column)
    assert observed.sum() == draws
    assert chi_square(observed, draws * masses / masses.sum()) > 1e-6


def binned(values: np.ndarray, places: np.ndarray, masses: np.ndarray, column: Column) -> tuple[np.ndarray, np.ndarray]:
    """Draws and masses in some thirty bins, and of every atom beside a density in one of its own."""
    atoms = column.atoms if column.step is None else ()
    plain, order = ~np.isin(places, atoms), np.argsort(places)
    order = order[plain[order]]
    share = masses[order].cumsum() / masses[order].sum()
    ends = places[order][np.searchsorted(share, np.linspace(0, 1, 31)[1:-1])]
    half = 0.0 if column.step is None else column.step / 2
    edges = np.unique([-np.inf, *(ends + half), np.inf])
    beside = values[~np.isin(values, atoms)]
    observed = [*np.histogram(beside, edges)[0], *((values == atom).sum() for atom in atoms)]
    expected = [*np.histogram(places[plain], edges, weights=masses[plain])[0]]
    return np.array(observed), np.array([*expected, *(masses[places == atom].sum() for atom in atoms)])


def chi_square(observed: np.ndarray, expected: np.ndarray) -> float:
    """p-value of counts against expected ones, cells that expect less than 5 pooled."""
    rare = expected < 5
    assert not observed[expected < 1e-6].any()
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
        if expected[-1] < 5:
            observed = np.append(observed[:-2], observed[-2:].sum())
            expected = np.append(expected[:-2], expected[-2:].sum())
    return float(stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue)


# ---- (c), (d)  units


def with_weights_of(found: Model, schema: Schema, frame: pd.DataFrame) -> Model:
    """The same parameters beside the codec of another schema and table."""
    other = Model(found.recipe, Codec.fit(schema, frame))
    other.load_state_dict({k: v for k, v in found.state_dict().items() if "codec." not in k}, strict=False)
    return other.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", numbers)
@both
@pytest.mark.parametrize("factor", [0.125, 1000.0])
def test_other_units(model: str, name: str, factor: float) -> None:
    """log p shifts by -log s; the mass of an atom beside a density, and of a cell, does not."""
    found, (frame, schema) = fitted(model, name), table(name)
    column = schema["v"]
    lengths = {key: getattr(column, key) for key in ("step", "lower", "upper", "period")}
    changed = {key: value * factor for key, value in lengths.items() if value is not None}
    scaled = schema.with_column("v", **changed, atoms=tuple(a * factor for a in column.atoms))
    larger = frame.assign(v=frame["v"] * factor)
    other = with_weights_of(found, scaled, larger)
    shift = log_p(other, larger) - log_p(found, frame)
    atom = frame["v"].isin(column.atoms) if column.step is None else np.zeros(N, dtype=bool)
    # a power of two changes no digit
    np.testing.assert_allclose(shift, -math.log(factor) * ~np.asarray(atom), atol=1e-9 if factor == 0.125 else 1e-5)
    if column.step is not None:
        mass, before = (
            log_p(other, larger) + math.log(column.step * factor),
            log_p(found, frame) + math.log(column.step),
        )
        np.testing.assert_allclose(mass, before, atol=1e-9 if factor == 0.125 else 1e-5)


UNWALLED = (
    "none",
    "arcsinh",
    "yeo-johnson",
    "quantile",
    "student-t",
    "cycle off a lattice",
    "two atoms amid a density",
)


@pytest.mark.parametrize("name", UNWALLED)
@both
def test_a_narrow_lattice_is_a_density_in_the_limit(model: str, name: str) -> None:
    """Columns with ends are left out: a density approaches an end, while the last cell of a lattice reaches beyond."""
    found, (frame, schema) = fitted(model, name), table(name)
    step, atoms = 2.0**-10, schema["v"].atoms
    rounded = frame.assign(v=(frame["v"] / step).round() * step)
    other = with_weights_of(found, schema.with_column("v", step=step), rounded)
    other.codec.load_state_dict(found.codec.state_dict())
    error = np.abs(log_p(other, rounded) - log_p(found, rounded))
    error = error[~frame["v"].isin(atoms) & ~rounded["v"].isin(atoms)]
    if name == "quantile":  # but for cells with a knot in them
        error = np.sort(error)[: -KNOTS - 1]
    assert error.max() < 1e-4  # the floors of the scales differ a little


# ---- (e), (f)  independence and hidden cells


@pytest.mark.slow
@every
def test_independent_columns_add_up(name: str) -> None:
    frame, schema = table(name)
    twin = schema["v"].model_copy(update={"name": "w"})
    two = Schema(columns=(schema["v"], twin))
    frame = pd.DataFrame({"v": frame["v"], "w": frame["v"]})
    found = fit("independent", frame, two).model_
    blank = frame.assign(w=pd.Series([None] * N, dtype=object)), frame.assign(v=pd.Series([None] * N, dtype=object))
    apart = sum(log_p(found, part) for part in blank)
    np.testing.assert_allclose(log_p(found, frame), apart, atol=1e-9)
    # and copies are fitted alike
    np.testing.assert_allclose(log_p(found, blank[0]), log_p(found, blank[1]), atol=1e-9)


@pytest.mark.slow
@every
def test_a_hidden_cell_is_summed_out(name: str) -> None:
    """At some values of `u`, the sum of p(u, v) over `v` is p(u)."""
    found = fitted("mixture", name)
    places, widths = support(found)
    for u in (-5.0, 0.0, 4.0):
        hidden = at(found, np.array([np.nan]), u)[0]
        together = (np.exp(at(found, places, u) - hidden) * widths).sum()
        assert together == pytest.approx(1.0, abs=2 * tolerance(found.schema["v"]))


# ---- (g)  there and back


@every
@both
def test_cells_come_back(model: str, name: str) -> None:
    found, (frame, _) = fitted(model, name), table(name)
    holes = frame.copy()
    hidden = np.random.default_rng(0).random(N) < 0.3
    holes["v"] = frame["v"].mask(hidden)
    cells = found.codec.encode(holes).cells
    back = found.codec.decode(cells.x, cells.seen)
    assert list(back) == list(frame)
    assert back["v"].isna().to_numpy().tolist() == hidden.tolist()
    whole = found.codec.decode(found.codec.encode(frame).cells.x)
    for one in (whole["v"], back["v"][~hidden]):
        truth = frame["v"][one.index]
        if truth.dtype.kind == "f":
            np.testing.assert_allclose(one, truth, rtol=1e-9, atol=1e-9)
        else:
            assert one.tolist() == truth.tolist()
    assert whole["v"].dtype == frame["v"].dtype


@pytest.mark.parametrize("dtype", ["uint8", "int8", "UInt8", "int64"])
def test_draws_beyond_an_integer_dtype_do_not_wrap_around(dtype: str) -> None:
    """They come in a wider one."""
    largest = int(np.iinfo(dtype.lower()).max)
    column = Column(name="v", kind="integer", dtype=dtype)
    inside, beyond = np.array([1.0, largest // 2]), np.array([1.0, 2.0 * largest])
    assert restored(inside, column).dtype == dtype
    assert restored(beyond, column).tolist() == beyond.tolist()


def test_the_mean_of_a_cycle_lies_on_it() -> None:
    """Around midnight the best guess of an hour is midnight, not noon, and is as sure as the hours are close: 300 hours
    with a deviation of 1, so that a guess beyond 0.5 is rarer than 1 in 1e6."""
    rng = np.random.default_rng(0)
    hour = np.round(rng.normal(0, 1, 300) % 24, 1) % 24
    column = Column(name="hour", kind="continuous", step=0.1, lower=0.0, period=24.0)
    other = Column(name="x", kind="continuous")
    table = pd.DataFrame({"hour": hour, "x": rng.normal(size=300)})
    model = zoo.fit("independent", table, schema=Schema(columns=(column, other)), settings={"fit.steps": 100})
    guess, spread = model.impute(table.assign(hour=np.nan).head(3), spread=True)
    assert (np.abs((guess["hour"] + 12) % 24 - 12) < 0.5).all()
    assert spread["hour"].between(0.7, 1.4).all()
    assert abs((centre(hour, column) + 12) % 24 - 12) < 0.5
    assert centre(np.array([350.0, 20.0]), Column(name="a", kind="continuous", period=360.0)) == pytest.approx(5.0)
    assert beyond(1.0, 23.0, column) == 2.0
    parts = cluster_figures(table, (table["x"] > 0).astype(int).to_numpy(), model.schema_)
    text = next(line for line in parts.lines if line.column == "hour").overall
    assert abs((float(text) + 12) % 24 - 12) < 0.5


@pytest.mark.parametrize("lower", [0.0, -100.0])
def test_a_cluster_around_the_end_of_a_cycle_is_as_narrow_as_one_in_its_middle(lower: float) -> None:
    """Clusters of 300 hours at midnight and at noon, told apart by x, have the density of their generator to 0.1 nats
    of a row, where a fit that began as wide as the day was 0.35 short."""
    rng = np.random.default_rng(0)
    k = rng.permutation(np.arange(600) % 2)
    hour, x = rng.normal(12.0 * k, 1.5), rng.normal(8.0 * k)
    true = stats.norm.logpdf(hour, 12.0 * k, 1.5) + stats.norm.logpdf(x, 8.0 * k) + math.log(0.5)
    columns = (
        Column(name="hour", kind="continuous", lower=lower, period=24.0),
        Column(name="x", kind="continuous"),
    )
    table = pd.DataFrame({"hour": (hour - lower) % 24 + lower, "x": x})
    model = zoo.fit("mixture", table, schema=Schema(columns=columns), components=2, settings={"fit.steps": 100})
    assert abs((model.score_samples(table) - true).mean()) < 0.1
