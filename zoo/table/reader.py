"""Files and frames in, tables out: `read_table` and `write_table`.

Every format ends as a `pandas.DataFrame` with distinct text column names and at least one row; whatever stands in the
way is a `UserError` that says where, and what to do.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import sys
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from zoo.errors import UserError, ZooWarning, nearest
from zoo.table.layout import check_names, find_layout, is_number, separator

MISSING = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null", "?"),
)
"""Cells of a text file that mean missing: pandas' own tokens and `?`."""

TEXT = (".csv", ".tsv", ".txt", ".data")
ENDINGS = (*TEXT, *(f"{ending}.gz" for ending in TEXT), ".parquet", ".feather", ".jsonl", ".jsonl.gz")
"""Endings of the files zoo reads and writes."""


def read_table(
    source: str | Path | pd.DataFrame,
    *,
    header: bool | None = None,
    columns: str | Path | Sequence[str] | None = None,
    sep: str | None = None,
    missing: Sequence[str] = (),
) -> pd.DataFrame:
    """Read a table of N rows and D columns.

    source   path of a .csv, .tsv, .txt or .data file (gzipped where it ends in .gz), .parquet, .feather or .jsonl;
             `-` for CSV on standard input; or a DataFrame, which is copied
    header   whether a text file's first row holds the names; none: found out from its cells
    columns  names of a text file without a header: a list, or a file with a JSON list, with a JSON object from table
             file names to lists, or with one name a line; a first row that repeats the names is skipped
    sep      what separates the cells of a text file: one character, `tab` or `whitespace`; none: found out
    missing  tokens that mean missing, beside pandas' own and `?` (in text files) or beside null (elsewhere)

    Raises UserError where there is no such file, no rows, no distinct names, or the file is not what its ending says.
    """
    options = _Options(header, columns, sep, tuple(missing))
    if isinstance(source, pd.DataFrame):
        where = "the table"
        frame = _typed(source.copy(), options, where)
    else:
        where = _said(source)
        frame = _read(source, options)
    frame.columns = pd.Index([str(name) for name in frame.columns], dtype="str")
    check_names(frame.columns, where)
    if not frame.shape[1]:
        raise UserError(f"{where} has no columns", "give a table with at least one row and one column")
    if not len(frame):
        raise UserError(f"{where} has no rows", "give a table with at least one row below the names")
    return frame


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table in the format of the path's ending (`-`: CSV to standard output), whole or not at all.

    The index becomes the first columns where it is named or is not 0, 1, 2 ...
    Raises UserError for an unknown ending, a folder that is not there, or cells the format cannot hold.
    """
    frame = _with_index(frame)
    if str(path) == "-":
        frame.to_csv(sys.stdout, index=False)
        return
    path = Path(path)
    ending = _ending(path)
    if not path.parent.is_dir():
        raise UserError(f"no folder {str(path.parent)!r} to write {path.name!r} in", "make it, or name another one")
    if path.is_dir():
        raise UserError(f"{str(path)!r} is a folder", "name a file in it")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _write(frame, temporary, ending)
        os.replace(temporary, path)
    except (ValueError, TypeError, NotImplementedError) as error:  # Arrow's errors are among these
        raise UserError(f"cannot write {str(path)!r}: {_line(error)}", "convert that column to text") from None
    finally:
        temporary.unlink(missing_ok=True)


# ---- which format


@dataclass(frozen=True)
class _Options:
    """The reading options of `read_table`."""

    header: bool | None
    columns: str | Path | Sequence[str] | None
    sep: str | None
    missing: tuple[str, ...]


def _read(source: str | Path, options: _Options) -> pd.DataFrame:
    """Read a path or standard input by its format."""
    if str(source) == "-":
        return _read_text(sys.stdin.buffer.read(), source, options)
    path = _existing(source)
    ending = _ending(path)
    if ending.removesuffix(".gz") in TEXT:
        return _read_text(_bytes(path), path, options)
    return _typed(_read_typed(path, ending), options, _said(path))


def _typed(frame: pd.DataFrame, options: _Options, where: str) -> pd.DataFrame:
    """A frame that came with names and types: of the options, only `missing` has a meaning for it."""
    if (options.header, options.columns, options.sep) != (None, None, None):
        raise UserError(f"{where} carries its own column names", "leave out header, columns and sep")
    if not options.missing:
        return frame
    numbers = [str(float(token)) for token in options.missing if is_number(token)]
    return frame.mask(frame.astype(str).isin([*options.missing, *numbers]))


def _read_typed(path: Path, ending: str) -> pd.DataFrame:
    """Read a file whose cells have types."""
    if path.stat().st_size == 0:
        raise UserError(f"{_said(path)} is empty", "write it again")
    if ending.startswith(".jsonl"):
        return _read_jsonl(path)
    load: Callable[[Path], pd.DataFrame] = pd.read_parquet if ending == ".parquet" else pd.read_feather
    try:
        return load(path)
    except (ValueError, OSError, KeyError, NotImplementedError) as error:  # Arrow's errors are among these
        remedy = "write it again, or rename it to what it is"
        raise UserError(f"{_said(path)} is not a whole {ending[1:]} file: {_line(error)}", remedy) from None


def _read_jsonl(path: Path) -> pd.DataFrame:
    """Read one JSON object a line."""
    records = []
    for number, line in enumerate(_decoded(_bytes(path), _said(path)).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{_said(path)}, line {number}: not JSON ({error.msg})", "one object a line") from None
        if not isinstance(record, dict):
            raise UserError(f"{_said(path)}, line {number}: not a JSON object", 'one object a line: {"name": value}')
        records.append(record)
    return pd.DataFrame(records)


def _write(frame: pd.DataFrame, path: Path, ending: str) -> None:
    """Write in one format; gzip without a time, so that equal tables are equal files."""
    zipped: Any = {"method": "gzip", "mtime": 0} if ending.endswith(".gz") else None
    plain = ending.removesuffix(".gz")
    if plain == ".jsonl":
        path.write_bytes(_jsonl(frame) if zipped is None else gzip.compress(_jsonl(frame), mtime=0))
    elif plain in TEXT:
        frame.to_csv(path, index=False, sep="\t" if plain == ".tsv" else ",", compression=zipped)
    elif ending == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_feather(path)


def _jsonl(frame: pd.DataFrame) -> bytes:
    """One JSON object a row: floats to their last digit, missing cells null, dates ISO."""
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    lines = (json.dumps(record, ensure_ascii=False, default=_json_cell) for record in records)
    return "".join(f"{line}\n" for line in lines).encode()


def _json_cell(value: Any) -> Any:
    """A cell that JSON has no word for."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else str(value)


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with an index worth keeping turned into columns."""
    default = frame.index.nlevels == 1 and frame.index.name is None and frame.index.equals(pd.RangeIndex(len(frame)))
    try:
        return frame.reset_index(drop=default)
    except ValueError:
        names = ", ".join(repr(name) for name in frame.index.names)
        raise UserError(f"the index {names} is the name of a column as well", "rename one of the two") from None


def _ending(path: Path) -> str:
    """The ending that fixes the format, one of ENDINGS."""
    name = path.name.lower()
    for ending in sorted(ENDINGS, key=len, reverse=True):
        if name.endswith(ending):
            return ending
    raise UserError(f"{str(path)!r} has an ending that zoo does not read or write", nearest(path.suffix, ENDINGS))


# ---- files


def _existing(source: str | Path) -> Path:
    """The path of a file that is there."""
    path = Path(source).expanduser()
    if path.is_dir():
        tables = [p.name for p in sorted(path.iterdir()) if p.name.lower().endswith(ENDINGS)]
        listed = ", ".join(tables[:10]) + (", ..." if len(tables) > 10 else "")
        raise UserError(f"{str(source)!r} is a folder", f"name a table in it: {listed}" if tables else "name a file")
    if path.is_file():
        return path
    if not path.parent.is_dir():
        raise UserError(f"no file {str(source)!r}: there is no folder {str(path.parent)!r}", "check the path")
    files = [p.name for p in path.parent.iterdir() if p.is_file() and not p.name.startswith(".")]
    remedy = nearest(path.name, files) if files else "the folder is empty"
    raise UserError(f"no file {str(source)!r}", remedy.replace("legal:", "in its folder:"))


def _bytes(path: Path) -> bytes:
    """The content of a file, unzipped."""
    data = path.read_bytes()
    if path.suffix.lower() != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{_said(path)} is not a whole gzip file: {_line(error)}", "fetch or write it again") from None


def _decoded(data: bytes, where: str) -> str:
    """Bytes as text: UTF-8 (UTF-16 where a byte-order mark says so), and Latin-1 with a warning where it is neither."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data:
        raise UserError(f"{where} holds zero bytes: it is not text", "give it the ending of what it is")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"{where}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8"
        warnings.warn(f"{found}; read as Latin-1 (save the file as UTF-8 if names look odd)", ZooWarning, stacklevel=2)
        return data.decode("latin-1")


