"""Where batches come from: rows in memory, or a stream of parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from zoo.rows.rows import Rows


class Source(Protocol):
    """n rows, of which `batches(size, steps)` yields shuffled batches, one epoch after another, each with the positions
    of its rows."""

    @property
    def n(self) -> int: ...

    def batches(self, size: int, steps: int) -> Iterator[tuple[Tensor, Rows]]: ...


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
            for index in torch.randperm(self.n, device=self.rows.given.device).split(size)[: steps - taken]:
                taken += 1
                yield index, self.rows.take(index)


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
                for index in torch.arange(part.n, device=part.given.device).split(size):
                    if taken == steps:
                        return
                    taken += 1
                    yield index, rows.take(index)
            epoch += 1
