"""Values to draw rows at: of the columns that a model is conditional upon, of its group, and of any that it models."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from zoo.errors import UserError, ZooWarning, nearest
from zoo.table.cells import Cells, label, labels, level_codes, listed, numeric_values
from zoo.table.codec import Codec
from zoo.table.reader import read_table
from zoo.table.restore import restored
from zoo.table.schema import Column, Schema

FAR = 10.0


def given_table(given: Any, schema: Schema) -> pd.DataFrame:
    """The table of values to draw at: a table, or values by name, of which a single one stands for every row.

    The columns that the model is conditional upon must be there; its group and columns that it models may be.
    Raises UserError where a column is left out or is none of the model's, or has a level that it knows nothing of.
    """
    columns = schema.given_columns
    if given is None:
        needs = f"this model is conditional: sampling needs values of {', '.join(map(_with_levels, columns))}"
        value = label(columns[0].levels[0]) if columns[0].levels else "..."
        raise UserError(needs, f"give given= (--given '{columns[0].name}={value}')")
    frame = read_table(_spread(given) if isinstance(given, Mapping) else given)
    if not len(frame):
        raise UserError("there is no row of values to draw at", "give at least one")
    known = {c.name: c for c in (*schema.conditions, *schema.modelled)}
    for name in frame:
        if name not in known and isinstance(given, Mapping):
            raise UserError(f"no column {name!r} to draw at", nearest(str(name), known))
    for column in columns:
        if column.name not in frame:
            got = ", ".join(map(str, frame.columns))
            raise UserError(f"sampling needs a value of {column.name!r}, and got {got}", "give it too")
    whole_table = not isinstance(given, Mapping) and bool(schema.conditions)
    names = [c.name for c in schema.conditions] if whole_table else known
    got = ", ".join(map(str, frame.columns))
    frame = frame[[name for name in names if name in frame]]
    if not frame.shape[1]:
        raise UserError(f"no column of the model to draw at, only {got}", f"the model has {', '.join(known)}")
    for name in frame:
        _check(frame, known[str(name)])
    return frame


def _with_levels(column: Column) -> str:
    """The column's name, and its first levels."""
    levels = listed(map(label, column.levels), quoted=False)
    return f"{column.name} ({levels})" if levels else column.name


def _spread(given: Mapping[Any, Any]) -> dict[Any, list[Any]]:
    """Values by name as columns of one length."""
    lists = {name: list(v) if pd.api.types.is_list_like(v) else [v] for name, v in given.items()}
    rows = max(map(len, lists.values()), default=0)
    return {name: values * rows if len(values) == 1 else values for name, values in lists.items()}


def _check(frame: pd.DataFrame, column: Column) -> None:
    """Refuse levels to draw at that the model knows nothing of, and cells that are no number of a number's column."""
    if column.is_number:
        try:
            numeric_values(frame[column.name], column)
        except UserError as error:
            raise UserError(error.message, "give one") from None
        return
    unknown = set(labels(frame[column.name]).dropna()) - set(column.levels)
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


def warn_beyond(given: pd.DataFrame, codec: Codec) -> None:
    """Say which numbers to draw at lie far beyond those of the fit: by half their range, or, of columns that are
    conditioned upon, `FAR` standard deviations from their mean."""
    numeric, conditions = codec.schema.numeric, codec.schema.given_columns
    lowest, highest = codec.shown
    middle = [*((lowest + highest) / 2).tolist(), *codec.given_loc.tolist()]
    reach = [*(highest - lowest).tolist(), *(FAR * codec.given_scale).tolist()]
    for column, centre, far in zip((*numeric, *conditions), middle, reach, strict=True):
        if column.name not in given or not column.is_number:
            continue
        values = numeric_values(given[column.name], column)
        beyond = values[np.abs(values - centre) > far]
        if len(beyond):
            what = f"{column.name!r} is to be {beyond[0]:g}, far from the rows of the fit, around {centre:.3g}"
            warnings.warn(f"{what}: what is drawn there is a guess", ZooWarning, stacklevel=3)


def warn_unfilled(frame: pd.DataFrame, schema: Schema) -> None:
    """Say which missing cells stay, because the model has no density of their columns."""
    for column in schema.conditions:
        missing = np.flatnonzero(Cells(frame[column.name]).missing)
        if len(missing):
            what = f"column {column.name!r} is conditioned upon: its {len(missing)} missing cells cannot be filled"
            warnings.warn(f"{what} (first in row {missing[0]})", ZooWarning, stacklevel=3)
