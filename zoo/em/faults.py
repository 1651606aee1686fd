"""What goes wrong with components of a mixture, and what is said of it.

empty, twin   holds no rows, or shares all its rows with another: placed anew, by splitting another (`zoo.em.moves`)
few rows      fewer than its covariance needs, which would collapse onto them, or explode with one far row: the
              table's own covariance counts as the rows that it lacks (`zoo.em.steps`; Fraley & Raftery 2007)
flat          no scale of its own in some direction: held at the least scale
wide          many standard deviations of a column, for the sake of a few stray rows: left as it is
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from zoo.em.data import LEAST_NOISE, PSEUDO, Data, Theta

EMPTY = 0.5
"""Rows below which a component holds none."""
ALIKE = 0.999
"""Cosine of two components' shares of the rows from which they are one."""
WIDE = 10.0
MOST_NAMED, MOST_TOLD = 3, 5


def placeless(resp: Tensor, weight: Tensor) -> list[tuple[int, int]]:
    """Components to be placed anew, each with one to merge it with, of responsibilities (n, K) and weights (n,)."""
    rows = weight @ resp
    largest = int(rows.argmax())
    empty = [j for j in range(len(rows)) if rows[j] < EMPTY and j != largest]
    out = [(largest, j) for j in empty]
    share = resp * weight[:, None].sqrt()
    share = share / share.square().sum(0).sqrt().clamp_min(1e-12)
    alike = (share.T @ share).triu(1) > ALIKE
    gone = set(empty)
    for i, j in alike.nonzero().tolist():
        if i not in gone and j not in gone:
            out.append((i, j))
            gone.add(j)
    return out


def notes(data: Data, theta: Theta, resp: Tensor, names: Sequence[str], again: int = 0) -> list[str]:
    """What there is to say of one restart's components, with their responsibilities (n, K).

    names  of the numeric columns
    again  components that were placed anew
    """
    k, d = resp.shape[1], data.y.shape[1]
    rows = data.weight @ resp
    apart = placeless(resp, data.weight)
    held = torch.ones(k, dtype=torch.bool)
    held[[j for _, j in apart]] = False
    empty = sum(bool(rows[j] < EMPTY) for _, j in apart)
    out = []
    if again:
        out.append(f"{_of(again, k)} had no rows, or those of another, and split others instead")
    if empty:
        out.append(f"{_of(empty, k)} had no rows to hold: fewer would do")
    if len(apart) > empty:
        out.append(f"{_of(len(apart) - empty, k)} shared all rows with another: fewer would do")
    if not d:
        return out
    few = held & (rows < data.needed)
    if few.any() and k > 1:
        what = "a covariance" if data.dense else "a scale"
        out.append(
            f"{_of(int(few.sum()), k)} had fewer rows than {what} needs ({data.needed:.0f}), and took the rest from "
            "that of the table"
        )
    flat = _flat(data, theta, rows) & held[:, None]
    if flat.any():
        out.append(f"{_of(int(flat.any(1).sum()), k)} had no width of its own {_among(flat, names)}: held at the least")
    scale = (theta.cov[0].diagonal(dim1=-2, dim2=-1) if data.dense else theta.cov[0]).sqrt()
    wide = (scale > WIDE) & held[:, None]
    if wide.any():
        stray = int(rows[wide.any(1)].sum().round())
        out.append(
            f"{_of(int(wide.any(1).sum()), k)} reached over {WIDE:.0f} standard deviations {_among(wide, names)}, "
            f"for about {stray} stray rows"
        )
    return out


def told(parts: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """The notes of several mixtures as one list, each after the name of its own; no more than a few."""
    every = [f"{name}: {note}" for name, mine in parts for note in mine]
    more = len(every) - MOST_TOLD
    return every if more <= 1 else [*every[:MOST_TOLD], f"{more} more such notes"]


def _flat(data: Data, theta: Theta, rows: Tensor) -> Tensor:
    """(K, D) columns in which a component is held at the least scale; the cells of rounded ones are width enough."""
    cov = theta.cov[0]
    if not data.dense:
        lent = PSEUDO * (1 + theta.loc[0].square()) / rows[:, None].clamp_min(1e-8)
        return (cov - lent <= data.floor * (1 + 1e-9)) & (data.width == 0)
    if data.factored:
        assert theta.noise is not None
        return theta.noise[0] <= 1.001 * LEAST_NOISE * cov.diagonal(dim1=-2, dim2=-1)
    values, vectors = torch.linalg.eigh(cov - torch.diag(data.floor))
    least = vectors[..., 0].abs()
    return (values[:, :1] < 1e-6) & (least > 0.3 * least.amax(-1, keepdim=True))


def _of(number: int, k: int) -> str:
    return f"{number} of {k} component{'s' * (k != 1)}"


def _among(where: Tensor, names: Sequence[str]) -> str:
    found = [name for name, there in zip(names, where.any(0).tolist(), strict=True) if there]
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return f"in {', '.join(found[:MOST_NAMED])}{more}"
