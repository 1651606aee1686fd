"""One model for every class, instead of one that is told the class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import UserError
from zoo.programs.mixture import Mixture
from zoo.rows.rows import Rows
from zoo.table.schema import Schema

MOST = 100


class ClassModels(nn.Module):
    """A program of any kind for each level of a column that is given (--given COLUMN).

    x ~ p_c(. | what else is given)        # c: the level; rows of a level never seen have a program of all rows

    As many times the parameters of one program as there are levels, and a level's rows alone to fit them.
    """

    def __init__(self, schema: Schema, program: Callable[[Schema], nn.Module] = Mixture):
        super().__init__()
        begin = 0
        for column in schema.given_columns:
            if column.levels:
                break
            begin += column.n_given
        else:
            raise UserError("class-models need a column of levels that is given", "name one with --given COLUMN")
        self.span, self.levels = (begin, begin + column.n_given), len(column.levels)
        if len(column.levels) > MOST:
            what = f"{column.name!r} has {len(column.levels)} levels, and every one would have a model of its own"
            raise UserError(what, f"condition on it instead: another model with --given {column.name}")
        self.hot = column.n_given > 2
        inner = Schema(columns=tuple(c for c in schema.columns if c.name != column.name))
        self.programs = nn.ModuleList(program(inner) for _ in range(self.levels + 1))

    def classes(self, rows: Rows) -> Tensor:
        """The class of each row (n,); the last one where its level was never seen or is missing."""
        block, seen = rows.given[:, self.span[0] : self.span[1] - 1], rows.given[:, self.span[1] - 1] > 0
        # two levels may be one standardised code, of which the second is above the mean
        level = block.argmax(1) if self.hot else (block[:, 0] > 0).long()
        return torch.where(seen & (level < self.levels), level, self.levels)

    def parts(self, rows: Rows) -> list[Tensor]:
        """Rows that are run together: those of one class each."""
        owner = self.classes(rows)
        return [(owner == c).nonzero()[:, 0] for c in owner.unique()]

    def forward(self, rows: Rows) -> Tensor:
        program, inside = self._mine(rows)
        out: Tensor = program(inside)
        return out

    @property
    def log_concave(self) -> bool:
        return all(getattr(program, "log_concave", False) for program in self.programs)

    def posterior(self, rows: Rows, **values: Tensor) -> Any:
        program, inside = self._mine(rows)
        return program.posterior(inside, **values)  # type: ignore[operator]

    def initialise(self, rows: Rows) -> bool:
        finished = []
        for c, program in enumerate(self.programs):
            mine = rows if c == self.levels else rows.take((self.classes(rows) == c).nonzero()[:, 0])
            start = getattr(program, "initialise", None)
            finished.append(bool(start(self._without(mine if mine.n else rows))) if start else False)
        return all(finished)

    def _mine(self, rows: Rows) -> tuple[nn.Module, Rows]:
        c = int(self.classes(rows)[0]) if rows.n else self.levels
        return self.programs[c], self._without(rows)

    def _without(self, rows: Rows) -> Rows:
        """The rows without the features of their class."""
        return replace(rows, given=torch.cat([rows.given[:, : self.span[0]], rows.given[:, self.span[1] :]], 1))
