"""Separated text, and the names that a file of names gives to its columns."""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from zoo.errors import UserError, ZooWarning, line_of, nearest
from zoo.table.files import PACKINGS, decoded, existing, said
from zoo.table.layout import Layout, find_layout, separator, widths

MISSING = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null", "?"),
)
"""Cells of a text file that mean missing: pandas' own tokens and `?`."""


def read_text(
    data: bytes,
    source: str | Path,
    header: bool | None,
    columns: str | Path | Sequence[str] | None,
    sep: str | None,
    missing: Sequence[str],
) -> pd.DataFrame:
    """Read separated text, by the options of `read_table`.

    Raises UserError where it is empty, has no rows, or rows of different widths.
    """
    where = said(source)
    text = decoded(data, where)
    if not text.strip():
        raise UserError(f"{where} is empty", "give a table with at least one row below the names")
    tokens = {*MISSING, *missing}
    names = None if columns is None else _column_names(columns, source)
    layout = find_layout(text, where, header, names, separator(sep), tokens)
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            sep=layout.sep,
            header=0 if layout.skip else None,
            names=layout.names,
            decimal=layout.decimal,
            quotechar=layout.quote,
            na_values=sorted(tokens),
            keep_default_na=False,
            skipinitialspace=True,
            index_col=False,
            low_memory=False,
        )
        _warn_short_rows(text, layout, frame, where)
        return frame
    except pd.errors.EmptyDataError:
        raise UserError(f"{where} has no rows", "give a table with at least one row below the names") from None
    except (pd.errors.ParserError, csv.Error) as error:
        raise UserError(f"{where}: {_parse_error(error)}", "mend that row, or name the separator (--sep)") from None


def _warn_short_rows(text: str, layout: Layout, frame: pd.DataFrame, where: str) -> None:
    """Warn of rows with fewer cells than columns, as a file has that was cut off in its middle."""
    if not frame.iloc[:, -1].isna().any():
        return  # a short row lacks the last cell at least
    width, last = len(layout.names), 0
    short: list[tuple[int, int]] = []
    for number, cells in widths(text, layout.sep, layout.quote):
        last = number
        if cells < width:
            short.append((number, cells))
    if not short:
        return
    line, cells = short[0]
    message = f"{where}, line {line}: {cells} cells where {width} were expected"
    more = "" if len(short) == 1 else f", and so in {len(short) - 1} more lines"
    cut = ": it is the last one, was the file cut off?" if line == last else ""
    warnings.warn(f"{message}{more}{cut or ': what is not there counts as missing'}", ZooWarning, stacklevel=4)


def _parse_error(error: Exception) -> str:
    """What the C parser found, for a person."""
    uneven = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
    if uneven:
        return f"line {uneven[2]} has {uneven[3]} cells where {uneven[1]} were expected"
    unclosed = re.search(r"EOF inside string starting at row (\d+)", str(error))
    if unclosed:
        return f'a quote (") opened near line {int(unclosed[1]) + 1} is never closed'
    return line_of(error)


# ---- names from a file


def _column_names(columns: str | Path | Sequence[str], source: str | Path) -> list[str]:
    """The names that `columns` gives: a list, or the content of a file."""
    if not isinstance(columns, str | Path):
        return [str(name) for name in columns]
    path = existing(columns)
    text = decoded(path.read_bytes(), said(path))
    if path.suffix.lower() != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{said(path)}, line {error.lineno}: not JSON ({error.msg})", "give a list of names") from None
    if isinstance(document, dict):
        document = _for_file(document, source, path)
    if not isinstance(document, list) or not all(isinstance(name, str) for name in document):
        raise UserError(f"{said(path)} is not a list of names", 'like ["age", "sex"] or {"table.csv": ["age", "sex"]}')
    return document


def _for_file(document: dict[str, Any], source: str | Path, path: Path) -> Any:
    """The entry of a JSON object that belongs to the table's file name, packed or not."""
    name = Path(source).name
    plain = next((name.removesuffix(p) for p in PACKINGS if name.endswith(p)), name)
    for key in (name, plain, *(f"{plain}{packing}" for packing in PACKINGS)):
        if key in document:
            return document[key]
    raise UserError(f"{said(path)} names no columns for {name!r}", nearest(name, document))
