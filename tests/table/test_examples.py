"""The tables that ship with scikit-learn."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd
import pytest

from zoo.errors import UserError
from zoo.table.examples import EXAMPLES, example
from zoo.table.infer import infer_schema
from zoo.table.reader import read_table
from zoo.table.writer import write_table

SHAPES = {
    "wine": (178, 14),
    "iris": (150, 5),
    "breast-cancer": (569, 31),
    "diabetes": (442, 11),
    "digits": (1797, 65),
    "linnerud": (20, 6),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_survive_a_file(name: str, tmp_path: Path) -> None:
    frame = example(name)
    assert frame.shape == SHAPES[name]
    write_table(frame, tmp_path / "t.csv")
    back = read_table(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(back, frame, check_dtype=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = [[(c.name, c.kind, c.step, c.levels) for c in infer_schema(f).columns] for f in (frame, back)]
    assert kinds[0] == kinds[1]


def test_classes_are_text() -> None:
    assert example("wine")["cultivar"].value_counts().to_dict() == {"A": 59, "B": 71, "C": 48}
    assert example("iris")["species"].value_counts().to_dict() == {"setosa": 50, "versicolor": 50, "virginica": 50}
    assert example("breast-cancer")["diagnosis"].value_counts().to_dict() == {"benign": 357, "malignant": 212}
    assert example("digits")["digit"].nunique() == 10


def test_diabetes_is_in_raw_units() -> None:
    frame = example("diabetes")
    assert frame["age"].between(19, 79).all()
    assert set(frame["sex"]) == {1, 2}
    assert frame["progression"].between(25, 346).all()


def test_unknown_example() -> None:
    with pytest.raises(UserError, match="no example 'wines'; did you mean 'wine'"):
        example("wines")
