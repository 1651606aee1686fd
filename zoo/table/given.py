"""Values of the columns that a model is conditional upon, groups among them: as they are given to draw at, and as they
come back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from zoo.errors import UserError, ZooWarning, nearest
from zoo.table.cells import Cells, labels, level_codes, numeric_values
from zoo.table.reader import read_table
from zoo.table.restore import restored
from zoo.table.schema import Column, Schema


def given_table(given: Any, schema: Schema) -> pd.DataFrame:
    """The table of values to draw at: a table, or values by name, of which a single one stands for every row.

    Raises UserError where a column is left out, or has a level that the model knows nothing of.
    """
    columns, group = schema.given_columns, schema.role("group")
    if not columns and group is None:
        raise UserError("this model was fitted without given columns", "fit with given=[...] (--given)")
    if given is None:
        needs = f"this model is conditional: sampling needs values of {', '.join(c.name for c in columns)}"
        raise UserError(needs, f"give given= (--given '{columns[0].name}=...')")
    frame = read_table(_spread(given) if isinstance(given, Mapping) else given)
    # beside given columns, rows may leave their group open
    for column in columns if group is None or (columns and group.name not in frame) else (*columns, group):
        _check(frame, column)
    return frame


def _spread(given: Mapping[Any, Any]) -> dict[Any, list[Any]]:
    """Values by name as columns of one length."""
    lists = {name: list(v) if pd.api.types.is_list_like(v) else [v] for name, v in given.items()}
    rows = max(map(len, lists.values()), default=0)
    return {name: values * rows if len(values) == 1 else values for name, values in lists.items()}


def _check(frame: pd.DataFrame, column: Column) -> None:
    """Refuse values to draw at that the model knows nothing of: a column left out, or a level never seen."""
    if column.name not in frame:
        raise UserError(
            f"sampling needs a value of {column.name!r}, and got {', '.join(map(str, frame.columns))}", "give it too"
        )
    unknown = set() if column.is_number else set(labels(frame[column.name]).dropna()) - set(column.levels)
    if unknown:
        level = min(unknown)
        raise UserError(f"column {column.name!r} has no level {level!r} to draw at", nearest(level, column.levels))


def with_given(drawn: pd.DataFrame, given: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Draws with the values that they were drawn at, cycled, columns in the order of the table."""
    cycle = np.arange(len(drawn)) % len(given)
    out = {name: drawn[name] for name in drawn}
    for column in schema.conditions:
        if column.name not in given:
            continue
        series = given[column.name]
        values = numeric_values(series, column) if column.is_number else level_codes(series, column)
        missing = np.isnan(values)[cycle]
        cells = restored(np.nan_to_num(values)[cycle], column)
        out[column.name] = cells.mask(missing) if missing.any() else cells
    return pd.DataFrame({c.name: out[c.name] for c in schema.columns if c.name in out})


def warn_unfilled(frame: pd.DataFrame, schema: Schema) -> None:
    """Say which missing cells stay, because the model has no density of their columns."""
    for column in schema.conditions:
        missing = np.flatnonzero(Cells(frame[column.name]).missing)
        if len(missing):
            what = f"column {column.name!r} is conditioned upon: its {len(missing)} missing cells cannot be filled"
            warnings.warn(f"{what} (first in row {missing[0]})", ZooWarning, stacklevel=3)
