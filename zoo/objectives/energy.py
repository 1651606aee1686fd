"""What fits an energy: chains that it draws rows by, or noise that rows are told from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from zoo.bounds import Count, Natural, Share, Weight
from zoo.errors import UserError
from zoo.objectives.turn import Turn
from zoo.objectives.two_sample import DearlySampled
from zoo.rows.rows import Rows

if TYPE_CHECKING:
    from zoo.model import Model


class _OfAnEnergy(DearlySampled):
    fill: int

    def prepare(self, model: Model) -> None:
        if not hasattr(model.program, "tilt"):
            what = f"model {model.recipe.model!r}: objective {model.recipe.objective.use!r} fits an energy"
            raise UserError(what, "the program that has one is energy")

    def turns(self, model: Model) -> Iterator[Turn]:
        yield Turn(list(model.fitted_parameters()), lambda rows: self.loss(model, rows))

    def loss(self, model: Model, rows: Rows) -> Tensor:
        raise NotImplementedError


class ContrastiveDivergence(_OfAnEnergy):
    """E[f] over draws of the model less E[f] over rows: the gradient of - log p. Hinton 2002; Tieleman 2008.

    chains  "persistent": kept from step to step; "data": begun at the rows, as where columns are given
    walkers persistent chains
    steps   of a chain before each step of the fit, and to fill cells not seen
    fresh   share of the persistent chains that begin again at independent columns
    calm    weight of the mean of f^2, over rows and draws
    """

    walkers_at: Tensor

    def __init__(
        self,
        chains: Literal["persistent", "data"] = "persistent",
        walkers: Count = 512,
        steps: Count = 10,
        fresh: Share = 0.02,
        calm: Weight = 1e-3,
    ):
        super().__init__()
        self.chains, self.walkers, self.fill, self.fresh, self.calm = chains, walkers, steps, fresh, calm

    def prepare(self, model: Model) -> None:
        super().prepare(model)
        width = model.program.scores.width
        self.register_buffer("walkers_at", torch.randn(self.walkers, width, dtype=torch.float64))

    def loss(self, model: Model, rows: Rows) -> Tensor:
        program: Any = model.program
        u, _ = program.filled(rows, self.fill)
        other, given = self._drawn(model, rows, u)
        up, down = program.tilt(u, rows.given), program.tilt(other, given)
        up_share = rows.weight / rows.n
        down_share = rows.weight / rows.n if given is rows.given else torch.full_like(down, 1 / len(down))
        calm = self.calm * ((up_share * up.square()).sum() + (down_share * down.square()).sum())
        return (down_share * down).sum() - (up_share * up).sum() + calm

    def _drawn(self, model: Model, rows: Rows, u: Tensor) -> tuple[Tensor, Tensor]:
        if self.chains == "data" or rows.given.shape[-1]:
            return model.program.walk(u, rows.given, 1.0, self.fill)[0].detach(), rows.given  # beside each row
        given = rows.given.new_zeros(self.walkers, 0)
        if model.training:
            start = self.walkers_at
            again = torch.rand(self.walkers, 1, device=start.device) < self.fresh
            start = torch.where(again, torch.randn_like(start), start)
            self.walkers_at.copy_(model.program.walk(start, given, 1.0, self.fill)[0].detach())
        return self.walkers_at.clone(), given


class NoiseContrastive(_OfAnEnergy):
    """- log of how well f - log Z tells rows from noise, rows of independent columns. Gutmann & Hyvarinen 2012.

    The network's own constant stands for log Z.

    noise  rows of it for each row
    fill   steps of a chain that fill cells not seen
    """

    def __init__(self, noise: Count = 4, fill: Natural = 10):
        super().__init__()
        self.noise, self.fill = noise, fill

    def loss(self, model: Model, rows: Rows) -> Tensor:
        program: Any = model.program
        u, _ = program.filled(rows, self.fill)
        many = rows.given.repeat(self.noise, 1)
        even = torch.log(torch.tensor(float(self.noise), dtype=torch.float64))
        told = logsigmoid(program.tilt(u, rows.given) - even)
        other = logsigmoid(even - program.tilt(torch.randn(len(many), u.shape[1], dtype=u.dtype).to(u), many))
        return -(rows.weight * (told + other.unflatten(0, (self.noise, rows.n)).sum(0))).sum() / rows.n
