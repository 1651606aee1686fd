"""What each column of a table seems to be."""

from __future__ import annotations

import fnmatch
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from zoo.arguments import names_in, pairs_in
from zoo.errors import UserError, ZooWarning, nearest
from zoo.table.cells import (
    Cells,
    at,
    family,
    label,
    labels,
    listed,
    numbers,
    numeric_values,
    sorted_labels,
    tokens,
)
from zoo.table.check import FEW, check_schema, check_weight, off_lattice, refuse, warn_beside, warn_infinite
from zoo.table.lattice import clock_step, lattice_step
from zoo.table.layout import is_number
from zoo.table.reader import read_table
from zoo.table.schema import KINDS, Column, Kind, Role, Schema
from zoo.table.support import atoms_of, ends_of
from zoo.table.text import MISSING

__all__ = ["infer_schema", "label", "labels", "lattice_step", "numeric_values"]

ALL_MISSING, CONSTANT = "all cells missing", "constant"
MIN_ROWS_ID = 20
"""Fewer rows than this are never taken for identifiers."""


def infer_schema(
    frame: pd.DataFrame,
    *,
    kinds: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    given: Sequence[str] = (),
    group: str | None = None,
    weight: str | None = None,
) -> Schema:
    """The schema of a table of N rows and D columns.

    kinds   name or glob -> kind, taken instead of the inferred one; an exact name goes before a glob, a later glob
            before an earlier one, and a glob leaves columns that cannot take the kind as they are
    units   name or glob -> unit, which go before one another as kinds do; numbers of one unit share a scale in a model
    ignore  names or globs of columns that take no part
    given   names or globs of columns to condition upon
    group   name of the column whose levels are groups
    weight  name of the column with a weight >= 0 for each row

    What is set aside, and why, is a ZooWarning. Raises UserError for names and kinds that do not exist, for an exact
    name whose cells cannot be of the kind asked, and where no column is left to model.
    """
    frame = read_table(frame)
    names = list(frame.columns)
    forced = _Forced.of(pairs_in(kinds, "kinds"), names)
    given, ignore = names_in(given, "given"), names_in(ignore, "ignore")
    group, weight = (None if name is None else str(name) for name in (group, weight))
    roles = _roles(names, given, group, weight)
    ignored = {name for pattern in ignore for name in _matching(pattern, names, "ignore")} - set(roles)
    columns = []
    for name in names:
        cells = Cells(frame[name])
        warn_infinite(cells.series)
        if name in ignored:
            columns.append(_column(cells, kind="ignored", note="ignored on request"))
        else:
            columns.append(_infer(cells, roles.get(name, "model"), forced, keep=roles.get(name) == "given"))
    forced.warn()
    _warn_set_aside([c for c in columns if c.kind == "ignored" and c.name not in ignored])
    return _with_something_left(Schema(columns=tuple(_with_units(columns, pairs_in(units, "units"), names))))


def schema_for(frame: pd.DataFrame, schema: Any = None, **asked: Any) -> Schema:
    """The schema that was given, held against the whole table; or else the one inferred, as it was `asked`.

    schema  a Schema, or the path of one as TOML
    """
    if schema is None:
        return infer_schema(frame, **asked)
    used = [name for name, value in asked.items() if value is not None and len(value)]
    if used:
        raise UserError(f"schema= already says what each column is; {', '.join(used)} cannot be added", "edit it")
    schema = as_schema(schema)
    check_schema(schema, frame)
    return schema


def as_schema(schema: Any) -> Schema:
    """A schema, or the one in a file."""
    if isinstance(schema, str | PathLike):
        return Schema.read(schema)
    if not isinstance(schema, Schema):
        what = f"schema= takes a Schema or the path of one, not a {type(schema).__name__}"
        raise UserError(what, "zoo.infer_schema(table) gives one, `zoo inspect TABLE` prints one")
    return schema


def _with_units(columns: list[Column], units: Mapping[str, str], names: list[str]) -> list[Column]:
    """The columns with their units: a glob leaves what is no number as it is."""
    of: dict[str, str] = {}
    for pattern, unit in sorted(units.items(), key=lambda pair: pair[0] in names):
        if not isinstance(unit, str) or not unit:
            raise UserError(f"--unit {pattern!r}: expected the name of a unit, got {unit!r}", "any text will do")
        for name in _matching(pattern, names, "unit"):
            column = columns[names.index(name)]
            if column.is_number:
                of[name] = unit
            elif name == pattern and column.kind != "ignored":
                raise UserError(
                    f"--unit {name!r}: the column is {column.kind}, and only numbers have a unit", "leave it out"
                )
    return [Column(**dict(c) | {"unit": of[c.name]}) if c.name in of else c for c in columns]


# ---- one column


