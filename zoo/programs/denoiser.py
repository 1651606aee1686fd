"""The network that all diffusions share: it reads a row that is partly noise, and how much, and says what it was.

Noise has one scale for every process, an angle: u = cos(t) x + sin(t) e, from the row (t = 0) to noise (t = pi / 2).
That is a variance-preserving process; an exploding one, and the straight line from noise to row, are the same rows at
another length and another pace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.flows.angle import guided
from zoo.rows.rows import Rows
from zoo.rows.scores import NormalScores
from zoo.table.codec import FAR
from zoo.table.schema import Schema

FREQUENCIES, SLOWEST, WIDEST = 8, 0.1, 7.0
START = 0.05
"""Share of its size with which a last layer begins: columns are then nearly independent."""
AT_ONCE = 1 << 16
EVEN = 0.5
"""Share of rows of a batch whose noise is even in the log of noise to signal: narrow modes are told where there is
little, and a path has not much of its time for that."""


class Told(NamedTuple):
    """What is known of rows beside their noise.

    noised  (n, D)  columns that are noise in part, to be told; the others are either
    clean   (n, D)  columns that are there as they are, or are hidden
    given   (n, G)  features conditioned upon
    """

    noised: Tensor
    clean: Tensor
    given: Tensor

    def repeat(self, k: int) -> Told:
        return Told(*(t.repeat(k, 1) for t in self))


Draw = Callable[[Sequence[Tensor], Told], Sequence[Tensor]]


class Denoiser(nn.Module):
    """(u, levels, angle, told) -> (raw (n, C), logits (n, B, L)).

    Reads the coordinates, waves of the numbers among them, the levels one-hot, two flags for each column (noise,
    clean), waves of the log of noise to signal, and what is given, with a flag that it is.

    waves  octaves of sines and cosines by which it reads every number, of 1, 2, 4 ... radians a score: spikes, cells
           and narrow modes have edges. Tancik et al. 2020
    """

    def __init__(self, schema: Schema, scores: NormalScores, network: Callable[[int, int], nn.Module], waves: int = 4):
        super().__init__()
        self.given = schema.given
        self.coordinates = scores.width
        sizes = () if scores.levels else scores.sizes
        flat = [(b, k) for b, size in enumerate(sizes) for k in range(size)]
        self.shape = (len(sizes), 0 if scores.levels else scores.most)
        self.register_buffer("flat", torch.tensor([b * self.shape[1] + k for b, k in flat]).long(), persistent=False)
        self.register_buffer("owners", torch.tensor(scores.owners).long(), persistent=False)
        self.register_buffer(
            "waves", torch.logspace(math.log10(SLOWEST), math.log10(2 * math.pi), FREQUENCIES), persistent=False
        )
        self.numbers = len(schema.numeric)
        self.register_buffer("ripples", 2.0 ** torch.arange(waves), persistent=False)
        told = (
            2 * waves * self.numbers
            + 2 * len(schema.modelled)
            + 2 * FREQUENCIES
            + 1
            + schema.given
            + bool(schema.given)
        )
        self.network = network(self.coordinates + len(flat) + told, self.coordinates + len(flat))
        last = [m for m in self.network.modules() if isinstance(m, nn.Linear)][-1]
        with torch.no_grad():
            last.weight.mul_(START)
            last.bias.mul_(START)

    flat: Tensor
    owners: Tensor
    waves: Tensor
    ripples: Tensor

    def forward(self, u: Tensor, levels: Tensor, angle: Tensor, told: Told) -> tuple[Tensor, Tensor]:
        raw, logits = self.read(u, levels, angle, told, torch.ones(len(u), 1, device=u.device))
        return raw, logits

    def read(self, u: Tensor, levels: Tensor, angle: Tensor, told: Told, tell: Tensor) -> tuple[Tensor, Tensor]:
        """`tell` (n, 1): 0 where the network is not to know what is given."""
        noise = angle.tan().log().clamp(-WIDEST, WIDEST).float()[:, None]
        parts = [u.clamp(-FAR, FAR).float(), levels.flatten(1)[:, self.flat].float()]
        ripples = (parts[0][:, : self.numbers, None] * self.ripples).flatten(1)
        parts += [ripples.sin(), ripples.cos()]
        parts += [told.noised.float(), told.clean.float(), noise / WIDEST]
        parts += [(noise * self.waves).sin(), (noise * self.waves).cos()]
        if self.given:
            parts += [told.given * tell, tell]
        out = self.network(torch.cat(parts, -1)).double()
        logits = out.new_zeros(len(u), self.shape[0] * self.shape[1])
        logits = logits.index_copy(1, self.flat, out[:, self.coordinates :])
        return out[:, : self.coordinates], logits.unflatten(1, self.shape)

    def guided(self, u: Tensor, levels: Tensor, angle: Tensor, told: Told, strength: float) -> tuple[Tensor, Tensor]:
        """Beyond what is given by `strength`: f + (strength - 1)(f - f without what is given). Ho & Salimans 2022."""
        raw, logits = self(u, levels, angle, told)
        if not self.given or strength == 1.0:
            return raw, logits
        other = self.read(u, levels, angle, told, torch.zeros(len(u), 1, device=u.device))
        return guided(raw, other[0], strength), guided(logits, other[1], strength)


def in_turn(draw: Draw, nothing: Sequence[Tensor], seen: Tensor, given: Tensor) -> Sequence[Tensor]:
    """Rows drawn from `nothing` (n, ...): first the columns that each has (n, D), then the others given these.

    draw  (parts of the rows, what is told of them) -> the parts, with the columns drawn that are told as noise
    """
    drawn = draw(nothing, Told(seen, torch.zeros_like(seen), given))
    lacking = (~seen).any(-1)
    if lacking.any():
        others = draw([t[lacking] for t in drawn], Told(*(t[lacking] for t in (~seen, seen, given))))
        for every, some in zip(drawn, others, strict=True):
            every[lacking] = some
    return drawn


def estimates(one: Callable[[Rows], Tensor], rows: Rows, particles: int, width: int = 1) -> Tensor:
    """`one` of each row (n,), so many times over (particles, n), with at most `AT_ONCE` rows of a network at once."""
    together = max(1, min(particles, AT_ONCE // max(1, rows.n * width)))
    sizes = [min(together, particles - k) for k in range(0, particles, together)]
    return torch.cat([one(rows.repeat(k)).unflatten(0, (k, rows.n)) for k in sizes])


def partly(seen: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Which seen columns (n, D) of rows are noise, and which are clean, so that a network learns any of them given any.

    Of a `share` of rows some columns are clean, or hidden as if missing: a share of them that is uniform.
    """
    n, device = len(seen), seen.device
    chosen = (torch.rand(n, 1, device=device) < share) & (torch.rand_like(seen.float()) < torch.rand(n, 1).to(device))
    clean = chosen & (torch.rand(n, 1, device=device) < 0.5)
    return seen & ~chosen, seen & clean


def evenly(place: Tensor, least: float, most: float) -> Tensor:
    """Angles whose noise to signal lies between `least` and `most`, even in its log, at places in [0, 1)."""
    return (least * (most / least) ** place).atan()


def spread_out(n: int, device: torch.device) -> Tensor:
    """n numbers in [0, 1), each uniform, together even. Kingma et al. 2021."""
    return (torch.rand((), device=device) + torch.randperm(n, device=device) / n).remainder(1.0).double()
