"""What stands in each column, at a glance: the table behind `zoo inspect`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from zoo.errors import UserError, nearest
from zoo.table.cells import EPOCH, Cells, label, numeric_values
from zoo.table.schema import Column, Schema


def describe(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """One line for each column of the schema, in its order; the index is the column's name.

    kind, role, note     as in the schema
    step                 resolution in column units (days for time), missing for a density
    levels               number of levels, 0 for a column without
    missing              share of cells of `frame` that are missing or infinite
    distinct             number of distinct values
    ties                 share of the values there that repeat another one
    min, median, max     of a numeric column, in column units, ISO text for time; else None
    most_common          most frequent label of a column that is not numeric; else None

    Raises UserError where the frame lacks a column that takes part, or a numeric column holds text.
    """
    index = pd.Index([column.name for column in schema.columns], name="column", dtype="str")
    table = pd.DataFrame([_line(frame, column) for column in schema.columns], index=index)
    for name in ("min", "median", "max", "most_common"):  # None, not NaN, beside numbers as well as text
        table[name] = table[name].astype(object).where(table[name].notna(), None)
    return table


def _line(frame: pd.DataFrame, column: Column) -> dict[str, Any]:
    if column.name not in frame:
        raise UserError(f"the table has no column {column.name!r}", nearest(column.name, map(str, frame.columns)))
    cells = Cells(frame[column.name])
    low, median, high = _range(cells, column)
    return {
        "kind": column.kind,
        "role": column.role,
        "step": np.nan if column.step is None else column.step,
        "levels": len(column.levels),
        "missing": float(cells.missing.mean()) if len(frame) else 0.0,
        "distinct": cells.distinct,
        "ties": cells.ties,
        "min": low,
        "median": median,
        "max": high,
        "most_common": None if column.is_number else _most_common(cells),
        "note": column.note,
    }


def _range(cells: Cells, column: Column) -> tuple[Any, Any, Any]:
    """Least, middle and greatest value of a numeric column with any."""
    if not column.is_number:
        return None, None, None
    values = numeric_values(cells.series, column)
    values = values[~np.isnan(values)]
    if not len(values):
        return None, None, None
    low, median, high = float(values.min()), float(np.median(values)), float(values.max())
    if column.kind == "time":
        return _moment(low), _moment(median), _moment(high)
    return low, median, high


def _moment(days: float) -> str:
    """Days since 1970-01-01 as ISO text, to the second."""
    return label(EPOCH + pd.Timedelta(seconds=round(days * 86400)))


def _most_common(cells: Cells) -> str | None:
    """The most frequent label, the first in order where several are."""
    counts = cells.labels.value_counts()
    return min(counts.index[counts == counts.max()]) if len(counts) else None
