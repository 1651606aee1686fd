"""Hostile tables: every verb works on them with finite numbers, or refuses them in one line; nothing else happens."""

from __future__ import annotations

import datetime
import decimal
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.errors import UserError, ZooWarning
from zoo.estimator import Estimator
from zoo.table.cells import numeric_values
from zoo.table.reader import read_table

Maker = Callable[[np.random.Generator, int], Any]


def some(cells: list[Any]) -> Maker:
    """Cells taken from a list at random, as objects."""

    def make(rng: np.random.Generator, n: int) -> Any:
        out = np.empty(n, dtype=object)
        out[:] = [cells[i] for i in rng.integers(len(cells), size=n)]
        return pd.Series(out)

    return make


def texts(rng: np.random.Generator, n: int, most: int) -> Any:
    return pd.Series([f"wört {k}" for k in rng.integers(most, size=n)], dtype="str")


def days(rng: np.random.Generator, n: int, style: str) -> Any:
    when = pd.Timestamp("2019-12-30") + pd.to_timedelta(rng.integers(400, size=n), unit="D")
    return pd.Series(when.strftime(style), dtype="str")


def holed(maker: Maker) -> Maker:
    """The same with cells missing."""
    return lambda rng, n: pd.Series(maker(rng, n)).mask(rng.random(n) < 0.3)


def spiked(value: float, maker: Maker) -> Maker:
    """Numbers with one value here and there."""
    return lambda rng, n: np.where(rng.random(n) < 0.2, value, maker(rng, n))


def normal(rng: np.random.Generator, n: int) -> Any:
    return rng.normal(size=n)


