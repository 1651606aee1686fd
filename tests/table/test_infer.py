"""Kinds, levels and lattices follow from the cells, whatever dtype holds them; what the user asks for goes before."""

from __future__ import annotations

import datetime
import decimal
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from zoo.errors import UserError, ZooWarning
from zoo.table.infer import infer_schema, label, labels, lattice_step, numeric_values
from zoo.table.schema import Column, Schema

N = 60


def quiet(frame: pd.DataFrame, **options: Any) -> Schema:
    """The schema, warnings aside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        return infer_schema(frame, **options)


def column(values: Any, dtype: Any = None, **options: Any) -> Column:
    """The column inferred for some values, beside one that keeps the table alive."""
    series = values if isinstance(values, pd.Series) else pd.Series(values, dtype=dtype)
    frame = pd.DataFrame({"x": series, "other": np.resize([0.5, 1.5, 3.0], len(series))})
    return quiet(frame, **options)["x"]


def normal(n: int = N, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


def arrow(kind: Any) -> pd.ArrowDtype:
    return pd.ArrowDtype(kind)


# ---- labels


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "True"),
        (np.False_, "False"),
        (3, "3"),
        (np.int8(3), "3"),
        (3.0, "3"),
        (np.float32(3.0), "3"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (np.float32(0.1), "0.1"),
        (1e300, "1e+300"),
        ("3.0", "3.0"),
        ("☃", "☃"),
        (decimal.Decimal("1.50"), "1.50"),
        (datetime.date(2020, 2, 3), "2020-02-03"),
        (pd.Timestamp("2020-02-03"), "2020-02-03"),
        (pd.Timestamp("2020-02-03 04:05:06"), "2020-02-03T04:05:06"),
        (pd.Timestamp("2020-02-03", tz="UTC"), "2020-02-03T00:00:00+00:00"),
    ],
)
def test_label(value: object, text: str) -> None:
    assert label(value) == text
    assert labels(pd.Series([value], dtype=object)).tolist() == [text]


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pd.Series([1.0, None, -0.0, np.inf]), ["1", None, "0", None]),
        (pd.Series([True, None, 1, 1.0, "a"], dtype=object), ["True", None, "1", "1", "a"]),
        (pd.Series([True, pd.NA], dtype="boolean"), ["True", None]),
        (pd.Series(["a", None], dtype="string"), ["a", None]),
        (pd.Series(pd.Categorical([2, None, 10])), ["2", None, "10"]),
        (pd.Series(["ä", None], dtype=arrow(pa.string())), ["ä", None]),
        (pd.Series([1, None], dtype=arrow(pa.int64())), ["1", None]),
        (pd.to_datetime(pd.Series(["2020-01-01", None])), ["2020-01-01", None]),
    ],
)
def test_labels(series: pd.Series, expected: list[str | None]) -> None:
    series = series.rename("x").set_axis([5] * len(series))
    found = labels(series)
    assert [None if pd.isna(v) else v for v in found] == expected
    assert found.name == "x"
    assert found.index.equals(series.index)


# ---- numbers


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pd.Series([1, 2]), [1, 2]),
        (pd.Series([1.5, np.inf, -np.inf, np.nan]), [1.5, np.nan, np.nan, np.nan]),
        (pd.Series([1, pd.NA], dtype="Int64"), [1, np.nan]),
        (pd.Series([1, None], dtype=arrow(pa.int8())), [1, np.nan]),
        (pd.Series([None, pd.NA, 1, 2.5, decimal.Decimal("0.5")], dtype=object), [np.nan, np.nan, 1, 2.5, 0.5]),
        (pd.Series(["1.5", None, " 2 ", "1e3"]), [1.5, np.nan, 2, 1000]),
        (pd.Series([True, False]), [1, 0]),
        (pd.Series(pd.Categorical([3, None, 1])), [3, np.nan, 1]),
        (pd.Series([1e300, -1e300]), [1e300, -1e300]),
    ],
)
def test_numeric_values(series: pd.Series, expected: list[float]) -> None:
    values = numeric_values(series, Column(name="x", kind="continuous"))
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, expected)


def test_negative_zero_is_zero() -> None:
    values = numeric_values(pd.Series([-0.0]), Column(name="x", kind="continuous"))
    assert not np.signbit(values).any()


@pytest.mark.parametrize(
    "series",
    [
        pd.Series(["1970-01-02", None, "2000-01-01T12:00"]),
        pd.Series(["1970-01-02", None, "2000-01-01 13:00:00+01:00"]),
        pd.to_datetime(pd.Series(["1970-01-02T00:00", None, "2000-01-01T12:00"])),
        pd.to_datetime(pd.Series(["1970-01-02T00:00", None, "2000-01-01T12:00"])).dt.tz_localize("UTC"),
        pd.Series([datetime.datetime(1970, 1, 2), None, datetime.datetime(2000, 1, 1, 12)], dtype=object),
        pd.Series(pd.to_datetime(["1970-01-02T00:00", None, "2000-01-01T12:00"]), dtype=arrow(pa.timestamp("us"))),
        pd.Series(pd.Categorical(["1970-01-02", None, "2000-01-01T12:00"])),
    ],
)
def test_times_are_days_since_1970(series: pd.Series) -> None:
    values = numeric_values(series, Column(name="t", kind="time"))
    np.testing.assert_allclose(values, [1, np.nan, 10957.5], rtol=1e-15)


def test_dates_without_a_time_are_whole_days() -> None:
    for series in (
        pd.Series([datetime.date(1970, 1, 11)], dtype=object),
        pd.Series([datetime.date(1970, 1, 11)], dtype=arrow(pa.date32())),
    ):
        assert numeric_values(series, Column(name="t", kind="time")).tolist() == [10]


@pytest.mark.parametrize(
    ("kind", "series", "message"),
    [
        ("continuous", pd.Series(["1", "oops", "2", "x"]), "'x' is continuous .* 'oops' in row 1, 'x' in row 3"),
        ("continuous", pd.to_datetime(pd.Series(["2020-01-01"])), "not '2020-01-01' in row 0"),
        ("time", pd.Series(["2020-01-01", "2020-13-01"]), "needs ISO dates, not '2020-13-01' in row 1"),
        ("time", pd.Series([1.5]), "needs ISO dates, not '1.5' in row 0"),
        (
            "integer",
            pd.Series(list("abcde")),
            "'a' in row 0, .* and 2 more; .*--missing 'a,b,c'",
        ),
    ],
)
def test_cells_that_are_no_numbers(kind: Any, series: pd.Series, message: str) -> None:
    with pytest.raises(UserError, match=message):
        numeric_values(series, Column(name="x", kind=kind))


# ---- lattices

TICKS = np.random.default_rng(0).integers(-300, 300, 400)


@pytest.mark.parametrize("digit", [1, 2, 5])
@pytest.mark.parametrize("power", [-6, -3, -1, 0, 1, 4, 10])
def test_lattice_is_found(digit: int, power: int) -> None:
    step = float(f"{digit}e{power}")
    values = np.array([float(f"{tick * digit}e{power}") for tick in TICKS])
    assert lattice_step(values) == step
    assert lattice_step(-values) == step
    # one reading beside the lattice does not hide it, twenty do
    assert lattice_step(np.append(values, values[0] + step / 3)) == step
    assert lattice_step(np.concatenate([values, values[:20] + step / 3])) != step


@pytest.mark.parametrize("step", [1e-6, 0.05, 1.0, 2000.0])
def test_a_wrong_last_digit_does_not_hide_the_lattice(step: float) -> None:
    assert lattice_step(np.nextafter(TICKS * step, np.inf)) == step


@pytest.mark.parametrize("far", [1e9, 1e12, 1e13, 1e15, 1e18, 1e300])
def test_one_cell_far_out_says_nothing_of_the_others(far: float) -> None:
    for values, step in ((normal(), None), (1e-6 * normal(), None), (np.round(normal(), 2), 0.01), (TICKS * 5.0, 5.0)):
        values = values.copy()
        values[7] = far
        assert lattice_step(values) == step


@pytest.mark.parametrize("offset", [1e6, 1e9, 1e12, 1e13, 1e14])
def test_a_lattice_has_more_than_one_cell(offset: float) -> None:
    assert lattice_step(offset + normal()) is None


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1e-8])
def test_tiny_numbers_are_no_lattice(scale: float) -> None:
    assert lattice_step(TICKS * scale) is None
    assert lattice_step(normal() * scale) is None


def test_coarsest_step_wins() -> None:
    assert lattice_step(TICKS * 2000.0) == 2000
    assert lattice_step(np.append(TICKS * 2000.0, [1000.0] * 20)) == 1000
    assert lattice_step(np.append(TICKS * 1e6, np.arange(20) * 1e6 + 1)) == 1
    # a column of zeros and a few other values is not on whatever lattice the zeros are on
    assert lattice_step(np.append(np.zeros(2000), [3.0, 7.0, 11.0])) == 1
    assert lattice_step(TICKS * 0.25) == 0.05


def test_lattice_in_single_precision() -> None:
    values = (TICKS / 10).astype(np.float32)
    assert lattice_step(values.astype(np.float64)) == 0.1
    assert lattice_step(normal(400).astype(np.float32).astype(np.float64)) is None


def test_computed_values_are_on_their_lattice() -> None:
    assert lattice_step(np.cumsum(np.full(300, 0.1)) - 7.3) == 0.1


def test_fine_lattice_needs_ties() -> None:
    rng = np.random.default_rng(0)
    fine = rng.permutation(np.arange(0, 10_000_000, 9973)).astype(float)  # no ties, step far below the spread
    assert lattice_step(fine) is None
    assert lattice_step(np.concatenate([fine, fine[: len(fine) // 10]])) == 1
    assert lattice_step(np.concatenate([fine, fine[: len(fine) // 30]])) is None


@pytest.mark.parametrize("values", [[1e300, -1e300, 1.0], [1e-7, 0.5], [np.pi, np.e, 1.0], [7.0, 7.0], []])
def test_no_lattice(values: list[float]) -> None:
    assert lattice_step(np.array(values)) is None


def test_rescaling_the_column_rescales_the_step() -> None:
    values = TICKS / 10
    assert lattice_step(values * 1000) == 1000 * lattice_step(values)  # type: ignore[operator]


# ---- kinds


@pytest.mark.parametrize(
    ("values", "dtype", "kind", "step"),
    [
        (normal(), None, "continuous", None),
        (normal(), "Float64", "continuous", None),
        (normal(), arrow(pa.float64()), "continuous", None),
        (normal().round(1), None, "continuous", 0.1),
        (TICKS, None, "integer", 1),
        (TICKS, "Int32", "integer", 1),
        (TICKS, arrow(pa.int16()), "integer", 1),
        (TICKS.astype(float), None, "integer", 1),
        ([1, None, 2.0, 4], object, "integer", 1),
        (TICKS * 5, None, "continuous", 5),
        (np.random.default_rng(0).permutation(np.arange(N)) * 7919 + 10**9, None, "continuous", None),
        (np.random.default_rng(0).integers(0, 2**50, N), None, "continuous", None),
        ([1e300, -1e300, 1.5, 2.5] * 10, None, "continuous", None),
        ([np.inf, 1.0, 2.0, 3.0] * 5, None, "integer", 1),
        (["2020-01-01", "2020-03-01", None, "2021-01-01"], None, "time", 1),
        (["2020-01-01 10:00", "2020-03-01 10:00:07", "2021-01-01T01:01:01"], None, "time", 1 / 86400),
        (pd.date_range("2020", periods=N), None, "time", 1),
        (pd.date_range("2020", periods=N, freq="3h"), None, "time", 1 / 24),
        (pd.date_range("2020", periods=N, freq="7min", tz="Europe/Berlin"), None, "time", 1 / 1440),
        (pd.date_range("2020", periods=N, freq="7ms"), None, "time", None),
        (pd.date_range("2020", periods=N, freq="s"), arrow(pa.timestamp("us")), "time", 1 / 86400),
    ],
)
def test_numeric_kinds(values: Any, dtype: Any, kind: str, step: float | None) -> None:
    found = column(values, dtype)
    assert (found.kind, found.step) == (kind, step)


ORDERED = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)


@pytest.mark.parametrize(
    ("values", "dtype", "kind", "levels"),
    [
        ([True, False, True], None, "binary", ("False", "True")),
        ([True, None, False], "boolean", "binary", ("False", "True")),
        ([True, None, False], object, "binary", ("False", "True")),
        ([True, None, False], arrow(pa.bool_()), "binary", ("False", "True")),
        ([10, 9, 10], None, "binary", ("9", "10")),
        ([0.0, 1.0, None, -0.0], None, "binary", ("0", "1")),
        (["yes", "no", None], None, "binary", ("no", "yes")),
        (["2020-01-01", "2020-01-02"], None, "binary", ("2020-01-01", "2020-01-02")),
        (["b", "a", "☃", None], None, "categorical", ("a", "b", "☃")),
        (["b", "a", "c", None], "string", "categorical", ("a", "b", "c")),
        (["b", "a", "c", None], "category", "categorical", ("a", "b", "c")),
        (["b", "a", "c", None], arrow(pa.string()), "categorical", ("a", "b", "c")),
        ([10, 9, 2], "category", "categorical", ("2", "9", "10")),
        ([True, "x", 3, None], object, "categorical", ("3", "True", "x")),
        (["high", "low", "low"], ORDERED, "ordinal", ("low", "mid", "high")),
        (["2020-02-30", "2020-01-01", "x"], None, "categorical", ("2020-01-01", "2020-02-30", "x")),
    ],
)
def test_kinds_with_levels(values: Any, dtype: Any, kind: str, levels: tuple[str, ...]) -> None:
    found = column(values, dtype)
    assert (found.kind, found.levels) == (kind, levels)


def test_order_of_two_ordered_categories_is_kept() -> None:
    dtype = pd.CategoricalDtype(["small", "big"], ordered=True)
    assert column(["big", "small"], dtype).levels == ("small", "big")


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ([None] * N, "all cells missing"),
        ([np.inf] * N, "all cells missing"),
        (["a", None] * 30, "constant"),
        ([7.0, None] * 30, "constant"),
        (range(1, N + 1), "ID-like: row numbers 1, 2 ... 60"),
        (np.arange(N)[::-1].astype(float), "ID-like: row numbers 59, 58 ... 0"),
        ([f"id{i}" for i in range(N)], "ID-like: 60 distinct texts in 60 rows"),
        ([[i] for i in range(N)], "object cells that are neither numbers, text nor dates"),
        (pd.to_timedelta(range(N), unit="s"), "timedelta64"),
        (normal() + 1j, "complex128"),
    ],
)
def test_columns_set_aside(values: Any, note: str) -> None:
    found = column(values)
    assert found.kind == "ignored"
    assert found.note.startswith(note)


@pytest.mark.parametrize(
    "values",
    [
        range(19),
        [*range(30), None],
        [*range(30), 31],
        np.arange(30) + 0.5,
        pd.date_range("2020", periods=30),
        [f"id{i}" for i in range(19)],
        [f"id{i % 57}" for i in range(60)],
    ],
)
def test_columns_not_taken_for_identifiers(values: Any) -> None:
    assert column(values).kind != "ignored"


def test_bookkeeping() -> None:
    frame = pd.DataFrame({"x": pd.array([1, None, 3, 4], dtype="Int8"), "größe ☃": [0.5, np.inf, 1.25, np.nan]})
    schema = quiet(frame)
    assert [c.name for c in schema.columns] == ["x", "größe ☃"]
    assert [c.dtype for c in schema.columns] == ["Int8", "float64"]
    assert [c.missing for c in schema.columns] == [0.25, 0.5]
    assert Schema.from_toml(schema.to_toml()) == schema


def test_column_names_need_not_be_text() -> None:
    assert [c.name for c in quiet(pd.DataFrame({0: [1, 2, 3], 1: [2, 3, 5]})).columns] == ["0", "1"]


def test_row_order_does_not_matter() -> None:
    frame = pd.DataFrame({"a": TICKS, "b": np.resize(list("xyz"), len(TICKS)), "c": normal(len(TICKS)).round(2)})
    assert quiet(frame.sample(frac=1, random_state=0)) == quiet(frame)


# ---- warnings


def test_warns_of_what_is_set_aside() -> None:
    frame = pd.DataFrame({"id": range(N), "one": 1, "x": normal()})
    with pytest.warns(ZooWarning, match=r"set aside: id \(ID-like: row numbers 0, 1 ... 59\), one \(constant\)"):
        infer_schema(frame)


def test_warns_of_infinite_values() -> None:
    with pytest.warns(ZooWarning, match="column 'x' holds 2 infinite values"):
        infer_schema(pd.DataFrame({"x": [np.inf, -np.inf, 1, 2, 4]}))


@pytest.mark.parametrize("dtype", ["str", object])
def test_warns_of_text_among_numbers(dtype: Any) -> None:
    values = [str(i % 13) if dtype == "str" else i % 13 for i in range(N)]
    frame = pd.DataFrame({"x": pd.Series([*values, "oops", "none"], dtype=dtype)})
    message = "'x' is 96.8% numbers, but holds 'oops' in row 60, 'none' in row 61.*--missing 'oops,none'"
    with pytest.warns(ZooWarning, match=message):
        assert infer_schema(frame)["x"].kind == "categorical"


def test_a_clean_table_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        infer_schema(pd.DataFrame({"x": normal(), "n": TICKS[:N], "s": np.resize(list("abc"), N)}))


# ---- what the user asks for

FRAME = pd.DataFrame(
    {
        "id": np.arange(N),
        "price": normal().round(1),
        "half": np.arange(N) % 7 + 0.5,
        "age": TICKS[:N],
        "flag": np.resize([0, 1], N),
        "ok": np.resize([True, False], N),
        "city": np.resize(["a", "b", "c"], N),
        "school": np.resize(["s1", "s2", "s3", "s4"], N),
        "w": np.resize([0.0, 1.0, 2.5], N),
        "one": 1,
        "odd [x]?": np.resize([3, 5, 9], N),
    }
)


@pytest.mark.parametrize(
    ("name", "kind", "step", "levels"),
    [
        ("price", "continuous", None, ()),
        ("age", "continuous", None, ()),
        ("flag", "integer", 1, ()),
        ("flag", "count", 1, ()),
        ("flag", "continuous", None, ()),
        ("ok", "continuous", None, ()),
        ("flag", "categorical", None, ("0", "1")),
        ("odd [x]?", "categorical", None, ("3", "5", "9")),
        ("odd [x]?", "ordinal", None, ("3", "5", "9")),
        ("id", "integer", 1, ()),
        ("city", "ignored", None, ()),
    ],
)
def test_kind_by_exact_name(name: str, kind: str, step: float | None, levels: tuple[str, ...]) -> None:
    found = quiet(FRAME, kinds={name: kind})[name]
    assert (found.kind, found.step, found.levels) == (kind, step, levels)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"city": "continuous"}, "'city' is continuous and needs numbers, not 'a' in row 0, 'b' in row 1"),
        ({"half": "integer"}, "'half' is integer and needs whole numbers, not '0.5' in row 0"),
        ({"age": "count"}, "'age' is count and needs numbers >= 0, not '-"),
        ({"city": "binary"}, "'city' cannot be binary: it has 3 values, 'a', 'b', 'c'"),
        ({"age": "time"}, "'age' is time and needs ISO dates"),
        ({"age": "contnuous"}, "no kind 'contnuous'.*did you mean 'continuous'"),
        ({"agee": "count"}, "--kind 'agee' matches no column; did you mean 'age'"),
        ({"x*": "count"}, r"--kind 'x\*' matches no column"),
    ],
)
def test_kinds_that_cannot_be(kinds: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        quiet(FRAME, kinds=kinds)


def test_glob_leaves_what_cannot_take_the_kind() -> None:
    with pytest.warns(ZooWarning) as caught:
        schema = infer_schema(FRAME, kinds={"*": "continuous"})
    message = "--kind '*=continuous' leaves columns that cannot be continuous as they are: 'ok', 'city', 'school'"
    assert message in [str(warning.message) for warning in caught]
    kinds = {c.name: (c.kind, c.step) for c in schema.columns}
    assert {kinds[name] for name in ("price", "half", "age", "flag", "w", "odd [x]?")} == {("continuous", None)}
    assert kinds["ok"] == ("binary", None)
    assert kinds["city"] == ("categorical", None)
    assert kinds["id"] == kinds["one"] == ("ignored", None)


def test_exact_name_goes_before_globs_and_later_globs_before_earlier() -> None:
    schema = quiet(FRAME, kinds={"age": "integer", "*": "continuous", "f*": "binary"})
    assert [schema[name].kind for name in ("age", "price", "flag")] == ["integer", "continuous", "binary"]


def test_units_are_of_numbers() -> None:
    schema = quiet(FRAME, units={"age": "years", "*": "grey"})
    units = {c.name: c.unit for c in schema.columns}
    assert (units["age"], units["half"], units["city"], units["id"]) == ("years", "grey", None, None)
    assert Schema.from_toml(schema.to_toml()) == schema
    with pytest.raises(UserError, match="--unit 'city': the column is categorical, and only numbers have a unit"):
        quiet(FRAME, units={"city": "grey"})
    with pytest.raises(UserError, match="--unit 'agee' matches no column; did you mean 'age'"):
        quiet(FRAME, units={"agee": "grey"})
    with pytest.raises(UserError, match="--unit 'age': expected the name of a unit, got ''"):
        quiet(FRAME, units={"age": ""})


def test_constant_columns_stay_set_aside() -> None:
    assert quiet(FRAME, kinds={"one": "continuous"})["one"].note == "constant"


def test_ordinal_text_is_warned_of() -> None:
    with pytest.warns(ZooWarning, match="'city' is ordinal with its levels in alphabetical order"):
        assert infer_schema(FRAME.drop(columns=["id", "one"]), kinds={"city": "ordinal"})["city"].kind == "ordinal"


def test_ignore() -> None:
    schema = quiet(FRAME, ignore=["*e", "odd [x]?"])
    assert [c.name for c in schema.columns if c.note == "ignored on request"] == ["price", "age", "one", "odd [x]?"]
    with pytest.raises(UserError, match="--ignore 'cty' matches no column; did you mean 'city'"):
        quiet(FRAME, ignore=["cty"])


def test_roles() -> None:
    schema = quiet(FRAME, given=["age", "id"], group="school", weight="w", ignore=["*o*"])
    assert {c.name: c.role for c in schema.columns if c.role != "model"} == {
        "id": "given",
        "age": "given",
        "school": "group",
        "w": "weight",
    }
    assert schema["school"].levels == ("s1", "s2", "s3", "s4")
    assert schema["w"].kind == "continuous"
    assert [c.name for c in schema.given_columns] == ["id", "age"]
    assert schema.groups == 4
    assert not {"id", "age", "school", "w"} & set(schema.names)


def test_numbers_and_identifiers_can_be_groups() -> None:
    assert quiet(FRAME, group="odd [x]?")["odd [x]?"].levels == ("3", "5", "9")
    assert quiet(FRAME, group="id").groups == N
    assert quiet(FRAME, group="flag", kinds={"*": "continuous"})["flag"].kind == "categorical"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": "city"}, "'city' is continuous and needs numbers"),
        ({"weight": "age"}, "'age' is the weight and needs numbers >= 0, not '-"),
        ({"weight": "ww"}, "no column 'ww' for --weight; did you mean 'w'"),
        ({"group": "schol"}, "no column 'schol' for --group; did you mean 'school'"),
        ({"given": ["agee"]}, "--given 'agee' matches no column"),
        ({"given": ["school"], "group": "school"}, "'school' cannot be both given and group"),
    ],
)
def test_roles_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        quiet(FRAME, **options)


@pytest.mark.parametrize(("w", "message"), [([1, None, 2], "a number in every row"), ([0, 0, 0], "every weight")])
def test_weights_that_cannot_be(w: list[float | None], message: str) -> None:
    with pytest.raises(UserError, match=message):
        quiet(pd.DataFrame({"x": [1.5, 2.5, 4.0], "w": w}), weight="w")


def test_nothing_left_to_model() -> None:
    frame = pd.DataFrame({"one": 1, "id": range(N), "none": None, "x": normal()})
    with pytest.raises(UserError, match=r"one: constant; id: ID-like: .*; none: all cells missing; x: ignored on"):
        quiet(frame, ignore=["x"])


@pytest.mark.parametrize(
    ("atoms", "message"), [((0.0, float("nan")), "finite"), ((float("inf"),), "finite"), ((1.0, 1.0), "an atom twice")]
)
def test_atoms_are_numbers_that_differ(atoms: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Column(name="x", kind="continuous", atoms=atoms)


def test_a_level_that_a_file_would_take_for_missing_is_told() -> None:
    frame = pd.DataFrame({"x": np.arange(30) % 7 + 0.25, "y": ["?" if i == 3 else "ab"[i % 2] for i in range(30)]})
    with pytest.warns(ZooWarning, match=r"'y' has the level '\?', .* kept as a level; where it is missing put None"):
        assert infer_schema(frame)["y"].levels == ("?", "a", "b")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ZooWarning)
        assert infer_schema(frame.replace("?", None))["y"].levels == ("a", "b")
