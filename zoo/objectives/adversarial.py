"""Adversaries: a critic tells rows from draws, and the generator moves until it cannot. Goodfellow et al. 2014."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from zoo.bounds import Count, Natural, Positive, Share, Weight
from zoo.errors import UserError
from zoo.log_weights import log_weights
from zoo.networks.mlp import MLP
from zoo.objectives.critic import Critic
from zoo.objectives.elbo import elbo_of_rows
from zoo.objectives.samples import inferred, told
from zoo.objectives.turn import Stage, Turn
from zoo.objectives.two_sample import Sampled, energy_distance, pulls
from zoo.rows.relaxed import LEVELS, Drawn, real
from zoo.rows.rows import Rows
from zoo.table.schema import Schema

if TYPE_CHECKING:
    from zoo.model import Model

# Losses of a critic, of its scores for rows and draws (n,), and of a generator, of the scores of its draws (n,).


def entropy(rows: Tensor, draws: Tensor) -> Tensor:
    """- log D(row) - log(1 - D(draw)), D the logistic function of the score."""
    return softplus(-rows) + softplus(draws)


def hinge(rows: Tensor, draws: Tensor) -> Tensor:
    """Lim & Ye 2017."""
    return relu(1 - rows) + relu(1 + draws)


def difference(rows: Tensor, draws: Tensor) -> Tensor:
    """Minus the dual of the Wasserstein distance, where the critic's slope is bounded. Arjovsky et al. 2017."""
    return draws - rows


def unlike(draws: Tensor) -> Tensor:
    """- log D(draw): where draws are told easily its gradient does not vanish."""
    return softplus(-draws)


def minimax(draws: Tensor) -> Tensor:
    """log(1 - D(draw)): the game as it was first written."""
    return -softplus(draws)


def lower(draws: Tensor) -> Tensor:
    return -draws


AFTERWARDS = 0.5
"""Of the planned steps, those in which a guide learns alone, from draws that do not run out."""
PARTICLES = 10
"""Draws of each row's latents by which a bound is looked at."""
LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "non-saturating": (entropy, unlike),
    "minimax": (entropy, minimax),
    "hinge": (hinge, lower),
    "wasserstein": (difference, lower),
}