COLUMNS: dict[str, Maker] = {
    "normal": normal,
    "lognormal": lambda rng, n: np.exp(3 * rng.normal(size=n)),
    "cauchy": lambda rng, n: rng.standard_cauchy(size=n),
    "rounded": lambda rng, n: rng.normal(size=n).round(1),
    "counts": lambda rng, n: rng.poisson(2, size=n),
    "proportions": lambda rng, n: rng.beta(0.5, 0.5, size=n),
    "holed": holed(normal),
    "nearly all missing": lambda rng, n: np.where(np.arange(n) < 2, np.arange(n) / 3, np.nan),
    "all missing": lambda rng, n: np.full(n, np.nan),
    "all none": lambda rng, n: pd.Series([None] * n, dtype=object),
    "constant": lambda rng, n: np.full(n, 0.1),
    "constant text": lambda rng, n: pd.Series(["same"] * n, dtype="str"),
    "zeros of both signs": lambda rng, n: np.where(rng.random(n) < 0.5, -0.0, 0.0),
    "a zero of both signs": spiked(-0.0, spiked(0.0, normal)),
    "1e300": lambda rng, n: 1e300 * rng.normal(size=n),
    "1e300 among others": spiked(1e300, normal),
    "1e-300": lambda rng, n: 1e-300 * rng.normal(size=n),
    "infinite among others": spiked(np.inf, spiked(-np.inf, normal)),
    "infinite": lambda rng, n: np.full(n, np.inf),
    "far apart": lambda rng, n: 10.0 ** rng.integers(-300, 300, size=n),
    "next to each other": lambda rng, n: 1e9 + 1e-6 * rng.random(n),
    "float32": lambda rng, n: rng.normal(size=n).astype("float32"),
    "float16": lambda rng, n: rng.normal(size=n).astype("float16"),
    "int8": lambda rng, n: rng.integers(-128, 128, size=n, dtype="int8"),
    "row numbers": lambda rng, n: np.arange(n),
    "huge integers": lambda rng, n: rng.integers(2**62, 2**63 - 1, size=n),
    "huge unsigned": lambda rng, n: rng.integers(2**63, 2**64 - 1, size=n, dtype="uint64"),
    "huger integers": lambda rng, n: pd.Series([int(k) * 10**30 for k in rng.integers(9, size=n)], dtype=object),
    "bools": lambda rng, n: rng.random(n) < 0.5,
    "bools as text": lambda rng, n: pd.Series(np.where(rng.random(n) < 0.5, "True", "false"), dtype="str"),
    "bools and none": some([True, False, None]),
    "Int64": lambda rng, n: holed(normal)(rng, n).round().astype("Int64"),
    "Float64": lambda rng, n: holed(normal)(rng, n).astype("Float64"),
    "boolean": lambda rng, n: pd.Series(some([True, False, None])(rng, n), dtype="boolean"),
    "string": lambda rng, n: holed(lambda r, m: texts(r, m, 4))(rng, n).astype("string"),
    "few levels": lambda rng, n: texts(rng, n, 3),
    "many levels": lambda rng, n: texts(rng, n, 10_000),
    "empty text": some(["", " ", "a"]),
    "empty text alone": some([""]),
    "numbers as text": lambda rng, n: pd.Series(rng.normal(size=n)).astype("str"),
    "numbers nearly": some(["1", "2.5", "3", "many"]),
    "unused levels": lambda rng, n: pd.Categorical(rng.choice(["a", "b"], n), categories=["c", "b", "a", "d"]),
    "ordered": lambda rng, n: pd.Categorical.from_codes(rng.integers(3, size=n), ["low", "mid", "top"], ordered=True),
    "10,000 ordered": lambda rng, n: pd.Categorical(rng.integers(9999, size=n), categories=range(10_000), ordered=True),
    "numbers as categories": lambda rng, n: pd.Categorical(rng.integers(5, size=n) / 2),
    "levels that look alike": some(["a", "A", "á", "a\u0301", "a "]),
    "words of zoo": some(["<unseen>", "nan", "None", "missing"]),
    "iso days": lambda rng, n: days(rng, n, "%Y-%m-%d"),
    "days of the world": lambda rng, n: days(rng, n, "%d/%m/%Y"),
    "days of America": lambda rng, n: days(rng, n, "%b %d, %Y"),
    "moments": lambda rng, n: pd.Timestamp("1969-12-31") + pd.to_timedelta(rng.integers(10**6, size=n), unit="s"),
    "zoned": lambda rng, n: pd.date_range("2020-03-25", periods=n, freq="7h", tz="Europe/Berlin"),
    "nat": holed(lambda rng, n: pd.date_range("1700-01-01", periods=n, freq="900D")),
    "dates": some([datetime.date(2020, 2, 29), datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None]),
    "durations": lambda rng, n: pd.to_timedelta(rng.integers(100, size=n), unit="h"),
    "periods": lambda rng, n: pd.period_range("2020-01", periods=n, freq="M"),
    "intervals": lambda rng, n: pd.cut(pd.Series(rng.normal(size=n)), [-9, -1, 1, 9]),
    "complex": lambda rng, n: rng.normal(size=n) + 1j,
    "decimals": some([decimal.Decimal("0.1"), decimal.Decimal("1e50"), None]),
    "bytes": some([b"a", b"\xff"]),
    "lists": some([[1], [2, 3], None]),
    "mixed": some([1, "a", None, 2.5, True, np.nan, datetime.date(2020, 1, 1)]),
    "mixed numbers": some([1, 2.5, True, np.float32(0.1), None]),
}
NAMES = (
    *(
        "x",
        "größe",
        "身長",
        "👍",
        "cluster",
        "rows",
        "draw",
        "weight",
        "<unseen>",
        "log_likelihood",
        "discrete",
        "numeric",
    ),
    *(
        "kind",
        "column",
        "name",
        "index",
        "level_0",
        "",
        " ",
        "a b",
        "a,b",
        'q"q',
        "x=1",
        "*",
        "[a]",
        "a.b",
        "x0",
        "None",
    ),
    *("two\nlines", "tab\t", "-1", "nan", "<b>", "{}", "%s", "\\", "'", "$x^2$", "x" * 300),
)
MODELS = ("independent", "gaussian", "chain")


@dataclass
class Hostile:
    """A table by the names of its columns, so that what fails can be read and made again."""

    columns: list[tuple[str, str]]
    n: int
    seed: int
    repeated: bool
    kinds: dict[str, str]
    times: int = 1

    @property
    def wide(self) -> bool:
        return self.times > 1

    def frame(self) -> pd.DataFrame:
        rng = np.random.default_rng(self.seed)
        names = [(f"{name} {i}" if i else name, kind) for i in range(self.times) for name, kind in self.columns]
        frame = pd.DataFrame({name: pd.Series(COLUMNS[kind](rng, self.n)) for name, kind in names})
        return frame.iloc[np.arange(self.n) % 3].reset_index(drop=True) if self.repeated else frame


