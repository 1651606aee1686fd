"""The empty guide."""

from __future__ import annotations

from torch import nn

from zoo.rows.rows import Rows
from zoo.sites import Sites
from zoo.table.schema import Schema


class NoGuide(nn.Module):
    """Infers nothing: for programs whose latents are all discrete and summed out, or that have none."""

    def __init__(self, schema: Schema, program: nn.Module, sites: Sites):
        super().__init__()

    def forward(self, rows: Rows) -> None:
        pass
