"""The loop: start from data, take turns on shuffled batches, watch validation rows, keep the best."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.fitting.average import Average
from zoo.fitting.captured import step_of
from zoo.fitting.distributed import agree, processes, shared, told
from zoo.fitting.forensics import NonFiniteError, explain
from zoo.fitting.settings import FitSettings
from zoo.fitting.source import InMemory, Source
from zoo.fitting.step import Step
from zoo.objectives.elbo import elbo_of_rows
from zoo.objectives.turn import Stage, Turn
from zoo.rows.rows import Rows
from zoo.scope import scope

if TYPE_CHECKING:
    from zoo.model import Model

MIN_STEPS_BETWEEN_LOOKS, MOST_STEPS_BETWEEN_LOOKS = 25, 500
MOST_UNSEEN = 25  # steps whose numbers nobody has looked at
VALIDATION_PARTICLES = 4
CHUNK, NUMBERS = 8192, 1 << 24  # rows times particles at once, and predictor entries of them
START_SHARE = 0.5  # of the time there is
MIN_GAIN = 1e-4  # of a look, to be better than the best one


@dataclass
class Fitted:
    """What happened. history: a dict for each look: step, epoch, loss, seconds, and, where that look was at validation
    rows, validation (higher is better) and what the objective watches.

    tier, why: how steps were run, and the reason where that is not the fastest way
    notes: what the start from data had to mend, and what is to be said of the fitted model
    kept: the look whose state is the fitted model's, of step 0 where that is the start; empty where there was no look
    processes: that fitted together, of which each saw its part of every batch
    """

    seconds: float = 0.0
    steps: int = 0
    epochs: float = 0.0
    tier: str = "closed form"
    why: str = ""
    stopped: str = "the start is the maximum"
    history: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kept: dict[str, float] = field(default_factory=dict)
    processes: int = 1

    @property
    def loss(self) -> float:
        return self.history[-1]["loss"] if self.history else math.nan


ASTRAY = 1.0
"""Nats a row below the start that are no noise of a fit."""

Progress = Callable[[int, int, dict[str, float]], None]


def fit(
    model: Model,
    train: Rows,
    validation: Rows | None = None,
    settings: FitSettings | None = None,
    deadline: float | None = None,
    progress: Progress | None = None,
    source: Source | None = None,
) -> Fitted:
    """Fit `model` in place on the training rows; nothing outside the model changes.

    source    where batches come from if not from the training rows, which are then only what the fit starts from
    deadline  time.perf_counter() at which to stop; the result says where it did
    progress  called at every look with (step, planned steps, the look)
    """
    settings = settings or FitSettings()
    with scope(settings.seed):
        started = time.perf_counter()
        until = None if deadline is None else started + START_SHARE * (deadline - started)
        finished = model.initialise(replace(train, until=until))
        agree(_state(model))  # a clock may have ended it elsewhere
        notes = [*getattr(model.program, "notes", ()), *getattr(model.guide, "notes", ())]
        fitted = Fitted(notes=notes, processes=processes())
        if finished:
            fitted.tier, fitted.stopped = finished
        least = getattr(model.objective, "least", 0)
        if validation is not None and validation.n < least:
            few = f"{validation.n} validation rows are too few to compare draws with ({least} would do)"
            fitted.notes.append(f"{few}: the last state was kept")
            validation = None
        if source is not None or hasattr(model.objective, "agreement"):
            finished = None  # of the likelihood that was the maximum, and of these rows
        done = bool(told(finished is not None))
        if not done or model.guide_parameters():
            # a finished start stays as it is, and only the guide is left to fit
            parts = (model.program, model.heads) if done else ()
            frozen = [p for part in parts for p in part.parameters() if p.requires_grad]
            try:
                for parameter in frozen:
                    parameter.requires_grad_(False)
                batches = shared(source or InMemory(train), settings.seed)
                turns = list(model.objective.turns(model))
                loop = _Loop(model, train, batches, validation, settings, deadline, progress, started, fitted, turns)
                loop.run()
                loop.run_afterwards()
            finally:
                for parameter in frozen:
                    parameter.requires_grad_(True)
        agree(_state(model))
        model.eval()
        fitted.seconds = time.perf_counter() - started
        return fitted


class _Loop:
    def __init__(
        self,
        model: Model,
        train: Rows,
        source: Source,
        validation: Rows | None,
        settings: FitSettings,
        deadline: float | None,
        progress: Progress | None,
        started: float,
        fitted: Fitted,
        turns: list[Turn],
    ):
        self.model, self.train, self.source = model, train, source
        self.validation, self.settings = validation, settings
        self.deadline, self.progress, self.started, self.fitted = deadline, progress, started, fitted
        self.per_epoch = math.ceil(source.n / settings.batch)
        self.planned = settings.epochs * self.per_epoch if settings.epochs else settings.steps
        self.last, self.cooled_from = self.planned, self.planned
        self.look_every = min(max(self.per_epoch, MIN_STEPS_BETWEEN_LOOKS), MOST_STEPS_BETWEEN_LOOKS)
        looks = getattr(model.objective, "looks", None) or self.planned
        self.validate_every = math.ceil(self.planned / looks / self.look_every) * self.look_every
        self.turns = turns
        timed = deadline is not None
        self.steps: list[Step] = [step_of(model, turn, settings, self.planned, timed) for turn in self.turns]
        self.unseen: list[tuple[int, Tensor, Rows, list[tuple[str, Tensor]]]] = []
        self.average = Average(model.fitted_parameters(), settings.average)
        self.best, self.best_state, self.waited = -math.inf, _snapshot(model), 0
        self.best_look: dict[str, float] = {}
        self.start: dict[str, float] = {}
        self.moved: dict[str, list[Tensor]] = {}
        self.begun: set[int] = set()

    def run(self) -> None:
        self.fitted.stopped = "all planned steps taken"
        self._validate_start()
        try:
            self._take_steps()
        except NonFiniteError as error:
            self._go_back(error)
        else:
            if self.validation is not None and self.settings.keep == "best":
                self.model.load_state_dict(self.best_state)
            else:
                self.average.stay()
                self.best_look = self.fitted.history[-1] if self.fitted.history else {}
        self.fitted.tier = ", ".join(dict.fromkeys(move.tier for move in self.steps))
        self.fitted.why = "; ".join(dict.fromkeys(move.why for move in self.steps if move.why))
        self.fitted.kept = dict(self.best_look or self.start)
        self._note()

    def run_afterwards(self) -> None:
        """The objective's last stage, where it has one and there is time left; what goes wrong leaves all as it was."""
        stage: Stage | None = getattr(self.model.objective, "afterwards", lambda model: None)(self.model)
        if stage is None or (self.deadline is not None and told(time.perf_counter() > self.deadline)):
            return
        steps = math.ceil(stage.share * self.planned)
        changed = {"steps": steps, "epochs": None, "patience": 0, "average": 0.0, "keep": stage.keep}
        own, now = self.settings.model_copy(update=changed), time.perf_counter()
        held = self.validation if stage.keep == "best" else None
        if held is not None:
            held = held.thinned(stage.hidden)
        done = Fitted()
        try:
            _Loop(self.model, self.train, self.source, held, own, self.deadline, None, now, done, [stage.turn]).run()
        except NonFiniteError as error:
            self.fitted.notes.append(f"the steps of the guide alone, at the end, were left out: {error.message}")
        if "went back" in done.stopped:
            self.fitted.notes.append(f"the steps of the guide alone, at the end: {done.stopped}")

    def _take_steps(self) -> None:
        losses: list[Tensor] = []
        self.model.train()
        for step, (index, rows) in enumerate(self.source.batches(self.settings.batch, self.planned)):
            self._schedule(step)
            losses.append(self._take(step, index, rows))
            self.average.take_in()
            self.fitted.steps = step + 1
            self.fitted.epochs = (step + 1) / self.per_epoch
            over = self.deadline is not None and bool(told(time.perf_counter() > self.deadline))
            look = over or (step + 1) % self.look_every == 0 or step + 1 == self.last
            if look or len(self.unseen) == MOST_UNSEEN:
                self._see()
            if not look:
                continue
            validate = over or (step + 1) % self.validate_every == 0 or step + 1 == self.last
            self._look(step + 1, losses, validate)
            losses = []
            if over:
                self.fitted.stopped = f"the time budget ended at step {step + 1} of {self.planned}"
                return
            impatient = self.settings.patience and self.waited >= self.settings.patience
            if impatient and self.cooled_from == self.planned and step + 1 < self.last:
                self._cool(step + 1)
            if step + 1 == self.last:
                return

    def _cool(self, step: int) -> None:
        """Nothing more is gained at this learning rate: let it fall, since lower ones have been seen by no look."""
        falls = self.settings.schedule == "cosine"
        steps = min(math.ceil(self.settings.cool * self.planned), self.planned - step) if falls else 0
        self.cooled_from, self.last = step, step + steps
        self.fitted.stopped = f"no gain on validation rows for {self.waited} looks"
        if steps:
            self.fitted.stopped += f", then {steps} steps to a learning rate of zero"

    def _share(self, step: int) -> float:
        """How much of the schedule is over: of a fit that cools down, what was left of it lies in the steps it has."""
        share = min(step, self.cooled_from) / self.planned
        if step > self.cooled_from:
            share += (1 - share) * (step - self.cooled_from) / (self.last - self.cooled_from)
        return share

    def _take(self, step: int, index: Tensor, rows: Rows) -> Tensor:
        loss, numbers = torch.zeros(()), list[tuple[str, Tensor]]()
        for turn, move in zip(self.turns, self.steps, strict=True):
            if not turn.moves(step, self._share(step)):
                continue
            self._begin(turn)
            loss, norm = move(rows)
            numbers.append((turn.name, loss + norm))
            if turn.name:
                self.moved.setdefault(f"{turn.name}_loss", []).append(loss)
                self.moved.setdefault(f"{turn.name}_gradient", []).append(norm)
        self.unseen.append((step, index, rows, numbers))
        return loss

    def _go_back(self, error: NonFiniteError) -> None:
        """The model is what it was at its best look, or at the start where none was better; before the first look
        nothing has been fitted."""
        if not self.fitted.history:
            raise error
        where = f"what it was at step {self.best_look['step']:.0f}" if self.best_look else "the start"
        self.fitted.stopped = f"{error.message}; went back to {where}"
        self.fitted.notes.append(f"the fit broke off: {self.fitted.stopped}")

    def _note(self) -> None:
        """What the objective says of the state that is kept; without one, whether steps led far away from the start."""
        notes = getattr(self.model.objective, "notes", None)
        if notes is None:
            last = self.fitted.history[-1].get("validation", math.inf) if self.fitted.history else math.inf
            if self.settings.keep == "best" and not self.best_look and last < self.best - ASTRAY:
                self.fitted.notes.append(
                    f"the steps led away from the start, which was kept: validation rows have {last:.4g} after them, "
                    f"{self.best:.4g} before; lower fit.learning_rate ({self.settings.learning_rate:g})"
                )
            return
        if not self.best_look:
            self.fitted.notes.append(
                "at no look did draws agree better with validation rows than at the start, which was kept"
            )
        self.fitted.notes += notes(self.fitted.kept)

    def _begin(self, turn: Turn) -> None:
        """A stage that starts from what is fitted by now: what was best before is no measure of it."""
        if turn.begin is None or id(turn) in self.begun:
            return
        self.begun.add(id(turn))
        self.model.eval()
        with torch.no_grad():
            turn.begin(self.train)
        agree(_state(self.model))
        self.model.train()
        self.average.begin()
        self._validate_start()

    def _see(self) -> None:
        """Read what the last steps gave, all at once. Since the first that was not finite no parameter has moved."""
        numbers = [number.double() for *_, each in self.unseen for _, number in each]
        if numbers and not torch.stack(numbers).isfinite().all():
            step, index, rows, each = next(u for u in self.unseen if not all(t.isfinite() for _, t in u[3]))
            turn = next(name for name, number in each if not number.isfinite())
            error = explain(self.model, rows, index, step + 1, turn)
            self.model.load_state_dict(self.best_state)
            raise error
        self.unseen = []

    def _schedule(self, step: int) -> None:
        share = self._share(step)
        if self.settings.schedule == "cosine":
            for turn, move in zip(self.turns, self.steps, strict=True):
                fall = 0.5 * (1 + math.cos(math.pi * turn.done(share)))
                move.set_learning_rate(self.settings.learning_rate * fall)
        if hasattr(self.model.objective, "progress"):
            self.model.objective.progress.fill_(share)

    def _validate_start(self) -> None:
        """The start itself counts: a fit may not end below it."""
        if self.validation is not None:
            self.best = validation_score(self.model, self.validation, self.settings.seed)
            self.start = {"step": 0.0, "validation": self.best}
            self.start |= watched(self.model, self.validation, self.settings.seed)
        self.best_state, self.waited = _snapshot(self.model), 0

    def _look(self, step: int, losses: list[Tensor], validate: bool) -> None:
        look = {
            "step": float(step),
            "epoch": step / self.per_epoch,
            "loss": float(torch.stack(losses).mean()),
            "seconds": time.perf_counter() - self.started,
        }
        look |= {name: float(torch.stack(values).mean()) for name, values in self.moved.items()}
        self.moved = {}
        with self.average.shown():
            if self.validation is None:
                self.best_state, self.best_look = _snapshot(self.model), look
            elif validate:
                self._validate(look)
        self.fitted.history.append(look)
        if self.progress is not None:
            self.progress(step, self.planned, look)

    def _validate(self, look: dict[str, float]) -> None:
        assert self.validation is not None
        look["validation"] = validation_score(self.model, self.validation, self.settings.seed)
        look |= watched(self.model, self.validation, self.settings.seed)
        gain = look["validation"] - self.best
        if gain > getattr(self.model.objective, "gain", MIN_GAIN):
            self.best_state, self.best_look = _snapshot(self.model), look
        if gain > MIN_GAIN:
            self.best, self.waited = look["validation"], 0
        elif getattr(self.model.objective, "settled", True):
            self.waited += 1


