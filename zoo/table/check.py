"""Whether the cells of a table are what a schema says of them, told in the table's own rows, counted from 0."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd

from zoo.errors import UserError, ZooWarning, closest, nearest
from zoo.table.cells import EPOCH, Cells, at, infinite, label, labels, level_codes, listed, numeric_values
from zoo.table.lattice import beside, beside_clock
from zoo.table.schema import Column, Schema

FEW = 1 / 50  # share of the rows that `lattice_step` lets lie beside a lattice
_FINEST = 2.0**53  # steps that a float counts up to


def check_schema(schema: Schema, frame: pd.DataFrame) -> None:
    """Hold a schema that the user gave against the whole table that it is to be fitted on.

    Raises UserError where a column is not there or most of its cells cannot be what the schema says. What is left out,
    and cells that count as others, are a ZooWarning.
    """
    for column in schema.columns:
        if column.kind != "ignored" and column.name not in frame:
            near = nearest(column.name, map(str, frame.columns))
            raise UserError(f"the table has no column {column.name!r}, which the schema lists", near)
    unlisted = [str(name) for name in frame if name not in {c.name for c in schema.columns}]
    if unlisted:
        message = f"columns that the schema does not list are left out: {listed(unlisted)}"
        warnings.warn(message, ZooWarning, stacklevel=3)
    for column in schema.columns:
        if column.kind != "ignored":
            _check(Cells(frame[column.name]), column)


def _check(cells: Cells, column: Column) -> None:
    warn_infinite(cells.series)
    if column.role == "weight":
        check_weight(cells, column)
    elif not column.is_number:
        _check_levels(cells, column)
    elif column.role == "given":
        numeric_values(cells.series, column)
    else:
        _check_numbers(cells, column)


def _check_levels(cells: Cells, column: Column) -> None:
    there = ~cells.missing
    unseen = there & ~labels(cells.series).isin(column.levels).to_numpy()
    if column.kind == "categorical" and unseen.sum() > there.sum() / 2:
        what = f"{unseen.sum()} of the {there.sum()} cells of column {column.name!r} are none of its levels"
        raise UserError(f"{what} in the schema: {at(cells.series, unseen)}", "list them")
    level_codes(cells.series, column)


def _check_numbers(cells: Cells, column: Column) -> None:
    values = numeric_values(cells.series, column)
    there = int((~np.isnan(values)).sum())
    if column.kind == "count":
        refuse(cells, values < 0, "is count and needs numbers >= 0")
    fine = np.abs(values) > _FINEST * (column.step or np.inf)
    if fine.any():
        what = f"column {column.name!r} has step = {column.step:g}, too fine for floats to tell"
        raise UserError(f"{what} from {at(cells.series, fine, 1)}", "give a coarser step, or none")
    if off_lattice(values, column).sum() > there / 2:
        what = f"{_beside(values, column)}: too many, of {there}"
        raise UserError(what, "give the step that they were rounded to, or another kind")
    within(values, column, few=0.0)


def cells_of(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column that the model needs."""
    if name not in frame:
        close = closest(name, map(str, frame.columns))
        remedy = f"did you mean {close!r}? if not, give" if close else "give"
        raise UserError(
            f"the table has no column {name!r}, which the model was fitted on",
            f"{remedy} the column, with empty cells where it is not known",
        )
    return frame[name]


def refuse(cells: Cells, bad: np.ndarray, needs: str) -> None:
    """Raise UserError with the first cells of a mask, if it has any."""
    if bad.any():
        raise UserError(f"column {cells.name!r} {needs}, not {at(cells.series, bad)}", "mend these cells, or the kind")


# ---- weights


def check_weight(cells: Cells, column: Column) -> None:
    """Refuse weights that are not numbers >= 0, with one above 0."""
    values = numeric_values(cells.series, column)
    refuse(cells, np.isnan(values), "is the weight and needs a number in every row")
    refuse(cells, values < 0, "is the weight and needs numbers >= 0")
    if not values.sum():
        raise UserError(f"every weight in column {cells.name!r} is zero", "name another column, or none")


def check_parts(schema: Schema, frame: pd.DataFrame, parts: Mapping[str, np.ndarray]) -> None:
    """Refuse a part of the rows (what it does -> positions) in which no row has a weight above 0."""
    column = schema.role("weight")
    if column is None:
        return
    values = numeric_values(cells_of(frame, column.name), column)
    for does, rows in parts.items():
        if len(rows) and not values[rows].sum():
            what = f"none of the {len(rows)} rows that {does} has a weight above 0 in {column.name!r}"
            raise UserError(what, "use another seed, or no weights")


# ---- cells that count as others


def warn_infinite(series: pd.Series) -> None:
    """Say that infinite cells count as missing."""
    where = np.flatnonzero(infinite(series))
    if len(where):
        message = f"column {str(series.name)!r} holds {len(where)} infinite values: they count as missing"
        warnings.warn(f"{message} (first in row {where[0]})", ZooWarning, stacklevel=5)


def within(values: np.ndarray, column: Column, few: float = FEW) -> np.ndarray:
    """The values (n,) of a modelled column, none beyond its ends; a ZooWarning says which count as others.

    These are values beside a lattice, where they are more than a share `few` of those there, and values beyond the ends
    of one, which its end cells hold. A density has no mass beyond its ends: there they are a UserError.
    """
    warn_beside(values, column, few)
    low = -math.inf if column.lower is None or column.period else column.lower
    high = math.inf if column.upper is None else column.upper
    held, step = np.clip(values, low, high), column.step
    ticks, first, last = (values, low, high) if step is None else (np.rint(one / step) for one in (values, low, high))
    beyond = np.flatnonzero((ticks < first) | (ticks > last))
    if len(beyond):
        row = int(beyond[0])
        where = f"column {column.name!r} holds {values[row]:g} in row {row}, beyond its end {held[row]:g}"
        if column.step is None:
            raise UserError(where, "blank such cells to count them as missing, or fit with other ends in the schema")
        warnings.warn(f"{where}: {len(beyond)} such cells count as the end cell", ZooWarning, stacklevel=5)
    return held


def warn_beside(values: np.ndarray, column: Column, few: float) -> None:
    """Say that values (n,) beside a lattice count as others, where they are more than a share `few` of those there.

    The share is for numbers with decimals, which are a reading that was noted with a digit more; among whole numbers
    a single one is told.
    """
    off = int(off_lattice(values, column).sum())
    if off > (0 if column.step == 1 else few * (~np.isnan(values)).sum()):
        message = f"{_beside(values, column)}: they count as the cell they fall into"
        warnings.warn(message, ZooWarning, stacklevel=6)


def off_lattice(values: np.ndarray, column: Column) -> np.ndarray:
    """Where values (n,) lie beside the lattice of a rounded column, by more than an error of computing."""
    if column.step is None:
        return np.zeros(len(values), dtype=bool)
    return beside_clock(values, column.step) if column.kind == "time" else beside(values, column.step)


def _beside(values: np.ndarray, column: Column) -> str:
    """How many values lie beside the column's lattice, and the first of them."""
    off = np.flatnonzero(off_lattice(values, column))
    first = values[off[0]]
    said = f"{first:g}" if column.kind != "time" else label(EPOCH + pd.Timedelta(days=first))
    what = f"column {column.name!r} is {column.kind} with step = {column.step:g}"
    return f"{what}, and {len(off)} of its cells lie beside that lattice (first {said} in row {off[0]})"
