"""The laws that every model owes its users, held against any model on any table: `zoo check`.

A law is a function of a `Case` that says what it found: None where it holds, else what is wrong. Statistical laws
fail a sound model in about one of 10^5 tables.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import torch
from torch import Tensor

from zoo.errors import UserError, quiet
from zoo.estimator import Estimator
from zoo.evaluate.likelihood import k_hat, score
from zoo.evaluate.posterior import sample
from zoo.fitting.choose import pick_device
from zoo.model import Model
from zoo.recipe import Recipe
from zoo.registry import Registry
from zoo.rows.rows import Rows
from zoo.scope import scope
from zoo.table.codec import Codec
from zoo.table.infer import schema_for
from zoo.table.reader import read_table
from zoo.table.split import enough

ROWS, STEPS, SEEDS = 400, 100, 12
DRAWS, BATCH, BATCHES = 3000, 50, 20
SIGMAS, SLACK = 5.0, 0.02
TOLERANCE = 1e-4
"""Nats that float32 networks may differ by from one batch to another."""


class Unsound(Exception):
    """A law that does not hold."""


@dataclass(frozen=True)
class Finding:
    """One law on one model: whether it holds (None: it does not apply), what was found, and what to do."""

    law: str
    holds: bool | None
    said: str = ""
    remedy: str = ""


class Case:
    """A model on some rows of a table, made and fitted for a few steps when a law first asks for it."""

    def __init__(
        self,
        recipe: Recipe,
        settings: dict[str, Any],
        frame: pd.DataFrame,
        asked: dict[str, Any],
        seed: int,
        models_file: str | None,
    ):
        # a grid stands for its second choice: the first is often one component or one latent, which hides faults
        chosen = {key: choices[min(1, len(choices) - 1)] for key, choices in recipe.grid().items()}
        self.settings = {**settings, **chosen, "fit.steps": STEPS}
        self.recipe = recipe.with_settings(self.settings)
        self.frame, self.seed, self.models_file = frame, seed, models_file
        self.before = _globals()
        with quiet():
            self.schema = schema_for(frame, **asked)
            self.codec = Codec.fit(self.schema, frame)

    def made(self) -> Model:
        return Model(self.recipe, self.codec)

    @cached_property
    def fresh(self) -> Model:
        return self.made()

    def fitted(self) -> Estimator:
        options: dict[str, Any] = {"seed": self.seed, "device": "cpu", "models_file": self.models_file}
        return Estimator(self.recipe.model, settings=self.settings, **options).fit_parts(self.frame, None, self.schema)

    @cached_property
    def estimator(self) -> Estimator:
        return self.fitted()

    @cached_property
    def broad(self) -> tuple[Tensor, np.ndarray]:
        """Whole rows (DRAWS, D) of a mixture fitted to the table, broader than it, and its log-density of each."""
        if self.schema.conditions:
            raise LookupError("rows are conditional")
        settings = {"components": 4, "restarts": 2, "fit.steps": STEPS}
        q = Estimator("mixture", settings=settings, seed=self.seed, device="cpu")
        model = q.fit_parts(self.frame, None, self.schema, codec=self.codec).model_
        drawn = sample(model, DRAWS, None, self.seed)
        return drawn, score(model, model.blank(DRAWS).filled(drawn)).log_likelihood

    @property
    def model(self) -> Model:
        return self.estimator.model_

    @cached_property
    def rows(self) -> Rows:
        with quiet():
            return self.model.rows(self.frame)

    def log_p(self, rows: Rows | None = None, model: Model | None = None) -> np.ndarray:
        model = model or self.model
        if model.bound() == "none":
            raise LookupError("it claims no likelihood")
        return score(model, self.rows if rows is None else rows, 20, self.seed).log_likelihood

    def loss(self, rows: Rows, seed: int) -> list[float]:
        with torch.no_grad(), scope(seed):
            return [float(turn.loss(rows)) for turn in self.model.objective.turns(self.model)]


# ---------------------------------------------------------------------------------------------------------- the laws


def it_is_made(case: Case) -> None:
    """The program runs on this table, and its guide names its latents."""
    assert case.fresh is not None


def it_is_fitted(case: Case) -> None:
    """A few steps leave every number finite."""
    assert case.estimator is not None


def every_parameter_moves(case: Case) -> None:
    """Each parameter gets a finite gradient in some turn, and not always zero."""
    model = case.fresh
    with quiet():
        rows = model.rows(case.frame)
    names = {id(p): name for name, p in model.named_parameters()}
    model.train()
    moved: set[int] = set()
    met: dict[int, str] = {}
    with scope(case.seed):
        for turn in model.objective.turns(model):
            gradients = torch.autograd.grad(turn.loss(rows), turn.parameters, allow_unused=True)
            for p, gradient in zip(turn.parameters, gradients, strict=True):
                met[id(p)] = names.get(id(p), "a parameter")
                if gradient is not None and not torch.isfinite(gradient).all():
                    raise Unsound(f"the gradient of {met[id(p)]} is not finite")
                if gradient is not None and gradient.any():
                    moved.add(id(p))
    still = sorted(name for key, name in met.items() if key not in moved)
    if still:
        raise Unsound(f"no turn moves {', '.join(still[:3])}{' ...' if len(still) > 3 else ''}")


def batches_stand_for_the_table(case: Case) -> None:
    """The mean of the losses of batches is the loss of the whole table: nothing is counted N / B times."""
    rows = case.rows
    if rows.n < 8:
        raise LookupError("the table has too few rows")
    whole = np.array([case.loss(rows, seed) for seed in range(SEEDS)])

    def in_batches(seed: int) -> np.ndarray:
        # parted anew each time: a distance between batches is that of the table in the mean over partitions alone
        order = torch.randperm(rows.n, generator=torch.Generator().manual_seed(seed))
        parts = order.split(-(-rows.n // 4))
        losses = [len(part) / rows.n * np.array(case.loss(rows.take(part), 100 + seed)) for part in parts]
        return np.sum(losses, 0)

    batched = np.array([in_batches(seed) for seed in range(SEEDS)])
    error = np.sqrt((whole.var(0, ddof=1) + batched.var(0, ddof=1)) / SEEDS)
    off = np.abs(whole.mean(0) - batched.mean(0))
    if (off > SIGMAS * error + 1e-3 * np.abs(whole.mean(0)) + TOLERANCE).any():
        what = f"{batched.mean(0)[0]:.4g} in batches against {whole.mean(0)[0]:.4g} whole"
        raise Unsound(f"the loss of a row depends on how many rows are in its batch: {what}")


def a_row_stands_alone(case: Case) -> None:
    """A row's number is the same whatever rows are beside it."""
    rows = case.rows
    keep = torch.arange(0, rows.n, 5)
    index = torch.randint(rows.n, (rows.n,), generator=torch.Generator().manual_seed(case.seed))
    index[keep] = keep
    one, other = case.log_p(rows)[keep], case.log_p(rows.take(index))[keep]
    worst = float(np.abs(one - other).max())
    if not worst <= TOLERANCE:
        raise Unsound(f"with other rows beside it a row's number changes by up to {worst:.3g} nats")


