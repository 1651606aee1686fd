"""Tables out: `write_table`."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

from zoo.errors import UserError, line_of, nearest
from zoo.table.files import ARROW, FORMATS, LINES, TEXT, split_ending

_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can give


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table in the format of the path's ending (`-`: CSV to standard output), whole or not at all.

    Parquet and Arrow keep the index as such; in text it becomes the first columns where it is named or is not
    0, 1, 2 ... Equal tables are equal files.
    Raises UserError for an unknown ending, a path that cannot be written to, or cells the format cannot hold.
    """
    if str(path) == "-":
        _with_index(frame).to_csv(sys.stdout, index=False)
        return
    with _whole(path) as (handle, ending):
        _write(frame if ending in ARROW else _with_index(frame), handle, ending)


def write_parts(frames: Iterable[pd.DataFrame], path: str | Path) -> int:
    """Write frames of the same columns as one table, one after another, whole or not at all; returns its rows.

    Their indices are left out. Text, JSON lines and Parquet; raises UserError as `write_table` does.
    """
    rows = 0
    with _whole(path) as (handle, ending):
        if ending not in (*LINES, *TEXT, ".parquet"):
            raise UserError(f"{str(path)!r} cannot be written part by part", "name a .parquet or a .csv file")
        parquet: pq.ParquetWriter | None = None
        for frame in frames:
            if ending == ".parquet":
                table = pa.Table.from_pandas(frame, preserve_index=False)
                parquet = parquet or pq.ParquetWriter(handle, table.schema)
                parquet.write_table(table.cast(parquet.schema))
            else:
                _write(frame, handle, ending, header=not rows)
            rows += len(frame)
        if parquet is not None:
            parquet.close()
    return rows


@contextmanager
def _whole(path: str | Path) -> Iterator[tuple[IO[bytes], str]]:
    """A handle to write a file with, and its format; the file is there when all is written, or not at all."""
    path, ending, packing = _target(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _opened(temporary, packing, path.name[: -len(packing)] if packing else "") as handle:
            yield handle, ending
        os.replace(temporary, path)
    except OSError as error:
        raise _refused(path, error) from None
    except (ValueError, TypeError, NotImplementedError) as error:  # Arrow's errors are among these
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot write {str(path)!r}: {line_of(error)}", "convert that column to text") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _refused(path: Path, error: OSError) -> UserError:
    what = f"cannot write {str(path)!r}: {error.strerror or line_of(error)}"
    return UserError(what, "check the path, its permissions and the space that is left")


def check_target(path: str | Path | None) -> None:
    """Refuse a path that no table can be written to, before there is one."""
    if path is not None and str(path) != "-":
        _target(path)


def _target(path: str | Path) -> tuple[Path, str, str]:
    """A path to write to, the ending that fixes the format, and the packing."""
    path = Path(path)
    ending, packing = split_ending(path)
    if not ending:
        raise UserError(f"{str(path)!r} does not say what to write", f"{nearest('', FORMATS)}, and {packing} after it")
    try:
        if not path.parent.is_dir():
            raise UserError(f"no folder {str(path.parent)!r} to write {path.name!r} in", "make it, or name another one")
        if path.is_dir():
            raise UserError(f"{str(path)!r} is a folder", "name a file in it")
    except OSError as error:
        raise _refused(path, error) from None
    return path, ending, packing


@contextmanager
def _opened(path: Path, packing: str, member: str) -> Iterator[IO[bytes]]:
    """A new file to write into, packed without the time of writing."""
    with path.open("wb") as file:
        if packing == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as handle:
                yield handle  # type: ignore[misc]
        elif packing == ".bz2":
            with bz2.BZ2File(file, "wb") as handle:
                yield handle
        elif packing == ".xz":
            with lzma.LZMAFile(file, "wb") as handle:
                yield handle
        elif packing == ".zip":
            entry = zipfile.ZipInfo(member, _LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with zipfile.ZipFile(file, "w") as archive, archive.open(entry, "w", force_zip64=True) as handle:
                yield handle
        else:
            yield file


def _write(frame: pd.DataFrame, handle: IO[bytes], ending: str, header: bool = True) -> None:
    """Write in one format."""
    if ending in LINES:
        for line in _json_lines(frame):
            handle.write(line)
    elif ending in TEXT:
        frame.to_csv(handle, index=False, header=header, sep="\t" if ending == ".tsv" else ",", mode="wb")
    elif ending == ".parquet":
        frame.to_parquet(handle)
    else:
        pyarrow.feather.write_feather(pa.Table.from_pandas(frame), handle)


def _json_lines(frame: pd.DataFrame) -> Iterator[bytes]:
    """One JSON object a row: floats to their last digit, missing cells null, dates ISO."""
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return (f"{json.dumps(record, ensure_ascii=False, default=_json_cell)}\n".encode() for record in records)


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
