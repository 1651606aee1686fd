"""A best guess for every missing cell, and how sure it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from zoo.evaluate.calibration import calibrated
from zoo.evaluate.posterior import CHUNK, by_chunks, completed
from zoo.log_weights import LogWeights, log_weights
from zoo.rows.columns import ColumnDensity
from zoo.rows.importance import finite
from zoo.rows.rows import Rows
from zoo.sites import samples
from zoo.table.codec import Codec

if TYPE_CHECKING:
    from zoo.model import Model

DRAWS = 100


class Imputed(NamedTuple):
    """x (n, D): rows in codec units, every cell filled. spread (n, D): the standard deviation of a number in the
    table's units, the probability of a level. effective (n,): as `Completed` has it."""

    x: Tensor
    spread: Tensor
    effective: Tensor


def best_guess(model: Model, rows: Rows, seed: int = 0, particles: int = 100, calibrate: bool = False) -> Imputed:
    """Each missing number as the mean of `DRAWS` conditional draws, held within what the column has shown (of a cyclic
    column their mean on the circle, and the spread from there the shorter way round); each missing level as the most
    probable one, its probability in closed form given the latents where there is one."""
    n = len(rows.schema.numeric)
    drawn, worth = (calibrated if calibrate else completed)(model, rows, DRAWS, seed, particles)
    values = torch.stack([model.codec.inverse(one[:, :n]) for one in drawn])
    values = torch.minimum(torch.maximum(values, model.codec.shown[0]), model.codec.shown[1])
    codes, probability = _most_frequent(drawn[:, :, n:])
    closed = not model.averages and any(isinstance(fn, ColumnDensity) for fn in model.sites.observed.values())
    if closed and rows.schema.discrete:
        codes, probability = _most_probable(model, rows, seed, particles)
    mean, deviation = _moments(values, model.codec)
    x = torch.cat([model.codec.forward(mean), codes], -1)
    assert rows.cells is not None
    spread = torch.cat([deviation, probability], -1)
    return Imputed(torch.where(rows.cells.seen, rows.cells.x, x), spread, worth)


def _moments(values: Tensor, codec: Codec) -> tuple[Tensor, Tensor]:
    """Mean (n, Dn) of draws (draws, n, Dn) in the table's units, and their standard deviation."""
    mean, cyclic = values.mean(0), codec.period > 0
    turn = torch.where(cyclic, codec.period, 1.0)
    first = torch.where(cyclic, codec.ends[0], 0.0)
    angle = (values - first) * (2 * math.pi / turn)
    around = torch.atan2(angle.sin().mean(0), angle.cos().mean(0)) * (turn / (2 * math.pi))
    mean = torch.where(cyclic, first + around.remainder(turn), mean)
    apart = values - mean
    apart = torch.where(cyclic, (apart + turn / 2).remainder(turn) - turn / 2, apart)
    return mean, apart.square().mean(0).sqrt()


def _most_frequent(codes: Tensor) -> tuple[Tensor, Tensor]:
    """The most frequent of the draws (draws, n, C), and its share."""
    mode = codes.mode(0).values
    return mode, (codes == mode).double().mean(0)


def _most_probable(model: Model, rows: Rows, seed: int, particles: int) -> tuple[Tensor, Tensor]:
    """The most probable known level of every binary and categorical column (n, C), and its probability."""
    exact = model.bound(rows.complete) == "exact" and not model.sites.continuous
    k = 1 if exact else particles

    def one(part: Rows) -> Tensor:
        w = log_weights(model.program, model.guide, part, k)
        weight = _weights(w, k, part.n)
        sites = samples(w.trace)
        fn = next(sites[name]["fn"] for name in ("x", "discrete") if name in sites)
        best = [(weight[..., None] * _spread_out(masses, weight, k)).sum((0, 1)).max(-1) for masses in fn.masses()]
        return torch.stack([torch.stack([b.indices.double() for b in best], -1),
                            torch.stack([b.values for b in best], -1)], 1)  # fmt: skip

    both = by_chunks(one, rows, seed, max(1, CHUNK // (4 * k)), model.program)
    return both[:, 0], both[:, 1]


def _weights(w: LogWeights, particles: int, n: int) -> Tensor:
    """Posterior weight (E, particles, n) of every value of the summed latents with every particle; sums to one."""
    joint = w.joint.flatten(0, -2) if w.joint.dim() > 1 else w.joint[None]
    within = torch.softmax(finite(joint), 0).expand(-1, particles * n).reshape(-1, particles, n)
    return within * torch.softmax(finite(w.rows), 0)


def _spread_out(masses: Tensor, weight: Tensor, particles: int) -> Tensor:
    """Masses (..., 1 or particles * n, L) as (E or 1, particles or 1, n or 1, L)."""
    flat = masses.flatten(0, -3) if masses.dim() > 2 else masses[None] if masses.dim() == 2 else masses[None, None]
    rows = flat.shape[-2]
    shape: Any = (len(flat), 1, 1, flat.shape[-1]) if rows == 1 else (len(flat), particles, -1, flat.shape[-1])
    return flat.reshape(shape)
