"""Table units to codec units and back: nothing is lost, and every map's log-Jacobian is its derivative's."""

from __future__ import annotations

import contextlib
import datetime
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from zoo.errors import UserError, ZooWarning
from zoo.estimator import Estimator
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema
from zoo.table.restore import as_whole
from zoo.table.schema import UNSEEN, Column, Schema

N = 60
TRANSFORMS = ["none", "log", "arcsinh", "yeo-johnson", "quantile"]


def everything() -> pd.DataFrame:
    """A column of every dtype a table may have."""
    rng = np.random.default_rng(0)
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(days=int(i)) for i in rng.integers(0, 300, N)]
    frame = pd.DataFrame(
        {
            "float": rng.normal(size=N),
            "float32": rng.normal(size=N).astype("float32"),
            "large": 1e12 + 1e3 * rng.normal(size=N),
            "tiny": 1e-9 * rng.normal(size=N),
            "rounded": np.round(rng.normal(size=N), 2),
            "int": rng.integers(-20, 50, N),
            "uint8": rng.integers(0, 200, N).astype("uint8"),
            "Int64": pd.array(rng.integers(-5, 90, N), dtype="Int64"),
            "Float64": pd.array(rng.normal(size=N), dtype="Float64"),
            "bool": rng.random(N) < 0.5,
            "boolean": pd.array(rng.random(N) < 0.5, dtype="boolean"),
            "bool objects": pd.Series(rng.random(N) < 0.5).astype(object),
            "binary": rng.integers(0, 2, N),
            "category": pd.Categorical(rng.choice(["a", "b", "ß"], N)),
            "ordered": pd.Categorical(rng.choice(["lo", "mid", "hi"], N), ["lo", "mid", "hi"], ordered=True),
            "text": rng.choice(["ünï", "日本", "two words"], N),
            "string": pd.array(rng.choice(["ünï", "日本", "x"], N), dtype="string"),
            "hours": pd.date_range("2020-01-01", periods=N, freq="36h"),
            "seconds": pd.to_datetime(rng.integers(15 * 10**8, 16 * 10**8, N), unit="s"),
            "zoned": pd.date_range("2020-03-25", periods=N, freq="7h", tz="Europe/Berlin"),
            "days": days,
            "iso": [str(day) for day in days],
        }
    )
    # categories that are numbers, and a column of numbers taken as levels
    return frame.assign(year=rng.choice([1999, 2004, 2011], N))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return everything()


@pytest.fixture(scope="module")
def codec(frame) -> Codec:
    return Codec.fit(infer_schema(frame, kinds={"year": "categorical"}), frame)


# ------------------------------------------------------------------------------------------------------- round trip


def test_every_dtype_comes_back(frame, codec):
    assert {c.name for c in codec.schema.modelled} == set(frame)
    back = codec.decode(codec.encode(frame).cells.x)
    assert list(back) == list(frame)
    for name in frame:
        # the resolution of a float64 beside the column's largest value
        exact = codec.schema[name].kind != "continuous"
        pd.testing.assert_series_equal(back[name], frame[name], check_exact=exact, rtol=1e-6, atol=1e-12 * 1e-9)


def test_missing_cells_come_back_missing_and_the_others_as_they_were(frame, codec):
    hidden = pd.DataFrame(np.random.default_rng(1).random(frame.shape) < 0.3, columns=frame.columns)
    holes = frame.copy()
    for name in frame:
        holes[name] = frame[name].astype(object) if frame[name].dtype in (bool, "int64", "uint8") else frame[name]
        holes.loc[hidden[name], name] = None
    cells = codec.encode(holes).cells
    names = list(codec.schema.names)
    assert np.array_equal(~cells.seen.numpy(), hidden[names].to_numpy())
    assert torch.isfinite(cells.x).all()
    back = codec.decode(cells.x, cells.seen)
    for name in frame:
        assert back[name].isna().equals(hidden[name])
        seen = ~hidden[name]
        for a, b in zip(back.loc[seen, name], frame.loc[seen, name], strict=True):
            assert a == (pytest.approx(b, rel=1e-6) if isinstance(b, float) else b)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT, np.inf, -np.inf])
