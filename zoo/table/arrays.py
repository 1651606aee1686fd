"""Tables that are arrays: numpy's .npy and .npz files, and IDX files, in which MNIST comes."""

from __future__ import annotations

import io
import math
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from zoo.errors import UserError, ZooWarning, line_of, nearest
from zoo.table.files import Content, said
from zoo.table.frames import as_pandas
from zoo.table.typed import without_objects

_BROKEN = (ValueError, OSError, EOFError, KeyError, TypeError, SyntaxError, zlib.error, zipfile.BadZipFile)
_IDX = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""Types of the cells of an IDX file by the third of its bytes."""


def split_array(source: str | Path) -> tuple[str | Path, str | None]:
    """A path, and the array of its .npz file that is meant: `digits.npz:train` is `digits.npz` and `train`."""
    named = re.fullmatch(r"(.+\.npz):([^:/\\]+)", str(source), re.IGNORECASE | re.DOTALL)
    if named is None or Path(source).expanduser().exists():
        return source, None
    return named[1], named[2]


def read_arrays(content: Content, source: str | Path, array: str | None = None) -> pd.DataFrame:
    """A frame from the content of a .npy, .npz or IDX file; columns without a name are called x0, x1 ...

    array  the array of an .npz file that is meant; none: the only one with two dimensions, with the arrays of one
           dimension and the same length as columns under their names

    Raises UserError where the file is broken, holds Python objects, or it is not plain which array is the table.
    """
    where, kind = said(source), content.ending[1:]
    try:
        if content.ending == ".npz":
            with np.load(io.BytesIO(content.data), allow_pickle=False) as archive:
                arrays = {name: np.atleast_1d(archive[name]) for name in archive.files}
            return _native(_of_archive(arrays, array, where))
        if content.ending == ".npy":
            return _native(as_pandas(np.load(io.BytesIO(content.data), allow_pickle=False)))
        return _native(as_pandas(_idx(content.data)))
    except UserError as error:
        raise UserError(f"{where}: {error.message}", error.remedy) from None
    except _BROKEN as error:
        if "Object arrays cannot" in str(error):
            raise UserError(f"{where} holds Python objects, which zoo does not load", "save numbers or text") from None
        what = "no array is in it" if "pickle" in str(error) else line_of(error)
        raise UserError(f"{where} is not a whole {kind} file: {what}", "fetch or write it again") from None


def _idx(data: bytes) -> np.ndarray:
    """The cells of an IDX file as rows (N, D): every axis but the first is flattened."""
    kind, axes = _IDX[data[2]], data[3]
    try:
        shape = struct.unpack(f">{axes}I", data[4 : 4 + 4 * axes])
    except struct.error:
        raise ValueError("its header is cut off") from None
    cells = np.frombuffer(data[4 + 4 * axes :], kind)
    if cells.size != math.prod(shape):
        raise ValueError(f"its header says {' x '.join(map(str, shape))}, and it holds {cells.size} cells")
    return cells.reshape(shape[0], math.prod(shape[1:]))


def _of_archive(arrays: Mapping[str, np.ndarray], array: str | None, where: str) -> pd.DataFrame:
    """The table among arrays by name."""
    if array is not None:
        if array not in arrays:
            raise UserError(f"no array {array!r} in it", nearest(array, arrays))
        return as_pandas(arrays[array] if arrays[array].ndim > 1 else {array: arrays[array]})
    tables = [name for name, values in arrays.items() if values.ndim > 1]
    if len(tables) > 1:
        listed = ", ".join(f"{name} {arrays[name].shape}" for name in tables)
        raise UserError(f"it holds {len(tables)} tables: {listed}", f"name one, as in FILE.npz:{tables[0]}")
    columns = {name: values for name, values in arrays.items() if values.ndim == 1}
    if not tables:
        return as_pandas(columns)
    frame = as_pandas(arrays[tables[0]])
    beside = {name: values for name, values in columns.items() if len(values) == len(frame)}
    if len(beside) < len(columns):
        others = ", ".join(map(repr, columns.keys() - beside.keys()))
        warnings.warn(f"{where}: {others} left out, not as long as {tables[0]!r}", ZooWarning, stacklevel=3)
    return pd.concat([frame, as_pandas(beside)], axis=1) if beside else frame


def _native(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with cells in this machine's byte order, and bytes that are text as text."""
    for i, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, np.dtype) and not dtype.isnative:
            frame.isetitem(i, frame.iloc[:, i].astype(dtype.newbyteorder("=")).array)
    return without_objects(frame)
