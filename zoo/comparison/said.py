"""What a reader should know of each model of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.evaluate.likelihood import K_HAT_GOOD

if TYPE_CHECKING:
    from zoo.comparison.entry import Entry
    from zoo.comparison.result import Comparison

BASELINE = "independent"
SHARED = 0.2
"""Of the standard error over rows: what an error that rows share may be before it is said."""


def warnings_of(entry: Entry, comparison: Comparison) -> list[str]:
    if entry.estimator is None:
        return [entry.failure] if entry.failure else []
    unjudged = comparison.samples.problems.get(entry.model) if comparison.samples else None
    stopped, notes = entry.estimator.fitted_.stopped, entry.estimator.fitted_.notes
    fit = [stopped if "budget" in stopped else "the time budget ended some of its fits"] if entry.cut_short else []
    return [*_of_scores(entry, comparison), *notes, *fit, *([unjudged] if unjudged else [])]


def _of_scores(entry: Entry, comparison: Comparison) -> list[str]:
    if entry.scores is None or entry.estimator is None:
        return []
    out = []
    scores, model = entry.scores, entry.estimator.model_
    baseline = next((e for e in comparison.scored if e.model == BASELINE), None)
    if baseline is not None and baseline is not entry:
        below, error = comparison.difference(entry.model, BASELINE)
        if below < -1e-6:
            sure = "worse" if below < -2 * error else "no better"
            out.append(f"{sure} than independent columns on held-out rows ({below:.3f} ± {error:.3f})")
    if scores.high_k_hat is not None and scores.high_k_hat > K_HAT_GOOD:
        out.append(f"k-hat {scores.high_k_hat:.2f} above {K_HAT_GOOD}: the bound is loose on some rows")
    out += [shared.says for shared in scores.shared if shared.error > SHARED * scores.standard_error]
    if model.pattern_wise and model.schema.has_missing:
        out.append("with missing cells a density for each pattern, not the marginal of one joint")
    for choice_name, values in model_grid(entry).items():
        pick = chosen(entry).get(choice_name)
        if len(values) > 1 and pick == max(values) and len(entry.estimator.choices_) == len(values):
            out.append(f"{choice_name} = {pick} is the largest that was tried")
    outlier = scores.outlier
    if outlier is not None:
        row = comparison.frame.index[comparison.judges[outlier[0]]]
        out.append(f"row {row} alone pulls the mean {outlier[1]:.3g} nats down: look at its cells")
    outlying = float(np.median(scores.log_likelihood) - scores.mean)
    if outlying > 1 and outlying > 3 * scores.standard_error:
        out.append(f"a few rows pull the mean {outlying:.1f} nats below the median")
    if len(scores.log_likelihood) < 30:
        out.append(f"only {len(scores.log_likelihood)} held-out rows: standard errors are rough")
    return out


def model_grid(entry: Entry) -> dict[str, list[Any]]:
    """The choices that were tried, by setting."""
    out: dict[str, list[Any]] = {}
    for choice in entry.estimator.choices_ if entry.estimator else []:
        for key, value in choice["settings"].items():
            if value not in out.setdefault(key, []):
                out[key].append(value)
    return out


def chosen(entry: Entry) -> dict[str, Any]:
    return entry.estimator.chosen_ if entry.estimator else {}


def n_clusters(entry: Entry) -> int | None:
    if entry.estimator is None or "cluster" not in entry.estimator.model_.verbs:
        return None
    merged = entry.estimator.clusters_
    return int(getattr(entry.estimator.model_.program, "components", 0)) or None if merged is None else merged.count
