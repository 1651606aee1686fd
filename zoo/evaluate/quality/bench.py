"""Real rows, and everything that other rows are measured by beside them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from zoo.errors import UserError
from zoo.evaluate.quality import kernels, marginals, privacy, shapes, support, transport, trends, two_sample, utility
from zoo.evaluate.quality.features import Axes, Groups, frechet, inception
from zoo.evaluate.quality.metrics import GROUPS, METRICS
from zoo.evaluate.quality.modes import Modes, coverage
from zoo.evaluate.quality.sample import Sample
from zoo.evaluate.quality.spaces import Space, distances
from zoo.evaluate.quality.value import Value

FEWEST = 10
MOST = {"columns": 50_000, "classifier": 5000, "clouds": 1000, "transport": 5000, "support": 2000, "privacy": 2000,
        "features": 5000, "modes": 50_000, "utility": 10_000}  # fmt: skip
"""Rows on each side that a group of figures takes, drawn at random of more."""
MOST_RECORDS = 10_000
"""Training rows, and held-out ones, among which the closest is looked for."""
EXACT = 500
"""Of these, on each side, the exact Wasserstein distance."""


class Drawn(NamedTuple):
    """Rows that are measured. hidden: with the missing cells of real rows; came: as they came; real: they are the
    second real rows themselves."""

    hidden: Sample
    came: Sample
    real: bool = False


class Bench:
    """Rows to measure others against.

    real    held out: what every sample is compared with
    second  real rows of their own, which stand for the training rows: the ceiling is theirs, and the floor is made of
            their columns, each shuffled
    seen    whether `second` really are the rows that a model was fitted to
    n       rows on each side of every comparison, at most
    """

    def __init__(
        self,
        real: Sample,
        second: Sample,
        n: int,
        seed: int,
        *,
        seen: bool = False,
        only: Collection[str] = GROUPS,
        target: str | None = None,
        modes: Any = None,
        records: Sample | None = None,
    ):
        if n < FEWEST:
            raise UserError(f"judging rows needs {FEWEST} of each kind, and there are {n}", "give more rows")
        self.n, self.seed, self.seen, self.target = n, seed, seen, target
        rng = np.random.default_rng(seed)
        self.real = real.take(rng.permutation(len(real))[:n])
        everything = second if seen or records is None else records
        self.records = everything.take(rng.permutation(len(everything)))
        self.second = second.take(rng.permutation(len(second))[:n])
        self.floor = self.second.shuffled(rng)
        self.only = [
            g for g in GROUPS if g in only and (g != "utility" or target) and (g != "modes" or modes is not None)
        ]
        self.modes = None if modes is None else Modes.of(modes, real.columns)
        self.spaces: dict[str, str] = {}
        self.notes: list[str] = []
        if {"classifier", "clouds", "transport", "privacy", "features"} & set(self.only):
            self._place()
        if "support" in self.only:
            self._reach()
        if "privacy" in self.only:
            self._close()

    # ---- samples

    def drawn(self, sample: Sample) -> Drawn:
        """n rows of a sample, at random, with the missing cells of real rows where it has none of its own."""
        rng = np.random.default_rng([self.seed, 1])
        sample = sample.take(rng.permutation(len(sample))[: self.n])
        gaps = self.second.missing
        if any(m.any() for m in sample.missing) or not any(m.any() for m in gaps):
            return Drawn(sample, sample)
        rows = np.arange(len(sample)) % len(self.second)
        note = "the cells that are missing in real rows were hidden in as many rows that have none missing"
        self.notes += [note] if note not in self.notes else []
        return Drawn(sample.hide([m[rows] for m in gaps]), sample)

    def ceiling(self) -> dict[str, Value]:
        """Real rows against real ones."""
        return self.figures(Drawn(self.second, self.second, real=True))

    def bottom(self) -> dict[str, Value]:
        """Independent columns against real rows."""
        return self.figures(Drawn(self.floor, self.floor))

    # ---- figures

    def figures(self, drawn: Drawn) -> dict[str, Value]:
        """Every figure of n rows."""
        out: dict[str, Value] = {}
        for group in self.only:
            out |= getattr(self, f"_{group}")(drawn)
        return {name: out[name] for name in METRICS if name in out}

    def each(self, drawn: Drawn) -> tuple[dict[str, float], dict[tuple[str, str], float]]:
        """The shape of every column and the trend of every pair, the worst first."""
        both = self._both(drawn.hidden, "columns")
        columns, pairs = shapes.shapes(*both)[1], trends.trends(*both, self._rng())
        by_pair = {} if pairs is None else pairs[1]
        return dict(sorted(columns.items(), key=_score)), dict(sorted(by_pair.items(), key=_score))

    def rows(self, group: str) -> int:
        return min(self.n, MOST[group])

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, 2])

    def _both(self, sample: Sample, group: str) -> tuple[Sample, Sample]:
        most = slice(self.rows(group))
        return self.real.take(most), sample.take(most)

    def _columns(self, drawn: Drawn) -> dict[str, Value]:
        both = self._both(drawn.hidden, "columns")
        out = {
            "shape": shapes.shapes(*both)[0],
            "missing": shapes.missing(self.real, drawn.came),
            **marginals.divergences(*both),
        }
        if not any(gap.any() for one in (self.real, drawn.came) for gap in one.missing):
            del out["missing"]
        found = trends.trends(*both, self._rng())
        return out if found is None else out | {"trend": found[0]}

    def _classifier(self, drawn: Drawn) -> dict[str, Value]:
        a, b = self._both(drawn.hidden, "classifier")
        linear = two_sample.logistic_test(self._points(a), self._points(b), self.seed)
        return two_sample.boosted_test(a, b, self.seed) | linear

    def _clouds(self, drawn: Drawn) -> dict[str, Value]:
        a, b = (self._points(one) for one in self._both(drawn.hidden, "clouds"))
        points = np.concatenate([a, b])
        return kernels.two_clouds(distances(points, points), len(a), self._rng())

    def _transport(self, drawn: Drawn) -> dict[str, Value]:
        a, b = (self._points(one) for one in self._both(drawn.hidden, "transport"))
        exact = transport.wasserstein(a[:EXACT], b[:EXACT])
        return {"wasserstein": exact, "sliced_wasserstein": transport.sliced_wasserstein(a, b, self._rng())}

    def _support(self, drawn: Drawn) -> dict[str, Value]:
        _, other = self._both(drawn.hidden, "support")
        y = self._ranged(other)
        x, nearest, reach = self._support_of_real
        across = distances(y, x)
        return {
            "alpha_precision": support.alpha_precision(x, y),
            "beta_recall": support.beta_recall(nearest, across, y),
            **support.precision_recall(reach, support.reaches(y, support.NEIGHBOURS)[0], across),
        }

    def _privacy(self, drawn: Drawn) -> dict[str, Value]:
        """The held-out rows are compared with the second ones; all else with the rows that a model has seen."""
        if drawn.real:
            mine, known = self._held_out[: self.rows("privacy")], self._known
            near, found = self._usual, privacy.copies(self.real, self.records if self.seen else self.second)
        else:
            mine = self._points(drawn.hidden.take(slice(self.rows("privacy"))))
            near = privacy.closest(mine, self._known if self.seen else self._held_out)
            known = self._points(self.records.take(slice(MOST_RECORDS)))
            found = privacy.copies(drawn.came, self.records)
        out = {
            "closest_record": privacy.median(near),
            "too_close": privacy.too_close(near, self._usual),
            "authenticity": privacy.authenticity(mine, known),
            "copies": found,
        }
        if not self.seen:
            return out
        if drawn.real:
            return out | {"nearer_to_training": Value(0.5, None, len(near))}
        train = self._points(self.second.take(slice(MOST_RECORDS)))
        return out | {"nearer_to_training": privacy.nearer_to_training(mine, train, self._held_out)}

    def _features(self, drawn: Drawn) -> dict[str, Value]:
        a, b = (self.axes(self._points(one)) for one in self._both(drawn.hidden, "features"))
        return {"frechet": frechet(a, b), "inception": inception(self.groups(self._grouped(drawn.hidden, b)))}

    def _modes(self, drawn: Drawn) -> dict[str, Value]:
        assert self.modes is not None
        return coverage(self.modes, *self._both(drawn.hidden, "modes"))

    def _utility(self, drawn: Drawn) -> dict[str, Value]:
        assert self.target is not None
        test, train = self._both(drawn.hidden, "utility")
        found = utility.utility(train, test, self.target, self.seed)
        return {} if found is None else {"utility": found}

    # ---- where distances are measured

    def _reach(self) -> None:
        real = self.real.take(slice(self.rows("support")))
        self._ranged = Space(real, "range", (self.second,))
        self.spaces["support"] = self._ranged.name
        points = self._ranged(real)
        self._support_of_real = (points, *support.reaches(points, 1, support.NEIGHBOURS))

    def _close(self) -> None:
        """How near held-out rows are to those that a model has seen (or to the other half of the real ones)."""
        self._held_out = self._points(self.real.take(slice(MOST_RECORDS)))
        self._known = self._points((self.records if self.seen else self.second).take(slice(MOST_RECORDS)))
        self._usual = privacy.closest(self._held_out[: self.rows("privacy")], self._known)

    def _place(self) -> None:
        space = Space(self.real, "standard", (self.second,))
        self._points: Callable[[Sample], np.ndarray] = space
        for group in ("classifier (logistic)", "clouds", "transport", "privacy"):
            if group.split()[0] in self.only:
                self.spaces[group] = space.name
        if "features" not in self.only:
            return
        points = self._points(self.second)
        self.axes = Axes(points[: self.rows("features")])
        self.spaces["frechet"] = self.axes.name
        labels, levels = None, np.zeros(0, dtype=bool)
        there = points = self.axes(points[: self.rows("features")])
        name = self.axes.name
        self._label: int | None = None
        target = next((j for j, c in enumerate(self.real.columns) if c.name == self.target), None)
        if target is not None and not self.real.columns[target].is_number and len(self.real.columns) > 1:
            there, codes = utility.split(self.second.take(slice(self.rows("features"))), target)
            if len(np.unique(codes)) > 1:
                labels, name, self._label = codes, f"the levels of {self.target}", target
                levels = np.array([not c.is_number for j, c in enumerate(self.real.columns) if j != target])
        self.groups = Groups(points if labels is None else there, labels, levels, name, self.seed)
        self.spaces["inception"] = self.groups.name

    def _grouped(self, sample: Sample, points: np.ndarray) -> np.ndarray:
        """What the groups are told from."""
        if self._label is None:
            return points
        return np.delete(sample.take(slice(len(points))).numbered(two_sample.MOST_LEVELS)[0], self._label, 1)


def _score(item: tuple[Any, float]) -> float:
    return item[1]
