"""Tables whose cells have types: Parquet, Arrow and JSON lines, and Arrow tables as pandas has them."""

from __future__ import annotations

import io
import json
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.feather
import pyarrow.parquet as pq

from zoo.errors import UserError, ZooWarning, line_of
from zoo.table.files import ARROW, Content, decoded

_BROKEN = (ValueError, OSError, KeyError, TypeError, NotImplementedError)  # Arrow's errors are among these


def read_typed(source: Path | Content, ending: str, where: str) -> pd.DataFrame:
    """Read a file, or the content of one, in one of the formats LINES and ARROW.

    Raises UserError where it is empty or is not what its ending says.
    """
    if not (source.stat().st_size if isinstance(source, Path) else len(source.data)):
        raise UserError(f"{where} is empty", "write it again")
    if ending not in ARROW:
        return _read_lines(source.read_bytes() if isinstance(source, Path) else source.data, where)
    load = _parquet if ending == ".parquet" else _arrow
    try:
        return from_arrow(load(source if isinstance(source, Path) else pa.BufferReader(source.data)))
    except _BROKEN as error:
        remedy = "write it again, or rename it to what it is"
        raise UserError(f"{where} is not a whole {ending[1:]} file: {line_of(error)}", remedy) from None


def _parquet(source: Any) -> pa.Table:
    return pq.read_table(source, partitioning=None)  # a folder called year=2020 above a file is no column


def _arrow(source: Any) -> pa.Table:
    """An Arrow file (Feather is one) or stream."""
    file = pa.OSFile(str(source)) if isinstance(source, Path) else source
    with file:
        if file.read(4) == b"\xff\xff\xff\xff":
            file.seek(0)
            return pa.ipc.open_stream(file).read_all()
        file.seek(0)
        return pyarrow.feather.read_table(file)


def read_folder(folder: Path, where: str) -> pd.DataFrame:
    """Read a folder of Parquet files as one table, in the order of their names; `name=value` folders are columns.

    A column that some files lack is missing there, with a warning. Raises UserError where one is not a whole Parquet
    file, and where a column has types in two files that do not go together.
    """
    files = [str(p) for p in sorted(folder.rglob("*")) if p.suffix.lower() == ".parquet" and _shown(p, folder)]
    options: dict[str, Any] = {"format": "parquet", "partitioning": "hive", "partition_base_dir": str(folder)}
    try:
        read = ds.dataset(files, **options)
        schemas = [fragment.physical_schema for fragment in read.get_fragments()]
        together = pa.unify_schemas([read.schema, *schemas], promote_options="permissive")
        table = ds.dataset(files, schema=together, **options).to_table()
    except _BROKEN as error:
        message = f"{where} is not a folder of Parquet files of one table: {line_of(error)}"
        raise UserError(message, "name one of them") from None
    lacking = [name for name in together.names if 0 < sum(name not in s.names for s in schemas) < len(schemas)]
    if lacking:
        message = f"some of the {len(files)} files of {where} lack {', '.join(map(repr, lacking[:10]))}"
        warnings.warn(f"{message}: missing cells there", ZooWarning, stacklevel=2)
    return from_arrow(table)


def _shown(path: Path, folder: Path) -> bool:
    return not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)


def _read_lines(data: bytes, where: str) -> pd.DataFrame:
    """Read one JSON object a line."""
    records = []
    for number, line in enumerate(io.StringIO(decoded(data, where)), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{where}, line {number}: not JSON ({error.msg})", "one object a line") from None
        if not isinstance(record, dict):
            raise UserError(f"{where}, line {number}: not a JSON object", 'one object a line: {"name": value}')
        records.append(record)
    return pd.DataFrame(records)


# ---- Arrow and objects as pandas has them


def from_arrow(table: pa.Table) -> pd.DataFrame:
    """An Arrow table as pandas has it: decimals are floats, dates datetimes, bytes that are text are text."""
    for i, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(i, field.with_type(pa.float64()), table.column(i).cast(pa.float64()))
    return without_objects(table.to_pandas(date_as_object=False))


def without_objects(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, changed in place: decimals as floats, dates as datetimes, UUIDs and bytes that are text as text."""
    for i, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, np.dtype) and dtype.hasobject:
            frame.isetitem(i, _plain(frame.iloc[:, i]).array)
    return frame


def _plain(column: pd.Series) -> pd.Series:
    """A column of Python objects in the dtype that says what they are, or as it is."""
    present = column.dropna()
    found = pd.api.types.infer_dtype(present)
    as_plain: Callable[[pd.Series], pd.Series] | None = {
        "decimal": lambda cells: cells.astype("float64"),
        "date": _moments,
        "datetime": _moments,
        "bytes": _text_of_bytes,
    }.get(found)
    if as_plain is not None:
        return as_plain(column)
    if len(present) and all(isinstance(value, uuid.UUID) for value in present):
        return column.map(str, na_action="ignore").astype("str")
    return column


def _moments(column: pd.Series) -> pd.Series:
    """Dates and times as datetimes, in UTC where they have time zones; as they are where only some have one."""
    zoned = [getattr(value, "tzinfo", None) is not None for value in column.dropna()]
    try:
        return pd.to_datetime(column, utc=all(zoned))
    except (ValueError, TypeError):
        return column


def _text_of_bytes(column: pd.Series) -> pd.Series:
    """Bytes as text where all of them are, else as they are."""
    try:
        text = column.map(lambda value: value.decode(), na_action="ignore").astype("str")
    except UnicodeDecodeError:
        return column
    return column if text.str.contains("\0", regex=False).any() else text
