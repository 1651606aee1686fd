"""A graph made faster: by a C++ compiler, through Inductor, or as one launch on a GPU."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx

Run = Callable[[list[Tensor]], list[Tensor]]
COMPILERS = ("g++", "clang++", "c++", "cl")


def compiler() -> str | None:
    """The C++ compiler that would be used, if there is one."""
    asked = os.environ.get("CXX", "").split()
    return next(filter(None, (shutil.which(name) for name in (*asked[:1], *COMPILERS))), None)


def compiled(module: fx.GraphModule, inputs: list[Tensor]) -> Run:
    """The graph as machine code. Draws stay torch's own, so that one seed gives what Python gives.

    Code made once is kept by Inductor on the disk: a model of the same shapes is not compiled again.
    """
    import torch._inductor.config as config  # takes seconds
    from torch._inductor.compile_fx import compile_fx

    examples = [t.detach() for t in inputs]
    with warnings.catch_warnings(), torch.no_grad(), config.patch(fallback_random=True):
        warnings.simplefilter("ignore")
        function: Callable[..., Sequence[Tensor]] = compile_fx(module, examples)  # type: ignore[assignment]
    return lambda given: list(function(*given))


class Launch:
    """All of a step, the optimiser's move with it if it has one, recorded on the GPU: one launch and no Python between.

    The first `kept` inputs are tensors that stay where they are; the others, a batch, are copied to one place.
    """

    def __init__(self, run: Run, move: Callable[[list[Tensor]], object] | None, inputs: list[Tensor], kept: int):
        self.kept = kept
        self.inputs = [*inputs[:kept], *(t.clone() for t in inputs[kept:])]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what is made at first use must not be made while recording
            for _ in range(3):
                out = run(self.inputs)
                if move is not None:
                    move(out)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.out = run(self.inputs)
            if move is not None:
                move(self.out)

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        for mine, given in zip(self.inputs[self.kept :], inputs[self.kept :], strict=True):
            mine.copy_(given, non_blocking=True)
        self.graph.replay()
        return [t.clone() for t in self.out[:2]] + self.out[2:]
