"""Translation there and back: rows of one level, moved to the other, look like its rows and come back as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from zoo.bounds import Count, Natural, Positive, Share, Weight
from zoo.errors import UserError
from zoo.networks.mlp import MLP
from zoo.objectives.adversarial import Adversarial, weighted
from zoo.objectives.two_sample import MOST, discrepancy, energy_distance
from zoo.rows.columns import ColumnDensity
from zoo.rows.relaxed import LEVELS, Drawn, real, relaxed
from zoo.rows.rows import Rows
from zoo.table.schema import Schema

if TYPE_CHECKING:
    from zoo.model import Model


class Cycle(Adversarial):
    """A critic tells rows from translations; of row x of level a, whose translation to level b is y, the generators
    minimise

    loss(D(y, b)) + cycle |x - G_a(y)| + identity |x - G_a(x)| + match energy distance           # Zhu et al. 2017

    |.| is a mean over a row's seen cells: of a number in standard deviations, of a level or an atom the mass that
    misses it. One critic is told the level, and both levels count the same, whatever their shares of the table. Two
    tables may miss other cells, by which a critic could tell them: of every row it sees the cells that some row of the
    other level, drawn at random, has too.

    cycle     weight of what does not come back
    identity  weight of what a generator changes of rows that have its level already
    match     and the others, as for `adversarial`
    """

    def __init__(
        self,
        loss: Literal["non-saturating", "minimax", "hinge", "wasserstein"] = "non-saturating",
        network: Callable[[int, int], nn.Module] = MLP,
        cycle: Weight = 10.0,
        identity: Weight = 0.0,
        match: Weight = 0.0,
        inner: Count = 1,
        lead: Weight = 0.05,
        rate: Positive = 1.0,
        betas: tuple[Share, Share] = (0.5, 0.9),
        penalty: Weight = 0.0,
        spectral: bool = False,
        waves: Natural = 0,
        levels: LEVELS = "straight-through",
        temperature: Positive = 0.5,
    ):
        if levels == "score":
            what = "a row cannot come back through levels without a gradient, which levels = 'score' has none of"
            raise UserError(what, "take levels = 'straight-through' or 'gumbel'")
        shared: dict[str, Any] = {"inner": inner, "lead": lead, "rate": rate, "betas": betas, "penalty": penalty}
        shared |= {"spectral": spectral, "waves": waves, "levels": levels, "temperature": temperature}
        super().__init__(loss, network, match=match, **shared)
        self.cycle, self.identity = cycle, identity

    def prepare(self, model: Model) -> None:
        if not hasattr(model.program, "translate"):
            what = f"objective 'cycle' fits a program that translates, and {model.recipe.program.use!r} does not"
            raise UserError(f"model {model.recipe.model!r}: {what}", "take program = 'translation'")
        super().prepare(model)

    def critic_loss(self, model: Model, rows: Rows) -> Tensor:
        return super().critic_loss(model, even(model, rows))

    def generator_loss(self, model: Model, rows: Rows) -> Tensor:
        """A scalar: mean over rows of both levels, each with its translation."""
        program, rows = model.program, even(model, rows)
        x, level = real(rows), program.level(rows.given)[0]
        there = self._there(model, rows, x)
        y = torch.cat([hidden(there, shared(model, rows), model.schema), program.other(rows.given)], 1)
        loss = self.of_generator(self.critic(y)) + self.cycle * missed(x, program.read(there, level, rows), rows)
        if self.identity:
            loss = loss + self.identity * missed(x, program.read(x, level, rows), rows)
        out = weighted(loss, rows)
        if self.match:
            x = self.rows(model, rows)
            out = out + self.match * by_level(energy_distance, x, y, rows.weight, level)
        return out

    def rows(self, model: Model, rows: Rows) -> Tensor:
        return torch.cat([hidden(real(rows), shared(model, rows), model.schema), rows.given], 1)

    def draws(self, model: Model, rows: Rows) -> tuple[Tensor, Drawn, dict[str, Tensor]]:
        there = self._there(model, rows, real(rows))
        y = torch.cat([hidden(there, shared(model, rows), model.schema), model.program.other(rows.given)], 1)
        return y, Drawn(there, there.new_zeros(rows.n)), {}

    def _there(self, model: Model, rows: Rows, x: Tensor) -> Tensor:
        """Rows x (n, n_features) moved to the other level, with gradients."""
        density = model.program.read(x, 1 - model.program.level(rows.given)[0], rows)
        return relaxed(density, rows, self.levels, self.temperature).features

    # ---- what is told of the fit

    def agreement(self, model: Model, rows: Rows) -> Tensor:
        """Minus 100 times the discrepancy between rows and translations, and minus what of them does not come back, by
        its weight; a scalar."""
        x, y, weight = self.beside(model, rows)
        level = model.program.level(x[:, x.shape[1] - rows.given.shape[1] :])[0]
        apart = by_level(lambda x, y, w, v: discrepancy(x, y, w, other=v), x, y, weight, level)
        return -100 * apart - self.cycle * self._error(model, rows)

    def watch(self, model: Model, rows: Rows) -> dict[str, float]:
        """Also `cycle_error`: how far rows are, in the mean over cells, from where they come back to."""
        return {**super().watch(model, even(model, rows)), "cycle_error": float(self._error(model, rows))}

    def beside(self, model: Model, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        if rows.n > MOST:
            rows = rows.take(torch.randperm(rows.n, device=rows.given.device)[:MOST])
        rows = even(model, rows)
        return self.rows(model, rows), self.draws(model, rows)[0], rows.weight

    def _error(self, model: Model, rows: Rows) -> Tensor:
        rows = even(model, rows)
        x, level = real(rows), model.program.level(rows.given)[0]
        return weighted(missed(x, model.program.read(self._there(model, rows, x), level, rows), rows), rows)


def even(model: Model, rows: Rows) -> Rows:
    """Rows whose weights let both levels count the same."""
    return replace(rows, weight=model.program.even(rows))


def by_level(distance: Callable[..., Tensor], x: Tensor, y: Tensor, weight: Tensor, level: Tensor) -> Tensor:
    """Mean over the levels of a distance between their rows, of x, and the translations to them, of y; of batches that
    hold more or less of a level it is right in the mean."""
    both = [distance(x, y, weight * (level == k), weight * (level != k)) for k in range(2)]
    return (both[0] + both[1]) / 2


def shared(model: Model, rows: Rows) -> Tensor:
    """The cells (n, D) that a row and a random row of the other level both have."""
    assert rows.cells is not None
    if rows.complete:
        return rows.cells.seen
    level, known = model.program.level(rows.given)
    drawn = [torch.multinomial((known & (level == k)) + 1e-30, rows.n, True) for k in range(2)]
    return rows.cells.seen & rows.cells.seen[torch.where(level > 0, drawn[0], drawn[1])]


def hidden(features: Tensor, seen: Tensor, schema: Schema) -> Tensor:
    """Features (n, n_features) of which only these cells (n, D) are seen."""
    owners = [*schema.owners[: schema.width], *range(len(schema.modelled))]
    return features * seen.to(features)[:, owners]


def missed(x: Tensor, density: ColumnDensity, rows: Rows) -> Tensor:
    """How far a density of each row is from the row, whose features are x: (n,), the mean over its seen cells of
    |number - its place|, and of the mass of the levels and atoms that it does not have."""
    schema, cells = rows.schema, rows.cells
    assert cells is not None
    n, plain = len(schema.numeric), len(schema.numeric) + len(schema.binary)
    parts = [(x[:, n:plain] - density.binary.sigmoid()).abs() * cells.seen[:, n:plain]]
    if density.numeric is not None:
        parts.append((x[:, :n] - density.numeric.mean()).abs() * (cells.seen[:, :n] & (cells.atom == 0)))
    owners, begin = [*range(plain, len(schema.modelled)), *schema.spiked], plain
    for b, (size, j) in enumerate(zip(schema.blocks, owners, strict=True)):
        hit = (density.levels.block(b, size).exp() * x[:, begin : begin + size]).sum(1, keepdim=True)
        parts.append((1 - hit) * cells.seen[:, j, None])
        begin += size
    return torch.cat(parts, 1).sum(1) / cells.seen.sum(1).clamp_min(1)
