"""Files, databases and frames in: `read_table`.

Every source ends as a `pandas.DataFrame` with distinct text column names and at least one row; whatever stands in the
way is a `UserError` that says where, and what to do.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from zoo.errors import UserError
from zoo.table.arrays import read_arrays, split_array
from zoo.table.files import ARRAYS, ARROW, TEXT, Content, content_of, ending_to_read, existing, is_url, said, sniffed
from zoo.table.frames import as_pandas
from zoo.table.layout import check_names, is_number
from zoo.table.size import check_text
from zoo.table.text import read_text
from zoo.table.typed import read_folder, read_typed


def read_table(
    source: Any,
    *,
    header: bool | None = None,
    columns: str | Path | Sequence[str] | None = None,
    sep: str | None = None,
    missing: Sequence[str] = (),
    query: str | None = None,
) -> pd.DataFrame:
    """Read a table of N rows and D columns.

    source   one of
             - the path of a file of text (.csv, .tsv, .txt, .data), of JSON lines (.jsonl, .ndjson), of Parquet, of
               Arrow (.feather, .arrow) or of arrays (.npy, .npz, `my.npz:name`), packed where .gz, .bz2, .xz or .zip
               follows, or of a folder of Parquet files; of a file with another ending, and of IDX files, the first
               bytes say what they are;
             - `-` for standard input, whose first bytes say which of these it is;
             - the URL of a database, like sqlite:///shop.db or postgresql://user@host/shop;
             - a table that Python holds: see `zoo.table.frames.as_pandas`. It is copied
    header   whether a text file's first row holds the names; none: found out from its cells
    columns  names of a text file without a header: a list, or a file with a JSON list, with a JSON object from table
             file names to lists, or with one name a line; a first row that repeats the names is skipped
    sep      what separates the cells of a text file: one character, `tab` or `whitespace`; none: found out
    missing  tokens that mean missing, beside pandas' own and `?` (in text files) or beside null (elsewhere)
    query    the SQL that gives the table from a database; none: the only table in it

    Raises UserError where there is no such source, no rows, no distinct names, or a file is not what its ending says.
    """
    options = _Options(header, columns, sep, tuple(missing), query)
    named = isinstance(source, str | Path)
    where = said(source) if named else "the table"
    if query is not None and not is_url(source):
        raise UserError(f"a query needs a database, and {where} is none", "give a URL like sqlite:///shop.db")
    frame = _read(source, options, where) if named else _typed(as_pandas(source), options, where)
    frame.columns = pd.Index([str(name) for name in frame.columns], dtype="str")
    check_names(frame.columns, where, "rename them (select a as b)" if is_url(source) else "rename them")
    if not frame.shape[1]:
        raise UserError(f"{where} has no columns", "give a table with at least one row and one column")
    if not len(frame):
        raise UserError(f"{where} has no rows", "give a table with at least one row below the names")
    return frame


def read_like(
    source: str | Path, kept: Mapping[str, Any], needed: Iterable[str], query: str | None = None, **asked: Any
) -> pd.DataFrame:
    """Read a file as another one was read.

    kept    the options of `read_table` with which that one was read; those `asked` now go before them
    needed  columns that both should have. A file that with the kept layout cannot be read, or has none of them, is
            laid out in another way: what is left of `kept` is then `missing`
    """
    asked = {name: value for name, value in asked.items() if value is not None and value != []}
    both = {**kept, **asked}
    layout = {name for name in ("header", "columns", "sep") if name in kept and name not in asked}
    if not layout or str(source) == "-":
        return read_table(source, query=query, **both)
    plain = {name: value for name, value in both.items() if name not in layout}
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        try:
            frame = read_table(source, query=query, **both)
        except UserError:
            frame = None
    if frame is None or not set(needed) & set(frame):
        return read_table(source, query=query, **plain)
    for one in notes:
        warnings.warn(one.message, one.category, stacklevel=2)
    return frame


@dataclass(frozen=True)
class _Options:
    """The reading options of `read_table`."""

    header: bool | None
    columns: str | Path | Sequence[str] | None
    sep: str | None
    missing: tuple[str, ...]
    query: str | None


def _read(source: str | Path, options: _Options, where: str) -> pd.DataFrame:
    """Read a path, a URL or standard input."""
    if is_url(source):
        from zoo.table.sql import read_sql

        return _typed(read_sql(str(source), options.query), options, where)
    if str(source) == "-":
        return _read_content(sniffed(sys.stdin.buffer.read(), where), source, options, where)
    source, array = split_array(source)
    path = existing(source)
    if path.is_dir():
        return _typed(read_folder(path, where), options, where)
    ending, packing = ending_to_read(path)
    if ending in ARROW and not packing:
        return _typed(read_typed(path, ending, where), options, where)
    check_text(path.stat().st_size, where)
    return _read_content(content_of(path), path, options, where, array)


def _read_content(
    content: Content, source: str | Path, options: _Options, where: str, array: str | None = None
) -> pd.DataFrame:
    """Read unpacked bytes."""
    if content.ending in ARRAYS:
        return _typed(read_arrays(content, source, array), options, where)
    if content.ending in TEXT:
        return read_text(content.data, source, options.header, options.columns, options.sep, options.missing)
    return _typed(read_typed(content, content.ending, where), options, where)


def _typed(frame: pd.DataFrame, options: _Options, where: str) -> pd.DataFrame:
    """A frame that came with names and types: of the options, only `missing` has a meaning for it."""
    if (options.header, options.columns, options.sep) != (None, None, None):
        raise UserError(f"{where} carries its own column names", "leave out header, columns and sep")
    if not options.missing:
        return frame
    numbers = [str(float(token)) for token in options.missing if is_number(token)]
    return frame.mask(frame.astype(str).isin([*options.missing, *numbers]))
