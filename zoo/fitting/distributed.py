"""One fit by several processes, as torchrun starts them: each takes its part of every batch, and all the same step.

Every process holds the table and the model, starts alike and draws noise of its own. The gradient of a batch is the
mean over all of its rows, as if one process had seen it: parts of gradients are summed in one flat tensor before they
are shortened and moved by. So a loss that is a mean over rows is that of one process; one that compares a batch as a
whole, or draws globals, is the mean of what parts of the batch give. Where a process group is not there, nothing here
does anything.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from zoo.errors import UserError
from zoo.fitting.source import Source, part_of
from zoo.launch import several
from zoo.rows.rows import Rows


def processes() -> int:
    """How many fit together; 1 where this process is alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Be one of the processes that torchrun started, if it did; on GPUs, with one of its own.

    Inside another such call it does nothing: torch lets processes join once.
    """
    if not several() or processes() > 1:
        yield
        return
    backend = "gloo"
    if device.type == "cuda":
        place, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if device.index is not None or place >= there:
            said = f"each process takes a GPU of its own, and there are {there}"
            raise UserError(said, "use --device cuda and no more processes than that")
        torch.cuda.set_device(place)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend)
    try:
        yield
        dist.barrier()  # where one leaves badly torchrun ends all: none leaves while the first still writes
    except SystemExit as leaving:
        if not leaving.code:
            dist.barrier()
        raise
    finally:
        dist.destroy_process_group()


def told(value: float) -> float:
    """What the first process found, so that all decide alike where clocks or rounding could part them."""
    if processes() == 1:
        return value
    number = torch.tensor(float(value), dtype=torch.float64)
    dist.broadcast(number, 0)
    return float(number)


def agree(tensors: Iterable[Tensor]) -> None:
    """Let tensors be, in their place, those of the first process."""
    if processes() == 1:
        return
    for t in tensors:
        if t.numel():
            plain = t.detach().to(torch.uint8 if t.dtype == torch.bool else t.dtype).contiguous()
            dist.broadcast(plain, 0)
            t.detach().copy_(plain)


def mean_over_rows(out: list[Tensor], n: int) -> list[Tensor]:
    """[loss, *gradients] of n rows of a batch -> those of all of its rows, by one sum over processes.

    The sum is in the widest type of the gradients; each comes back in its own.
    """
    loss, *gradients = out
    wide = functools.reduce(torch.promote_types, (g.dtype for g in gradients))
    one = torch.ones(1, dtype=wide, device=gradients[0].device)
    flat = torch.cat([*(g.flatten().to(wide) for g in gradients), loss.reshape(1).to(wide), one]) * n
    dist.all_reduce(flat)
    flat = flat[:-1] / flat[-1]
    parts = flat.split([*(g.numel() for g in gradients), 1])
    return [parts[-1][0].to(loss), *(p.view_as(g).to(g) for p, g in zip(parts, gradients, strict=False))]


def shared(source: Source, seed: int) -> Source:
    """The source as this process sees it: itself where the process is alone."""
    return source if processes() == 1 else Share(source, dist.get_rank(), dist.get_world_size(), seed)


@dataclass
class Share:
    """Of every batch the rows of one process. A batch of fewer rows than processes goes to each of them whole.

    All go through the table in one order, that of a process which is alone, and the generators that steps draw
    from differ from one process to another.
    """

    source: Source
    rank: int
    processes: int
    seed: int

    @property
    def n(self) -> int:
        return self.source.n

    def batches(self, size: int, steps: int) -> Iterator[tuple[Tensor, Rows]]:
        batches = self.source.batches(size, steps)
        order = _states()
        agree(order)
        torch.manual_seed(int(np.random.SeedSequence([self.seed, self.rank]).generate_state(1, np.uint64)[0] >> 1))
        while True:
            noise = _states()
            _set(order)
            batch = next(batches, None)
            order = _states()
            _set(noise)
            if batch is None:
                return
            index, rows = batch
            if rows.n < self.processes:
                yield index, rows
            else:
                here = slice(*(rows.n * k // self.processes for k in (self.rank, self.rank + 1)))
                yield index[here], part_of(rows, here)


def _states() -> list[Tensor]:
    """Of the generators that are drawn from: the processor's, and that of this process's GPU if it uses one."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else states


def _set(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state)