def a_hidden_cell_is_its_rows_affair(case: Case) -> None:
    """Hiding one cell changes its row's number and no other row's."""
    column = next((c.name for c in case.schema.modelled if case.frame[c.name].notna().sum() > 1), None)
    if column is None or len(case.schema.modelled) < 2:
        raise LookupError("the table has one column")
    hidden = case.frame.copy()
    row = int(np.flatnonzero(hidden[column].notna())[0])
    hidden[column] = hidden[column].astype(object)
    hidden.iloc[row, list(hidden.columns).index(column)] = None
    with quiet():
        after = case.log_p(case.model.rows(hidden))
    before, others = case.log_p(), np.arange(len(hidden)) != row
    if not np.isfinite(after[row]):
        raise Unsound(f"a row with a missing cell has the number {after[row]}")
    worst = float(np.abs(after - before)[others].max()) if others.any() else 0.0
    if worst > TOLERANCE:
        raise Unsound(f"hiding a cell of one row changes another's number by {worst:.3g} nats")


def an_empty_row_is_certain(case: Case) -> None:
    """The probability of having seen nothing is one."""
    empty = case.rows.take(torch.zeros(1, dtype=torch.long))
    assert empty.cells is not None
    nothing = empty.cells._replace(seen=torch.zeros_like(empty.cells.seen))
    empty = replace(empty, cells=nothing, complete=False)
    found = float(case.log_p(empty)[0])
    exact = case.model.bound(False) == "exact"
    if not math.isfinite(found) or (exact and abs(found) > 1e-3):
        raise Unsound(f"a row of which nothing is seen has the log-probability {found:.3g}, not 0")