class Adversarial(Sampled):
    """The critic's loss of rows and draws, and the generator's of its draws; two players, each with a turn.

    loss         "non-saturating", "minimax", "hinge" or "wasserstein"
    network      the critic's
    inner        moves of the critic for each of the generator
    lead         share of the planned steps in which the critic moves alone: one that knows nothing yet would lead the
                 generator away from where it begins
    rate         of the critic's learning, times that of the fit (two time scales, Heusel et al. 2017); betas of Adam
    penalty      weight of the critic's squared slope at rows (slope = "rows", Mescheder et al. 2018), or of the square
                 of what it is off 1 between rows and draws (slope = "between", Gulrajani et al. 2017)
    clip         largest size of a weight of the critic; 0 for any
    spectral     divide the critic's maps by their largest singular value (Miyato et al. 2018)
    minibatch    numbers that tell the critic how close a row's neighbours in the batch are (Salimans et al. 2016)
    waves        octaves of sines and cosines by which it reads every number (Tancik et al. 2020)
    levels       how gradients pass through drawn levels: "straight-through", "gumbel" at `temperature`, or "score"

    What the generator, and the guide where there is one, minimise beside the critic's verdict, each by its weight:

    match        the energy distance between draws and rows: a critic sees what is wrong here and there, the distance
                 which parts are left out
    classify     minus the log-mass, under a classifier fitted to rows, of what draws were given (Odena et al. 2017)
    information  minus the guide's log-density of the codes that a draw was made with, a bound of what it tells of them
                 (Chen et al. 2016)
    bound        minus the ELBO: the model keeps its likelihood, and its draws are judged besides (Larsen et al. 2016,
                 with the likelihood of the columns in the place of the critic's features)
    joint        (no weight) the critic tells pairs of a row and its latents from pairs of latents and their draw, and
                 the guide moves until it cannot (Donahue et al. 2017; Dumoulin et al. 2017)
    """

    critic: nn.Module

    def __init__(
        self,
        loss: Literal["non-saturating", "minimax", "hinge", "wasserstein"] = "non-saturating",
        network: Callable[[int, int], nn.Module] = MLP,
        inner: Count = 1,
        lead: Weight = 0.05,
        rate: Positive = 1.0,
        betas: tuple[Share, Share] = (0.5, 0.9),
        penalty: Weight = 0.0,
        slope: Literal["rows", "between"] = "rows",
        clip: Weight = 0.0,
        spectral: bool = False,
        minibatch: Natural = 0,
        waves: Natural = 0,
        levels: LEVELS = "straight-through",
        temperature: Positive = 0.5,
        match: Weight = 0.0,
        classify: Weight = 0.0,
        information: Weight = 0.0,
        bound: Weight = 0.0,
        joint: bool = False,
    ):
        super().__init__()
        self.of_critic, self.of_generator = LOSSES[loss]
        self.network, self.inner, self.lead, self.rate, self.betas = network, inner, lead, rate, (betas[0], betas[1])
        self.penalty, self.slope, self.clip, self.spectral = penalty, slope, clip, spectral
        self.minibatch, self.waves, self.levels, self.temperature = minibatch, waves, levels, temperature
        self.match, self.classify, self.information = match, classify, information
        self.bound, self.joint = bound, joint
        if bound:
            self.withdraws = ()
        self.classifier: nn.Module | None = None

    # ---- the players

    def prepare(self, model: Model) -> None:
        schema = model.schema
        if self.joint or self.information or self.bound:
            needs(model, "codes" if self.information else "encoder")
        latents = sum(site.event_shape.numel() for site in model.sites.continuous) if self.joint else 0
        n_in = schema.n_features + schema.given + latents
        numbers = len(schema.numeric)
        offset = self.of_critic is not difference  # of which only differences count
        self.critic = Critic(numbers, n_in, self.network, self.waves, self.minibatch, self.spectral, offset)
        if self.classify:
            if not schema.given:
                raise UserError("a class is to be told, and the table has no given column", "name one: --given COLUMN")
            self.classifier = self.network(schema.n_features, schema.given)

    def turns(self, model: Model) -> Iterator[Turn]:
        def turn(
            name: str, parameters: list[nn.Parameter], loss: Any, every: int = 1, rate: float = 1.0, lead: float = 0.0
        ) -> Turn:
            return Turn(parameters, lambda rows: loss(model, rows), every, rate, self.betas, (lead, 1.0), name=name)

        yield turn("critic", list(self.critic.parameters()), self.critic_loss, 1, self.rate)
        if self.classifier is not None:
            yield turn("classifier", list(self.classifier.parameters()), self.classifier_loss)
        yield turn("generator", list(model.fitted_parameters()), self.generator_loss, self.inner, lead=self.lead)

    def afterwards(self, model: Model) -> Stage | None:
        """The guide once more, by draws of the generator that is kept: it may be that of an early look, or the start,
        of which the guide of that moment has learned little."""
        if not (self.information or (self.joint and hasattr(model.guide, "encode"))):
            return None
        return Stage(Turn(model.guide_parameters(), lambda rows: self.told_loss(model, rows)), AFTERWARDS, keep="last")

    # ---- losses

    def critic_loss(self, model: Model, rows: Rows) -> Tensor:
        """A scalar: mean over rows and as many draws."""
        self._box()
        with torch.no_grad():
            x, y = self.rows(model, rows), self.draws(model, rows)[0]
        of_rows, of_draws = self.scores(x, y)
        loss = weighted(self.of_critic(of_rows, of_draws), rows)
        return loss + self.penalty * weighted(self._slope(x, y), rows) if self.penalty else loss

    def generator_loss(self, model: Model, rows: Rows) -> Tensor:
        """A scalar: mean over as many draws as there are rows."""
        y, drawn, latents = self.draws(model, rows)
        told, x = torch.cat([drawn.features, rows.given], 1), torch.cat([real(rows), rows.given], 1)
        loss = self.of_generator(self.critic(y))
        if self.information:
            loss = loss - self.information * self.log_latents(model, told, latents)
        if self.classifier is not None:
            loss = loss - self.classify * log_given(model.schema, self.classifier(drawn.features), rows.given)
        if self.levels == "score":
            verdict = loss + self.match * pulls(x, told, rows.weight) if self.match else loss
            loss = loss + (verdict - verdict.mean()).detach() * drawn.log_mass
        if self.joint:
            loss = loss + self.of_generator(-self.critic(self.rows(model, rows)))
        if self.bound:
            loss = loss - self.bound * log_weights(model.program, model.guide, rows).rows.mean(0)
        out = weighted(loss, rows)
        return out + self.match * energy_distance(x, told, rows.weight) if self.match else out

    def told_loss(self, model: Model, rows: Rows) -> Tensor:
        """Minus what the guide says of the latents of as many draws as there are rows; a scalar."""
        with torch.no_grad():
            _, drawn, latents = self.draws(model, rows)
        return -weighted(self.log_latents(model, torch.cat([drawn.features, rows.given], 1), latents), rows)

    def log_latents(self, model: Model, told: Tensor, latents: dict[str, Tensor]) -> Tensor:
        """What the guide, given draws (n, F), says of the codes or latents that they were made with (n,)."""
        guide: Any = model.guide
        if self.information:
            codes: Tensor = guide.log_codes(told, latents)
            return codes
        return torch.stack([q.log_prob(latents[name]) for name, q in guide.encode(told).items()]).sum(0)

    def agreement(self, model: Model, rows: Rows) -> Tensor:
        """That of draws and rows; of a model that keeps its likelihood its bound, nats per row."""
        if not self.bound:
            return super().agreement(model, rows)
        return weighted(elbo_of_rows(model, rows, PARTICLES), rows)

    def classifier_loss(self, model: Model, rows: Rows) -> Tensor:
        """Minus what the classifier says of rows of what they are given; a scalar."""
        assert self.classifier is not None
        return -weighted(log_given(model.schema, self.classifier(real(rows)), rows.given), rows)

    def rows(self, model: Model, rows: Rows) -> Tensor:
        """What the critic reads of rows: features, what they are given, and the latents that the guide draws."""
        parts = [real(rows), rows.given]
        return torch.cat(parts + ([beside(inferred(model, rows), model)] if self.joint else []), 1)

    def draws(self, model: Model, rows: Rows) -> tuple[Tensor, Drawn, dict[str, Tensor]]:
        """What it reads of draws, and these with their latents."""
        drawn, latents = told(model, rows, self.levels, self.temperature)
        parts = [drawn.features, rows.given]
        return torch.cat(parts + ([beside(latents, model)] if self.joint else []), 1), drawn, latents

    def scores(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of rows and draws (n,), each batch on its own where the critic compares inside it."""
        if self.minibatch:
            return self.critic(x), self.critic(y)
        of_rows, of_draws = self.critic(torch.cat([x, y])).chunk(2)
        return of_rows, of_draws

    def _slope(self, x: Tensor, y: Tensor) -> Tensor:
        """Penalty (n,) on the gradient of the critic's score in its input."""
        share = torch.rand(len(x), 1, device=x.device)
        at = (x if self.slope == "rows" else share * x + (1 - share) * y).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self.critic(at).sum(), at, create_graph=True)
        square = gradient.square().sum(1)
        return square if self.slope == "rows" else ((square + 1e-12).sqrt() - 1).square()

    def _box(self) -> None:
        """Bring the critic's weights back to [-clip, clip]."""
        if self.clip:
            with torch.no_grad():
                for p in self.critic.parameters():
                    p.clamp_(-self.clip, self.clip)

    # ---- what is told of the game

    def watch(self, model: Model, rows: Rows) -> dict[str, float]:
        """Also `critic_accuracy`: the share of rows and draws that the critic tells, at the best of thresholds that
        its loss knows (0, or halfway between the means); 1/2 where it cannot."""
        of_rows, of_draws = self.scores(self.rows(model, rows), self.draws(model, rows)[0])
        middle = (of_rows.mean() + of_draws.mean()) / 2 if self.of_critic is difference else 0.0
        told_apart = (of_rows > middle).double().mean() + (of_draws <= middle).double().mean()
        return {**super().watch(model, rows), "critic_accuracy": float(told_apart / 2)}


