"""What went wrong when a number stopped being finite: site, column and rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from zoo.errors import UserError
from zoo.log_weights import log_weights
from zoo.rows.heads import ColumnDensity
from zoo.rows.rows import Rows
from zoo.sites import samples

if TYPE_CHECKING:
    from zoo.model import Model


class NonFiniteError(UserError):
    """A loss or a gradient was not finite. The model keeps its last good parameters."""


def explain(model: Model, rows: Rows, index: torch.Tensor, step: int, turn: str = "") -> NonFiniteError:
    """Run the batch once more and find the site, the column and the rows (positions in the table) to blame.

    turn: whose loss it was, where several take turns
    """
    with torch.no_grad():
        # a program that makes rows itself has no sites, and where there is no likelihood none of them is to blame
        sited = not model.direct and "score" not in model.withdrawn
        trace = log_weights(model.program, model.guide, rows).trace if sited else None
        where = "no single site: the gradient overflowed" if sited else "it or its gradient overflowed"
        for name, site in ({} if trace is None else samples(trace)).items():
            log = site["fn"].log_prob(site["value"])
            if torch.isfinite(log).all():
                continue
            bad = ~torch.isfinite(log.reshape(-1, log.shape[-1]) if log.dim() else log.reshape(1, 1)).all(0)
            where = f"site {name!r}"
            if isinstance(site["fn"], ColumnDensity):
                cells = ~torch.isfinite(
                    site["fn"].log_cells(site["value"]).reshape(-1, rows.n, site["value"].shape[-1])
                )
                columns = [rows.schema.names[j] for j in cells.any(0).any(0).nonzero()[:, 0].tolist()]
                where += f", column{'s' * (len(columns) > 1)} {', '.join(map(repr, columns))}"
            positions = index[bad.nonzero()[:, 0] % len(index)].tolist() if len(bad) > 1 else []
            where += f", rows {positions[:5]}" if positions else ""
            break
    return NonFiniteError(
        f"the {turn + ' ' if turn else ''}loss was not finite at step {step}: {where}",
        "try `--set fit.learning_rate=...` ten times smaller, or look at these rows with `zoo inspect`",
    )