def the_elbo_is_below(case: Case) -> None:
    """The ELBO is no higher than the log-likelihood, and all numbers are finite."""
    case.log_p()
    scores = score(case.model, case.rows, 50, case.seed)
    if not np.isfinite(scores.log_likelihood).all():
        raise Unsound(f"{(~np.isfinite(scores.log_likelihood)).sum()} rows have no finite number")
    over = float((scores.elbo - scores.log_likelihood).mean())
    if over > 1e-6:
        raise Unsound(f"the ELBO is {over:.3g} nats above the log-likelihood")


def draws_are_rows(case: Case) -> None:
    """Draws are finite, and rows of one batch are no more alike than rows of two."""
    if "sample" not in case.model.verbs:
        raise LookupError("it does not draw rows")
    batches = torch.stack([sample(case.model, BATCH, _like(case), seed) for seed in range(BATCHES)])
    if not torch.isfinite(batches).all():
        raise Unsound("draws are not finite")
    within, between = batches.var(1).mean(0), batches.mean(1).var(0)
    ratio = (between * BATCH / within.clamp_min(1e-12))[within > 1e-12]
    constant = (within <= 1e-12) & (case.rows.cells.x.std(0) > 1e-6)  # type: ignore[union-attr]
    if constant.any():
        name = case.schema.names[int(constant.nonzero()[0, 0])]
        raise Unsound(f"all draws of a batch have the same {name!r}")
    # of as many independent rows the ratio is near one, and above four never
    if len(ratio) and float(ratio.max()) > 4:
        raise Unsound(f"rows drawn together are alike: their means vary {float(ratio.max()):.1f} times too much")


def the_density_integrates_to_one(case: Case) -> None:
    """The mean of p / q over rows of another density q, a broad mixture, is one."""
    case.log_p()
    drawn, base = case.broad
    found = case.log_p(case.model.blank(DRAWS).filled(drawn))
    log_ratio = torch.from_numpy(found - base)[:, None]
    ratio = log_ratio.exp()[:, 0]
    total, error = float(ratio.mean()), float(ratio.std() / math.sqrt(DRAWS))
    shape = k_hat(log_ratio)
    slack = SIGMAS * error + SLACK
    if total > 1 + slack:
        raise Unsound(f"the density integrates to {total:.3f} ± {error:.3f}: it is not normalised")
    if case.model.bound() == "exact" and total < 1 - slack and (not len(shape) or shape[0] < 0.5):
        raise Unsound(f"the density integrates to {total:.3f} ± {error:.3f}, and says that it is exact")


def draws_have_the_density(case: Case) -> None:
    """The mean log p of draws is what the density itself says, by importance from the draws of a broad mixture."""
    case.log_p()
    if "sample" not in case.model.verbs or hasattr(case.model.program, "log_prob"):
        raise LookupError("there are no draws, or the number is not of their density")
    there, log_q = case.broad
    log_p = case.log_p(case.model.blank(DRAWS).filled(there))
    weight = np.exp(log_p - log_q - (log_p - log_q).max())
    weight /= weight.sum()
    expected = float((weight * log_p).sum())
    error = math.sqrt(float((weight**2 * (log_p - expected) ** 2).sum()))
    own = sample(case.model, DRAWS, None, case.seed + 1)
    found = case.log_p(case.model.blank(DRAWS).filled(own))
    both = math.hypot(error, float(found.std()) / math.sqrt(DRAWS))
    shape = k_hat(torch.from_numpy(log_p - log_q)[:, None])
    if len(shape) and shape[0] > 0.7:
        raise LookupError("no broad density was found to hold it against")
    if abs(found.mean() - expected) > SIGMAS * both + 0.05:
        what = f"the density says {expected:.3f} ± {both:.3f}"
        raise Unsound(f"draws have the mean log-density {found.mean():.3f}, and {what}")


def the_same_seed_gives_the_same(case: Case) -> None:
    """Two fits with one seed are one."""
    first, second = case.model.state_dict(), case.fitted().model_.state_dict()
    off = [key for key in first if not torch.equal(_plain(first[key]), _plain(second[key]))]
    if off:
        raise Unsound(f"a second fit with the same seed ends elsewhere: {off[0]}")


def a_run_is_the_model(case: Case) -> None:
    """Saved and loaded, it gives the same numbers and draws."""
    with tempfile.TemporaryDirectory() as folder:
        case.estimator.save(Path(folder) / "run")
        again = Estimator.load(Path(folder) / "run", case.models_file, device="cpu").model_
    if case.model.bound() != "none":
        worst = float(np.abs(case.log_p(model=again, rows=again.rows(case.frame)) - case.log_p()).max())
        if not worst <= 1e-9:
            raise Unsound(f"after saving and loading a row's number differs by {worst:.3g} nats")
    if "sample" in case.model.verbs:
        one, other = (sample(m, 20, _like(case), 3) for m in (case.model, again))
        if not torch.equal(one, other):
            raise Unsound("after saving and loading draws differ")


