"""Rows of one table as rows of another with the same columns, without a row that is known in both."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.errors import UserError
from zoo.networks.mlp import MLP
from zoo.rows.cells import Normal
from zoo.rows.columns import ColumnDensity
from zoo.rows.relaxed import real
from zoo.rows.rows import Rows
from zoo.table.schema import Schema

STEEP = 4.0
"""Logit by which a generator begins at the level that it reads."""
QUIET = 0.1
"""What the last weights of a generator are multiplied by: it begins near the row that it reads."""


class Translation(nn.Module):
    """x' = x + network_k(x) for numbers,  x' ~ Categorical(softmax(4 x + network_k(x))) for levels and atoms

    One network for each of the two levels k of a given column, which takes rows of the other level there (Zhu et al.
    2017). Numbers are moved and not drawn, x in standard deviations; a cell that is not seen is not there after it
    either. There is no density: a row's translation is all that is claimed.
    """

    share: Tensor

    def __init__(self, schema: Schema, network: Callable[[int, int], nn.Module] = MLP):
        super().__init__()
        columns = schema.given_columns
        if len(columns) != 1 or len(columns[0].levels) != 2:
            named = " and ".join(f"{c.name!r} ({len(c.levels)} levels)" for c in columns) or "none"
            what = "a translation needs one given column of exactly two levels, which says whose a row is"
            raise UserError(f"{what}; given here: {named}", "name it: --given COLUMN")
        self.schema, self.column = schema, columns[0]
        self.into = nn.ModuleList(network(schema.n_features, schema.width) for _ in range(2))
        with torch.no_grad():
            for one in self.into:
                last = [m for m in one.modules() if isinstance(m, nn.Linear)][-1]
                last.weight.mul_(QUIET)
                last.bias.mul_(QUIET)
        self.register_buffer("share", torch.full((2,), 0.5, dtype=torch.float64))

    def initialise(self, rows: Rows) -> bool:
        """Count how much of the table is of either level."""
        level, known = self.level(rows.given)
        for k in range(2):
            here = rows.weight[known & (level == k)].sum()
            if not here:
                what = f"no row that is fitted has {self.column.name} = {self.column.levels[k]}"
                raise UserError(what, "give a table of rows of both levels")
            self.share[k] = here / rows.weight[known].sum()
        return False

    # ---- whose a row is

    def level(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the two levels a row has (n,), and whether it has one of them."""
        value, seen = given[:, :-1], given[:, -1] > 0
        if value.shape[1] == 1:
            return (value[:, 0] > 0.5).long(), seen
        level = value.argmax(1)
        return level.clamp_max(1), seen & (level < 2)

    def other(self, given: Tensor) -> Tensor:
        """What would be given of the same rows, had they the other level."""
        value, seen = given[:, :-1], given[:, -1:]
        if value.shape[1] == 1:
            return torch.cat([seen - value, seen], 1)
        return torch.cat([value[:, [1, 0]], value[:, 2:], seen], 1)

    def even(self, rows: Rows) -> Tensor:
        """Weights (n,) by which both levels count the same, in the mean as much as the rows' own; 0 without a level."""
        level, known = self.level(rows.given)
        return rows.weight * known / (2 * self.share[level])

    # ---- translation

    def read(self, features: Tensor, level: Tensor, rows: Rows) -> ColumnDensity:
        """What rows (n, n_features) are as rows of a level (n,): numbers at their place, masses of levels and atoms."""
        schema, n = self.schema, len(self.schema.numeric)
        moved = torch.where(level[:, None] > 0, self.into[1](features), self.into[0](features))
        seen = features[:, schema.width :]
        base, plain = features[:, : schema.width], n + len(schema.binary)
        yes = STEEP * (2 * base[:, n:plain] - seen[:, n:plain])
        predictor = (moved + torch.cat([base[:, :n], yes, STEEP * base[:, plain:]], 1)).double()
        loc = predictor[:, :n]
        family = Normal(loc, torch.zeros_like(loc)) if n else None
        return rows.heads.density(family, predictor[:, n:])

    def features(self, rows: Rows) -> Tensor:
        """Rows as a generator reads them (n, n_features)."""
        return real(rows) if self.training else rows.features()

    def translate(self, rows: Rows) -> Tensor:
        """Every row as one of the other level (n, D), in codec units; numbers beyond what a network reads are moved as
        those at its edge are."""
        assert rows.cells is not None
        level, _ = self.level(rows.given)
        features, n = self.features(rows), len(self.schema.numeric)
        drawn = self.read(features, 1 - level, rows).sample()
        beyond = rows.cells.x[:, :n] - features[:, :n] * rows.cells.seen[:, :n]
        plain = rows.cells.seen[:, :n] & (rows.cells.atom == 0)
        return torch.cat([drawn[:, :n] + torch.where(plain, beyond, 0.0), drawn[:, n:]], 1)