def _infer(cells: Cells, role: Role, forced: _Forced, keep: bool) -> Column:
    """One column, by its role, by what was asked, or by its cells."""
    if role == "weight":
        return _weight(cells)
    if role == "group":
        return _group(cells)
    kind, exact = forced.kind(cells.name)
    if kind == "ignored":
        return _column(cells, role, kind="ignored", note="ignored on request")
    reason = _set_aside(cells, keep=keep or exact)
    if reason:
        return _column(cells, role, kind="ignored", note=reason)
    if kind is None:
        return _guess(cells, role)
    try:
        return _forced_column(cells, role, kind, exact)
    except UserError:
        if exact:
            raise
        forced.refused[cells.name] = kind
        return _guess(cells, role)


def _column(cells: Cells, role: Role = "model", **fields: Any) -> Column:
    share = float(cells.missing.mean())
    return Column(name=cells.name, role=role, dtype=str(cells.series.dtype), missing=share, **fields)


def _set_aside(cells: Cells, keep: bool) -> str:
    """Why a column cannot or should not be modelled; nothing where it can. `keep` spares columns that look like IDs."""
    if cells.missing.all():
        return ALL_MISSING
    if cells.family == "other":
        return f"{cells.series.dtype} cells that are neither numbers, text nor dates"
    if cells.distinct == 1:
        return CONSTANT
    return "" if keep else _id_like(cells)


def _id_like(cells: Cells) -> str:
    """Why a column looks like an identifier; nothing where it does not."""
    rows = len(cells.series)
    if cells.family == "number" and rows == len(cells.numbers) >= MIN_ROWS_ID:
        jumps = np.diff(cells.numbers)
        if abs(jumps[0]) == 1 and (jumps == jumps[0]).all() and float(cells.numbers[0]).is_integer():
            first, second, last = (label(v) for v in cells.numbers[[0, 1, -1]])
            return f"ID-like: row numbers {first}, {second} ... {last}"
    present = int((~cells.missing).sum())
    if cells.family in ("text", "category") and present >= MIN_ROWS_ID and cells.distinct > 0.95 * present:
        _warn_nearly_numeric(cells, "set aside")
        return f"ID-like: {cells.distinct} distinct texts in {present} rows"
    return ""


def _guess(cells: Cells, role: Role) -> Column:
    """The kind that the cells suggest."""
    _warn_nearly_missing(cells)
    if cells.distinct == 2 and len(cells.levels) == 2:
        return _column(cells, role, kind="binary", levels=cells.levels)
    if cells.family == "number":
        return _number(cells, role)
    if cells.family == "time":
        return _column(cells, role, kind="time", step=clock_step(cells.numbers))
    _warn_nearly_numeric(cells)
    return _column(cells, role, kind="ordinal" if cells.ordered else "categorical", levels=cells.levels)


def _number(cells: Cells, role: Role) -> Column:
    """A column of numbers, with the lattice, the ends and the atoms that its cells show."""
    step = lattice_step(cells.numbers)
    lower, upper = ends_of(cells.numbers, step)
    atoms = atoms_of(cells.numbers, step, lower)
    kind = "integer" if step == 1 else "continuous"
    column = _column(cells, role, kind=kind, step=step, lower=lower, upper=upper, atoms=atoms)
    _warn_beside(cells, column)
    return column


def _forced_column(cells: Cells, role: Role, kind: Kind, exact: bool) -> Column:
    """A column of the kind asked for: continuous means the real line, without ends, atoms or a transform.

    Raises UserError where its cells cannot be of that kind.
    """
    if kind == "binary" and len(cells.levels) != 2:
        found = ", ".join(map(repr, cells.levels[:5])) + (", ..." if len(cells.levels) > 5 else "")
        message = f"column {cells.name!r} cannot be binary: it has {len(cells.levels)} values, {found}"
        raise UserError(message, f"--kind '{cells.name}=categorical' takes any number of them")
    if kind in ("binary", "categorical", "ordinal"):
        if kind == "ordinal" and not cells.ordered and not all(map(is_number, cells.levels)):
            message = f"column {cells.name!r} is ordinal with its levels in alphabetical order"
            warnings.warn(f"{message}: put them in order in the schema", ZooWarning, stacklevel=4)
        return _column(cells, role, kind=kind, levels=cells.levels)
    if cells.family == "bool" and not exact:
        raise UserError(f"column {cells.name!r} holds True and False, not numbers")
    column = _column(cells, role, kind=kind, transform="none" if kind == "continuous" else "auto")
    values = numeric_values(cells.series, column)
    if kind == "time":
        return column.model_copy(update={"step": clock_step(values[~np.isnan(values)])})
    if kind in ("integer", "count"):
        refuse(cells, np.abs(values - np.rint(values)) > 0, f"is {kind} and needs whole numbers")
    if kind == "count":
        refuse(cells, values < 0, "is count and needs numbers >= 0")
        atoms = atoms_of(values[~np.isnan(values)], 1.0, 0.0)
        return column.model_copy(update={"atoms": tuple(atom for atom in atoms if atom == 0)})
    return column


def _group(cells: Cells) -> Column:
    """The column whose levels are groups."""
    if cells.missing.all():
        raise UserError(f"the group column {cells.name!r} has only missing cells", "name another one, or none")
    return _column(cells, "group", kind="categorical", levels=tuple(sorted_labels(cells.labels.unique())))


