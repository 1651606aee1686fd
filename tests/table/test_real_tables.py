"""Real tables, where a folder of them lies beside the repository, are read and understood without help."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from zoo.errors import ZooWarning
from zoo.table.infer import infer_schema
from zoo.table.inspect import describe
from zoo.table.reader import read_table
from zoo.table.schema import Schema

FOLDER = Path(__file__).parents[2].parent / "shared" / "data"

# table -> (rows, columns), and of some columns their kind and step
TABLES: dict[str, tuple[tuple[int, int], dict[str, tuple[str, float | None]]]] = {
    "penguins.csv": (
        (344, 9),
        {
            "rownames": ("ignored", None),
            "species": ("categorical", None),
            "bill_length_mm": ("continuous", 0.1),
            "body_mass_g": ("continuous", 5),
            "sex": ("binary", None),
            "year": ("integer", 1),
        },
    ),
    "penguins_raw.csv": ((344, 18), {"Date Egg": ("time", 1), "Region": ("ignored", None)}),
    "housing.csv": (
        (20640, 10),
        {
            "longitude": ("continuous", 0.01),
            "median_income": ("continuous", 0.0001),
            "total_bedrooms": ("integer", 1),
            "ocean_proximity": ("categorical", None),
        },
    ),
    "winequality-white.csv": ((4898, 12), {"pH": ("continuous", 0.01), "quality": ("integer", 1)}),
    "titanic.csv": (
        (891, 15),
        {"survived": ("binary", None), "adult_male": ("binary", None), "deck": ("categorical", None)},
    ),
    "diamonds.csv.gz": (
        (53940, 10),
        {
            "carat": ("continuous", 0.01),
            "cut": ("categorical", None),
            "depth": ("continuous", 0.1),
            "price": ("integer", 1),
        },
    ),
    "adult-train.csv.gz": (
        (32561, 15),
        {
            "age": ("integer", 1),
            "fnlwgt": ("integer", 1),
            "workclass": ("categorical", None),
            "income": ("binary", None),
        },
    ),
    "UCI_Credit_Card.csv.gz": ((30000, 25), {"ID": ("ignored", None), "AGE": ("integer", 1), "SEX": ("binary", None)}),
    "loans_full_schema.csv.gz": (
        (10000, 56),
        {
            "num_accounts_120d_past_due": ("ignored", None),
            "interest_rate": ("continuous", 0.01),
            "grade": ("categorical", None),
        },
    ),
    "online_shoppers_intention.csv": (
        (12330, 18),
        {"Revenue": ("binary", None), "BounceRates": ("continuous", None), "Month": ("categorical", None)},
    ),
    "ames.csv": ((2930, 83), {"Order": ("ignored", None), "area": ("integer", 1), "Alley": ("binary", None)}),
    "PRSA_data_2010.1.1-2014.12.31.csv.gz": (
        (43824, 13),
        {"No": ("ignored", None), "hour": ("integer", 1), "Iws": ("continuous", 0.01), "cbwd": ("categorical", None)},
    ),
    "mushroom.csv": (
        (8124, 23),
        {"veil-type": ("ignored", None), "bruises?": ("binary", None), "stalk-root": ("categorical", None)},
    ),
    "student-mat.csv": ((395, 33), {"G3": ("integer", 1), "school": ("binary", None), "Mjob": ("categorical", None)}),
    "birch1.data.gz": ((100000, 2), {"column_1": ("integer", 1)}),
    "s1.data.gz": ((5000, 2), {"column_1": ("continuous", None)}),
    "wheat-seeds.csv": ((210, 8), {"column_8": ("integer", 1)}),
    "glass.csv": ((214, 10), {"column_2": ("continuous", 0.01)}),
}
NAMED = ("winequality-white.csv", "adult-train.csv.gz")


@pytest.fixture(scope="module")
def folder() -> Path:
    if not FOLDER.is_dir():
        pytest.skip("no folder shared/data beside the repository")
    return FOLDER


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_table(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        pytest.skip(f"no {name} in shared/data")
    (n, d), expected = TABLES[name]
    options: dict[str, Any] = {"columns": folder / "columns.json"} if name in NAMED else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        frame = read_table(folder / name, **options)
        assert frame.shape == (n, d)
        start = time.process_time()
        schema = infer_schema(frame)
        assert time.process_time() - start < 2
    assert {name: (schema[name].kind, schema[name].step) for name in expected} == expected
    assert Schema.from_toml(schema.to_toml()) == schema
    lines = describe(frame, schema)
    assert (lines["missing"] - [c.missing for c in schema.columns]).abs().max() == 0
    assert (lines.loc[lines["levels"] > 0, "distinct"] == lines.loc[lines["levels"] > 0, "levels"]).all()


@pytest.mark.parametrize("name", ["winequality-white.csv", "abalone.csv", "wheat-seeds.csv", "glass.csv", "ecoli.csv"])
def test_tables_without_a_header_are_noticed(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        pytest.skip(f"no {name} in shared/data")
    with pytest.warns(ZooWarning, match="no header"):
        assert read_table(folder / name).columns[0] == "column_1"
