"""Numbers and codes back to cells as the user's column spells them."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype

from zoo.table.schema import UNSEEN, Column, Schema

_FIRST, _LAST = ((end - datetime.date(1970, 1, 1)).days for end in (datetime.date.min, datetime.date.max))
"""Days since 1970-01-01 between which a draw of a time is held: the years that ISO text and Python have."""

LARGEST = 2.0**53
"""Up to here every whole number is a float."""


def restored(values: np.ndarray, column: Column) -> pd.Series:
    """The cells (n,) that numbers in table units, ranks or codes of levels stand for, in the column's dtype."""
    cells = _numbers(values, column) if column.is_number else _levels(values, column)
    return _in_dtype(cells, column)


def as_whole(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Whole numbers that are floats, as pandas reads them beside missing cells, as integers that may be missing."""
    whole = {}
    for column in schema.columns:
        if column.kind in ("integer", "count") and column.name in frame:
            cells = frame[column.name]
            if is_float_dtype(cells) and (cells.isna() | ((cells % 1 == 0) & (cells.abs() < LARGEST))).all():
                whole[column.name] = cells.astype("Int64")
    return frame.assign(**whole)


def _numbers(values: np.ndarray, column: Column) -> pd.Series:
    if column.kind == "time":
        seconds = np.round(values.clip(_FIRST, _LAST) * 86400).astype("int64")
        return pd.Series(pd.to_datetime(seconds, unit="s"))
    # a lattice point has few digits: 0.102, not 0.10200000000000001
    return pd.Series(np.round(values, 9) if column.step else values)


def _levels(codes: np.ndarray, column: Column) -> pd.Series:
    return pd.Series(np.array([*column.levels, UNSEEN], dtype=object)[codes.round().astype(int)])


def _in_dtype(cells: pd.Series, column: Column) -> pd.Series:
    """The cells in the dtype the column was read with, where they fit it."""
    dtype = column.dtype
    try:
        if "bool" in dtype.lower() or (dtype == "object" and set(column.levels) == {"True", "False"}):
            return cells.map({"True": True, "False": False}).astype(dtype)  # type: ignore[call-overload]
        if column.kind == "time" and dtype == "object":
            dates = cells.dt.date if column.step == 1 else cells
            return dates.astype(object)
        if column.kind == "time" and "," in dtype:  # datetime64[us, Europe/Berlin]
            return cells.dt.tz_localize("UTC").astype(dtype)
        if dtype == "category" and column.is_number:
            return cells  # drawn numbers are none of the categories
        if dtype == "category":
            unseen = [UNSEEN] if (cells == UNSEEN).any() else []
            return cells.astype(pd.CategoricalDtype([*column.levels, *unseen], ordered=column.kind == "ordinal"))
        if not column.is_number and any(t in dtype.lower() for t in ("int", "float")):
            cells = pd.to_numeric(cells)
        if "int" in dtype.lower():
            cells = cells.round()
            dtype = _wide_enough(cells, dtype)
        return cells.astype(dtype)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return cells.infer_objects()


def _wide_enough(cells: pd.Series, dtype: str) -> str:
    """An integer dtype where the cells fit it, else the first of int64 and float64 that they fit: none wraps around."""
    for wider in (dtype, "int64"):
        info = np.iinfo(wider.lower())
        # the largest int64 is no float: 2 ** 63, one above it, would wrap around
        if cells.min() >= info.min and (cells.max() <= info.max if info.max < 2**53 else cells.max() < info.max):
            return wider
    return "float64"
