"""A turn's step as a graph: written down once for each shape of batch, checked against Python, then replayed.

Parameters, buffers and the batch are the graph's inputs, so what training, annealing and schedules change is read at
every step. Whether to capture, and when, depends on numbers of steps alone, never on a clock: the same seed gives the
same numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from zoo.fitting.compiled import Launch, Run, compiled, compiler
from zoo.fitting.settings import FitSettings
from zoo.fitting.step import EagerStep, Step
from zoo.fitting.tape import Unwritable, bound, written
from zoo.objectives.turn import Turn
from zoo.rows.rows import Rows

if TYPE_CHECKING:
    from zoo.model import Model

WORTH = 200
"""Steps of one shape that pay for its capture."""
WORTH_COMPILING, COMPILED_AT = 40_000, 5_000
"""Steps that must be planned for a compiler to pay, and the use of a graph at which compiled code takes its place."""
SHAPES = 4
"""Shapes that are captured; batches of further ones run in Python."""
CHECKS = (10, 100, 1000)
"""Uses of a graph after which it is checked again; from then on after as many as the last says."""
NUDGE = 1e-2
"""Standard deviation of what is added to parameters for a check."""
TOLERANCE = {"graph": 1e-5, "compiled": 1e-3, "cuda graph": 1e-3}
"""What two results may differ by, as a share of the largest number: a graph has the same operations as Python."""
OTHERWISE = {
    "graph": "the program does not do the same at every step",
    "compiled": "compiled code gives other numbers",
    "cuda graph": "a recorded launch gives other numbers",
}


def step_of(model: Model, turn: Turn, settings: FitSettings, planned: int, timed: bool = False) -> Step:
    """The step of one turn of a fit that plans so many; `timed`: it may be out of time long before."""
    eager = EagerStep(turn, settings.learning_rate, settings.clip)
    uses = planned // turn.every
    if settings.tier == "eager" or (settings.tier == "auto" and uses < WORTH):
        eager.why = "" if settings.tier == "eager" else f"{uses} steps are too few to capture"
        return eager
    return CapturedStep(model, eager, settings.tier, settings.tier == "auto" and not timed and uses >= WORTH_COMPILING)


@dataclass
class Graph:
    """run(inputs) gives what `gradient` gives, or, where it `moves`, does the optimiser's part too."""

    module: fx.GraphModule
    run: Run
    tier: str = "graph"
    moves: bool = False
    uses: int = 0

    @property
    def due(self) -> bool:
        """Whether it is to be checked again."""
        return self.uses in CHECKS or self.uses % CHECKS[-1] == 0