@st.composite
def hostile(draw: st.DrawFn) -> Hostile:
    wide = draw(st.integers(0, 19)) == 0
    known = sorted(COLUMNS.keys() - {"10,000 ordered"} if wide else COLUMNS)
    kinds = draw(st.lists(st.sampled_from(known), min_size=1, max_size=8))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=len(kinds), max_size=len(kinds), unique=True))
    columns = list(zip(names, kinds, strict=True))
    times = draw(st.sampled_from([60, 120, 300])) // len(columns) if wide else 1
    n = draw(st.sampled_from([60, 30, 200, 10, 1, 2, 9] if not wide else [30]))
    forced = draw(st.sampled_from([{}, {}, {}, {"*": "categorical"}, {"*": "continuous"}, {"*": "count"}]))
    return Hostile(columns, n, draw(st.integers(0, 999)), draw(st.integers(0, 4)) == 0, forced, times)


def one_line(error: UserError) -> None:
    text = str(error)
    assert "\n" not in text, text
    assert len(text) >= 20, text


def hold(table: Hostile, model: str) -> None:
    """Fit, score, impute, sample, save and load: each with finite numbers, or a UserError of one line."""
    frame = table.frame()
    sets: dict[str, Any] = {"fit.steps": 3} | ({"components": 2, "restarts": 2} if model == "mixture" else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        try:
            estimator = Estimator(model, settings=sets, kinds=table.kinds, device="cpu").fit(frame)
        except UserError as error:
            return one_line(error)
        for verb in (score, impute, sample, save_and_load):
            try:
                verb(estimator, frame)
            except UserError as error:
                one_line(error)


def score(estimator: Estimator, frame: pd.DataFrame) -> None:
    scores = estimator.log_likelihood(frame)
    for values in (scores.log_likelihood, scores.elbo, scores.monte_carlo):
        assert values.shape == (len(frame),)
        assert np.isfinite(values).all(), "scores are not finite"


def impute(estimator: Estimator, frame: pd.DataFrame) -> None:
    few = frame.head(20 if frame.shape[1] < 50 else 2)
    hidden = np.random.default_rng(0).random(few.shape) < 0.2
    filled = estimator.impute(few.astype(object).mask(hidden).astype(object))
    names = [str(name) for name in frame]
    assert list(filled) == names
    assert len(filled) == len(few)
    for column in estimator.schema_.modelled:
        assert not filled[column.name].isna().any(), f"{column.name!r} has missing cells"


def sample(estimator: Estimator, frame: pd.DataFrame) -> None:
    drawn = estimator.sample(20)
    modelled = estimator.schema_.modelled
    assert list(drawn) == [c.name for c in estimator.schema_.columns if c in modelled]
    assert len(drawn) == 20
    for column in modelled:
        assert not drawn[column.name].isna().any(), f"{column.name!r} has missing draws"
        if column.is_number:
            values = numeric_values(drawn[column.name], column)
            assert np.isfinite(values).all(), f"{column.name!r} has draws that are not finite"
            slack = 1e-9 * max(abs(column.lower or 0), abs(column.upper or 0))
            assert all(column.inside(v) or column.inside(v - slack) or column.inside(v + slack) for v in values)
    read_table(drawn)


def save_and_load(estimator: Estimator, frame: pd.DataFrame) -> None:
    with tempfile.TemporaryDirectory() as folder:
        again = Estimator.load(estimator.save(Path(folder) / "run"), device="cpu")
    assert again.schema_ == estimator.schema_
    np.testing.assert_array_equal(again.score_samples(frame), estimator.score_samples(frame))


EXAMPLES = 40
everything = list(HealthCheck)


@pytest.mark.slow
@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=everything)
@given(hostile(), st.sampled_from(MODELS))
def test_a_hostile_table(table: Hostile, other: str) -> None:
    hold(table, "mixture")
    if not table.wide:
        hold(table, other)


@pytest.mark.slow
@pytest.mark.parametrize("kind", COLUMNS)
def test_a_hostile_column(kind: str) -> None:
    """Each of them beside a plain one."""
    hold(Hostile([("x", "normal"), ("hostile", kind)], 40, 0, False, {}), "mixture")