def nothing_global_changes(case: Case) -> None:
    """Scoring and drawing leave Pyro's store, torch's switches and the generators as they were."""
    assert case.model is not None
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    if case.model.bound() != "none":
        case.log_p()
    if "sample" in case.model.verbs:
        sample(case.model, 5, _like(case), 0)
    if not torch.equal(torch.rand(3), expected):
        raise Unsound("the generator of random numbers is not as it was")
    after = _globals()
    changed = [name for name, value in case.before.items() if value != after[name]]
    if changed:
        raise Unsound(f"changed: {', '.join(changed)}")


LAWS: dict[Callable[[Case], None], str] = {
    it_is_made: "see the line; zoo/programs and zoo/guides say how each is written",
    it_is_fitted: "look at the columns it names; try --set fit.learning_rate=1e-3",
    every_parameter_moves: "use it in what the program samples or observes, without detach(), or make it a buffer",
    batches_stand_for_the_table: "leave out rows.total and rows.n: zoo scales rows; sum and average nothing over rows",
    a_row_stands_alone: "read each row's own cells alone: no mean over rows, no shuffle, and every latent of a row "
    "inside `with rows.plate():` with to_event(1) where it is a vector",
    a_hidden_cell_is_its_rows_affair: "read cells through rows.features(), which says what is missing",
    an_empty_row_is_certain: "give the data to rows.observe and to nothing else (no pyro.factor of the cells)",
    the_elbo_is_below: "see that the guide's distributions have the program's supports",
    draws_are_rows: "sample every latent of a row inside `with rows.plate():`",
    the_density_integrates_to_one: "see that log_prob has its normalising constant and every change of variables",
    draws_have_the_density: "draw by the same distribution that scores: no branch on whether there is data",
    the_same_seed_gives_the_same: "draw random numbers by torch or Pyro alone, and keep no state between fits",
    a_run_is_the_model: "keep what is learned in parameters or buffers: plain attributes are not saved",
    nothing_global_changes: "set no seed and no switch; parameters live in modules, or in pyro.param of a function",
}
"""Every law, with what to do where it does not hold."""


def check(
    model: str,
    table: Any,
    *,
    settings: dict[str, Any] | None = None,
    seed: int = 0,
    models_file: str | None = None,
    rows: int = ROWS,
    **asked: Any,
) -> list[Finding]:
    """Put a model through the laws, on at most so many rows of a table; it is fitted for a hundred steps.

    asked: what each column is, as for `fit` (schema, kinds, ignore, given, group, weight).
    """
    pick_device("cpu")
    recipe = Registry.load(models_file).recipe(model, settings or {})
    recipe.check()
    frame = read_table(table)
    enough(len(frame))
    some = frame.sample(min(rows, len(frame)), random_state=seed).reset_index(drop=True)
    case = Case(recipe, dict(settings or {}), some, asked, seed, models_file)
    findings: list[Finding] = []
    for law, remedy in LAWS.items():
        findings.append(_held(law, case, remedy))
        if law in (it_is_made, it_is_fitted) and not findings[-1].holds:
            break
    return findings


def _held(law: Callable[[Case], None], case: Case, remedy: str) -> Finding:
    name = law.__name__.replace("_", " ")
    try:
        law(case)
    except LookupError as reason:
        return Finding(name, None, str(reason).strip("'\""))
    except Unsound as fault:
        return Finding(name, False, str(fault), remedy)
    except UserError as fault:
        return Finding(name, False, str(fault), remedy)
    except Exception as fault:  # a program of the user's own may break in any way
        said = (str(fault).strip().splitlines() or [""])[0]
        return Finding(name, False, f"{type(fault).__name__}: {said}", remedy)
    return Finding(name, True)


def _like(case: Case) -> Rows | None:
    return case.rows if case.schema.conditions else None


def _plain(t: Tensor) -> Tensor:
    return torch.nan_to_num(t) if t.is_floating_point() else t


def _globals() -> dict[str, Any]:
    return {
        "Pyro's parameter store": sorted(pyro.get_param_store().keys()),
        "Pyro's settings": pyro.settings.get(),
        "torch's validation of arguments": torch.distributions.Distribution._validate_args,
        "torch's default type": torch.get_default_dtype(),
        "torch's gradients": torch.is_grad_enabled(),
    }
