"""Tables that several studies read, and words for what several seeds and pairs of numbers say."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
from _study import DATA
from sklearn.decomposition import PCA

import zoo
from zoo.evaluate.likelihood import standard_error

PAIRED = ("s1", "s2", "a1", "a2", "unbalance")
NAMELESS = ("wheat-seeds", "ecoli", "glass")
LABELS = {"dermatology": "class", "segment": "class", "vehicle": "Class", "penguins": "species", "68983": "cell_type"}
EXAMPLES = {"iris": "species", "wine": "cultivar"}
"""Labelled tables that come with scikit-learn."""
WIDE = 10


def need_tables() -> None:
    """Stop, with a line that says where they were looked for, if the real tables are not there."""
    if not DATA.is_dir():
        sys.exit(f"this study reads tables in {DATA}, and there is no such folder; --quick does without")


def labelled(name: str, rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Numeric columns in standard deviations (n, D) and labels (n,) of a random 80% of a table, of `rows` at most.

    Rows with a missing cell and columns with one value are left out; tables that come with scikit-learn are whole. Of a
    table wider than WIDE columns there are its first WIDE principal components, as wide as they are. The flow cytometry
    68983 is the cells inside a gate, by arcsinh(x / 150) of the columns with a marker.
    """
    if name in EXAMPLES:
        frame = zoo.example(name)
        labels = frame.pop(EXAMPLES[name])
    elif name in PAIRED:
        frame = pd.read_csv(DATA / f"{name}.data.gz", sep=r"\s+", header=None)
        labels = pd.read_csv(DATA / f"{name}.labels0.gz", header=None)[0]
    elif name in NAMELESS:
        frame = pd.read_csv(DATA / f"{name}.csv", header=None)
        labels = frame.pop(frame.columns[-1])
    else:
        frame = pd.read_csv(DATA / (name + (".csv.gz" if name == "68983" else ".csv")), na_values=["?"])
        labels = frame.pop(LABELS[name])
        frame = frame.drop(columns=["rownames", "year"], errors="ignore")
        if name == "68983":
            gated = labels != "Unlabeled"
            frame, labels = np.arcsinh(frame.filter(like="|")[gated] / 150), labels[gated]
    frame = frame.select_dtypes("number").dropna()
    n = len(frame) if name in EXAMPLES else min(rows, round(0.8 * len(frame)))
    frame = frame.iloc[np.random.default_rng(seed).permutation(len(frame))[:n]].astype(float)
    labels = labels[frame.index].to_numpy()
    frame = ((frame - frame.mean()) / frame.std()).loc[:, frame.std() > 0]
    if frame.shape[1] > WIDE:
        frame = pd.DataFrame(PCA(WIDE, random_state=0).fit_transform(frame))
    return frame.set_axis([f"x{j}" for j in range(frame.shape[1])], axis=1).reset_index(drop=True), labels


def mean_and_error(values: Sequence[float] | np.ndarray | pd.Series) -> tuple[float, float]:
    """Of paired differences: their mean and its standard error."""
    found = np.asarray(values, float)
    return float(found.mean()), standard_error(found)


def told(values: Sequence[float] | np.ndarray | pd.Series, digits: int = 2) -> str:
    """As people write a difference: +0.12 ± 0.03."""
    mean, error = mean_and_error(values)
    return f"{mean:+.{digits}f} ± {error:.{digits}f}"


def verdict(values: Sequence[float] | np.ndarray | pd.Series) -> str:
    """What two standard errors allow to be said of a paired difference."""
    mean, error = mean_and_error(values)
    return "not to be told apart" if abs(mean) <= 2 * error else "ahead" if mean > 0 else "behind"


def on_seeds(holds: Sequence[bool]) -> str:
    """On how many of the seeds something holds."""
    n, of = sum(map(bool, holds)), len(holds)
    return f"on all {of} seeds" if n == of > 1 else f"on {n} of {of} seeds" if of > 1 else "on the one seed of this run"