def watched(model: Model, rows: Rows, seed: int = 0) -> dict[str, float]:
    """What the objective tells of a model beside its score, where it tells anything."""
    if not hasattr(model.objective, "watch"):
        return {}
    was_training = model.training
    model.eval()
    with torch.no_grad(), scope(seed):
        told: dict[str, float] = model.objective.watch(model, rows)
    model.train(was_training)
    return told


def validation_score(model: Model, rows: Rows, seed: int = 0) -> float:
    """Mean over rows of what the objective validates by, higher is better; the same draws at every look."""
    validate = getattr(model.objective, "validate", elbo_of_rows)
    was_training = model.training
    model.eval()
    if hasattr(model.objective, "agreement"):
        with torch.no_grad(), scope(seed):
            agreement = float(model.objective.agreement(model, rows))
        model.train(was_training)
        return told(agreement)
    total = 0.0
    with torch.no_grad(), scope(seed):
        for index in torch.arange(rows.n).split(
            max(1, min(CHUNK, NUMBERS // max(1, rows.full)) // VALIDATION_PARTICLES)
        ):
            part = rows.take(index.to(rows.given.device))
            total += float((part.weight * validate(model, part, VALIDATION_PARTICLES)).sum())
    model.train(was_training)
    return told(total / rows.n)


def _state(model: Model) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _snapshot(model: Model) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in model.state_dict().items()}