def test_whatever_means_missing_is_not_seen(missing, frame, codec):
    for name in ("float", "int", "rounded"):
        column = frame[name].astype(object)
        column.iloc[3] = missing
        told = pytest.warns(ZooWarning, match=f"{name}' holds 1 infinite values: .*first in row 3")
        with told if str(missing).endswith("inf") else contextlib.nullcontext():
            cells = codec.encode(frame.assign(**{name: column})).cells
        j = codec.schema.names.index(name)
        assert not cells.seen[3, j]
        assert int((~cells.seen).sum()) == 1


def test_imputed_cells_are_spelt_as_the_column_spells_them():
    """Levels that are not text: categories of integers, true and false as objects, numbers as objects."""
    rng = np.random.default_rng(0)
    truth = pd.DataFrame(
        {
            "x": rng.normal(size=N),
            "category": pd.Categorical(rng.choice([1, 2, 3], N)),
            "bools": pd.Series(rng.random(N) < 0.5).astype(object),
            "numbers": pd.Series(rng.choice([0, 1], N)).astype(object),
            "zoned": pd.date_range("2020-03-25", periods=N, freq="7h", tz="Europe/Berlin"),
            "days": [datetime.date(2020, 1, 1) + datetime.timedelta(days=i % 17) for i in range(N)],
        }
    )
    holes = truth.copy()
    for name in truth.columns[1:]:
        holes.loc[rng.random(N) < 0.2, name] = None
    fitted = Estimator("independent", device="cpu").fit_parts(holes, None, infer_schema(holes))
    filled = fitted.impute(holes)
    for name in truth:
        assert filled[name].dtype == truth[name].dtype
        assert not filled[name].isna().any()
        assert {type(v) for v in filled[name]} == {type(v) for v in holes[name].dropna()}
    assert set(filled["category"]) <= {1, 2, 3}
    assert set(filled["numbers"]) <= {0, 1}


def test_rounded_columns_keep_their_lattice(frame, codec):
    """Draws between lattice points are moved to the cell they fall into, and decode to its value."""
    x = codec.encode(frame).cells.x.clone()
    j = codec.schema.names.index("rounded")
    step = 0.01 / codec.scale[j]
    for shift in (-0.49, 0.49):
        moved = x.clone()
        moved[:, j] += shift * step
        np.testing.assert_allclose(codec.snap(moved)[:, j], x[:, j], atol=1e-9)
        assert codec.decode(moved)["rounded"].round(2).equals(frame["rounded"])
    assert not np.allclose(
        codec.decode(moved.index_add(1, torch.tensor([j]), 0.1 * step.expand(N, 1)))["rounded"], frame["rounded"]
    )