def _weight(cells: Cells) -> Column:
    """The column of row weights."""
    column = _column(cells, "weight", kind="continuous")
    check_weight(cells, column)
    return column


# ---- what the user asked for


@dataclass(frozen=True)
class _Forced:
    """Kinds the user asked for.

    exact    column name -> kind
    globbed  column name -> (kind, glob)
    refused  column name -> kind, for columns that a glob matched and that cannot take its kind
    """

    exact: dict[str, Kind]
    globbed: dict[str, tuple[Kind, str]]
    refused: dict[str, Kind]

    @classmethod
    def of(cls, kinds: Mapping[str, str], names: list[str]) -> _Forced:
        forced = cls({}, {}, {})
        for pattern, kind in kinds.items():
            if kind not in KINDS:
                raise UserError(f"no kind {kind!r} (asked for {pattern!r})", nearest(str(kind), KINDS))
            for name in _matching(pattern, names, "kind"):
                if name == pattern:
                    forced.exact[name] = kind  # type: ignore[assignment]
                else:
                    forced.globbed[name] = (kind, pattern)  # type: ignore[assignment]
        return forced

    def kind(self, name: str) -> tuple[Kind | None, bool]:
        """The kind asked for, if any, and whether it was asked for by exact name."""
        if name in self.exact:
            return self.exact[name], True
        return self.globbed.get(name, (None, ""))[0], False

    def warn(self) -> None:
        """Say which columns a glob left as they are."""
        for kind, pattern in dict.fromkeys(self.globbed[name] for name in self.refused):
            left = [name for name in self.refused if self.globbed[name] == (kind, pattern)]
            message = f"--kind '{pattern}={kind}' leaves columns that cannot be {kind} as they are: {listed(left)}"
            warnings.warn(message, ZooWarning, stacklevel=3)


def _matching(pattern: str, names: list[str], option: str) -> list[str]:
    """The columns that an exact name or a glob means."""
    if pattern in names:
        return [pattern]
    found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise UserError(f"--{option} {pattern!r} matches no column", nearest(pattern, names))
    return found


def _roles(names: list[str], given: Sequence[str], group: str | None, weight: str | None) -> dict[str, Role]:
    """The columns with a role other than being modelled."""
    roles: dict[str, Role] = {name: "given" for pattern in given for name in _matching(pattern, names, "given")}
    single: tuple[tuple[Role, str | None], ...] = (("group", group), ("weight", weight))
    for role, name in single:
        if name is None:
            continue
        if name not in names:
            raise UserError(f"no column {name!r} for --{role}", nearest(name, names))
        if name in roles:
            raise UserError(f"column {name!r} cannot be both {roles[name]} and {role}", "give it one role")
        roles[name] = role
    return roles


# ---- what the user should know


def _warn_set_aside(columns: list[Column]) -> None:
    if columns:
        reasons = listed([f"{c.name} ({c.note})" for c in columns], quoted=False)
        warnings.warn(f"set aside: {reasons}", ZooWarning, stacklevel=3)


def _warn_beside(cells: Cells, column: Column) -> None:
    """Warn of the few cells that lie beside the lattice of the others."""
    if column.role == "model" and off_lattice(cells.numbers, column).any():
        warn_beside(numeric_values(cells.series, column), column, FEW)


def _warn_nearly_numeric(cells: Cells, fate: str = "kept as categorical") -> None:
    """Warn of text that is numbers but for a few cells, or throughout."""
    if family(cells.series) != "text":
        return
    bad = np.isnan(numbers(cells.series)) & ~cells.missing
    share = 1 - bad.sum() / (~cells.missing).sum()
    if not bad.any():
        message = f"column {cells.name!r} is numbers stored as text: {fate}"
        warnings.warn(f"{message} (--kind '{cells.name}=continuous' changes that)", ZooWarning, stacklevel=5)
    elif share > 0.9:
        message = f"column {cells.name!r} is {share:.1%} numbers, but holds {at(cells.series, bad)}"
        named = tokens(cells.series, bad)
        advice = f"; if these mean missing, {named}" if named else ""
        warnings.warn(f"{message}: {fate}{advice}", ZooWarning, stacklevel=5)


def _warn_nearly_missing(cells: Cells) -> None:
    """Warn of levels of a frame that would be missing cells in a file."""
    found = sorted(set(cells.levels) & set(MISSING)) if cells.family in ("text", "category") else []
    if found:
        message = f"column {cells.name!r} has the level {found[0]!r}, which in a file is a missing cell"
        warnings.warn(f"{message}: kept as a level; where it is missing put None", ZooWarning, stacklevel=5)


def _with_something_left(schema: Schema) -> Schema:
    if schema.modelled:
        return schema
    reasons = "; ".join(f"{c.name}: {c.note or c.role}" for c in schema.columns)
    lost = all(c.note in (ALL_MISSING, CONSTANT) for c in schema.columns)
    remedy = "give columns that vary" if lost else "name one with --kind 'NAME=KIND', or give more columns"
    raise UserError(f"no column is left to model: {reasons}", remedy)
