"""Tables that Python holds, of whatever library, are read and fitted as if they were pandas' own."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy import sparse

import zoo
from zoo.errors import UserError
from zoo.table.frames import as_pandas, has_names
from zoo.table.reader import read_table


def frame(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    k = rng.integers(2, size=n)
    table = {"x": 3 * k + rng.normal(size=n), "n": rng.poisson(4 + 3 * k).astype(float), "s": np.where(k, "a", "ä")}
    table = pd.DataFrame(table)
    table.loc[3, "x"], table.loc[5, "n"], table.loc[7, "s"] = np.nan, np.nan, np.nan
    return table


def polars_frame(table: pd.DataFrame) -> Any:
    return pytest.importorskip("polars").from_arrow(pa.Table.from_pandas(table))


class Stream:
    """A frame of which nothing is known but that it gives an Arrow stream."""

    def __init__(self, table: pd.DataFrame):
        self.table = pa.Table.from_pandas(table)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


class Interchange:
    """A frame of which nothing is known but the dataframe interchange protocol."""

    def __init__(self, table: pd.DataFrame):
        self.table = pa.Table.from_pandas(table)

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> Any:
        return self.table.__dataframe__(nan_as_null, allow_copy)


LIBRARIES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "pandas": lambda table: table,
    "polars": polars_frame,
    "pyarrow": pa.Table.from_pandas,
    "pyarrow batch": pa.RecordBatch.from_pandas,
    "Arrow stream": Stream,
    "interchange protocol": Interchange,
    "dict of lists": lambda table: table.to_dict("list"),
    "dict of arrays": lambda table: {name: table[name].to_numpy() for name in table},
    "dict of series": lambda table: dict(table.items()),
    "dict of Arrow": lambda table: dict(pa.Table.from_pandas(table).to_pydict()),
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_same_table_from_every_library(library: str) -> None:
    read = read_table(LIBRARIES[library](frame()))
    pd.testing.assert_frame_equal(read, frame())


@pytest.mark.parametrize("library", ["polars", "pyarrow", "Arrow stream", "dict of lists"])
def test_a_model_is_the_same_whatever_the_library(library: str) -> None:
    own, table = frame(), LIBRARIES[library](frame())
    settings = {"components": 2, "restarts": 1, "fit.steps": 5}
    expected = zoo.fit("mixture", own, settings=settings, device="cpu")
    model = zoo.fit("mixture", table, settings=settings, device="cpu")
    np.testing.assert_array_equal(model.score_samples(table), expected.score_samples(own))
    np.testing.assert_array_equal(model.predict(table), expected.predict(own))
    for result in (model.sample(5), model.impute(table)):
        assert isinstance(result, pd.DataFrame)
        assert list(result) == list(own)
    pd.testing.assert_frame_equal(model.impute(table), expected.impute(own))


def test_the_index_of_a_pandas_frame_is_kept() -> None:
    table = frame().set_axis(pd.Index([f"r{i}" for i in range(60)], name="row"))
    pd.testing.assert_index_equal(read_table(table).index, table.index)
    model = zoo.fit("mixture", table, settings={"components": 2, "restarts": 1, "fit.steps": 5}, device="cpu")
    pd.testing.assert_index_equal(model.impute(table).index, table.index)


def test_polars_types() -> None:
    pl = pytest.importorskip("polars")
    day = datetime.date(2020, 2, 29)
    table = pl.DataFrame(
        {
            "i": [1, None],
            "f": [1.5, None],
            "day": [day, None],
            "price": [decimal.Decimal("1.25"), None],
            "level": pl.Series(["b", None], dtype=pl.Categorical),
            "order": pl.Series(["b", "a"], dtype=pl.Enum(["b", "a"])),
            "yes": [True, None],
        }
    )
    read = read_table(table)
    kinds = ["float64", "float64", "datetime64[ms]", "float64", "category", "category", "object"]
    assert read.dtypes.astype(str).tolist() == kinds
    assert read.iloc[0].tolist() == [1, 1.5, pd.Timestamp(day), 1.25, "b", "b", True]
    assert read["order"].cat.categories.tolist() == ["b", "a"]
    assert read.iloc[1].isna().tolist() == [True] * 5 + [False, True]
    assert read_table({"i": pl.Series([1, None])})["i"].isna().tolist() == [False, True]
    with pytest.raises(UserError, match=r"a LazyFrame is a query and no table yet; give what its collect\(\) gives"):
        read_table(table.lazy())


def test_arrays_have_no_names() -> None:
    array = np.arange(6.0).reshape(3, 2)
    for table in (array, array.tolist(), torch.from_numpy(array.copy())):
        read = read_table(table)
        assert list(read) == ["x0", "x1"]
        np.testing.assert_array_equal(read, array)
        assert not has_names(table)
    read.iloc[0, 0] = 7
    assert array[0, 0] == 0


def test_masked_cells_of_an_array_are_missing() -> None:
    array = np.ma.masked_equal(np.arange(6).reshape(3, 2), 3)
    assert read_table(array).isna().to_numpy().tolist() == [[False, False], [False, True], [False, False]]


def test_an_array_of_records_has_names() -> None:
    array = np.array([(1, "a"), (2, "b")], dtype=[("n", int), ("s", "U1")])
    assert has_names(array)
    assert read_table(array).to_dict("list") == {"n": [1, 2], "s": ["a", "b"]}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.zeros(3), "two dimensions, not shape"),
        (np.zeros((2, 2, 2)), "two dimensions, not shape"),
        (pd.Series([1, 2]), "two dimensions, not shape"),
        (None, "an array, not None"),
        (3, "two dimensions, not shape"),
        (np.zeros((3, 0)), "0 feature"),
        (np.zeros((0, 3)), "has no rows"),
        (np.zeros((3, 2), complex), "Complex data not supported"),
        (sparse.csr_array(np.eye(3)), "sparse data are not supported"),
        (sparse.dok_array(np.eye(3)), "sparse data are not supported"),
        ({"a": [1, 2], "b": [1]}, "the columns are no table: .*same length; give every column as many values"),
        ({"a": 1, "b": 2}, "the columns are no table"),
        ({}, "has no columns"),
        (pa.chunked_array([[1, 2]]), "this ChunkedArray does not give one"),
        (pa.table([[1], [2]], names=["a", "a"]), "more than once: 'a'"),
    ],
)
def test_what_is_no_table(table: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        read_table(table)
    assert "\n" not in str(refused.value)


def test_reading_options_of_text_are_refused() -> None:
    for options in ({"sep": ","}, {"header": True}, {"columns": ["a"]}):
        with pytest.raises(UserError, match="carries its own column names"):
            read_table({"a": [1]}, **options)
    with pytest.raises(UserError, match="a query needs a database, and the table is none"):
        read_table({"a": [1]}, query="select 1")
    assert read_table({"a": [1, -999]}, missing=["-999"])["a"].isna().tolist() == [False, True]


def test_the_table_given_is_left_alone() -> None:
    own = frame()
    copy = as_pandas(own)
    copy.loc[0, "x"] = 99.0
    pd.testing.assert_frame_equal(own, frame())
    columns = {"a": np.zeros(2)}
    read = read_table(columns)
    read.loc[0, "a"] = 1
    assert columns["a"].tolist() == [0, 0]
