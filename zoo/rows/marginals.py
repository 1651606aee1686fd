"""The empirical distribution of one numeric column: bins of even density, atoms of no width, and tails."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

MOST_BINS = 200
INDEX = 4.0
"""A tail of scale s keeps a share (1 + t / s)^-INDEX of its mass beyond t: finite variance, and no row impossible."""
SPREAD, TAIL, NO_TAIL, ATOM = 1.0, 0.5, 1e-6, 0.1
"""Rows spread evenly over the range, rows beyond each end of it, where a cycle has no beyond, and of an atom."""
BY_CHANCE, MOST_GAPS = 1e-3, 20
"""How likely a column without gaps is told to have one, and gaps that are kept."""
HALVINGS, FEWEST = 3, 8
"""How often the bin at an end is halved, down to so many rows: there a density falls fastest."""


class Marginal(NamedTuple):
    """knots, below (K,): ends of bins in codec units, and the mass below each; tail: its scale; atom_bin (A,): the bin
    of each atom."""

    knots: np.ndarray
    below: np.ndarray
    tail: float
    atom_bin: np.ndarray


def default(size: int) -> Marginal:
    """Before there are rows: nearly the standard Normal."""
    knots = np.linspace(-3.0, 3.0, size)
    return Marginal(knots, norm.cdf(knots), 1.0, np.zeros(0, dtype=int))


def empirical(
    x: np.ndarray,
    lo: np.ndarray,
    hi: np.ndarray,
    atom: np.ndarray,
    weight: np.ndarray,
    places: np.ndarray | None,
    cycle: tuple[float, ...] | None,
    lattice: bool,
    size: int,
) -> Marginal:
    """The distribution of seen values x (n,), with the ends of their cells, in codec units.

    places  of the atoms beside a density
    cycle   where a cyclic column begins and ends
    size    knots there is room for

    A bin holds at least sqrt(n) rows: of a histogram's log-density that many rows leave a variance of 1 / sqrt(n). On
    a lattice each cell has its own mass where there are few, mixed with such bins as much as a next row is expected to
    be of a cell never seen (Good 1953: the share of cells with one row). A density has no bin across a gap between
    values: it would draw rows where there are none.
    """
    beside = atom > 0 if places is not None else np.zeros(len(x), dtype=bool)
    edges, mass = _cells(x, lo, hi, weight) if lattice else _density(x[~beside], weight[~beside], places)
    if cycle is not None:
        edges = np.concatenate([[min(cycle[0], edges[0])], edges, [max(cycle[1], edges[-1])]])
        mass = np.concatenate([[0.0], mass, [0.0]])
    where = np.zeros(0, dtype=int)
    for k, place in enumerate(places if places is not None else ()):
        edges, mass, at = _insert(edges, mass, place, weight[beside & (atom == k + 1)].sum() + ATOM)
        where = np.append(np.where(where >= at, where + 2, where), at)
    mass = mass + SPREAD * np.diff(edges) / (edges[-1] - edges[0])
    keep = np.append(True, (np.diff(edges) > 0) | np.isin(np.arange(len(mass)), where))
    where = np.array([keep[1 : at + 1].sum() for at in where], dtype=int)
    edges, mass = edges[keep], mass[keep[1:]]
    tail = TAIL if cycle is None else NO_TAIL
    total = mass.sum() + 2 * tail
    below = (tail + np.concatenate([[0.0], np.cumsum(mass)])) / total
    centre = np.average(x, weights=weight)
    scale = max(float(np.sqrt(np.average((x - centre) ** 2, weights=weight))), 1e-3 * (edges[-1] - edges[0]), 1e-9)
    room = size - len(edges)
    assert room >= 0
    return Marginal(np.pad(edges, (0, room), mode="edge"), np.pad(below, (0, room), mode="edge"), scale, where)


def _density(x: np.ndarray, weight: np.ndarray, places: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(edges, mass) of bins of a column with a density: edges lie between values, so that no value is on one, and a gap
    is a bin without mass."""
    if not len(x):  # nothing but atoms
        assert places is not None
        return np.array([places.min() - 1.0, places.max() + 1.0]), np.zeros(1)
    values, index = np.unique(x, return_inverse=True)
    count = np.bincount(index, weight)
    if len(values) == 1:
        return values[0] + np.array([-0.5, 0.5]), count
    middle = (values[1:] + values[:-1]) / 2
    edges = np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])
    cuts, margins = gaps(values)
    ends, masses, begin = [], [], 0
    for k, cut in enumerate([*cuts, len(values)]):
        starts = _with_ends(count[begin:cut], _groups(count[begin:cut], False, _enough(count)))
        inner = edges[begin : cut + 1][np.append(starts, cut - begin)]
        if begin:
            inner[0] = values[begin] - margins[k - 1, 1]
            masses.append(np.zeros(1))
        if cut < len(values):
            inner[-1] = values[cut - 1] + margins[k, 0]
        ends.append(inner)
        masses.append(np.add.reduceat(count[begin:cut], starts))
        begin = cut
    return np.concatenate(ends), np.concatenate(masses)


