"""What each figure is: which way is better, where it lies, and what it says."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

Better = Literal["higher", "lower", "as real"]
Group = Literal[
    "columns", "classifier", "clouds", "transport", "support", "privacy", "features", "modes", "utility"
]  # fmt: skip
GROUPS: tuple[Group, ...] = (
    "columns", "classifier", "clouds", "transport", "support", "privacy", "features", "modes", "utility",
)  # fmt: skip


class Metric(NamedTuple):
    """better: "as real" means as near as can be to what real rows have against real ones."""

    group: Group
    better: Better
    low: float
    high: float
    says: str


INF = math.inf
METRICS: dict[str, Metric] = {
    "shape": Metric("columns", "higher", 0, 1, "columns one by one: mean of 1 - KS (numbers), 1 - TV (levels)"),
    "trend": Metric("columns", "higher", 0, 1, "pairs of columns: 1 - |difference of correlations| / 2, or 1 - TV"),
    "missing": Metric("columns", "lower", 0, 1, "mean difference of the shares of missing cells"),
    "jensen_shannon": Metric(
        "columns", "lower", 0, math.log(2), "columns binned, nats: mean Jensen-Shannon divergence"
    ),
    "kl": Metric("columns", "lower", 0, INF, "columns binned, nats: mean KL(real || synthetic)"),
    "c2st": Metric("classifier", "higher", 0, 1, "boosted trees that look for the difference; 1: they find none"),
    "c2st_auc": Metric("classifier", "lower", 0, 1, "area under their ROC curve; 0.5: they find none"),
    "c2st_accuracy": Metric("classifier", "lower", 0, 1, "their accuracy; 0.5: they find none"),
    "c2st_logistic": Metric("classifier", "higher", 0, 1, "as c2st with logistic regression, which sees means only"),
    "c2st_logistic_auc": Metric("classifier", "lower", 0, 1, "area under its ROC curve; 0.5: it finds none"),
    "mmd": Metric("clouds", "lower", -INF, 2, "squared maximum mean discrepancy, unbiased, Gaussian kernel"),
    "mmd_p": Metric("clouds", "higher", 0, 1, "its p-value by permutation: of one source for both"),
    "energy": Metric("clouds", "lower", -INF, INF, "energy distance, unbiased, not its root"),
    "energy_p": Metric("clouds", "higher", 0, 1, "its p-value by permutation"),
    "wasserstein": Metric("transport", "lower", 0, INF, "Wasserstein-1, exact, of a few rows"),
    "sliced_wasserstein": Metric("transport", "lower", 0, INF, "Wasserstein-1 along random directions"),
    "alpha_precision": Metric("support", "higher", 0, 1, "do rows lie where real rows do, at every depth?"),
    "beta_recall": Metric("support", "higher", 0, 1, "is every real row near to one? real rows: 0.5"),
    "nn_precision": Metric("support", "higher", 0, 1, "share within the reach of a real row"),
    "nn_recall": Metric("support", "higher", 0, 1, "share of real rows within the reach of one"),
    "nn_f1": Metric("support", "higher", 0, 1, "harmonic mean of these two"),
    "closest_record": Metric("privacy", "as real", 0, INF, "median distance to the closest training row"),
    "too_close": Metric("privacy", "as real", 0, 1, "share as near to one as the nearest 5% of held-out rows"),
    "copies": Metric("privacy", "as real", 0, 1, "share that is a training row, cell by cell"),
    "authenticity": Metric("privacy", "as real", 0, 1, "share farther from a training row than that is from the next"),
    "nearer_to_training": Metric("privacy", "as real", 0, 1, "share closer to training than to held-out rows; 0.5"),
    "frechet": Metric("features", "lower", 0, INF, "squared Frechet distance of the moments"),
    "inception": Metric("features", "higher", 1, INF, "Inception-style score: rows sure of their group, groups even"),
    "modes_covered": Metric("modes", "higher", 0, 1, "share of the known modes with a fifth of their rows at least"),
    "within_modes": Metric("modes", "higher", 0, 1, "share within 3 sigma of a known mode"),
    "mode_balance": Metric("modes", "higher", 0, 1, "1 - TV of the modes' shares"),
    "utility": Metric("utility", "higher", -INF, 1, "train on these rows, test on real ones"),
}
