"""Diffusion in continuous time: the score of noisy rows, or the flow that carries noise to rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.bounds import Count, Natural, Share
from zoo.flows.angle import UNTOLD, exact, guessed, ladder, measure, move
from zoo.networks.residual import Residual
from zoo.programs.denoiser import EVEN, Denoiser, Told, estimates, evenly, in_turn, partly, spread_out
from zoo.rows.patterns import Patterns
from zoo.rows.rows import Rows
from zoo.rows.scores import Marginals, NormalScores, Scored, log_phi
from zoo.shared import Shared, of_solver
from zoo.table.schema import Schema

Path = Literal["ve", "vp", "line"]
LEAST, MOST = 0.005, 20.0
"""Noise to signal of an exploding process, where scores have a spread of one."""
BETA = 0.1, 20.0
ENDS = {"line": 1e-3, "vp": 1e-4}
"""Time that is left out: noise to signal is then 0.001 and 0.003."""
CLOSER = 2.0
"""Power of the time by which a draw's steps lie closer together where there is little noise."""
SNR = 0.16
TRIED = 200
"""Rows at which the solver's error is looked at."""


class Score(nn.Module):
    """u_t = signal(t) u + noise(t) e;  the network tells v = cos(a) e - sin(a) u,  tan(a) = noise / signal

    Numbers and levels are normal scores u (zoo.rows.scores), so that rows of independent columns are standard Normal
    at any noise, and v is then zero. The score of noisy rows is -E[e | u_t] / noise. Song et al. 2021; Lipman et al.
    2023.

    path       "ve": noise grows from 0.005 to 20, signal stays; "vp": signal falls, their squares sum to one; "line":
               noise = t, signal = 1 - t, whose flow is straight where a row has one noise
    sampler    "sde": the reverse process, Euler-Maruyama in the path's own time; "pc": with a step of Langevin after
               each; "ode": the flow, by Heun's method
    walk       steps of a draw
    solver     steps of the flow whose log-likelihood is taken, classical Runge-Kutta
    trace      columns' coordinates up to which the flow's divergence is exact; above, one random probe an estimate
    marginals, hide, guidance, waves   as in zoo.programs.diffusion
    """

    of_draws = ("sampler", "walk", "guidance")

    def __init__(
        self,
        schema: Schema,
        network: Callable[[int, int], nn.Module] = Residual,
        path: Path = "vp",
        sampler: Literal["sde", "pc", "ode"] = "sde",
        walk: Count = 200,
        solver: Count = 24,
        trace: Natural = 12,
        marginals: Marginals = "scores",
        hide: Share = 0.2,
        guidance: float = 1.0,
        waves: Natural = 4,
    ):
        super().__init__()
        self.schema, self.path, self.sampler, self.walk = schema, path, sampler, walk
        self.solver, self.trace, self.hide, self.guidance = solver, trace, hide, guidance
        ends = angle_of(path, torch.tensor([0.0, 1.0], dtype=torch.float64))
        self._span = float(ends[0]), float(ends[1])
        self.scores = NormalScores(schema, marginals, levels=True)
        self.denoiser = Denoiser(schema, self.scores, network, waves)
        self.patterns = Patterns(len(schema.modelled))

    pattern_wise = True

    def initialise(self, rows: Rows) -> bool:
        self.scores.fit(rows)
        self.patterns.fit(rows)
        return False

    def bound(self, complete: bool) -> str:
        return "estimate"

    # ---- what is fitted

    def loss(self, rows: Rows) -> Tensor:
        """Of each row (n,): mean over columns of the squared error of the noise (ve, vp) or of the flow (line)."""
        assert rows.cells is not None
        coded, seen = self.scores.encode(rows), rows.cells.seen
        noised, clean = partly(seen, self.hide)
        a = self._angles(rows.n, seen.device)
        c, s = a.cos()[:, None], a.sin()[:, None]
        noise, owners = torch.randn_like(coded.u), self.denoiser.owners
        there = noised[:, owners]
        u = torch.where(there, c * coded.u + s * noise, torch.where(clean[:, owners], coded.u, 0.0))
        tell = (torch.rand(rows.n, 1, device=seen.device) >= UNTOLD).float()
        raw, _ = self.denoiser.read(u, _none(u), a, Told(noised, clean, rows.given), tell)
        error = (raw - (c * noise - s * coded.u)).square()
        # v tells the noise with cos(a) of its error, and the flow of a line with cos(a) + sin(a) of it
        weight = 1 + (2 * a).sin() if self.path == "line" else a.cos().square()
        return weight * torch.where(there, error, 0.0).sum(-1) / noised.shape[1]

    def _angles(self, n: int, device: torch.device) -> Tensor:
        """Of rows to be fitted (n,), some even in the path's time, the others in the log of noise to signal."""
        place = spread_out(n, device)
        even = evenly(place / EVEN, math.tan(self._span[0]), MOST)
        return torch.where(place < EVEN, even, angle_of(self.path, (place - EVEN).clamp_min(0.0) / (1 - EVEN)))

    # ---- draws

    def sample(self, rows: Rows) -> Tensor:
        """Rows (n, D): the cells that some row of the table has, then the others given these."""
        seen = self.patterns.draw(rows.n)
        nothing = torch.zeros(rows.n, self.scores.width, dtype=torch.float64, device=rows.given.device)
        (u,) = in_turn(lambda parts, told: [self._drawn(parts[0], told)], [nothing], seen, rows.given)
        return self._decoded(u, rows)

    def complete(self, rows: Rows, draws: int) -> Tensor:
        """The cells that are not seen, drawn given those that are (draws, n, D)."""
        many = rows.repeat(draws)
        assert many.cells is not None
        told = Told(~many.cells.seen, many.cells.seen, many.given)
        x = self._decoded(self._drawn(self.scores.encode(many).u, told), many)
        return x.unflatten(0, (draws, rows.n))

    def _decoded(self, u: Tensor, rows: Rows) -> Tensor:
        return self.scores.decode(u, torch.zeros(rows.n, 0, device=u.device), rows.codec)

    def _drawn(self, known: Tensor, told: Told) -> Tensor:
        """Coordinates (n, C): noise taken from those that are told as noise, the others as they are."""
        there = told.noised[:, self.denoiser.owners]
        u = torch.where(there, torch.randn_like(known), known)
        if self.sampler == "ode":
            first, last = self._span
            return move(self._velocity(told, self.guidance), u, ladder(first, last, self.walk).flip(0).to(u))
        times = torch.linspace(1.0, 0.0, self.walk + 1, dtype=torch.float64, device=u.device)
        times = times if self.path == "ve" else times**CLOSER
        angles = angle_of(self.path, times)
        velocity = self._velocity(told, self.guidance)
        for b, a in pairwise(angles):
            u = torch.where(there, self._back(u, velocity, b, a), known)
            if self.sampler == "pc":
                u = torch.where(there, self._settled(u, velocity, a), known)
        a = angles[-1]
        v = velocity(u, a.expand(len(u)))
        return torch.where(there, a.cos() * u - a.sin() * v, known)

    def _noise(self, u: Tensor, velocity: Callable[[Tensor, Tensor], Tensor], a: Tensor) -> Tensor:
        """E[e | u]."""
        return a.sin() * u + a.cos() * velocity(u, a.expand(len(u)))

    def _back(self, u: Tensor, velocity: Callable[[Tensor, Tensor], Tensor], b: Tensor, a: Tensor) -> Tensor:
        """One step of the reverse process from angle b to a < b, in the path's own length."""
        noise, z = self._noise(u, velocity, b), torch.randn_like(u)
        if self.path == "ve":
            less = b.tan().square() - a.tan().square()
            return a.cos() * (u / b.cos() - less / b.tan() * noise + less.sqrt() * z)
        beta = 1 - (b.cos() / a.cos()).square()
        return (2 - (1 - beta).sqrt()) * u - beta / b.sin() * noise + beta.sqrt() * z

    def _settled(self, u: Tensor, velocity: Callable[[Tensor, Tensor], Tensor], a: Tensor) -> Tensor:
        """One step of Langevin at angle a."""
        step = 2 * (SNR * a.sin()).square()
        return u - step / a.sin() * self._noise(u, velocity, a) + (2 * step).sqrt() * torch.randn_like(u)

    # ---- the flow

    def _velocity(self, told: Told, guidance: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]:
        there = told.noised[:, self.denoiser.owners]

        def velocity(u: Tensor, angle: Tensor) -> Tensor:
            raw, _ = self.denoiser.guided(u, _none(u), angle, told, guidance)
            return torch.where(there, raw, 0.0)

        return velocity

    def log_prob(self, rows: Rows, particles: int) -> Tensor:
        """Estimates (particles, n) of log p in table units; all alike where nothing is drawn for them."""
        drawn = bool(self.scores.sizes) or self.schema.has_lattice or any(c.atoms for c in self.schema.numeric)
        if not drawn and self.scores.width <= self.trace:
            return self._log_flow(rows).expand(particles, -1)
        copies = self.scores.width if self.scores.width <= self.trace else 1
        return estimates(self._log_flow, rows, particles, copies)

    def _log_flow(self, rows: Rows) -> Tensor:
        coded = self.scores.encode(rows)
        return self._along(rows, coded, self._probe(coded), self.solver)

    def _probe(self, coded: Scored) -> Tensor | None:
        """Signs (n, C) by which the divergence is guessed; none where it is exact."""
        return None if self.scores.width <= self.trace else 2.0 * torch.randint_like(coded.u, 2) - 1

    def _along(self, rows: Rows, coded: Scored, probe: Tensor | None, solver: int) -> Tensor:
        """log p (n,) at a place in each cell, by so many steps."""
        assert rows.cells is not None
        first, last = self._span
        told = Told(rows.cells.seen, torch.zeros_like(rows.cells.seen), rows.given)
        velocity = self._velocity(told)
        rate = exact(velocity, self.scores.width) if probe is None else guessed(velocity, probe)
        angles = ladder(first, last, solver).to(coded.u)
        end, total = measure(rate, math.cos(first) * coded.u, angles)
        ratio = torch.where(coded.seen, log_phi(end) - log_phi(coded.u) + math.log(math.cos(first)), 0.0).sum(-1)
        return ratio + total + coded.base

    def solver_error(self, rows: Rows) -> Tensor:
        """How far the log-likelihood of each row (n,) is from that of half as many steps, at one place in each cell:
        above the error of all steps, which is of the fourth order."""
        coded = self.scores.encode(rows)
        probe = self._probe(coded)
        return self._along(rows, coded, probe, self.solver) - self._along(rows, coded, probe, max(1, self.solver // 2))

    def trace_error(self, rows: Rows) -> Tensor:
        """Standard deviation of the log-likelihood of each row (n,) over probes of the divergence, from two of them."""
        coded = self.scores.encode(rows)
        one, other = (self._along(rows, coded, self._probe(coded), self.solver) for _ in range(2))
        return (one - other).abs() / math.sqrt(2)

    def shared_errors(self, rows: Rows) -> list[Shared]:
        """Of the flow's solver, at some of the rows; and what the estimator of its divergence adds to Monte Carlo."""
        some = rows.take(torch.linspace(0, rows.n - 1, min(rows.n, TRIED), device=rows.given.device).long())
        off = self.solver_error(some)
        if self.scores.width <= self.trace:
            return [of_solver(off, self.solver, ", divergence exact")]
        spread = float(self.trace_error(some).square().mean().sqrt())
        more = f", divergence by random probes that vary by {spread:.2g} a row and draw (in the Monte Carlo error)"
        return [of_solver(off, self.solver, more)]


def angle_of(path: str, t: Tensor) -> Tensor:
    """The angle of a path at times in [0, 1], from little noise to little signal."""
    if path == "ve":
        return (LEAST * (MOST / LEAST) ** t).atan()
    end = ENDS[path]
    t = end + (1 - 2 * end) * t if path == "line" else end + (1 - end) * t
    if path == "line":
        return torch.atan2(t, 1 - t)
    return (-0.25 * t.square() * (BETA[1] - BETA[0]) - 0.5 * t * BETA[0]).exp().acos()


def _none(u: Tensor) -> Tensor:
    return u.new_zeros(len(u), 0, 0)
