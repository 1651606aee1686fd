"""The missing cells of a table, filled in as its columns spell theirs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from zoo.table.cells import label
from zoo.table.schema import Schema


def filled(frame: pd.DataFrame, completed: pd.DataFrame, seen: np.ndarray, schema: Schema) -> pd.DataFrame:
    """`frame` with the cells that were not `seen` (n, D) taken from `completed`."""
    out = frame.copy()
    for j, name in enumerate(schema.names):
        hidden = ~seen[:, j]
        if hidden.any():
            drawn, where = completed[name].set_axis(out.index), pd.Series(hidden, index=out.index)
            number = schema.modelled[j].is_number
            out[name] = drawn.where(where, out[name]) if number else spelled(out[name], drawn, where)
    return out


def spelled(column: pd.Series, drawn: pd.Series, where: pd.Series) -> pd.Series:
    """`column` with drawn levels as it spells them (1 for "1"); a level that it does not have comes as it is."""
    dtype = column.dtype
    present = dtype.categories if isinstance(dtype, pd.CategoricalDtype) else column.dropna().unique()
    own = {label(value): value for value in present}
    values = drawn[where].astype(object).map(lambda level: own.get(label(level), level))
    if isinstance(dtype, pd.CategoricalDtype):
        dtype = pd.CategoricalDtype([*present, *(set(values) - set(present))], dtype.ordered)
    filled = column.astype(object)
    filled[where] = list(values)
    try:
        return filled.astype(dtype)
    except (TypeError, ValueError):
        return filled.infer_objects()
