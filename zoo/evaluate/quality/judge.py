"""One judgement of rows: every figure, with real rows against real ones and independent columns beside it."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from zoo.errors import UserError, nearest
from zoo.evaluate.quality import utility
from zoo.evaluate.quality.bench import EXACT, MOST, Bench
from zoo.evaluate.quality.metrics import GROUPS, METRICS, Better
from zoo.evaluate.quality.modes import Modes
from zoo.evaluate.quality.sample import Sample, judged
from zoo.evaluate.quality.value import Value
from zoo.table.cells import numeric_values
from zoo.table.schema import Schema

WORST_PAIRS = 10


@dataclass(frozen=True)
class Figure:
    """One figure of a judgement.

    value, standard_error  the error is over rows; none where there is no good one
    ceiling, floor         the same of real rows, and of independent columns: neither is a bound, both show the scale
    better                 "higher", "lower", or "as real": as near to the ceiling as can be
    low, high              where it can lie
    rows                   on each side
    """

    value: float
    standard_error: float | None
    ceiling: float | None
    floor: float | None
    better: Better
    low: float
    high: float
    rows: int
    says: str

    def to_json(self) -> dict[str, Any]:
        ends = [end if math.isfinite(end) else None for end in (self.low, self.high)]
        return {
            "value": self.value, "standard_error": self.standard_error, "ceiling": self.ceiling, "floor": self.floor,
            "better": self.better, "range": ends, "rows": self.rows, "says": self.says,
        }  # fmt: skip


@dataclass(frozen=True)
class Quality:
    """How good rows are.

    figures  by name, as in `zoo.evaluate.quality.metrics.METRICS`
    columns  shape of every column, the worst first; pairs: the ten worst trends
    spaces   where distances were measured, in words, by group of figures
    rows     how many there were of each kind, and how many were compared
    notes    what was done to the rows beforehand
    """

    figures: dict[str, Figure]
    columns: dict[str, float]
    pairs: dict[tuple[str, str], float]
    spaces: dict[str, str]
    rows: dict[str, int]
    seed: int
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Figure:
        if name not in self.figures:
            raise UserError(f"no figure {name!r} in this judgement", nearest(name, self.figures))
        return self.figures[name]

    @property
    def table(self) -> pd.DataFrame:
        """The figures, one a row."""
        lines = {name: figure.to_json() for name, figure in self.figures.items()}
        return pd.DataFrame.from_dict(lines, orient="index").rename_axis("figure")

    def to_json(self) -> dict[str, Any]:
        return {
            "figures": {name: figure.to_json() for name, figure in self.figures.items()},
            "columns": self.columns,
            "pairs": [{"columns": list(pair), "trend": value} for pair, value in self.pairs.items()],
            "spaces": self.spaces,
            "rows": self.rows,
            "seed": self.seed,
            "seconds": self.seconds,
            "notes": self.notes,
        }

    def __repr__(self) -> str:
        shown = self.table[["value", "standard_error", "ceiling", "floor", "better"]]
        return "\n".join([shown.to_string(float_format=lambda v: f"{v:.4g}", na_rep=""), *self.notes])

    def _repr_html_(self) -> str:
        return str(self.table.to_html(float_format=lambda v: f"{v:.4g}", na_rep=""))


def judge(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    schema: Schema,
    *,
    train: pd.DataFrame | None = None,
    target: str | None = None,
    modes: Any = None,
    seed: int = 0,
    only: Collection[str] = GROUPS,
) -> Quality:
    """Measure synthetic rows beside real ones, in every way that `METRICS` names.

    real    rows that the synthetic ones are held against; held out, where `train` is given
    train   the rows that whatever made the synthetic ones was fitted to. They are the ceiling and the floor then, and
            copies of them are looked for. Without them the real rows are halved: one half is held against, the other
            is the ceiling and the floor
    target  a column that is predicted from the others: train on synthetic, test on real
    modes   (centres, sigma) of numeric columns, where modes are known
    only    groups of figures

    Every comparison takes as many rows on both sides. Where synthetic rows have no missing cell and real ones do, those
    are hidden at random as they are in real rows: a density of what is seen says nothing of what is not.
    """
    started = time.perf_counter()
    unknown = [group for group in only if group not in GROUPS]
    if unknown:
        raise UserError(f"no group of figures {unknown[0]!r}", nearest(unknown[0], GROUPS))
    rng = np.random.default_rng(seed)
    notes: list[str] = []
    held, made = Sample.of(real, schema, "the real table"), Sample.of(synthetic, schema, "the synthetic table")
    check_asked(schema, target, modes)
    held = _by_weight(held, real, schema, rng, notes)
    if train is None:
        order = rng.permutation(len(held))
        half = len(held) // 2
        first, second, records = held.take(order[:half]), held.take(order[half:]), held
        notes.append("real rows were halved: no training rows were given to stand beside them")
    else:
        first, records = held, None
        second = _by_weight(Sample.of(train, schema, "the table of training rows"), train, schema, rng, notes)
    n = min(len(first), len(second), len(made))
    bench = Bench(
        first, second, n, seed, seen=train is not None, only=only, target=target, modes=modes, records=records
    )
    drawn = bench.drawn(made)
    found, best, worst = bench.figures(drawn), bench.ceiling(), bench.bottom()
    figures = {name: _figure(name, value, best.get(name), worst.get(name)) for name, value in found.items()}
    columns, pairs = bench.each(drawn) if "columns" in only else ({}, {})
    rows = {"real": len(real), "synthetic": len(synthetic), **({} if train is None else {"train": len(train)})}
    notes += [*bench.notes, *_drawn(bench, target, schema)]
    return Quality(
        figures, columns, dict(list(pairs.items())[:WORST_PAIRS]), bench.spaces, rows | {"compared": n}, seed,
        time.perf_counter() - started, notes,
    )  # fmt: skip


def check_asked(schema: Schema, target: str | None, modes: Any = None) -> None:
    """Refuse a column to predict that there is not, and modes of columns that are not numbers."""
    columns = judged(schema)
    known = [c.name for c in columns]
    if target is not None and target not in known:
        raise UserError(f"no column {target!r} to predict", nearest(target, known))
    if modes is not None:
        Modes.of(modes, columns)


def _figure(name: str, value: Value, best: Value | None, worst: Value | None) -> Figure:
    metric = METRICS[name]
    top, bottom = (None if v is None else v.value for v in (best, worst))
    error = value.standard_error
    return Figure(value.value, error, top, bottom, metric.better, metric.low, metric.high, value.rows, metric.says)


def _by_weight(
    sample: Sample, frame: pd.DataFrame, schema: Schema, rng: np.random.Generator, notes: list[str]
) -> Sample:
    """Rows drawn by their weights, with replacement, where the schema has a column of them and the table too."""
    column = schema.role("weight")
    if column is None or column.name not in frame:
        return sample
    weight = np.nan_to_num(numeric_values(frame[column.name], column)).clip(0)
    if not weight.sum() or np.ptp(weight) == 0:
        return sample
    notes.append(f"real rows were drawn by their {column.name}, with replacement")
    return sample.take(rng.choice(len(sample), len(sample), p=weight / weight.sum()))


def _drawn(bench: Bench, target: str | None, schema: Schema) -> list[str]:
    """Which figures rest on fewer rows than there are, and what the utility is."""
    fewer = {g: MOST[g] for g in bench.only if MOST[g] < bench.n}
    out = []
    if fewer:
        said = ", ".join(f"{group} {most:,}" for group, most in fewer.items())
        out.append(f"rows drawn at random, of {bench.n:,} on each side: {said}")
    if "transport" in bench.only and bench.n > EXACT:
        out.append(f"the exact Wasserstein distance takes {EXACT} rows on each side")
    if target is not None and "utility" in bench.only:
        out.append(f"utility: {utility.SAID[schema[target].is_number]}, of {target}")
    return out
