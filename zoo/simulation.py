"""Simulation-based calibration: whether a model's posterior holds what it says, on tables like the user's.

    theta ~ p(theta),  y ~ p(y | theta) in the shape of the table,  theta_1 .. theta_L ~ q(theta | y)

Then the rank of f(theta) among f(theta_1) .. f(theta_L) is uniform on 0 .. L for every quantity f, if q is the
posterior. A guide that is too narrow has too many of the lowest and highest ranks. Where a model has latents of rows
alone, every row that it draws is a simulation, and the guide's draws, and those chosen among them by importance, are
ranked beside the latents that the row was drawn with.
Cook, Gelman & Rubin 2006; Talts et al. 2018; Modrák et al. 2023.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro.poutine as poutine
import torch
from scipy import stats
from torch import Tensor

from zoo.arguments import seed_in, whole
from zoo.errors import UserError, quiet
from zoo.estimator import Estimator
from zoo.evaluate.annealed import simulated
from zoo.fitting.choose import pick_device
from zoo.fitting.loop import fit
from zoo.fitting.settings import FitSettings
from zoo.guides.globals import Globals
from zoo.log_weights import log_weights
from zoo.model import Model
from zoo.registry import Registry
from zoo.rows.importance import finite
from zoo.rows.rows import Rows
from zoo.scope import scope
from zoo.sites import drawn_cells, samples
from zoo.table.codec import Codec
from zoo.table.infer import schema_for
from zoo.table.reader import read_table

SIMULATIONS, DRAWS = 50, 99
FAILURE = 0.01
"""How often a sound posterior is said not to be one: of all quantities together."""
CLAIM = 0.9
FEWEST = 20
PARTICLES = 1000
"""Draws of the guide of a row's latents, among which importance chooses."""

Values = Mapping[str, Tensor]
Told = Callable[[int, int, dict[str, float]], None]


@dataclass(frozen=True)
class Ranked:
    """One quantity: the ranks (S,) of its true values among `draws`, and what they say.

    p_value    that ranks as uneven come of a sound posterior; see `uniform`
    fails      whether that is below the failure rate shared by all quantities
    covered    share of true values inside the central 90% of the draws
    shift      mean of the rank, from -1 (all true values below all draws) to 1
    """

    name: str
    ranks: np.ndarray
    p_value: float
    fails: bool
    covered: float
    shift: float

    @property
    def said(self) -> str:
        """How ranks are uneven, in words."""
        n, sd = len(self.ranks), math.sqrt(CLAIM * (1 - CLAIM) / len(self.ranks))
        words = []
        if self.covered < CLAIM - 2 * sd:
            words.append("too narrow")
        elif self.covered > CLAIM + 2 * sd:
            words.append("too wide")
        if abs(self.shift) > 2 / math.sqrt(3 * n):
            words.append("draws too low" if self.shift > 0 else "draws too high")
        return ", ".join(words) or ("uneven" if self.fails else "")

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "ranks": self.ranks.tolist(), "said": self.said}


@dataclass(frozen=True)
class Calibration:
    """Ranks of every quantity; `what` was ranked, of how many simulations, each among `draws`."""

    model: str
    what: str
    simulations: int
    draws: int
    quantities: list[Ranked]
    failed: int = 0

    @property
    def holds(self) -> bool:
        return not any(ranked.fails for ranked in self.quantities)

    @property
    def sentence(self) -> str:
        """The verdict, in words."""
        n = len(self.quantities)
        rate = f"a sound posterior fails in {FAILURE:.0%} of such tests"
        head = f"{self.what}: {self.simulations} simulations, {n} quantit{'y' if n == 1 else 'ies'}; {rate}"
        lost = f"; {self.failed} fits did not end" if self.failed else ""
        bad = [ranked for ranked in self.quantities if ranked.fails]
        if not bad:
            return f"{head}; no sign of a fault{lost}"
        worst = min(bad, key=lambda ranked: ranked.p_value)
        said = f"{worst.name} by most ({worst.said}; its 90% intervals hold the truth in {worst.covered:.0%})"
        return f"{head}; {len(bad)} fail{'s' * (len(bad) == 1)}, {said}{lost}"

    def to_json(self) -> dict[str, Any]:
        each = [ranked.to_json() for ranked in self.quantities]
        return {
            "model": self.model, "what": self.what, "simulations": self.simulations, "draws": self.draws,
            "failure_rate": FAILURE, "holds": self.holds, "failed": self.failed, "quantities": each,
            "sentence": self.sentence,
        }  # fmt: skip


