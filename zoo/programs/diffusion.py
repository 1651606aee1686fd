"""Denoising diffusion over mixed columns: noise that a network takes back step by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.bounds import Count, Natural, Share
from zoo.flows.angle import UNTOLD
from zoo.networks.residual import Residual
from zoo.programs.denoiser import EVEN, Denoiser, Told, estimates, in_turn, partly, spread_out
from zoo.rows import multinomial
from zoo.rows.patterns import Patterns
from zoo.rows.rows import Rows
from zoo.rows.scores import FARTHEST, Marginals, NormalScores, Scored, log_phi
from zoo.table.schema import Schema

COSINE_OFFSET, LARGEST_BETA = 0.008, 0.999
NEAR, MOST = 1e-6, 20.0
CLOSER = 2.0
"""Power of the step by which a draw's stops lie closer together where there is little noise."""


class Diffusion(nn.Module):
    """x_T ~ noise;  x_t-1 ~ p(. | x_t, given), t = T ... 1                                  # Ho et al. 2020

    Numbers are normal scores u, with Gaussian noise: q(u_t | u) = Normal(cos(a_t) u, sin(a_t)^2); levels are forgotten
    (Hoogeboom et al. 2021). One network tells from x_t what the row was; log p(x) has a variational bound:

    log p(x) >= E[log p(x | x_1) - sum_t KL(q(x_t-1 | x_t, x) || p(x_t-1 | x_t))] - KL(q(x_T | x) || noise)

    predicts   what the network says of numbers: "noise"; "x0", the row, less cos(a) u_t; or "v" = cos(a) e - sin(a) u,
               which is zero on average where columns are independent. Salimans & Ho 2022
    schedule   angles a_t: "linear" in the variance of a step, Ho et al. 2020; "cosine", Nichol & Dhariwal 2021
    marginals  "scores" or "codec" (numbers in codec units as they are), see zoo.rows.scores
    sampler    "ancestral", or "ddim", which adds no noise to numbers on the way. Song et al. 2021
    walk       steps of a draw, of those `steps` that there are
    variance   of a step of p: "large", right for scores of independent columns; "small", for columns told by others
    hide       share of rows of a batch some of whose columns are not noise but known, or hidden as if missing
    guidance   draws lean on what is given by so much more than 1. Ho & Salimans 2022
    waves      octaves of sines and cosines by which the network reads every number
    terms      steps drawn of the bound's, for each estimate of it
    """

    angles: Tensor
    of_draws = ("sampler", "walk", "variance", "guidance")

    def __init__(
        self,
        schema: Schema,
        network: Callable[[int, int], nn.Module] = Residual,
        steps: Count = 1000,
        schedule: Literal["cosine", "linear"] = "cosine",
        predicts: Literal["v", "noise", "x0"] = "v",
        marginals: Marginals = "scores",
        sampler: Literal["ancestral", "ddim"] = "ancestral",
        walk: Count = 100,
        variance: Literal["large", "small"] = "large",
        hide: Share = 0.2,
        guidance: float = 1.0,
        waves: Natural = 4,
        terms: Count = 20,
    ):
        super().__init__()
        self.schema, self.predicts, self.sampler, self.variance = schema, predicts, sampler, variance
        self.walk, self.hide, self.guidance, self.terms = walk, hide, guidance, terms
        self.scores = NormalScores(schema, marginals)
        self.denoiser = Denoiser(schema, self.scores, network, waves)
        self.patterns = Patterns(len(schema.modelled))
        self.register_buffer("angles", schedule_of(schedule, steps), persistent=False)

    pattern_wise = True
    """Where cells are missing the density is that of a network that was fitted with cells hidden."""

    def initialise(self, rows: Rows) -> bool:
        self.scores.fit(rows)
        self.patterns.fit(rows)
        return False

    def bound(self, complete: bool) -> str:
        return "lower"

    # ---- what is fitted

    def loss(self, rows: Rows) -> Tensor:
        """Of each row (n,): mean over columns of the squared error in what is told, and the surprise of its levels."""
        coded, seen = self.scores.encode(rows), _seen(rows)
        noised, clean = partly(seen, self.hide)
        t = self._times(rows.n)
        u, x, noise = self._noisy(coded, t, noised)
        told = Told(noised, clean, rows.given)
        tell = (torch.rand(rows.n, 1, device=seen.device) >= UNTOLD).float()
        raw, logits = self.denoiser.read(*self._shown(coded, u, x, told), self.angles[t], told, tell)
        a = self.angles[t][:, None]
        target = {"noise": noise, "x0": coded.u - a.cos() * u, "v": a.cos() * noise - a.sin() * coded.u}[self.predicts]
        there = noised[:, self.denoiser.owners]
        error = torch.where(there, (raw - target).square(), 0.0).sum(-1)
        if self.predicts == "x0":  # what is told is as small as the noise, and so must its error be
            error = error / a[:, 0].sin().square()
        guess = self._levels(logits, x, t)
        surprise = -(guess.clamp_min(multinomial.TINY).log() * self._hot(coded.codes)).sum(-1)
        levels = torch.where(noised[:, len(self.schema.numeric) :], surprise, 0.0).sum(-1)
        return (error + levels) / noised.shape[1]

    def _times(self, n: int) -> Tensor:
        """Steps 1 to T (n,), some even in time, the others in the log of noise to signal."""
        place, last = spread_out(n, self.angles.device), len(self.angles) - 1
        log = self.angles[1:].tan().clamp(NEAR, MOST).log()
        at = log[0] + (log[-1] - log[0]) * place / EVEN
        rest = 1 + ((place - EVEN) / (1 - EVEN) * last).long()
        return torch.where(place < EVEN, 1 + torch.searchsorted(log, at), rest).clamp(1, last)

    def _noisy(self, coded: Scored, t: Tensor, noised: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(u_t, levels at t, the noise in u_t)."""
        a = self.angles[t]
        noise = torch.randn_like(coded.u)
        u = a.cos()[:, None] * coded.u + a.sin()[:, None] * noise
        return u, self._hot(multinomial.forgotten(coded.codes, keep(a), self._share)), noise

    def _shown(self, coded: Scored, u: Tensor, x: Tensor, told: Told) -> tuple[Tensor, Tensor]:
        """What the network may read: noise where a column is noise, the row where it is clean, else nothing."""
        owners, n = self.denoiser.owners, len(self.schema.numeric)
        u = torch.where(told.noised[:, owners], u, torch.where(told.clean[:, owners], coded.u, 0.0))
        noised, clean = told.noised[:, n:, None], told.clean[:, n:, None]
        return u, torch.where(noised, x, torch.where(clean, self._hot(coded.codes), 0.0))

    def _hot(self, codes: Tensor) -> Tensor:
        return multinomial.hot(codes, self.scores.most)

    @property
    def _share(self) -> Tensor:
        return self.scores.shares

    # ---- what the network says

    def _said(
        self, coded: Scored, u: Tensor, x: Tensor, t: Tensor, told: Told, guided: float = 1.0
    ) -> tuple[Tensor, ...]:
        """(the row's numbers, the noise, masses of its levels) as told from x_t."""
        a = self.angles[t]
        raw, logits = self.denoiser.guided(*self._shown(coded, u, x, told), a, told, guided)
        c, s = a.cos()[:, None], a.sin()[:, None]
        if self.predicts == "v":
            row, noise = c * u - s * raw, s * u + c * raw
        elif self.predicts == "noise":
            row = ((u - s * raw) / c.clamp_min(NEAR)).clamp(-FARTHEST, FARTHEST)
            noise = (u - c * row) / s
        else:
            row = c * u + raw
            noise = (u - c * row) / s
        return row, noise, self._levels(logits, x, t)

    def _levels(self, logits: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """p(level of the row | x_t): what x_t alone says, by Bayes' rule, moved by logits."""
        prior = self._share * multinomial.likelihood(x, keep(self.angles[t]), self._share)
        log = torch.where(self._share > 0, prior.clamp_min(multinomial.TINY).log() + logits, -torch.inf)
        return torch.softmax(log, -1) if log.shape[-1] else log

    # ---- draws

    def sample(self, rows: Rows) -> Tensor:
        """Rows (n, D): the cells that some row of the table has, then the others given these."""
        seen = self.patterns.draw(rows.n)
        drawn = in_turn(lambda parts, told: self._drawn(Scored(*parts), told), self._nothing(rows), seen, rows.given)
        return self._decoded(Scored(*drawn), rows)

    def complete(self, rows: Rows, draws: int) -> Tensor:
        """The cells that are not seen, drawn given those that are (draws, n, D)."""
        many, seen = rows.repeat(draws), _seen(rows).repeat(draws, 1)
        drawn = self._drawn(self.scores.encode(many), Told(~seen, seen, many.given))
        return self._decoded(drawn, many).unflatten(0, (draws, rows.n))

    def _decoded(self, drawn: Scored, rows: Rows) -> Tensor:
        return self.scores.decode(drawn.u, drawn.codes, rows.codec)

    def _nothing(self, rows: Rows) -> Scored:
        u = torch.zeros(rows.n, self.scores.width, dtype=torch.float64, device=rows.given.device)
        codes = torch.zeros(rows.n, len(self.scores.sizes), dtype=torch.long, device=u.device)
        return Scored(u, u.bool(), codes, u.sum(-1))

    def _drawn(self, coded: Scored, told: Told) -> Scored:
        """Rows whose columns that are told as noise are drawn, and whose others are as they were."""
        u = torch.randn_like(coded.u)
        x = multinomial.pick(self._share.expand(len(u), *self._share.shape))
        last = len(self.angles) - 1
        times = stops(last, min(self.walk, last))
        for s, t in zip(times[-2::-1], times[:0:-1], strict=True):
            u, x = self._step(coded, u, x, s, t, told)
        levels = told.noised[:, len(self.schema.numeric) :]
        u = torch.where(told.noised[:, self.denoiser.owners], u, coded.u)
        return coded._replace(u=u, codes=torch.where(levels, x.argmax(-1), coded.codes))

    def _step(self, coded: Scored, u: Tensor, x: Tensor, s: int, t: int, told: Told) -> tuple[Tensor, Tensor]:
        """From t back to s < t."""
        s_, t_ = (torch.full((len(u),), k, device=u.device) for k in (s, t))
        row, noise, levels = self._said(coded, u, x, t_, told, self.guidance)
        levels = _without_unseen(levels, self.scores.known)
        if not s:
            return row, multinomial.pick(levels)
        a, b = self.angles[s_][:, None], self.angles[t_][:, None]
        forgot = keep(self.angles[s_]), keep(self.angles[t_])
        if self.sampler == "ddim":
            stays = (torch.rand_like(x[..., :1]) < ((1 - forgot[0]) / (1 - forgot[1]))[:, None, None]).to(x)
            return a.cos() * row + a.sin() * noise, stays * x + (1 - stays) * multinomial.pick(levels)
        mean, small, large = back(u, row, a, b)
        scale = (large if self.variance == "large" else small).sqrt()
        return mean + scale * torch.randn_like(u), multinomial.pick(multinomial.back(x, levels, *forgot, self._share))

    # ---- the bound

    def log_prob(self, rows: Rows, particles: int) -> Tensor:
        """Estimates (particles, n) of the variational bound in table units, each unbiased."""
        return estimates(self._bound, rows, particles)

    def _bound(self, rows: Rows) -> Tensor:
        coded, seen = self.scores.encode(rows), _seen(rows)
        told = Told(seen, torch.zeros_like(seen), rows.given)
        last = len(self.angles) - 1
        out = coded.base - torch.where(coded.seen, log_phi(coded.u), 0.0).sum(-1)
        out = out - self._forgotten(coded, seen) + self._first(coded, told)
        if last == 1:
            return out
        # which terms: even in the log of noise to signal, where most of the bound is, and in time
        change = self.angles[1:].tan().clamp(1e-8, 1e8).log().diff()
        share = 0.75 * change / change.sum() + 0.25 / len(change)
        place = torch.rand(rows.n, dtype=torch.float64, device=seen.device)
        for i in range(self.terms):
            k = torch.searchsorted(share.cumsum(0), (i + place) / self.terms).clamp(0, len(share) - 1)
            out = out - self._term(coded, k + 2, told) / (self.terms * share[k])
        return out

    def _forgotten(self, coded: Scored, seen: Tensor) -> Tensor:
        """KL(q(x_T | x) || noise) (n,)."""
        a = self.angles[-1]
        numbers = 0.5 * (a.cos().square() * (coded.u.square() - 1) - 2 * a.sin().log())
        x = multinomial.forget(self._hot(coded.codes), keep(a).expand(len(seen)), self._share)
        levels = multinomial.divergence(x, self._share.expand_as(x))
        return _sum(numbers, coded.seen) + _sum(levels, seen[:, len(self.schema.numeric) :])

    def _first(self, coded: Scored, told: Told) -> Tensor:
        """log p(x | x_1) (n,)."""
        t = torch.ones(len(coded.u), dtype=torch.long, device=coded.u.device)
        u, x, _ = self._noisy(coded, t, told.noised)
        row, _, levels = self._said(coded, u, x, t, told)
        scale = self.angles[1].sin()
        numbers = log_phi((coded.u - row) / scale) - scale.log()
        log = (levels.clamp_min(multinomial.TINY).log() * self._hot(coded.codes)).sum(-1)
        return _sum(numbers, coded.seen) + _sum(log, told.noised[:, len(self.schema.numeric) :])

    def _term(self, coded: Scored, t: Tensor, told: Told) -> Tensor:
        """KL(q(x_t-1 | x_t, x) || p(x_t-1 | x_t)) (n,)."""
        u, x, _ = self._noisy(coded, t, told.noised)
        row, _, levels = self._said(coded, u, x, t, told)
        a, b = self.angles[t - 1][:, None], self.angles[t][:, None]
        told_mean, small, large = back(u, row, a, b)
        mean = back(u, coded.u, a, b)[0]
        wide = large if self.variance == "large" else small
        numbers = 0.5 * ((wide / small).log() + (small + (mean - told_mean).square()) / wide - 1)
        forgot = keep(self.angles[t - 1]), keep(self.angles[t])
        true = multinomial.back(x, self._hot(coded.codes), *forgot, self._share)
        said = multinomial.back(x, levels, *forgot, self._share)
        divergence = multinomial.divergence(true, said)
        return _sum(numbers, coded.seen) + _sum(divergence, told.noised[:, len(self.schema.numeric) :])


def schedule_of(name: str, steps: int) -> Tensor:
    """Angles (steps + 1,) from 0 up: cos^2 is the share of signal left after so many steps."""
    if name == "cosine":
        at = torch.arange(1, steps + 1, dtype=torch.float64) / steps
        signal = ((at + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2).cos().square()
        signal = signal / math.cos(COSINE_OFFSET / (1 + COSINE_OFFSET) * math.pi / 2) ** 2
        beta = (1 - signal / torch.cat([torch.ones(1).double(), signal[:-1]])).clamp(max=LARGEST_BETA)
    else:
        beta = (torch.linspace(0.1, 20.0, steps, dtype=torch.float64) / steps).clamp(max=LARGEST_BETA)
    return torch.cat([torch.zeros(1).double(), (1 - beta).cumprod(0).sqrt().acos()])


def stops(steps: int, walk: int) -> list[int]:
    """The `walk` + 1 steps from 0 up that a draw stops at, closer together where there is little noise."""
    share = torch.linspace(0, 1, walk + 1, dtype=torch.float64) ** CLOSER
    times: list[int] = torch.maximum((steps * share).round().long(), torch.arange(walk + 1)).tolist()
    return times


def keep(angle: Tensor) -> Tensor:
    """Share of levels not forgotten at an angle."""
    return angle.cos().square()


def back(u: Tensor, row: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of q(u_s | u_t, u) at angles a < b, its variance, and that of q(u_s | u_t) over standard Normal rows."""
    stays = b.cos() / a.cos()
    large = 1 - stays.square()
    mean = (a.cos() * large * row + stays * a.sin().square() * u) / b.sin().square()
    return mean, a.sin().square() / b.sin().square() * large, large


def _sum(parts: Tensor, there: Tensor) -> Tensor:
    return torch.where(there, parts, 0.0).sum(-1)


def _seen(rows: Rows) -> Tensor:
    assert rows.cells is not None
    return rows.cells.seen


def _without_unseen(levels: Tensor, known: tuple[int, ...]) -> Tensor:
    """Masses without those of the levels reserved for the unseen."""
    can = torch.zeros_like(levels[:1])
    for b, size in enumerate(known):
        can[:, b, :size] = 1.0
    return levels * can
