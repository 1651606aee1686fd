"""How to fit: the fifth table of a recipe, with the same defaults for every model."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FitSettings(BaseModel):
    """epochs         passes over the training rows; unset, as many as `steps` allow
    steps          steps planned where `epochs` is unset
    batch          rows in a step
    learning_rate  of Adam, at its highest
    schedule       "cosine" falls to zero over the planned steps, "constant" does not
    clip           largest norm of a step's gradient
    patience       evaluations on validation rows without gain before fitting stops; 0 never stops early
    cool           share of the planned steps in which a cosine schedule then falls to zero: an early stop at a high
                   learning rate ends on a rim of the valley, not in it. 0 stops at once
    keep           "best" ends with the state that did best on validation rows, "last" with the last one
    average        how much of itself a running mean of the parameters keeps at every step: validation rows see the
                   mean, and the fit ends with it. 0 takes the parameters as they are
    folds          rows to choose settings are held out in turn, in so many parts, and the fit then takes them all; the
                   first setting of a grid that the best is not clearly above is chosen. 0 sets rows aside
    seed           of every random choice in the fit
    tier           how a step is run: "eager" runs the program's Python every time; "graph" writes a step's operations
                   down once and replays them; "compiled" has a C++ compiler make one of them; "auto" takes the one that
                   pays for so many steps
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int | None = Field(default=None, ge=1)
    steps: int = Field(default=4000, ge=1)
    batch: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float = Field(default=20.0, gt=0)
    patience: int = Field(default=15, ge=0)
    cool: float = Field(default=0.1, ge=0, le=1)
    keep: Literal["best", "last"] = "best"
    average: float = Field(default=0.0, ge=0, lt=1)
    folds: int = Field(default=0, ge=0)
    seed: int = 0
    tier: Literal["auto", "eager", "graph", "compiled"] = "auto"