def sbc(
    model: str,
    table: Any,
    *,
    simulations: int = SIMULATIONS,
    draws: int = DRAWS,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    models_file: str | None = None,
    progress: Told | None = None,
    **asked: Any,
) -> list[Calibration]:
    """Put a model's posterior to the test on tables simulated in the shape of this one.

    The codec, and what a prior takes from the table, stay those of the table; rows, groups, given columns and missing
    cells are its own. A model with latents of rows alone is fitted once, and its guide tested on its own draws: first
    as it is, then after importance resampling.
    asked: what each column is, as for `fit` (schema, kinds, units, ignore, given, group, weight)
    """
    simulations, draws = whole(simulations, "simulations", FEWEST), whole(draws, "draws", 9)
    settings, seed = dict(settings or {}), seed_in(seed)
    recipe = Registry.load(models_file).recipe(model, {"fit.seed": seed, **settings}).check()
    frame = read_table(table)
    schema = schema_for(frame, asked.pop("schema", None), **asked)
    with quiet():
        codec = Codec.fit(schema, frame)
    chosen = {key: choices[0] for key, choices in recipe.grid().items()}
    made = Model(recipe.with_settings(chosen), codec).to(pick_device(device)[0])
    if made.averages:
        if not isinstance(made.guide, Globals):
            raise UserError("only draws of zoo's own guides of parameters can be ranked", "take guide=normal")
        return [_of_globals(made, made.rows(frame), simulations, draws, seed, progress)]
    if made.sites.globals:
        what = f"model {model!r} with this guide is a point: there are no draws to rank"
        raise UserError(what, "take guide=normal, multivariate or nuts")
    if not made.sites.continuous or made.bound() == "none" or hasattr(made.program, "log_prob"):
        what = f"model {model!r} has no posterior over parameters, and no continuous latents of rows"
        raise UserError(what, "take one with priors, as bayesian-gmm, or with latents, as vae")
    options: dict[str, Any] = {"seed": seed, "device": device, "models_file": models_file, "settings": settings}
    fitted = Estimator(model, schema=schema, **options).fit(frame, progress=progress).model_
    return _of_rows(fitted, fitted.rows(frame), simulations, draws, seed)


# ---------------------------------------------------------------- latents of no row: refit every table


def _of_globals(
    model: Model, rows: Rows, simulations: int, draws: int, seed: int, progress: Told | None
) -> Calibration:
    settings = FitSettings(**model.recipe.fit)
    with torch.no_grad(), scope(seed):
        getattr(model.program, "initialise", lambda rows: None)(rows)
    _keep_prior(model.program)
    ranks: dict[str, list[int]] = {}
    failed, started = 0, time.perf_counter()
    for s in range(simulations):
        with torch.no_grad(), scope(seed + s):
            truth, table = _table(model, rows)
        again = copy.deepcopy(model)
        _keep_prior(again.program)
        try:
            fit(again, table, None, settings.model_copy(update={"seed": seed + s}))
        except UserError:
            failed += 1
            continue
        with torch.no_grad(), scope(seed + s):
            every = [{part.site.name: part.value(u) for part in again.guide.parts} for u in _draws(again, draws)]
            summed = {name: torch.stack([truth[name], *(v[name] for v in every)]) for name in truth}
            for name, values in _quantities(again, summed, table).items():
                low, alike = int((values[1:] < values[0]).sum()), int((values[1:] == values[0]).sum())
                ranks.setdefault(name, []).append(low + int(torch.randint(alike + 1, ())))
        if progress:
            progress(s + 1, simulations, {"seconds": time.perf_counter() - started, "loss": math.nan})
    if simulations - failed < FEWEST:
        raise UserError(f"{failed} of {simulations} fits did not end", "take a smaller learning rate, or more rows")
    what = f"{model.recipe.model} with guide {model.recipe.guide.use}"
    return _judged(model.recipe.model, what, ranks, draws, failed)


def _keep_prior(program: Any) -> None:
    """A prior that takes something from the table, as where its columns are, keeps that of the first one."""
    start: Callable[[Any, Rows], Any] | None = getattr(type(program), "initialise", None)
    if start is None:
        return
    kept = {name: buffer.clone() for name, buffer in program.named_buffers()}

    def initialise(rows: Rows) -> Any:
        begun = start(program, rows)
        for name, buffer in program.named_buffers():
            buffer.copy_(kept[name])
        return begun

    program.initialise = initialise


def _table(model: Model, rows: Rows) -> tuple[dict[str, Tensor], Rows]:
    """Parameters from their prior, and a table drawn with them, with the same cells missing."""
    blank = rows.blank()
    drawn = samples(poutine.trace(model.program).get_trace(blank))
    truth = {site.name: drawn[site.name]["value"] for site in model.sites.globals}
    x = model.codec.snap(drawn_cells(drawn, blank))
    assert rows.cells is not None
    return truth, rows.filled(x, None if rows.complete else rows.cells.seen)


