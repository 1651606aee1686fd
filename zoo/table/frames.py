"""Tables that Python holds already: frames of any library, arrays, and columns by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from zoo.errors import UserError, line_of
from zoo.table.typed import from_arrow


def has_names(source: Any) -> bool:
    """Whether a table that Python holds says what its columns are called; an array does not."""
    if isinstance(source, pd.Series):
        return False
    names = isinstance(source, pd.DataFrame | Mapping) or getattr(getattr(source, "dtype", None), "names", None)
    return bool(names) or _is_arrow(source) or hasattr(source, "__dataframe__")


def as_pandas(source: Any) -> pd.DataFrame:
    """A table that Python holds as a pandas frame, a copy: one of pandas' own keeps its index.

    source  a pandas, polars or pyarrow table, or any other with `__arrow_c_stream__` or `__dataframe__`; columns by
            name; or an array (N, D), whose columns are called x0, x1 ...

    Raises UserError where it is none of these.
    """
    if isinstance(source, pd.DataFrame):
        return source.copy()
    if source is None:
        raise UserError("expected a table, a path or an array, not None", "give one")
    if hasattr(source, "toarray"):
        raise UserError("sparse data are not supported: expected a table, a path or an array", "use X.toarray()")
    if isinstance(source, Mapping):
        return _of_columns(source)
    if has_names(source):
        return _of_another_library(source)
    if hasattr(source, "collect"):
        kind = type(source).__name__
        raise UserError(f"a {kind} is a query and no table yet", "give what its collect() gives")
    return _of_array(source)


def _is_arrow(source: Any) -> bool:
    return hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__")


def _of_columns(columns: Mapping[Any, Any]) -> pd.DataFrame:
    """A frame from columns by name."""
    try:
        return pd.DataFrame({name: _cells(values) for name, values in columns.items()})
    except (ValueError, TypeError) as error:
        remedy = "give every column as many values as there are rows"
        raise UserError(f"the columns are no table: {line_of(error)}", remedy) from None


def _cells(values: Any) -> Any:
    """One column, of another library too."""
    if isinstance(values, pd.Series) or not hasattr(values, "__arrow_c_stream__"):
        return values
    return from_arrow(pa.table({"x": pa.chunked_array(values)}))["x"]


def _of_another_library(source: Any) -> pd.DataFrame:
    """A frame through Arrow, or through the dataframe interchange protocol."""
    if isinstance(source, np.ndarray):
        return pd.DataFrame(source)  # an array of records
    try:
        if _is_arrow(source):
            return from_arrow(pa.table(source))
        from pyarrow.interchange import from_dataframe

        return from_arrow(from_dataframe(source))
    except (ValueError, TypeError, NotImplementedError, AttributeError) as error:
        kind = type(source).__name__
        message = f"expected a table with two dimensions, and this {kind} does not give one: {line_of(error)}"
        raise UserError(message, "convert it to a pandas DataFrame") from None


def _of_array(source: Any) -> pd.DataFrame:
    """A frame from an array, its columns called x0, x1 ..."""
    array = np.ma.filled(source.astype(float), np.nan) if isinstance(source, np.ma.MaskedArray) else np.asarray(source)
    if array.ndim != 2:
        raise UserError(f"expected a table with two dimensions, not shape {array.shape}", "Reshape your data")
    if not array.shape[1]:
        raise UserError(f"0 feature(s) (shape={array.shape}) while a minimum of 1 is required", "give some")
    if np.iscomplexobj(array):
        raise UserError("Complex data not supported", "give real and imaginary part as two columns")
    return pd.DataFrame(array, columns=[f"x{j}" for j in range(array.shape[1])])
