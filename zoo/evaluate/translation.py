"""Rows of one level of a given column as rows of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from torch import Tensor

from zoo.errors import UserError, nearest
from zoo.evaluate.posterior import CHUNK, by_chunks
from zoo.table.cells import label
from zoo.table.fill import filled, spelled

if TYPE_CHECKING:
    from zoo.model import Model


def translated(model: Model, frame: pd.DataFrame, to: object, seed: int = 0) -> pd.DataFrame:
    """A table whose rows of the other level are as rows of the level `to`, which the given column then says.

    Rows of that level already stay as they are, and so do missing cells, which are missing still. Index, columns and
    dtypes stay; levels are drawn, numbers are moved.
    """
    column, level = model.program.column, label(to)
    if level not in column.levels:
        a, b = map(repr, column.levels)
        what = f"cannot translate to {level!r}: column {column.name!r} has the levels {a} and {b}"
        raise UserError(what, nearest(level, column.levels))
    rows = model.rows(frame)
    of, known = (t.cpu().numpy() for t in model.program.level(rows.given))
    if not known.all():
        what = f"column {column.name!r} says of {(~known).sum()} rows neither level (first of row {(~known).argmax()})"
        raise UserError(f"{what}: a row is translated from one level to the other", "name its level, or leave it out")
    assert rows.cells is not None
    move = of != column.levels.index(level)
    keep = ~(rows.cells.seen.cpu().numpy() & move[:, None])

    def one(part: object) -> Tensor:
        moved: Tensor = model.codec.snap(model.program.translate(part))
        return moved

    out = filled(frame, model.codec.decode(by_chunks(one, rows, seed, CHUNK)), keep, model.schema)
    there = pd.Series(level, index=frame.index, dtype=object)
    out[column.name] = spelled(frame[column.name], there, pd.Series(move, index=frame.index))
    return out
