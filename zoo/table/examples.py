"""Small real tables that ship with scikit-learn, with the column names of a table and text for classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from zoo.errors import UserError, nearest

_CLASSES: dict[str, tuple[str, tuple[str, ...]]] = {
    "wine": ("cultivar", ("A", "B", "C")),
    "iris": ("species", ("setosa", "versicolor", "virginica")),
    "breast-cancer": ("diagnosis", ("malignant", "benign")),
    "digits": ("digit", ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")),
}
"""For each table with classes, the name of its class column and its labels, in scikit-learn's order."""

EXAMPLES = tuple(sorted((*_CLASSES, "diabetes", "linnerud")))
"""Names that `example` knows."""


def example(name: str) -> pd.DataFrame:
    """A small real table (N rows, D columns), measured in the units of its source.

    wine           178 x 14   chemistry of wines of three cultivars
    iris           150 x 5    flowers of three species, in cm
    breast-cancer  569 x 31   cell nuclei of benign and malignant tumours
    diabetes       442 x 11   patients, in raw units, and the progression of their disease
    digits         1797 x 65  handwritten digits as 8 x 8 pixels from 0 to 16
    linnerud       20 x 6     exercise and physiology of men in a fitness club

    Raises UserError for another name.
    """
    if name not in EXAMPLES:
        raise UserError(f"no example {name!r}", nearest(name, EXAMPLES))
    from sklearn import datasets

    load: Callable[..., Any] = getattr(datasets, f"load_{name.replace('-', '_')}")
    options = {"scaled": False} if name == "diabetes" else {}
    frame: pd.DataFrame = load(as_frame=True, **options).frame
    if name not in _CLASSES:
        return frame.rename(columns={"target": "progression"})
    column, classes = _CLASSES[name]
    codes = frame.pop("target").astype(int)
    return frame.assign(**{column: pd.Series([classes[code] for code in codes], dtype="str")})
