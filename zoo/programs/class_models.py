"""One model for every class, instead of one that is told the class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo.bounds import Weight
from zoo.em.faults import told
from zoo.errors import UserError
from zoo.programs.mixture import Mixture
from zoo.rows.dense import plain
from zoo.rows.rows import Rows
from zoo.table.schema import Schema

MOST = 100
MOST_OTHERS = 1000
"""Rows of other levels in the start of one."""


class ClassModels(nn.Module):
    """A program of any kind for each level of a column that is given (--given COLUMN).

    x ~ p_c(. | what else is given)        # c: the level; rows of a level never seen have a program of all rows

    As many times the parameters of one program as there are levels, and little but a level's own rows to fit them.

    shared   rows that all other levels together count in the start of one, moved from their means to its own, so that
             a rare one has the scales that levels have in common. Ibrahim & Chen 2000; Friedman 1989
    """

    def __init__(self, schema: Schema, program: Callable[[Schema], nn.Module] = Mixture, shared: Weight = 20.0):
        super().__init__()
        self.notes: list[str] = []
        self.shared = shared
        begin = 0
        for column in schema.given_columns:
            if column.levels:
                break
            begin += column.n_given
        else:
            raise UserError("class-models need a column of levels that is given", "name one with --given COLUMN")
        self.span, self.levels, self.names = (begin, begin + column.n_given), len(column.levels), list(column.levels)
        if len(column.levels) > MOST:
            what = f"{column.name!r} has {len(column.levels)} levels, and every one would have a model of its own"
            raise UserError(what, f"condition on it instead: another model with --given {column.name}")
        self.column, self.hot = column.name, column.n_given > 2
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
        finished, notes = [], []
        owner = self.classes(rows)
        means = self._means(rows, owner)
        for c, program in enumerate(self.programs):
            start = getattr(program, "initialise", None)
            finished.append(bool(start(self._without(self._with_others(rows, owner, means, c)))) if start else False)
            name = f"{self.column} = {self.names[c]}" if c < self.levels else f"other {self.column}"
            notes.append((name, getattr(program, "notes", [])))
        self.notes = told(notes)
        return all(finished)

    def _means(self, rows: Rows, owner: Tensor) -> Tensor:
        """Of the numeric columns in each class (levels + 1, Dn); zero where it has no cells."""
        assert rows.cells is not None
        n = len(rows.schema.numeric)
        weight = rows.weight.double()[:, None] * plain(rows.cells)
        zeros = torch.zeros(self.levels + 1, n, dtype=torch.float64, device=owner.device)
        total = zeros.index_add(0, owner, weight * torch.where(weight > 0, rows.cells.x[:, :n], 0.0))
        return total / zeros.index_add(0, owner, weight).clamp_min(1e-12)

    def _with_others(self, rows: Rows, owner: Tensor, means: Tensor, c: int) -> Rows:
        """The rows of a class, and some of all the others, which together weigh `shared` rows; all, if it has none."""
        own, others = (owner == c).nonzero()[:, 0], (owner != c).nonzero()[:, 0]
        if not len(own):
            return rows
        if not self.shared or not len(others):
            return rows.take(own)
        others = others[torch.randperm(len(others))[:MOST_OTHERS].to(others.device)]
        both = rows.take(torch.cat([own, others]))
        weight, move = both.weight.clone(), means[c] - means[owner[torch.cat([own, others])]]
        weight[len(own) :] *= self.shared / weight[len(own) :].sum().clamp_min(1e-12)
        assert both.cells is not None
        x, lo, hi = both.cells.x.clone(), both.cells.lo + move, both.cells.hi + move
        x[:, : move.shape[1]] += move
        return replace(both, weight=weight, cells=both.cells._replace(x=x, lo=lo, hi=hi))

    def _mine(self, rows: Rows) -> tuple[nn.Module, Rows]:
        c = int(self.classes(rows)[0]) if rows.n else self.levels
        return self.programs[c], self._without(rows)

    def _without(self, rows: Rows) -> Rows:
        """The rows without the features of their class."""
        return replace(rows, given=torch.cat([rows.given[:, : self.span[0]], rows.given[:, self.span[1] :]], 1))