def gaps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(indices of the values (n,) that come after a gap, how far rows may lie into it from below and from above).

    Where values come at an even rate, a space beside k others that span L together is longer than d with probability
    (1 + d / L)^-k. A gap is one that chance would hardly have made anywhere, seen from either side.
    """
    n = len(values)
    k = max(1, int(np.sqrt(n)))
    space, at = np.diff(values), np.arange(n - 1)
    many = np.minimum([at, n - 2 - at], k)
    span = np.stack([values[at] - values[at - many[0]], values[at + 1 + many[1]] - values[at + 1]])
    surprise = (many * np.log1p(space / np.where(span > 0, span, np.inf))).min(0)
    found = np.flatnonzero(surprise > np.log(n / BY_CHANCE))
    found = np.sort(found[np.argsort(-surprise[found], kind="stable")[:MOST_GAPS]])
    margins = span[:, found] / np.sqrt(many[:, found])
    return found + 1, np.minimum(margins, space[found] / 3).T


def _cells(x: np.ndarray, lo: np.ndarray, hi: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(edges, mass) of the cells of a rounded column and of the gaps between them."""
    _, first, index, rows = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
    lo, hi, count = lo[first], hi[first], np.bincount(index, weight)
    starts = _groups(count, True, _enough(count))
    stops = np.append(starts[1:], len(count))
    if len(count) > MOST_BINS:
        lo, hi, count = lo[starts], hi[stops - 1], np.add.reduceat(count, starts)
        return _with_gaps(lo, hi, count)
    edges, own = _with_gaps(lo, hi, count)
    new = min(1.0, ((rows == 1).sum() + 1) / rows.sum())
    broad = np.zeros(len(own))
    centre = (edges[1:] + edges[:-1]) / 2
    for a, b, mass in zip(lo[starts], hi[stops - 1], np.add.reduceat(count, starts), strict=True):
        inside = (centre > a) & (centre < b)
        width = np.diff(edges) * inside
        broad += mass * width / width.sum()
    return edges, (1 - new) * own + new * broad


def _with_gaps(lo: np.ndarray, hi: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    edges = np.maximum.accumulate(np.stack([lo, hi], -1).ravel())
    mass = np.zeros(2 * len(lo) - 1)
    mass[::2] = count
    near = np.append(True, np.diff(edges) > 1e-9 * (edges[-1] - edges[0]))
    return edges[near], mass[near[1:]]


def _enough(count: np.ndarray) -> float:
    return float(max(count.sum() / MOST_BINS, np.sqrt(count.sum())))


def _groups(count: np.ndarray, heavy: bool, least: float) -> np.ndarray:
    """Where groups of neighbouring values begin: each has enough rows, and a value that alone has enough is alone."""
    starts, held = [0], 0.0
    for i, c in enumerate(count):
        full = held >= least or (heavy and c >= least)
        if i and full and len(starts) < MOST_BINS:
            starts.append(i)
            held = 0.0
        held += c
    if len(starts) > 1 and held < least and not heavy:
        starts.pop()
    return np.array(starts)


def _with_ends(count: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Groups whose first and last are halved, the outer half again, by rows; a bin costs as much of the likelihood
    however few rows it has."""
    below = np.concatenate([[0.0], np.cumsum(count)])
    more = []
    for inner, outer in ((starts[1] if len(starts) > 1 else len(count), 0), (starts[-1], len(count))):
        for _ in range(HALVINGS):
            middle = int(np.searchsorted(below, (below[inner] + below[outer]) / 2))
            if not abs(below[outer] - below[middle]) >= FEWEST or middle in (inner, outer):
                break
            more.append(middle)
            inner = middle
    return np.unique(np.append(starts, more).astype(int))


def _insert(edges: np.ndarray, mass: np.ndarray, place: float, count: float) -> tuple[np.ndarray, np.ndarray, int]:
    """A bin of no width with an atom's mass at its place, and where it is; the bin there before is cut in two."""
    if place <= edges[0]:
        return np.concatenate([[place, place], edges]), np.concatenate([[count, 0.0], mass]), 0
    if place >= edges[-1]:
        return np.append(edges, [place, place]), np.append(mass, [0.0, count]), len(mass) + 1
    k = int(np.searchsorted(edges, place, side="right")) - 1
    share = (place - edges[k]) / (edges[k + 1] - edges[k])
    edges = np.insert(edges, k + 1, [place, place])
    mass = np.concatenate([mass[:k], [mass[k] * share, count, mass[k] * (1 - share)], mass[k + 1 :]])
    return edges, mass, k + 1