# --------------------------------------------------------------------------------------------------------- Jacobians


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_log_jacobians_are_numerical_derivatives(transform):
    """unit = log |dy/dv| for a density, and the average over a cell for a rounded column."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": np.exp(rng.normal(size=200)) * 3 + 0.5})
    if transform != "log":
        frame["x"] *= rng.choice([-1, 1], 200)
    codec = Codec.fit(infer_schema(frame).with_column("x", transform=transform), frame)
    cells = codec.encode(frame).cells
    v = torch.tensor(frame.to_numpy())
    h = 1e-5 * v.abs()
    slope = (codec.forward(v + h) - codec.forward(v - h)) / (2 * h)
    np.testing.assert_allclose(cells.unit, slope.log(), atol=1e-8)
    assert torch.equal(cells.lo, cells.x)
    assert torch.equal(cells.hi, cells.x)
    np.testing.assert_allclose(codec.inverse(cells.x), v, rtol=1e-12)
    np.testing.assert_allclose([cells.x.mean(), cells.x.std(correction=0)], [0, 1], atol=1e-9)

    step = 0.5
    rounded = (frame / step).round() * step
    rounded = rounded[rounded["x"].abs() > 0]
    codec = Codec.fit(infer_schema(frame).with_column("x", transform=transform, step=step), rounded)
    cells = codec.encode(rounded).cells
    v = torch.tensor(rounded.to_numpy())
    low, high = codec.forward(v - step / 2), codec.forward(v + step / 2)
    np.testing.assert_allclose(cells.lo, low, atol=1e-12)
    np.testing.assert_allclose(cells.hi, high, atol=1e-12)
    # mass in codec units is the average density over the cell there times its width; per table unit, over step
    np.testing.assert_allclose(cells.unit, ((high - low) / step).log(), atol=1e-9)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_transformed_column_has_a_density_in_its_own_units(transform, build):
    """It integrates to one over table units."""
    frame = pd.DataFrame({"x": np.exp(np.random.default_rng(0).normal(size=300))})
    model = build("independent", frame, schema=infer_schema(frame).with_column("x", transform=transform))
    model.initialise(model.rows(frame))
    edges = np.geomspace(1e-12, 1e4, 40001)
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    from zoo.evaluate.likelihood import score

    log_density = score(model, model.rows(pd.DataFrame({"x": middle}))).log_likelihood
    assert (np.exp(log_density) * width).sum() == pytest.approx(1.0, abs=1e-3)  # the tail below 1e-12 is left out


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("step", [None, 0.5])
def test_scale_law_of_the_codec(transform, step):
    """In other units every codec value stays and every log-Jacobian shifts by -log s."""
    rng = np.random.default_rng(0)
    x = np.exp(rng.normal(size=100)) + 1
    frame = pd.DataFrame({"x": np.round(x / 0.5) * 0.5 if step else x})
    schema = infer_schema(frame, kinds={"x": "continuous"}).with_column("x", transform=transform, step=step)
    base = Codec.fit(schema, frame).encode(frame).cells
    for s in (1e-3, 8.0, 1234.5):
        other = schema.with_column("x", step=step * s) if step else schema
        cells = Codec.fit(other, frame * s).encode(frame * s).cells
        for name in ("x", "lo", "hi"):
            np.testing.assert_allclose(getattr(cells, name), getattr(base, name), atol=1e-9)
        np.testing.assert_allclose(cells.unit, base.unit - np.log(s), atol=1e-9)


def test_columns_of_a_unit_keep_their_sizes_beside_each_other_and_their_densities():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(200, 3)) * [0.1, 1.0, 5.0], columns=["a", "b", "c"])
    frame["d"] = np.repeat([1.0, 2.0], 100)  # constant in the rows that the codec sees
    kinds = {"*": "continuous"}
    schema = infer_schema(frame, kinds=kinds, units={"[ab]": "grey", "d": "grey"})
    codec = Codec.fit(schema, frame[:100])
    a, b, c, _ = frame[:100].std(ddof=0)
    shared = np.hypot(a, b) / 2**0.5
    np.testing.assert_allclose(codec.scale, [shared, shared, c, shared], rtol=1e-12)
    assert {column.transform for column in codec.schema.numeric[:2]} == {"none"}
    np.testing.assert_allclose(codec.decode(codec.encode(frame).cells.x)["a"], frame["a"], rtol=1e-9)
    three = frame[["a", "b", "c"]]
    own, shared = (
        Estimator("gmm", settings={"components": 1}, kinds=kinds, units=units).fit(three).score_samples(three)
        for units in (None, {"*": "grey"})
    )
    np.testing.assert_allclose(own, shared, atol=1e-2)  # a Gaussian has no scale but its floor


def test_a_unit_whose_columns_are_far_apart_is_told():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)) * [1.0, 1e4], columns=["a", "b"])
    schema = infer_schema(frame, kinds={"*": "continuous"}, units={"*": "m"})
    with pytest.warns(ZooWarning, match="columns of unit 'm' differ .* times in scale: 'a', the narrowest"):
        Codec.fit(schema, frame)


def test_beyond_its_end_a_density_has_no_mass_and_a_rounded_column_its_last_cell():
    frame = pd.DataFrame({"x": [1.5, 2.53, 0.3, 0.91]})
    schema = infer_schema(frame, kinds={"x": "continuous"})
    codec = Codec.fit(schema.with_column("x", transform="log"), frame)
    with pytest.raises(UserError, match=r"'x' holds -1 in row 1, beyond its end 0; blank such cells"):
        codec.encode(pd.DataFrame({"x": [1.0, -1.0]}))
    codec = Codec.fit(schema.with_column("x", step=0.5, lower=0.0, upper=4.0), frame)
    with pytest.warns(ZooWarning, match=r"'x' holds 7 in row 1, beyond its end 4: 1 such cells count as the end cell"):
        cells = codec.encode(pd.DataFrame({"x": [4.0, 7.0]})).cells
    assert cells.x[0] == cells.x[1]


def test_extreme_numbers_stay_finite():
    frame = pd.DataFrame(
        {"x": [1e-300, 3e-300, 2e-300], "y": [1e300, 1.5e300, -1e300], "z": [1e9, 1e9 + 0.5, 1e9 + 0.2]}
    )
    codec = Codec.fit(infer_schema(frame, kinds={"*": "continuous"}), frame)
    cells = codec.encode(frame).cells
    for tensor in (cells.x, cells.unit):
        assert torch.isfinite(tensor).all()
    np.testing.assert_allclose(cells.x.std(0, correction=0), 1.0, atol=1e-6)
    np.testing.assert_allclose(codec.decode(cells.x), frame, rtol=1e-9)


# ----------------------------------------------------------------------------------------------- tables that differ


def test_whole_numbers_read_beside_holes_are_written_as_whole_numbers():
    age, size = np.arange(30.0) + 63, np.arange(30.0) / 2
    frame = pd.DataFrame({"age": age, "size": size, "n": np.arange(30) % 7})
    frame.loc[1, "age"] = np.nan
    schema = infer_schema(frame, kinds={"age": "integer", "n": "integer"})
    written = as_whole(frame, schema)
    assert [str(t) for t in written.dtypes] == ["Int64", "float64", "int64"]
    assert written.to_csv(index=False).splitlines()[1:3] == ["63,0.0,0", ",0.5,1"]
    assert as_whole(frame / 8, schema).equals(frame / 8)
    assert str(as_whole(frame.astype({"n": float}), schema)["n"].dtype) == "Int64"


def test_a_level_never_seen_takes_the_reserved_one(frame, codec):
    new = frame.assign(text="never seen")
    with pytest.warns(ZooWarning, match="'text' holds 'never seen', never seen before .*row 0"):
        cells = codec.encode(new).cells
    j = codec.schema.names.index("text")
    levels = codec.schema["text"].levels
    assert (cells.x[:, j] == len(levels)).all()
    assert cells.seen[:, j].all()
    for name in ("text", "category", "string", "year"):
        x = cells.x.clone()
        x[0, codec.schema.names.index(name)] = len(codec.schema[name].levels)
        assert codec.decode(x)[name][0] == UNSEEN


def test_a_third_value_of_a_binary_column_is_refused(frame, codec):
    with pytest.raises(UserError, match=r"'binary' holds '2'.*row 4.*levels '0' and '1'; .*--kind binary=categorical"):
        codec.encode(frame.assign(binary=[0, 1, 0, 1, 2] + [0] * (N - 5)))


def test_a_missing_column_is_refused_with_the_nearest_name(frame, codec):
    renamed = frame.rename(columns={"rounded": "roundd"})
    with pytest.raises(UserError, match=r"no column 'rounded'.*did you mean 'roundd'"):
        codec.encode(renamed)


def test_text_where_numbers_were_is_refused(frame, codec):
    with pytest.raises(UserError, match=r"'float'.*needs numbers.*'high' in row 2"):
        codec.encode(frame.assign(float=["1", "2", "high"] + ["3"] * (N - 3)))


def test_order_of_columns_and_more_columns_change_nothing(frame, codec):
    a = codec.encode(frame).cells
    b = codec.encode(frame[frame.columns[::-1]].assign(more="x")).cells
    for one, other in zip(a, b, strict=True):
        assert torch.equal(one, other)


def test_an_empty_table_and_one_of_no_columns(frame, codec):
    cells = codec.encode(frame.head(0)).cells
    assert cells.x.shape == (0, len(codec.schema.modelled))
    assert list(codec.decode(cells.x)) == list(frame)
    ignored = Schema(columns=(Column(name="a", kind="ignored", note="constant"),))
    with pytest.raises(UserError, match=r"no column is left.*a: constant"):
        Codec(ignored)


# ------------------------------------------------------------------------------------------- given, weight and group


def test_given_columns_are_features_and_not_modelled(frame):
    schema = infer_schema(frame[["float", "int", "bool", "text"]], given=["int", "bool", "text"])
    codec = Codec.fit(schema, frame)
    assert [c.name for c in schema.modelled] == ["float"]
    assert schema.given == 2 + 2 + (3 + 1) + 1
    holes = frame[["float", "int", "bool", "text"]].astype({"int": "Int64", "bool": "boolean"})
    holes.loc[0, "int"] = pd.NA
    holes.loc[1, "text"] = np.nan
    given = codec.encode(holes).given
    assert given.shape == (N, schema.given)
    z = ((frame["int"] - frame["int"].mean()) / frame["int"].std(ddof=0)).to_numpy(copy=True)
    z[0] = 0.0  # missing: zero, and the flag is down
    np.testing.assert_allclose(given[:, 0], z, atol=1e-6)
    assert given[:, 1].tolist() == [0.0] + [1.0] * (N - 1)
    np.testing.assert_array_equal(given[:, 2], frame["bool"])
    one_hot = np.stack([frame["text"] == level for level in schema["text"].levels] + [np.zeros(N, dtype=bool)], 1)
    one_hot[1] = False
    np.testing.assert_array_equal(given[:, 4:8], one_hot)
    assert given[:, 8].tolist() == [1.0, 0.0] + [1.0] * (N - 2)
    with pytest.warns(ZooWarning, match="never seen"):
        unseen = codec.encode(holes.assign(text="new")).given
    assert unseen[:, 4:8].tolist() == [[0, 0, 0, 1]] * N


def test_weights_have_mean_one_and_may_be_absent(frame):
    heavy = frame[["float"]].assign(w=np.arange(N, dtype=float))
    codec = Codec.fit(infer_schema(heavy, weight="w"), heavy)
    assert codec.encode(heavy).weight.numpy() == pytest.approx(np.arange(N) / np.arange(N).mean())
    assert codec.encode(heavy[["float"]]).weight.tolist() == [1.0] * N
    alike = codec.encode(heavy.assign(w=0.0)).weight
    assert (alike == alike[0]).all()
    assert alike[0] > 0
    for bad in (heavy.assign(w=-1.0), heavy.assign(w=np.nan)):
        with pytest.raises(UserError, match="weights in 'w'"):
            codec.encode(bad)


def test_a_group_never_seen_is_the_last_one(frame):
    grouped = frame[["float"]].assign(site=np.resize(["a", "b", "c"], N))
    codec = Codec.fit(infer_schema(grouped, group="site"), grouped)
    assert codec.encode(grouped).group.tolist() == np.resize([0, 1, 2], N).tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a new group is nothing to warn of
        assert codec.encode(grouped.assign(site="new")).group.tolist() == [3] * N
        assert codec.encode(grouped.assign(site=None)).group.tolist() == [3] * N


def test_a_conditional_model_reads_what_is_given(build):
    """x = 3 g + noise: given g, the density is that of a regression and far above the marginal's."""
    rng = np.random.default_rng(0)
    g = rng.normal(size=400)
    frame = pd.DataFrame({"x": 3 * g + 0.5 * rng.normal(size=400), "g": g})
    kept = Estimator("chain", settings={"hidden": [32], "kernels": 2, "fit.steps": 300}, given=["g"], device="cpu")
    kept.fit(frame)
    residual = frame["x"] - np.polyval(np.polyfit(g, frame["x"], 1), g)
    regression = -0.5 * np.log(2 * np.pi * np.e * residual.var(ddof=0))
    # a regression's own fit is the best there is, within a tenth of a nat; the marginal is 1.8 nats below
    assert kept.score(frame) == pytest.approx(regression, abs=0.1)
    drawn = kept.sample(500, given=pd.DataFrame({"g": [2.0]}))
    assert drawn["x"].mean() == pytest.approx(6.0, abs=0.3)
    assert list(drawn) == ["x", "g"]
    assert set(drawn["g"]) == {2.0}
    with pytest.raises(UserError, match="conditional: sampling needs values of g"):
        kept.sample(5)


@pytest.mark.parametrize(
    ("decimals", "off", "told"),
    [(0, 1, True), (1, 1, False), (1, 4, False), (1, 5, True)],
)
def test_values_beside_a_lattice_are_told(decimals: int, off: int, told: bool) -> None:
    """Among whole numbers a single one; among decimals those that are more than a lattice may have when it is found."""
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(50, 9, size=200).round(decimals)})
    codec = Codec.fit(infer_schema(frame), frame)
    moved = frame["x"] + 0.3 * 10.0**-decimals * (np.arange(200) < off)
    with pytest.warns(ZooWarning, match=f"{off} of its cells lie") if told else contextlib.nullcontext():
        encoded = codec.encode(frame.assign(x=moved))
    np.testing.assert_array_equal(codec.decode(encoded.cells.x)["x"], frame["x"])  # they count as the cell they are in
    almost = frame["x"] * (1 + 1e-15) + 1e-13
    np.testing.assert_array_equal(codec.decode(codec.encode(frame.assign(x=almost)).cells.x)["x"], frame["x"])