def weighted(values: Tensor, rows: Rows) -> Tensor:
    """Mean over rows, by their weights; a scalar."""
    return (rows.weight.to(values) * values).sum() / rows.n


def needs(model: Model, guide: str) -> None:
    """Refuse a guide that does not infer what the objective has it infer."""
    named = inferred(model, model.blank().filled(torch.zeros(2, len(model.schema.modelled), dtype=torch.float64)))
    want = {site.name for site in model.sites.continuous} if guide == "encoder" else {"cluster", "z"}
    if not want or not want <= set(named):
        what = f"objective {model.recipe.objective.use!r} has the guide infer {', '.join(sorted(want)) or 'latents'}"
        raise UserError(f"model {model.recipe.model!r}: {what}", f"take guide = {guide!r}")


def beside(latents: dict[str, Tensor], model: Model) -> Tensor:
    """Continuous latents side by side (n, dim)."""
    return torch.cat([latents[site.name].flatten(1).float() for site in model.sites.continuous], 1)


def log_given(schema: Schema, said: Tensor, given: Tensor) -> Tensor:
    """Log-mass of the given levels, and log-density of given numbers at unit scale, under what a network said (n,)."""
    out, begin = given.new_zeros(len(given)), 0
    for column in schema.given_columns:
        here = slice(begin, begin + column.n_given - 1)
        begin += column.n_given
        if column.n_given > 2:
            log = (said[:, here].log_softmax(1) * given[:, here]).sum(1)
        else:
            log = -0.5 * (said[:, here] - given[:, here]).square().sum(1)
        out = out + given[:, begin - 1] * log
    return out
