"""Translation between two tables: which map is found, what comes back, and what stays as it was."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from zoo import cli
from zoo.errors import UserError, ZooWarning
from zoo.estimator import Estimator
from zoo.model import Model
from zoo.objectives.cycle import even, missed, shared
from zoo.registry import Registry
from zoo.rows.relaxed import real
from zoo.scope import scope
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema

SMALL = Registry.load()["cyclegan"].small_sets


def shape(n: int, rng: np.random.Generator) -> np.ndarray:
    """Three Gaussians of other weights and widths (n, 2): no rotation and no reflection takes them to themselves."""
    k = rng.choice(3, size=n, p=[0.5, 0.3, 0.2])
    centre, spread = np.array([[0, 0], [3, 0.5], [0.5, 2]]), np.array([[0.6, 0.3], [0.3, 0.3], [0.2, 0.5]])
    return centre[k] + spread[k] * rng.normal(size=(n, 2))


def moved(x: np.ndarray) -> np.ndarray:
    """Scaled, turned by 35 degrees and shifted."""
    a = np.deg2rad(35)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return x * [1.5, 0.8] @ turn.T + [4, -2]


def two_labs(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    both = np.concatenate([shape(n, rng), moved(shape(n, rng))])
    return pd.DataFrame(both, columns=["u", "v"]).assign(lab=np.repeat(["a", "b"], n))


def mixed_labs(n: int = 300, seed: int = 0) -> pd.DataFrame:
    """A count, a number with an atom, a binary column and levels; the two years miss other cells."""
    rng = np.random.default_rng(seed)
    year = rng.integers(2, size=n)
    dry = rng.random(n) < 0.4
    frame = pd.DataFrame(
        {
            "visits": rng.poisson(4 + 3 * year),
            "rain": np.where(dry, 0.0, np.exp(rng.normal(size=n)) + year),
            "wet": np.where(dry, "no", "yes"),
            "colour": pd.Categorical(rng.choice(["red", "green", "blue"], n)),
            "year": 2019 + year,
        },
        index=np.arange(n) * 3 + 7,
    )
    holes = rng.random((n, 2)) < np.where(year > 0, 0.3, 0.05)[:, None]
    return frame.assign(rain=frame["rain"].mask(holes[:, 0]), wet=frame["wet"].mask(holes[:, 1]))


def made(frame: pd.DataFrame, given: str, **settings: object) -> Model:
    recipe = Registry.load()["cyclegan"].with_settings({**SMALL, **settings})
    model = Model(recipe, Codec.fit(infer_schema(frame, given=given), frame))
    with scope(0):
        model.initialise(model.rows(frame))
    return model


@pytest.fixture(scope="module")
def years() -> tuple[Estimator, pd.DataFrame]:
    frame = mixed_labs()
    settings = {**SMALL, "fit.steps": 100, "fit.learning_rate": 0.01}
    return Estimator("cyclegan", settings=settings, given="year", device="cpu").fit(frame), frame


# ------------------------------------------------------------------------------------------------------------ truth


@pytest.mark.slow
def test_the_map_between_two_tables_is_found():
    """Rows of one table, moved, are where the affine map that made the other takes them, and look like its rows."""
    found = Estimator("cyclegan", given="lab", settings={"fit.steps": 1000}, device="cpu").fit(two_labs(1000, 0))
    fresh = two_labs(1000, 1)
    here, there = (fresh[fresh["lab"] == k].drop(columns="lab") for k in "ab")
    spread = there.std().to_numpy()

    def error(x: np.ndarray, truth: np.ndarray) -> float:
        return float(np.sqrt(np.square((x - truth) / spread).mean(1)).mean())

    truth = moved(here.to_numpy())
    there_again = found.translate(fresh, to="b").iloc[:1000]
    assert (there_again["lab"] == "b").all()
    x = there_again[["u", "v"]].to_numpy()
    matched = ((here - here.mean()) / here.std() * there.std() + there.mean()).to_numpy()
    assert error(here.to_numpy(), truth) > 1.5
    assert error(matched, truth) > 0.5  # moments of each column alone do not say the map
    assert error(x, truth) < 0.15
    # 0.087 is exceeded by one in 1,000 of pairs of samples of one distribution
    for j in range(2):
        assert stats.ks_2samp(x[:, j], there.iloc[:, j]).statistic < 0.087
    back = found.translate(there_again, to="a")
    assert error(back[["u", "v"]].to_numpy() * [1.5, 0.8], here.to_numpy() * [1.5, 0.8]) < 0.05


@pytest.mark.slow
def test_mixed_columns_with_missing_cells_are_translated():
    """A year in which counts and rain are higher, and other cells missing: the translated ones are as high, and what
    goes together in a row (no rain, not wet) still does. Without a translation the statistics are 0.45 and 0.35."""
    frame = mixed_labs(2000, 3)
    found = Estimator("cyclegan", given="year", settings={"fit.steps": 300}, device="cpu").fit(frame)
    old, new = frame[frame["year"] == 2019], frame[frame["year"] == 2020]
    out = found.translate(old, to=2020)
    for column in ("visits", "rain"):
        before, after = (stats.ks_2samp(t[column].dropna(), new[column].dropna()).statistic for t in (old, out))
        assert before > 0.3
        assert after < 0.5 * before
    both = out[["rain", "wet"]].dropna()
    assert ((both["rain"] == 0) == (both["wet"] == "no")).mean() > 0.95
    for column in ("wet", "colour"):
        shares = [t[column].value_counts(normalize=True).sort_index() for t in (out, new)]
        assert (shares[0] - shares[1]).abs().max() < 0.1


# --------------------------------------------------------------------------------------------------- what it is made of


def test_both_levels_count_the_same():
    """Weights of a table of 1 and 3 parts add to a half each; a row without a level counts nothing."""
    frame = two_labs(40, 0).drop(index=range(30)).reset_index(drop=True)
    frame.loc[0, "lab"] = None
    model = made(frame, "lab")
    rows = model.rows(frame)
    weight, level = even(model, rows).weight, model.program.level(rows.given)[0]
    assert weight[0] == 0
    halves = [float(weight[1:][level[1:] == k].sum()) for k in range(2)]
    assert halves == pytest.approx([rows.weight[1:].sum().item() / 2] * 2)


@pytest.mark.parametrize("kind", ["binary", "categorical"])
def test_the_other_level(kind):
    frame = two_labs(20, 0)
    schema = infer_schema(frame, given="lab", kinds={"lab": kind})
    model = Model(Registry.load()["cyclegan"].small(), Codec.fit(schema, frame))
    given = model.rows(frame).given
    flipped = model.rows(frame.assign(lab=frame["lab"].map({"a": "b", "b": "a"}))).given
    assert torch.equal(model.program.other(given), flipped)
    assert torch.equal(model.program.level(given)[0], torch.arange(40) // 20)


def test_what_a_density_misses():
    """At the row itself numbers miss nothing and levels their smoothing; a number a deviation off, one in so many."""
    frame = mixed_labs()
    model = made(frame, "year")
    rows, schema = model.rows(frame), model.schema
    with scope(0), torch.no_grad():
        x = real(rows)
        density = model.program.read(x, model.program.level(rows.given)[0], rows)
        n = len(schema.numeric)
        density.numeric.loc = x[:, :n].double()
        density.binary = 1e3 * (2 * x[:, n : n + 1] - 1)
        density.levels.logits = 1e3 * x[:, n + 1 : schema.width].double()
        assert float(missed(x, density, rows).abs().max()) < 0.02
        density.numeric.loc = density.numeric.loc + 1
        expected = (rows.cells.seen[:, :n] & (rows.cells.atom == 0)).sum(1) / rows.cells.seen.sum(1)
        torch.testing.assert_close(missed(x, density, rows), expected.double(), atol=0.02, rtol=0)
        density.levels.logits = -density.levels.logits
        vars(density.levels).pop("total", None)
        level = rows.cells.seen[:, n + 1].double() / rows.cells.seen.sum(1)
        assert (missed(x, density, rows) - expected >= level - 0.02).all()


def test_a_critic_cannot_tell_tables_by_what_they_miss():
    """Cells that rows of a level and translations to it are seen in come alike, though the years miss other ones: each
    cell as often, within 5 standard errors, failure rate 6e-7 for each."""
    frame = mixed_labs(4000)
    model = made(frame, "year")
    rows = model.rows(frame)
    with scope(0):
        seen, level = shared(model, rows), model.program.level(rows.given)[0]
    assert abs(rows.cells.seen[level == 0].double().mean() - rows.cells.seen[level == 1].double().mean()) > 0.1
    for j in range(seen.shape[1]):
        a, b = (seen[level == k, j].double() for k in range(2))
        error = (a.var() / len(a) + b.var() / len(b)).sqrt()
        assert (a.mean() - b.mean()).abs() <= 5 * error


@pytest.mark.slow
def test_every_player_moves(years):
    model = years[0].model_
    assert model.verbs == ["translate"]
    assert model.bound() == "none"
    turns = {turn.name: turn for turn in model.objective.turns(model)}
    assert set(turns) == {"critic", "generator"}
    rows = model.rows(years[1])
    for turn in turns.values():
        gradients = torch.autograd.grad(turn.loss(rows), turn.parameters)
        assert all(g.isfinite().all() and g.any() for g in gradients)
    look = years[0].fitted_.history[-1]
    assert {"coverage", "critic_accuracy", "cycle_error"} <= set(look)


# ----------------------------------------------------------------------------------------------------------- the verb


def test_translated_rows_are_rows_of_the_table(years):
    """Index, columns, dtypes, missing cells and rows of the level asked for stay; the others change and say it."""
    found, frame = years
    out = found.translate(frame, to=2020)
    assert out.index.equals(frame.index)
    assert out.dtypes.equals(frame.dtypes)
    assert out.isna().equals(frame.isna())
    stayed = frame["year"] == 2020
    pd.testing.assert_frame_equal(out[stayed], frame[stayed])
    assert (out["year"] == 2020).all()
    assert set(out["wet"].dropna()) == {"no", "yes"}
    assert set(out["colour"]) <= {"red", "green", "blue"}
    assert (out["visits"] >= 0).all()
    rain = out["rain"][~stayed]
    assert (rain.dropna() >= 0).all()
    assert (out[~stayed] != frame[~stayed]).any().all()
    pd.testing.assert_frame_equal(found.translate(frame, to="2020"), out)


def test_a_run_translates_as_the_model_does(years, tmp_path):
    found, frame = years
    found.save(tmp_path / "run")
    again = Estimator.load(tmp_path / "run", device="cpu")
    pd.testing.assert_frame_equal(again.translate(frame, to=2019), found.translate(frame, to=2019))


def test_rows_far_out_are_moved_as_those_at_the_edge(years):
    """A network reads a number at eight deviations at most, and two rows beyond are as far apart as they were."""
    frame = two_labs(100, 0)
    model = made(frame, "lab")
    far = frame.iloc[:2].assign(u=[1e3, 2e3], v=0.0)
    with torch.no_grad():
        x = model.program.translate(model.rows(far))
    assert float(x[1, 0] - x[0, 0]) == pytest.approx(float(model.rows(far).cells.x[:, 0].diff()), rel=1e-6)


def test_what_cannot_be_translated_is_said(years):
    found, frame = years
    with pytest.raises(UserError, match=r"cannot translate to '2021'.*'2019' and '2020'"):
        found.translate(frame, to=2021)
    unnamed = frame.assign(year=frame["year"].astype(float).mask(np.arange(len(frame)) == 4))
    with pytest.raises(UserError, match=r"of 1 rows neither level \(first of row 4\)"):
        found.translate(unnamed, to=2020)
    with pytest.raises(UserError, match="cannot sample"):
        found.sample(3)


@pytest.mark.parametrize(
    ("given", "levels", "said"), [((), "ab", "none"), ("lab", "abc", r"'lab' \(3 levels\)"), ("lab", "a", "none")]
)
def test_a_translation_needs_two_levels(given, levels, said):
    frame = two_labs(60, 0).assign(lab=list(levels) * (120 // len(levels)))
    estimator = Estimator("cyclegan", given=given, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)  # a constant column is set aside
        with pytest.raises(UserError, match=f"exactly two levels.*given here: {said}"):
            estimator.fit(frame)


def test_a_cycle_needs_a_translation(pair):
    recipe = Registry.load()["gan"].small().with_settings({"objective": "cycle"})
    with pytest.raises(UserError, match="take program = 'translation'"):
        Model(recipe, Codec.fit(infer_schema(pair), pair))


def zoo(*arguments: object) -> tuple[int, str, str]:
    out, err, before, code = io.StringIO(), io.StringIO(), sys.argv, 0
    sys.argv = ["zoo", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
    return code, out.getvalue(), err.getvalue()


def test_the_command(tmp_path):
    frame = two_labs(60, 0)
    frame.to_csv(tmp_path / "labs.csv", index=False)
    sets = [text for key, value in SMALL.items() for text in ("--set", f"{key}={value}")]
    code, out, err = zoo("fit", "cyclegan", tmp_path / "labs.csv", "--given", "lab", "-o", tmp_path / "run", *sets)
    assert code == 0, err
    assert "`zoo translate`" in out
    arguments = ("translate", tmp_path / "run", tmp_path / "labs.csv", "--to")
    assert zoo(*arguments, "b", "-o", tmp_path / "out.csv")[0] == 0
    expected = Estimator.load(tmp_path / "run", device="cpu").translate(frame, to="b", seed=0)
    written = pd.read_csv(tmp_path / "out.csv")
    pd.testing.assert_frame_equal(written, expected, check_dtype=False)
    code, out, err = zoo(*arguments, "c")
    assert code == 2
    assert "cannot translate to 'c'" in err.strip().splitlines()[-1]
    code, out, err = zoo("fit", "cyclegan", tmp_path / "labs.csv", "-o", tmp_path / "none")
    assert code == 2
    assert "exactly two levels" in err.strip().splitlines()[-1]
