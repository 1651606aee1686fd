"""Which cells rows of a table have, for programs that have a density for each pattern of missing cells.

What such a program draws with all columns at once is a row that has all cells, and where cells are missing such rows
are of a kind of their own: passengers whose deck is known were rich. So a draw takes the pattern of some row, draws its
cells, and then the others given these.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.rows.rows import Rows

ROWS = 1024
"""Of the table, whose patterns are kept."""


class Patterns(nn.Module):
    seen: Tensor

    def __init__(self, columns: int):
        super().__init__()
        self.register_buffer("seen", torch.ones(ROWS, columns, dtype=torch.bool))

    def fit(self, rows: Rows) -> None:
        """Keep those of rows (n, D), drawn by their weights."""
        if rows.complete:
            return
        assert rows.cells is not None
        below = rows.weight.double().cumsum(0)
        some = torch.searchsorted(below, below[-1] * torch.rand(ROWS, dtype=torch.float64, device=below.device))
        self.seen.copy_(rows.cells.seen[some.clamp(max=rows.n - 1)])

    def draw(self, n: int) -> Tensor:
        """Patterns of n rows (n, D); all cells, without a random number, where no row lacks one."""
        if self.seen.all():
            return self.seen[:1].expand(n, -1)
        return self.seen[torch.randint(ROWS, (n,), device=self.seen.device)]
