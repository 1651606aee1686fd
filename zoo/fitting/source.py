"""Where batches come from: rows in memory, or a stream of parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from zoo.rows.rows import Rows
from zoo.table.codec import Cells


class Source(Protocol):
    """n rows, of which `batches(size, steps)` yields shuffled batches, one epoch after another, each with the positions
    of its rows."""

    @property
    def n(self) -> int: ...

    def batches(self, size: int, steps: int) -> Iterator[tuple[Tensor, Rows]]: ...


BLOCK = 64
"""Batches that are put together at once."""


@dataclass
class InMemory:
    rows: Rows

    @property
    def n(self) -> int:
        return self.rows.n

    def batches(self, size: int, steps: int) -> Iterator[tuple[Tensor, Rows]]:
        """Index batches are made on the device of the rows."""
        taken = 0
        while taken < steps:
            for block in torch.randperm(self.n, device=self.rows.given.device).split(size * BLOCK):
                for index, rows in _batches(block, self.rows.take(block), size):
                    if taken == steps:
                        return
                    taken += 1
                    yield index, rows


@dataclass
class Streamed:
    """parts(epoch) yields an epoch's rows in random order, part by part."""

    n: int
    parts: Callable[[int], Iterator[Rows]]

    def batches(self, size: int, steps: int) -> Iterator[tuple[Tensor, Rows]]:
        taken, epoch = 0, 0
        while taken < steps:
            for part in self.parts(epoch):
                rows = replace(part, total=float(self.n))
                for index, batch in _batches(torch.arange(part.n, device=part.given.device), rows, size):
                    if taken == steps:
                        return
                    taken += 1
                    yield index, batch
            epoch += 1


def _batches(index: Tensor, rows: Rows, size: int) -> Iterator[tuple[Tensor, Rows]]:
    """These rows in turn, without copying them, and their part of `index`."""
    for begin in range(0, rows.n, size):
        here = slice(begin, begin + size)
        yield index[here], part_of(rows, here)


def part_of(rows: Rows, here: slice) -> Rows:
    """Some of the rows, which follow one another, without copying them."""
    cells = None if rows.cells is None else Cells(*(t[here] for t in rows.cells))
    given, group, weight = rows.given[here], rows.group[here], rows.weight[here]
    return replace(rows, n=len(weight), cells=cells, given=given, group=group, weight=weight, copies=1)
