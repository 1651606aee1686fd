"""One line a column says what is in it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from zoo.errors import UserError
from zoo.table.infer import infer_schema
from zoo.table.inspect import describe

FRAME = pd.DataFrame(
    {
        "x": [0.5, 0.25, np.inf, 0.25, -1.125],
        "n": [3, 1, 1, 1, 5],
        "s": ["b", "b", None, "a", "c"],
        "t": ["2020-01-01", "2020-01-03", "2020-01-03", "2020-01-03", "2020-01-04"],
        "one": ["k"] * 5,
        "none": [None] * 5,
    }
)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    with pytest.warns(UserWarning, match=r"infinite|set aside"):
        schema = infer_schema(FRAME)
    return describe(FRAME, schema)


def test_one_line_a_column(table: pd.DataFrame) -> None:
    assert list(table.index) == list(FRAME)
    assert list(table["kind"]) == ["continuous", "integer", "categorical", "time", "ignored", "ignored"]
    assert list(table["levels"]) == [0, 0, 3, 0, 0, 0]
    assert list(table["note"]) == ["", "", "", "", "constant", "all cells missing"]
    assert table["step"].tolist()[1] == 1
    assert table["step"].isna().tolist() == [False, False, True, False, True, True]


def test_shares(table: pd.DataFrame) -> None:
    np.testing.assert_allclose(table["missing"], [0.2, 0, 0.2, 0, 0, 1])
    assert list(table["distinct"]) == [3, 3, 3, 3, 1, 0]
    np.testing.assert_allclose(table["ties"], [0.25, 0.4, 0.25, 0.4, 0.8, 0])


def test_ranges(table: pd.DataFrame) -> None:
    ranges = table[["min", "median", "max"]].values.tolist()
    assert ranges[0] == [-1.125, 0.25, 0.5]
    assert ranges[1] == [1, 1, 5]
    assert ranges[3] == ["2020-01-01", "2020-01-03", "2020-01-04"]
    assert ranges[2] == ranges[4] == ranges[5] == [None, None, None]
    assert list(table["most_common"]) == [None, None, "b", None, "k", None]


def test_another_table_under_the_same_schema() -> None:
    schema = infer_schema(FRAME[["n", "s"]])
    table = describe(pd.DataFrame({"s": ["a", "z", "z"], "n": [7, 8, None]}), schema)
    assert table.loc["n", "max"] == 8
    assert table.loc["n", "missing"] == pytest.approx(1 / 3)
    assert table.loc["s", "most_common"] == "z"
    with pytest.raises(UserError, match="no column 's'"):
        describe(FRAME[["n"]], schema)
    with pytest.raises(UserError, match="'n' is integer and needs numbers, not 'x' in row 0"):
        describe(pd.DataFrame({"n": ["x"], "s": ["a"]}), schema)
