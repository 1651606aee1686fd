"""Normal scores: every column as standard Normal coordinates, with the base density that this leaves behind.

A numeric cell x is an interval of probability of its column's own distribution: a point where the column has a density,
as wide as its mass where it is a cell of a lattice or an atom. A uniform place p in it gives u = Phi^-1(p), which is
standard Normal over the rows; back from u, an interval is its cell or atom again, exactly. So for any density of u

    log p(x) >= E_u|x [ log p(u) - log phi(u) ] + log base(x),

base(x) the column's own density, or mass of the cell or atom, in table units; where x has a density there is no place
to draw, and the bound is an equality. Levels are scores of a race: level l arrives at a_l ~ Exponential(share_l), the
first one is seen, and u_l = Phi^-1(exp(-share_l a_l)), which is standard Normal again. Kingman 1993; Hoogeboom et al.
2021 for levels as regions.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from zoo.rows.marginals import INDEX, MOST_BINS, Marginal, default, empirical
from zoo.rows.rows import Rows
from zoo.table.codec import Cells, Codec
from zoo.table.schema import Schema

FARTHEST = 8.0
"""Scores are held at so many standard deviations: 1e-15 of the mass lies beyond."""
PSEUDO = 0.1
"""Rows that every level has been seen beside those that were."""
Marginals = Literal["scores", "codec"]


class Scored(NamedTuple):
    """Rows as coordinates.

    u      (n, C)  coordinates, 0 where missing; float64
    seen   (n, C)  True where observed
    codes  (n, B)  levels of the discrete columns, 0 where missing
    base   (n,)    log of the base density of the seen cells that have coordinates, less log phi(u) where a coordinate
                   is no score: log p(x) >= E[log p(u) - log phi(u)] + base
    """

    u: Tensor
    seen: Tensor
    codes: Tensor
    base: Tensor


class NormalScores(nn.Module):
    """x <-> u.

    marginals  "scores"; or "codec": numeric columns without atoms as they are in codec units, uniform within a cell
    levels     whether levels are coordinates too: one for a binary column, as many as levels for a categorical one
    """

    knots: Tensor
    below: Tensor
    tail: Tensor
    atom_bin: Tensor
    shares: Tensor

    def __init__(self, schema: Schema, marginals: Marginals = "scores", levels: bool = False):
        super().__init__()
        self.schema, self.levels = schema, levels
        columns = schema.numeric
        atoms = max([0, *(len(c.atoms) for c in columns)])
        size = 2 * MOST_BINS + 2 * atoms + 4
        self.plain = tuple(
            j for j, c in enumerate(columns) if marginals == "codec" and (not c.atoms or c.resolution is not None)
        )
        start = default(size)
        self.register_buffer("knots", torch.tensor(start.knots).repeat(len(columns), 1))
        self.register_buffer("below", torch.tensor(start.below).repeat(len(columns), 1))
        self.register_buffer("tail", torch.ones(len(columns), dtype=torch.float64))
        self.register_buffer("atom_bin", torch.zeros(len(columns), atoms, dtype=torch.long))
        self.sizes = (2,) * len(schema.binary) + tuple(c.n_logits for c in schema.categorical)
        self.most = max(self.sizes, default=1)
        shares = torch.zeros(len(self.sizes), self.most, dtype=torch.float64)
        for b, levels_ in enumerate(self.sizes):
            shares[b, :levels_] = 1 / levels_
        self.register_buffer("shares", shares)

    # ---- sizes

    @property
    def known(self) -> tuple[int, ...]:
        """How many levels of each discrete column can be drawn: all but the one reserved for the unseen."""
        n = len(self.schema.binary)
        return (*self.sizes[:n], *(size - 1 for size in self.sizes[n:]))

    @property
    def owners(self) -> list[int]:
        """The column of the row that each coordinate belongs to."""
        n, out = len(self.schema.numeric), list(range(len(self.schema.numeric)))
        if self.levels:
            for b, size in enumerate(self.sizes, start=n):
                out += [b] * (1 if b < n + len(self.schema.binary) else size)
        return out

    @property
    def width(self) -> int:
        """Coordinates C."""
        return len(self.owners)

    # ---- fit

    def fit(self, rows: Rows) -> None:
        """Take the columns' own distributions from these rows."""
        assert rows.cells is not None
        cells, weight = rows.cells, rows.weight.cpu().numpy()
        codec = rows.codec
        for j, column in enumerate(self.schema.numeric):
            seen = (cells.seen[:, j] & (rows.weight > 0)).cpu().numpy()
            if not seen.any():
                continue

            def here(values: Tensor, j: int = j, seen: np.ndarray = seen) -> np.ndarray:
                return values[:, j].cpu().numpy()[seen]

            places = codec.atom_places[j].cpu().numpy()[: len(column.atoms)] if column.resolution is None else None
            cycle = None
            if column.period is not None:
                edges = codec.ends[0, j] + torch.tensor([0.0, 1.0]).to(codec.ends) * column.period - codec.step[j] / 2
                cycle = tuple(((edges - codec.loc[j]) / codec.scale[j]).tolist())
            found = empirical(
                here(cells.x), here(cells.lo), here(cells.hi), here(cells.atom), weight[seen], places, cycle,
                column.resolution is not None, self.knots.shape[1],
            )  # fmt: skip
            self._take(j, found)
        n = len(self.schema.numeric)
        for b, size in enumerate(self.sizes):
            seen_b = cells.seen[:, n + b]
            codes = cells.x[:, n + b].round().long()
            count = torch.zeros(size, dtype=torch.float64, device=codes.device)
            count.index_add_(0, codes[seen_b], rows.weight[seen_b].double())
            self.shares[b, :size] = (count + PSEUDO) / (count + PSEUDO).sum()

    def _take(self, j: int, found: Marginal) -> None:
        self.knots[j] = torch.as_tensor(found.knots).to(self.knots)
        self.below[j] = torch.as_tensor(found.below).to(self.below)
        self.tail[j] = found.tail
        self.atom_bin[j, : len(found.atom_bin)] = torch.as_tensor(found.atom_bin).to(self.atom_bin)

    # ---- rows to coordinates

    def encode(self, rows: Rows) -> Scored:
        """Coordinates of rows, each at a place drawn in its cell."""
        assert rows.cells is not None
        cells, n = rows.cells, len(self.schema.numeric)
        u, base = self._numbers(rows)
        seen = cells.seen[:, :n]
        codes = torch.where(cells.seen[:, n:], cells.x[:, n:], 0.0).round().long()
        parts, there, log = [u], [seen], torch.where(seen, base, 0.0).sum(-1)
        if self.levels:
            for b in range(len(self.sizes)):
                coordinates = self._race(b, codes[:, b]) if b >= len(self.schema.binary) else self._coin(b, codes[:, b])
                parts.append(coordinates)
                there.append(cells.seen[:, n + b, None].expand_as(coordinates))
                log = log + torch.where(cells.seen[:, n + b], self.shares[b, codes[:, b]].log(), 0.0)
        u, seen = torch.cat(parts, -1), torch.cat(there, -1)
        return Scored(torch.where(seen, u, 0.0), seen, codes, log)

    def _numbers(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """(u, log base) of the numeric cells (n, Dn)."""
        assert rows.cells is not None
        cells, codec, n = rows.cells, rows.codec, len(self.schema.numeric)
        place = torch.rand(rows.n, n, dtype=torch.float64, device=cells.x.device)
        if not n:
            return place, place
        if len(self.plain) == n:
            return self._as_they_are(cells, place)
        u, log = self._by_marginals(cells, codec, place)
        if not self.plain:
            return u, log
        plain = torch.zeros(n, dtype=torch.bool, device=place.device)
        plain[list(self.plain)] = True
        inside, unit = self._as_they_are(cells, place)
        return torch.where(plain, inside, u), torch.where(plain, unit, log)

    @staticmethod
    def _as_they_are(cells: Cells, place: Tensor) -> tuple[Tensor, Tensor]:
        inside = cells.lo + (cells.hi - cells.lo) * place
        return inside, log_phi(inside) + cells.unit

    def _by_marginals(self, cells: Cells, codec: Codec, place: Tensor) -> tuple[Tensor, Tensor]:
        x = cells.x[:, : place.shape[1]]
        lattice = codec.step > 0
        low = torch.where(lattice & (x < codec.edges[0]), -torch.inf, cells.lo)
        high = torch.where(lattice & (x > codec.edges[1]), torch.inf, cells.hi)
        first, last = self.cdf(low), self.cdf(high)
        log = torch.where(
            lattice,
            self.log_mass(low, high) - torch.where(lattice, codec.step, 1.0).log(),
            self.log_density(x) + cells.unit,
        )
        for a in range(self.atom_bin.shape[1]):
            k = self.atom_bin[:, a, None]
            left, right = (self.below.gather(1, k + i)[:, 0] for i in (0, 1))
            here = ~lattice & (cells.atom == a + 1)
            first, last = torch.where(here, left, first), torch.where(here, right, last)
            log = torch.where(here, (right - left).clamp_min(1e-300).log(), log)
        return normal_score(first + (last - first) * place), log

    def _coin(self, b: int, codes: Tensor) -> Tensor:
        """A binary column as one coordinate (n, 1)."""
        share = self.shares[b, 0]
        place = torch.rand(len(codes), dtype=torch.float64, device=codes.device)
        return normal_score(torch.where(codes == 0, share * place, share + (1 - share) * place))[:, None]

    def _race(self, b: int, codes: Tensor) -> Tensor:
        """A categorical column as one coordinate for each level (n, L): the others arrive after the one seen."""
        share = self.shares[b, : self.sizes[b]]
        wait = torch.empty(len(codes), len(share) + 1, dtype=torch.float64, device=codes.device).exponential_()
        first = wait[:, -1:]
        won = torch.arange(len(share), device=codes.device) == codes[:, None]
        arrival = torch.where(won, first, first + wait[:, :-1] / share)
        return early_score(arrival * share)

    # ---- coordinates to rows

    def decode(self, u: Tensor, codes: Tensor, codec: Codec) -> Tensor:
        """Rows (n, D) in codec units of coordinates (n, C), and of levels (n, B) where these are no coordinates.

        Rounded columns lie somewhere in their cell, and are the codec's to snap.
        """
        n = len(self.schema.numeric)
        x = self.quantile(u[:, :n]) if n else u[:, :0]
        if self.plain:
            x = x.clone()
            x[:, list(self.plain)] = u[:, list(self.plain)]
        if self.levels:
            codes = self._levels(u[:, n:])
        return torch.cat([x, codes.to(x.dtype)], -1)

    def _levels(self, u: Tensor) -> Tensor:
        """The known level that arrives first (n, B)."""
        out, begin = [], len(self.schema.binary)
        for b, size in enumerate(self.known):
            if b < len(self.schema.binary):
                out.append(torch.special.ndtr(u[:, b]) >= self.shares[b, 0])
                continue
            wait = -torch.special.log_ndtr(u[:, begin : begin + size])
            out.append((wait / self.shares[b, :size]).argmin(-1))
            begin += self.sizes[b]
        return torch.stack(out, -1).double() if out else u[:, :0]

    # ---- one column's own distribution, all numeric columns side by side: (n, Dn) in codec units

    def cdf(self, y: Tensor) -> Tensor:
        """P(column <= y), atoms counted from their place on."""
        k, inside = self._bin(y)
        left, right = self._at(self.below, k), self._at(self.below, k + 1)
        first, last = self.knots[:, 0], self.knots[:, -1]
        out = left + (right - left) * inside
        under = self.below[:, 0] * self._beyond(first - y)
        over = 1 - (1 - self.below[:, -1]) * self._beyond(y - last)
        return torch.where(y < first, under, torch.where(y >= last, over, out))

    def log_density(self, y: Tensor) -> Tensor:
        """Log-density in codec units, beside atoms."""
        k, _ = self._bin(y)
        mass = self._at(self.below, k + 1) - self._at(self.below, k)
        width = self._at(self.knots, k + 1) - self._at(self.knots, k)
        out = mass.clamp_min(1e-300).log() - width.clamp_min(1e-300).log()
        first, last = self.knots[:, 0], self.knots[:, -1]
        beyond = torch.maximum(first - y, y - last).clamp_min(0.0)
        share = torch.where(y < first, self.below[:, 0], 1 - self.below[:, -1])
        tail = share.log() + math.log(INDEX) - self.tail.log() - (INDEX + 1) * (beyond / self.tail).log1p()
        return torch.where((y < first) | (y >= last), tail, out)

    def log_mass(self, lo: Tensor, hi: Tensor) -> Tensor:
        """Log-mass between lo and hi, exact far out."""
        first, last = self.knots[:, 0], self.knots[:, -1]
        inner = (self.cdf(hi) - self.cdf(lo)).clamp_min(1e-300).log()
        under = self.below[:, 0].log() + self._log_beyond(first - hi, first - lo)
        over = (1 - self.below[:, -1]).log() + self._log_beyond(lo - last, hi - last)
        return torch.where(hi <= first, under, torch.where(lo >= last, over, inner))

    def quantile(self, u: Tensor) -> Tensor:
        """The place of a score u; that of an atom is its own, exactly."""
        p, q = torch.special.ndtr(u), torch.special.ndtr(-u)
        k = torch.searchsorted(self.below, p.T.contiguous(), right=True).T - 1
        k = k.clamp(0, self.below.shape[1] - 2)
        left, right = self._at(self.below, k), self._at(self.below, k + 1)
        a, b = self._at(self.knots, k), self._at(self.knots, k + 1)
        out = a + (b - a) * ((p - left) / (right - left).clamp_min(1e-300)).clamp(0, 1)
        out = torch.where(a == b, a, out)
        under = self.knots[:, 0] - self.tail * ((self.below[:, 0] / p.clamp_min(1e-300)) ** (1 / INDEX) - 1)
        top = 1 - self.below[:, -1]
        over = self.knots[:, -1] + self.tail * ((top / q.clamp_min(1e-300)) ** (1 / INDEX) - 1)
        return torch.where(p < self.below[:, 0], under, torch.where(q <= top, over, out))

    def _bin(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The bin of a value, and how far into it the value lies (a share)."""
        k = (torch.searchsorted(self.knots, y.T.contiguous(), right=True).T - 1).clamp(0, self.knots.shape[1] - 2)
        a, b = self._at(self.knots, k), self._at(self.knots, k + 1)
        return k, ((y - a) / (b - a).clamp_min(1e-300)).clamp(0, 1)

    @staticmethod
    def _at(table: Tensor, k: Tensor) -> Tensor:
        return table.gather(1, k.T).T

    def _beyond(self, t: Tensor) -> Tensor:
        """Share of a tail's mass beyond t."""
        return (1 + t.clamp_min(0.0) / self.tail) ** -INDEX

    def _log_beyond(self, a: Tensor, b: Tensor) -> Tensor:
        """Log of the share of a tail's mass between a and b > a."""
        a = a.clamp_min(0.0)
        near = -INDEX * (a / self.tail).log1p()
        rest = -torch.expm1(-INDEX * ((b - a).clamp_min(0.0) / (self.tail + a)).log1p())
        return near + rest.clamp_min(1e-300).log()


def normal_score(p: Tensor) -> Tensor:
    return torch.special.ndtri(p).clamp(-FARTHEST, FARTHEST)


def early_score(wait: Tensor) -> Tensor:
    """Phi^-1(exp(-wait)): large where little time was waited."""
    late = torch.special.ndtri((-wait).exp())
    soon = -torch.special.ndtri(-torch.expm1(-wait))
    return torch.where(wait < 1, soon, late).clamp(-FARTHEST, FARTHEST)


def log_phi(u: Tensor) -> Tensor:
    """Log-density of the standard Normal."""
    return -0.5 * u.square() - 0.5 * math.log(2 * math.pi)