def _draws(model: Model, draws: int) -> Iterator[Tensor]:
    """Of u under the guide; of a sampler's, evenly apart."""
    sampled = getattr(model.guide, "sampled", None)
    if sampled is None:
        yield from (model.guide.posterior().sample() for _ in range(draws))
        return
    yield from sampled[torch.linspace(0, len(sampled) - 1, draws).round().long()]


def _quantities(model: Model, values: dict[str, Tensor], rows: Rows) -> dict[str, Tensor]:
    """What is ranked, (1 + draws,) each: the program's own summaries, which no symmetry of it changes, else every
    number of every parameter; and the log-likelihood of the table, which sees faults that these do not."""
    own = getattr(model.program, "summaries", None)
    out = {}
    for name, value in (values if own is None else own(values)).items():
        flat = value.reshape(len(value), -1)
        for j in range(flat.shape[1]):
            out[name if flat.shape[1] == 1 else f"{name} {j + 1}"] = flat[:, j]
    log = []
    for i in range(len(next(iter(values.values())))):
        at = {name: value[i] for name, value in values.items()}
        program, guide = poutine.condition(model.program, data=at), poutine.condition(model.guide, data=at)
        log.append(log_weights(program, guide, rows).rows[0].mean())
    if model.bound_of_rows(rows.complete) == "exact":
        out["log-likelihood"] = torch.stack(log)
    return out


# ---------------------------------------------------------------- latents of rows: one fit, every row a simulation


def _of_rows(model: Model, rows: Rows, simulations: int, draws: int, seed: int) -> list[Calibration]:
    index = torch.arange(simulations, device=rows.given.device) % rows.n
    raw: dict[str, list[int]] = {}
    chosen: dict[str, list[int]] = {}
    with torch.no_grad(), scope(seed):
        own, truth = simulated(model, rows.take(index))
        for part in index.new_tensor(range(simulations)).split(64):
            w = log_weights(model.program, model.guide, own.take(part), PARTICLES)
            sites, n = samples(w.trace), len(part)
            pick = torch.distributions.Categorical(logits=finite(w.rows).T).sample(torch.Size([draws]))
            for name, z in truth.items():
                each = sites[name]["value"].reshape(PARTICLES, n, -1)
                among = each[pick, torch.arange(n, device=pick.device)]
                for ranks, drawn in ((raw, each[:draws]), (chosen, among)):
                    below = (drawn < z[part].reshape(1, n, -1)).sum(0)
                    for j in range(below.shape[1]):
                        ranks.setdefault(f"{name}{j + 1}", []).extend(below[:, j].tolist())
    name = model.recipe.model
    what = f"{name}: the guide's draws"
    return [
        _judged(name, f"{what} as they are", raw, draws),
        _judged(name, f"{what} after importance resampling", chosen, draws),
    ]


# ---------------------------------------------------------------- the verdict


def _judged(model: str, what: str, ranks: dict[str, list[int]], draws: int, failed: int = 0) -> Calibration:
    each = {name: np.array(values) for name, values in ranks.items()}
    p = {name: uniform(values, draws) for name, values in each.items()}
    low, high = (1 - CLAIM) / 2, (1 + CLAIM) / 2
    out = []
    for name, values in each.items():
        place = (values + 0.5) / (draws + 1)
        covered = float(((place > low) & (place < high)).mean())
        fails = p[name] < FAILURE / len(each)
        out.append(Ranked(name, values, p[name], fails, covered, float(2 * place.mean() - 1)))
    return Calibration(model, what, len(next(iter(each.values()))), draws, out, failed)


def uniform(ranks: np.ndarray, draws: int) -> float:
    """A p-value that ranks (S,) are uniform on 0 .. draws: three times the smallest of three.

    As places on the standard Normal: the sum of their squares is chi-square of S degrees of freedom (draws too narrow
    or too wide, of which few simulations tell; Cook, Gelman & Rubin 2006), and their mean Normal (draws to one side).
    The largest distance of their distribution from the uniform one is Kolmogorov-Smirnov's (any other shape).
    """
    n = len(ranks)
    # a rank stands for a place between its neighbours'
    place = (ranks + np.random.default_rng(0).random(n)) / (draws + 1)
    z = stats.norm.ppf(place.clip(1e-12, 1 - 1e-12))
    squares = float((z**2).sum())
    spread = 2 * min(stats.chi2.cdf(squares, n), stats.chi2.sf(squares, n))
    side = 2 * stats.norm.sf(abs(z.sum()) / math.sqrt(n))
    return float(min(1.0, 3 * min(spread, side, stats.kstest(place, "uniform").pvalue)))
