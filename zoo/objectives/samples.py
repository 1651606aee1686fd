"""What likelihood-free objectives compare: the table's rows and a model's draws, as features that a network reads.

`drawn(model, rows)` has gradients, and its rows have the missing cells and the given columns of `rows`; beside them
`real(rows)`. Both are (n, n_features): numbers in standard deviations, levels as one-hot, a flag for each column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyro.poutine as poutine
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from zoo.errors import UserError
from zoo.rows.columns import ColumnDensity
from zoo.rows.relaxed import LEVELS, Drawn, real, relaxed
from zoo.rows.rows import OBSERVED, Rows
from zoo.sites import drawn_cells, samples

if TYPE_CHECKING:
    from zoo.model import Model

__all__ = ["Run", "drawn", "drawn_rows", "inferred", "real", "run", "told"]


@dataclass(frozen=True)
class Run:
    """One run of a program on blank rows: its density of every column, and its latents by name."""

    density: ColumnDensity
    latents: dict[str, Tensor]


class _Stop(Messenger):
    """Keeps the densities of what a program observes, without drawing from them, and the latents' values."""

    def __init__(self) -> None:
        super().__init__()
        self.densities: dict[str, Any] = {}
        self.latents: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["name"] in OBSERVED.values():
            self.densities[msg["name"]] = msg["fn"]
            msg["value"], msg["done"], msg["stop"] = torch.zeros(0), True, True

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        if msg["name"] not in OBSERVED.values() and isinstance(msg["value"], Tensor):
            self.latents[msg["name"]] = msg["value"]


def run(program: Any, rows: Rows, values: Mapping[str, Tensor] | None = None) -> Run:
    """Run a program as if to draw rows beside these, with latents of these values, or drawn."""
    generator = program if values is None else poutine.condition(program, data=dict(values))
    with _Stop() as stop:
        generator(rows.blank())
    density = stop.densities.get("x")
    if not isinstance(density, ColumnDensity):
        raise UserError(
            f"this objective needs a program that observes a predictor of all columns; {type(program).__name__} "
            "observes something else",
            "take program = 'latent', the generator of a gan",
        )
    return Run(density, stop.latents)


def drawn(model: Model, rows: Rows, levels: LEVELS = "straight-through", temperature: float = 0.5) -> Tensor:
    """Features (n, n_features) of a draw beside each row, with gradients."""
    return told(model, rows, levels, temperature)[0].features


def told(model: Model, rows: Rows, levels: LEVELS, temperature: float) -> tuple[Drawn, dict[str, Tensor]]:
    """The same with the log-masses of the levels drawn, and the latents by name."""
    one = run(model.program, rows)
    return relaxed(one.density, rows, levels, temperature), one.latents


def inferred(model: Model, rows: Rows) -> dict[str, Tensor]:
    """A draw of every latent that the guide infers of these rows, by name."""
    return {name: site["value"] for name, site in samples(poutine.trace(model.guide).get_trace(rows)).items()}


def drawn_rows(model: Model, rows: Rows) -> Rows:
    """Draws as a user gets them, beside rows whose missing cells and given columns they take over."""
    blank = rows.blank()
    with torch.no_grad():
        if hasattr(model.program, "sample"):
            x = model.program.sample(blank)
        else:
            x = drawn_cells(samples(poutine.trace(model.program).get_trace(blank)), blank)
        return rows.filled(model.codec.snap(x), None if rows.cells is None else rows.cells.seen)