def _said(source: str | Path) -> str:
    """A source as messages name it."""
    return "standard input" if str(source) == "-" else repr(str(source))


def _line(error: Exception) -> str:
    """The first line of an exception."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# ---- text files


def _read_text(data: bytes, source: str | Path, options: _Options) -> pd.DataFrame:
    """Read separated text."""
    where = _said(source)
    text = _decoded(data, where)
    if not text.strip():
        raise UserError(f"{where} is empty", "give a table with at least one row below the names")
    tokens = {*MISSING, *options.missing}
    names = None if options.columns is None else _column_names(options.columns, source)
    layout = find_layout(text, where, options.header, names, separator(options.sep), tokens)
    try:
        return pd.read_csv(
            io.StringIO(text),
            sep=layout.sep,
            header=0 if layout.skip else None,
            names=layout.names,
            decimal=layout.decimal,
            na_values=sorted(tokens),
            keep_default_na=False,
            skipinitialspace=True,
            index_col=False,
            low_memory=False,
        )
    except pd.errors.EmptyDataError:
        raise UserError(f"{where} has no rows", "give a table with at least one row below the names") from None
    except (pd.errors.ParserError, csv.Error) as error:
        raise UserError(f"{where}: {_parse_error(error)}", "mend that row, or name the separator (--sep)") from None


def _parse_error(error: Exception) -> str:
    """What the C parser found, for a person."""
    uneven = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
    if uneven:
        return f"line {uneven[2]} has {uneven[3]} cells where {uneven[1]} were expected"
    unclosed = re.search(r"EOF inside string starting at row (\d+)", str(error))
    if unclosed:
        return f'a quote (") opened near line {int(unclosed[1]) + 1} is never closed'
    return _line(error)


def _column_names(columns: str | Path | Sequence[str], source: str | Path) -> list[str]:
    """The names that `columns` gives: a list, or the content of a file."""
    if not isinstance(columns, str | Path):
        return [str(name) for name in columns]
    path = _existing(columns)
    text = _decoded(path.read_bytes(), _said(path))
    if path.suffix.lower() != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{_said(path)}, line {error.lineno}: not JSON ({error.msg})", "give a list of names") from None
    if isinstance(document, dict):
        document = _for_file(document, source, path)
    if not isinstance(document, list) or not all(isinstance(name, str) for name in document):
        raise UserError(f"{_said(path)} is not a list of names", 'like ["age", "sex"] or {"table.csv": ["age", "sex"]}')
    return document


def _for_file(document: dict[str, Any], source: str | Path, path: Path) -> Any:
    """The entry of a JSON object that belongs to the table's file name, zipped or not."""
    name = Path(source).name
    for key in (name, name.removesuffix(".gz"), f"{name}.gz"):
        if key in document:
            return document[key]
    raise UserError(f"{_said(path)} names no columns for {name!r}", nearest(name, document))