class CapturedStep:
    """Replays graphs of the turn's loss and gradient; runs Python where there is none, or where one did not hold."""

    def __init__(self, model: Model, eager: EagerStep, asked: str = "graph", compiles: bool = False):
        self.asked, self.compiles = asked, compiles
        self.model, self.eager, self.turn, self.adam = model, eager, eager.turn, eager.adam
        self.why = ""
        self.modules = [
            m for part in (model.program, model.guide, model.heads, model.objective) for m in part.modules()
        ]
        self.state = list({id(t): t for t in (*self.turn.parameters, *_state(model))}.values())
        moved = {id(p) for p in self.turn.parameters}
        self.others = [t for t in self.state if id(t) not in moved]
        self.met: Counter[Any] = Counter()
        self.graphs: dict[Any, Graph | None] = {}

    def __call__(self, rows: Rows) -> tuple[Tensor, Tensor]:
        key = self._key(rows)
        self.met[key] += 1
        if key not in self.graphs and self._is_worth(key):
            self.graphs[key] = self._captured(rows)
        graph = self.graphs.get(key)
        if graph is not None:
            out = self._replayed(graph, key, rows)
            if out is not None:
                return out[0], out[1]
        return self.eager(rows)

    @property
    def tier(self) -> str:
        """How batches of the shape that came most often are run now."""
        graph = self.graphs.get(self.met.most_common(1)[0][0]) if self.met else None
        return "eager" if graph is None else graph.tier

    def set_learning_rate(self, value: float) -> None:
        self.adam.learning_rate.fill_(self.turn.rate * value)

    def _key(self, rows: Rows) -> Any:
        """What a graph is good for: all that is no tensor, the shapes of what is, and which modules are in training."""
        shapes = tuple((t.shape, t.stride()) for t in _tensors(rows))
        return rows.total, rows.complete, rows.copies, shapes, tuple([m.training for m in self.modules])

    def _is_worth(self, key: Any) -> bool:
        """The first shape is captured at once, another when it has come as often as pays for it."""
        return len(self.graphs) < SHAPES and (not self.graphs or self.met[key] >= WORTH)

    def _inputs(self, rows: Rows) -> list[Tensor]:
        return [*self.state, *_tensors(rows)]

    def _replayed(self, graph: Graph, key: Any, rows: Rows) -> list[Tensor] | None:
        """The step by its graph; None, the step not taken and the graph not used again, where it does not hold."""
        graph.uses += 1
        if self.compiles and graph.uses == COMPILED_AT:
            graph = self.graphs[key] = self._faster(graph, "compiled", rows)
        if not graph.due or self._holds(graph, rows):
            try:
                with torch.no_grad():
                    out = graph.run(self._inputs(rows))
            except Exception as error:
                self._give_up(error)
            else:
                return out if graph.moves else self.eager.move(out, rows.n)
        self.graphs[key] = None
        return None

    # ---- making one

    def _captured(self, rows: Rows) -> Graph | None:
        buffers = [id(t) for t in self.model.buffers()]
        try:
            with self._untouched():
                module = written(lambda: self.eager.gradient(rows), self._inputs(rows))
            if [id(t) for t in self.model.buffers()] != buffers:
                raise Unwritable("a buffer is replaced by another one, not changed in place")
            quick = bound(module)
            for node in (*module.graph.nodes, *quick.graph.nodes):
                node.meta.clear()  # the values of this batch
        except Exception as error:
            self._give_up(error)
            return None
        graph = Graph(module, lambda inputs: quick.forward(*inputs))
        if not self._holds(graph, rows):
            return None
        if self.asked == "auto" and rows.given.is_cuda:
            return self._faster(graph, "cuda graph", rows)
        return self._faster(graph, "compiled", rows) if self.asked == "compiled" else graph

    def _faster(self, graph: Graph, tier: str, rows: Rows) -> Graph:
        """The graph in a faster tier; the same graph, and the reason, where that is not to be had."""
        try:
            with self._untouched():
                if tier == "cuda graph":
                    # gradients that are summed over processes come out of the recording, and are moved by after it
                    move = (lambda out: self.eager.move(out, rows.n)) if self.eager.alone else None
                    run: Run = Launch(graph.run, move, self._inputs(rows), len(self.state))
                elif compiler() is None:
                    raise Unwritable("no C++ compiler was found")
                else:
                    run = compiled(graph.module, self._inputs(rows))
            faster = replace(graph, run=run, tier=tier, moves=tier == "cuda graph" and self.eager.alone)
            if self._holds(faster, rows):
                return faster
        except Exception as error:
            self._give_up(error)
        return graph

    def _give_up(self, error: Exception) -> None:
        said = (str(error).strip().splitlines() or [""])[0]
        self.why = said if isinstance(error, Unwritable) else f"{type(error).__name__}: {said}"

    def _holds(self, graph: Graph, rows: Rows) -> bool:
        """Whether graph and Python agree under one seed, at two places near the parameters."""
        try:
            for seed in range(2):
                expected = self._after(self.eager.gradient, seed, rows)
                found = self._after(lambda r: graph.run(self._inputs(r)), seed, rows)
                if not _alike(expected, found, TOLERANCE[graph.tier]):
                    raise Unwritable(OTHERWISE[graph.tier])
        except Exception as error:
            self._give_up(error)
            return False
        return True

    def _after(self, run: Callable[[Rows], list[Tensor]], seed: int, rows: Rows) -> list[Tensor]:
        """What a step gives, and the buffers it leaves, at parameters a little beside these; undone afterwards."""
        with self._untouched(), torch.no_grad():
            torch.manual_seed(seed)
            for p in self.turn.parameters:
                p.add_(NUDGE * torch.randn_like(p))
            return [*(t.clone() for t in run(rows)), *(t.detach().clone() for t in self.others)]

    @contextmanager
    def _untouched(self) -> Iterator[None]:
        """Leave parameters, buffers, the optimiser and the generators as they are."""
        every = [t.detach() for t in (*self.state, *self.adam.state())]
        before = [t.clone() for t in every]
        devices = {t.device for t in every if t.is_cuda}
        with torch.random.fork_rng(list(devices)):
            try:
                yield
            finally:
                for t, value in zip(every, before, strict=True):
                    t.copy_(value)


def _state(model: Model) -> Iterator[Tensor]:
    """What may change while a model is fitted: the table's units do not."""
    units = {id(t) for t in model.codec.buffers()}
    yield from model.parameters()
    yield from (t for t in model.buffers() if id(t) not in units)


def _tensors(rows: Rows) -> list[Tensor]:
    return [*(rows.cells or ()), rows.given, rows.group, rows.weight]


def _alike(expected: list[Tensor], found: list[Tensor], tolerance: float) -> bool:
    """Whether loss, norm, gradients and buffers are the same, up to rounding in the largest of each."""
    size = expected[1].abs().nan_to_num(0.0, 0.0, 0.0)
    for a, b in zip(expected, found, strict=True):
        if not a.is_floating_point():
            if not torch.equal(a, b):
                return False
            continue
        largest = a.abs().nan_to_num(0.0, 0.0, 0.0).amax() if a.numel() else size
        allowed = tolerance * (largest + 1e-2 * size + 1e-12)
        if not torch.allclose(a, b, rtol=0.0, atol=float(allowed), equal_nan=True):
            return False
    return True
