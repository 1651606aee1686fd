"""Fits side by side: in processes of their own, within the cores that there are."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from zoo.comparison.entry import Fit
from zoo.errors import ZooWarning

DIED = "its process ended without an answer, alone too: most often for want of memory"

Job = tuple[Any, ...]
One = Callable[..., Fit]
Told = Callable[[Any], Any]
Deadline = Callable[[int], float | None]


def side_by_side(one: One, jobs: Sequence[Job], workers: int, deadline: Deadline, told: Told) -> list[Fit]:
    """`one(*job, when it must be done)` for every job, in their order, so many at a time as there are workers.

    one       goes to the processes, and what it returns comes back: both can be pickled
    deadline  when the next fit must be done, where so many are left to each worker
    told      called with a job that starts

    Every process has one thread. Where one dies, the fits that were under way are made again, one alone at a time: it
    costs that one which dies alone too, and says so.
    """
    done: dict[int, Fit] = {}
    again: list[int] = []
    while left := [i for i in range(len(jobs)) if i not in done]:
        todo, started = again[:1] or left, list[int]()
        tasks = _tasks(one, jobs, todo, len(left), started, workers, deadline, told)
        try:
            with parallel_config("loky", inner_max_num_threads=1):
                # not one task more than is fitted is taken: its deadline counts from when it is
                pool = Parallel(
                    workers, pre_dispatch=workers, batch_size=1, max_nbytes=None, return_as="generator_unordered"
                )
                for i, fit, notes in pool(tasks):
                    done[i] = fit
                    for note in notes:
                        warnings.warn(note, ZooWarning, stacklevel=2)
        except TerminatedWorkerError:
            if len(todo) == 1:
                done[todo[0]] = Fit(0.0, failure=DIED)
            else:
                again = started
        again = [i for i in again if i not in done]
    return [done[i] for i in range(len(jobs))]


def _tasks(
    one: One,
    jobs: Sequence[Job],
    todo: Sequence[int],
    left: int,
    started: list[int],
    workers: int,
    deadline: Deadline,
    told: Told,
) -> Iterator[Any]:
    for n, i in enumerate(todo):
        started.append(i)
        told(jobs[i])
        yield delayed(_apart)(one, i, jobs[i], deadline(math.ceil((left - n) / workers)))


def _apart(one: One, i: int, job: Job, deadline: float | None) -> tuple[int, Fit, list[str]]:
    """A fit, and the warnings of zoo's own that it gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ZooWarning)
        fit = one(*job, deadline)
    return i, fit, [str(each.message) for each in caught if issubclass(each.category, ZooWarning)]
