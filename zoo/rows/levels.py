"""Masses of levels and atoms, from logits side by side."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor

from zoo.table.codec import Codec


class Levels:
    """Logits (..., L), L the sum of schema.blocks, as log-masses: a softmax inside each block, mixed with its share of
    smoothing.

    log m_l = log((1 - s) exp(logit_l - total) + s / size)

    Only the levels asked for are worked out; what all of a block share is its `total`.
    """

    def __init__(self, codec: Codec, logits: Tensor):
        self.codec, self.blocks, self.shape = codec, codec.schema.blocks, logits.shape[:-1]
        if logits.dim() > 1 and logits.shape[-2] > 1 and logits.stride(-2) == 0:  # one for all rows: once is enough
            logits = logits[..., :1, :]
        self.logits = logits.double()

    @cached_property
    def total(self) -> Tensor:
        """Log of the summed exponentials of each block (..., n or 1, blocks)."""
        return torch.cat([part.logsumexp(-1) for part in self._runs()], -1)

    def _runs(self) -> Iterator[Tensor]:
        """The logits of neighbouring blocks that are alike in size (..., how many, size)."""
        end = 0
        for size, run in groupby(self.blocks):
            many = len(list(run))
            begin, end = end, end + many * size
            yield self.logits[..., begin:end].unflatten(-1, (many, size))

    def at(self, blocks: slice, which: Tensor) -> Tensor:
        """Log-mass (..., n, C) of one level of each of C neighbouring blocks, `which` (n, C) counted in its block."""
        here = list(range(len(self.blocks)))[blocks]
        begin = torch.tensor([0, *self.blocks], device=which.device).cumsum(0)[here]
        return self._mixed(_take(self.logits, which + begin) - self.total[..., here], here)

    def block(self, b: int, size: int) -> Tensor:
        """Log-masses (..., n or 1, size) of the first levels of a block."""
        begin = sum(self.blocks[:b])
        return self._mixed(self.logits[..., begin : begin + size] - self.total[..., b : b + 1], [b])

    def _mixed(self, log: Tensor, blocks: list[int]) -> Tensor:
        """Logs of shares inside blocks (..., C or 1), after smoothing."""
        sizes = [self.blocks[b] for b in blocks]
        keep = torch.tensor([self.codec.smoothing(size) for size in sizes], dtype=log.dtype, device=log.device)
        return torch.logaddexp(log + torch.log1p(-keep), (keep / torch.tensor(sizes).to(keep)).log())


def _take(table: Tensor, index: Tensor) -> Tensor:
    """table (..., n or 1, L) at index (n, C): (..., n, C), without spreading a table shared by the rows."""
    if table.dim() == 1:
        return table[index]
    if table.shape[-2] == 1:
        return table[..., 0, :][..., index]
    return table.gather(-1, index.expand(*table.shape[:-1], index.shape[-1]))
