"""The scikit-learn face: the protocol, and numbers that agree with one another."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import zoo
from zoo.errors import UserError, ZooWarning
from zoo.estimator import Estimator
from zoo.rows.importance import effective
from zoo.table.split import split

QUICK = {"components": 2, "restarts": 1, "fit.steps": 5}

EXPECTED_TO_FAIL = {
    "check_fit2d_1sample": "the refusal speaks of a row of the table, not of a sample",
    "check_sample_weight_equivalence_on_dense_data": "validation rows are drawn by position",
}


@pytest.mark.slow
@parametrize_with_checks(
    [
        Estimator("mixture", settings=QUICK, kinds={"*": "continuous"}, device="cpu"),
        Estimator("ppca", settings={"dim": 1, "fit.steps": 5}, kinds={"*": "continuous"}, device="cpu"),
    ],
    expected_failed_checks=lambda _: EXPECTED_TO_FAIL,
)
def test_scikit_learn_protocol(estimator: Estimator, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def quick(model: str = "mixture", **options: Any) -> Estimator:
    settings = {"mixture": QUICK, "ppca": {"dim": 1, "fit.steps": 5}, "vae": {"dim": 2, "fit.steps": 20}}.get(model, {})
    return Estimator(model, settings=settings, device="cpu", **options)


# ----------------------------------------------------------------------------------------------------------- protocol


def test_clone_and_parameters() -> None:
    one = quick(seed=3, kinds={"*": "continuous"})
    two = clone(one)
    assert two.get_params() == one.get_params()
    assert two is not one
    assert two.set_params(seed=4, model="ppca").get_params()["seed"] == 4
    assert one.get_params()["model"] == "mixture"
    assert not hasattr(two, "model_")


def test_what_a_model_cannot_do_is_not_there(estimator: Any) -> None:
    """To scikit-learn a method that is missing, to people one line with the models that can."""
    for made in (quick("mixture"), estimator("mixture", "mixed")):
        assert hasattr(made, "predict")
        assert not hasattr(made, "transform")
        with pytest.raises(UserError, match=r"'mixture' cannot embed; models that can: .*vae"):
            made.transform(None)
    assert hasattr(quick("ppca"), "transform")
    assert not hasattr(quick("ppca"), "predict_proba")
    with pytest.raises(UserError, match=r"cannot cluster; models that can: gmm, mixture, "):
        quick("ppca").fit_predict(None)
    assert hasattr(quick("no-such-model"), "predict")  # said when it is fitted, not before


@pytest.mark.parametrize("verb", ["score_samples", "score", "elbo", "predict", "impute", "to_arviz", "log_likelihood"])
def test_not_fitted(verb: str, continuous: pd.DataFrame) -> None:
    with pytest.raises(NotFittedError, match="call `fit` first"):
        getattr(quick(), verb)(continuous)
    for late in (lambda e: e.sample(3), lambda e: e.save("nowhere")):
        with pytest.raises(NotFittedError):
            late(quick())
    assert not Path("nowhere").exists()


def test_in_a_pipeline(continuous: pd.DataFrame) -> None:
    pipe = make_pipeline(FunctionTransformer(lambda x: x * 2), quick())
    pipe.fit(continuous)
    assert pipe.predict(continuous).shape == (200,)
    assert np.isfinite(pipe.score(continuous))
    embedded = make_pipeline(quick("ppca"), GaussianMixture(2, random_state=0)).fit_predict(continuous)
    assert set(embedded) <= {0, 1}


def test_fit_predict_is_fit_and_predict(continuous: pd.DataFrame) -> None:
    fitted = quick()
    labels = fitted.fit_predict(continuous)
    np.testing.assert_array_equal(labels, fitted.predict(continuous))
    np.testing.assert_array_equal(labels, fitted.predict_proba(continuous).argmax(1))
    np.testing.assert_allclose(fitted.predict_proba(continuous).sum(1), 1)


def test_numpy_missing_cells_and_paths(continuous: pd.DataFrame, tmp_path: Path) -> None:
    """An array, the frame of its columns, and a file of it give the same numbers; NaN is allowed everywhere."""
    array = continuous.to_numpy().copy()
    array[::7, 1] = np.nan
    fitted = quick().fit(array)
    assert fitted.n_features_in_ == 3
    assert list(fitted.feature_names_in_) == ["x0", "x1", "x2"]
    frame = pd.DataFrame(array, columns=["x0", "x1", "x2"])
    frame.to_parquet(tmp_path / "t.parquet")
    expected = fitted.score_samples(array)
    for same in (frame, array.tolist(), tmp_path / "t.parquet", str(tmp_path / "t.parquet")):
        np.testing.assert_array_equal(fitted.score_samples(same), expected)
    assert not np.isnan(np.asarray(fitted.impute(array))).any()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (np.zeros(20), "two dimensions"),
        (np.zeros((20, 0)), "minimum of 1"),
        (np.zeros((20, 2), dtype=complex), "Complex"),
        (np.arange(8.0).reshape(4, 2), "at least 10"),
        (np.ones((20, 2)), "no column is left"),
        ("nowhere.csv", "no file"),
    ],
)
def test_what_is_no_table(bad: Any, said: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZooWarning)
        with pytest.raises(UserError, match=said):
            quick().fit(bad)


OPTIONS = {
    "seed": [(None, "seed=None"), (1.5, "no whole number"), (-1, "at least 0"), (2**63, "below"), (True, "whole")],
    "time_budget": [(0, "length of time"), (-1, "length of time"), ("soon", "10m"), (np.nan, "90s"), ([3], "1h")],
    "kinds": [(["a"], "values by name"), ({"a": 3}, "no kind 3"), ("continuous", "values by name")],
    "schema": [({"a": "continuous"}, "not a dict"), ("nowhere.toml", "no schema file"), (3, "not a int")],
    "ignore": [("no", "--ignore 'no' matches no column"), (3, "no list of names"), ({"a": 1}, "no list of names")],
    "given": [("no", "--given 'no' matches no column")],
    "settings": [(3, "values by name"), ([3], "values by name")],
    "model": [(3, "no model is called 3"), ("gnm", "did you mean 'gmm'"), (["gmm"], "no model is called")],
    "weight": [(3, "no column '3'")],
}


@pytest.mark.parametrize(("option", "value", "said"), [(o, *case) for o, cases in OPTIONS.items() for case in cases])
def test_options_of_the_wrong_type(option: str, value: Any, said: str, continuous: pd.DataFrame) -> None:
    """Refused by the fit and by a comparison, in one line, and not when the estimator is made."""
    made = Estimator("gmm", **{"settings": {"components": 2}, "device": "cpu"}).set_params(**{option: value})
    with pytest.raises(UserError, match=said):
        made.fit(continuous)
    if option not in ("model",):
        with pytest.raises(UserError, match=said):
            zoo.compare(continuous, "gmm", **{"device": "cpu", option: value})


@pytest.mark.parametrize(
    ("verb", "arguments", "said"),
    [
        *(("sample", {"n_samples": n}, said) for n, said in ((0, "at least 1"), (2.5, "whole"), ("3", "whole"))),
        *(("sample", {"seed": seed}, said) for seed, said in ((-1, "at least 0"), (1.5, "whole"), (2**63, "below"))),
        *(("impute", {name: 0}, "at least 1") for name in ("draws", "particles")),
        *(("impute", {name: 1.5}, "whole") for name in ("draws", "particles")),
        *(("log_likelihood", {"particles": n}, said) for n, said in ((0, "at least 1"), ("9", "whole"))),
    ],
)
def test_arguments_of_verbs_of_the_wrong_type(
    verb: str, arguments: dict[str, Any], said: str, estimator: Any, mixed: pd.DataFrame
) -> None:
    call = getattr(estimator("mixture", "mixed"), verb)
    with pytest.raises(UserError, match=said):
        call(**arguments) if verb == "sample" else call(mixed, **arguments)


def test_a_text_is_one_name(continuous: pd.DataFrame) -> None:
    table = continuous.rename(columns={"a": "ab"})
    assert quick(ignore="ab").fit(table).schema_.names == ("b", "c")
    assert [c.name for c in quick(given="ab").fit(table).schema_.given_columns] == ["ab"]
    assert "gmm" in zoo.compare(table, "gmm", settings={"components": 1}, device="cpu").table.index
    for models, said in (([3], "no model is called '3'"), (3, "no list of names")):
        with pytest.raises(UserError, match=said):
            zoo.compare(table, models)
    assert quick(time_budget="10s").fit(table).schema_.names == ("ab", "b", "c")


def test_a_schema_may_be_a_path_and_is_held_against_the_table(complete_mixed: pd.DataFrame, tmp_path: Path) -> None:
    schema = zoo.infer_schema(complete_mixed)
    (tmp_path / "s.toml").write_text(schema.to_toml())
    fitted = quick(schema=tmp_path / "s.toml").fit(complete_mixed)
    assert fitted.schema_.names == quick(schema=schema).fit(complete_mixed).schema_.names
    assert repr(quick(schema=schema).fit).count("Column") == 0
    with pytest.raises(UserError, match="kinds cannot be added"):
        quick(schema=schema, kinds={"*": "continuous"}).fit(complete_mixed)
    weight = np.where(complete_mixed["height"] > 0, 10.0, 0.1)
    plain, heavy = quick(schema=schema).fit(complete_mixed), quick(schema=schema).fit(complete_mixed, None, weight)
    assert heavy.sample(500)["height"].mean() > plain.sample(500)["height"].mean()


def test_a_grid_goes_over_settings(continuous: pd.DataFrame) -> None:
    search = GridSearchCV(quick(), {"settings__components": [1, 2]}, cv=2).fit(continuous)
    assert search.best_estimator_.get_params()["settings"] == {
        **QUICK,
        **{"components": search.best_params_["settings__components"]},
    }
    chosen = Estimator("gmm", settings={"components": {"grid": [1, 2]}}, device="cpu").fit(continuous)
    values = [choice["validation"] for choice in chosen.choices_]
    assert chosen.chosen_ == chosen.choices_[int(np.argmax(values))]["settings"]
    assert quick().fit(continuous).chosen_ == {}


# ------------------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize("model", ["mixture", "vae"])
def test_the_likelihoods_agree(model: str, estimator: Any, mixed: pd.DataFrame) -> None:
    fitted = estimator(model, "mixed")
    scores = fitted.log_likelihood(mixed)
    np.testing.assert_array_equal(scores.log_likelihood, fitted.score_samples(mixed))
    np.testing.assert_array_equal(scores.elbo, fitted.elbo(mixed))
    assert fitted.score(mixed) == pytest.approx(scores.log_likelihood.mean())
    assert scores.gap == pytest.approx((scores.log_likelihood - scores.elbo).mean())
    assert scores.bound == ("exact" if model == "mixture" else "lower")
    if model == "mixture":
        np.testing.assert_array_equal(scores.elbo, scores.log_likelihood)
    else:
        assert (scores.elbo <= scores.log_likelihood + 1e-9).all()
    with pytest.raises(UserError, match="at least 1"):
        fitted.log_likelihood(mixed, particles=0)


def test_rows_are_scored_one_by_one(estimator: Any, mixed: pd.DataFrame) -> None:
    """The number of a row depends neither on the rows beside it nor on the order of the columns."""
    fitted = estimator("mixture", "mixed")
    whole = fitted.score_samples(mixed)
    order = np.random.default_rng(0).permutation(len(mixed))
    np.testing.assert_allclose(fitted.score_samples(mixed.iloc[order]), whole[order], rtol=1e-6)
    np.testing.assert_allclose(fitted.score_samples(mixed[mixed.columns[::-1]]), whole, rtol=1e-9)
    np.testing.assert_allclose(fitted.score_samples(mixed.iloc[:1]), whole[:1], rtol=1e-6)


def test_weights(continuous: pd.DataFrame) -> None:
    """Weights as an argument are weights as a column; a weight of one for all is no weight; they move the fit."""
    weight = np.where(continuous["a"] > continuous["a"].median(), 10.0, 0.1)
    model = Estimator("gaussian", device="cpu")
    given = clone(model).fit(continuous, sample_weight=weight)
    column = clone(model).set_params(weight="w").fit(continuous.assign(w=weight))
    plain, ones = clone(model).fit(continuous), clone(model).fit(continuous, sample_weight=np.ones(200))
    assert given.n_features_in_ == 3
    np.testing.assert_allclose(
        given.score_samples(continuous), column.score_samples(continuous.assign(w=weight)), rtol=1e-6
    )
    np.testing.assert_allclose(ones.score_samples(continuous), plain.score_samples(continuous), rtol=1e-6)
    assert given.sample(2000)["a"].mean() > plain.sample(2000)["a"].mean() + 0.5
    with pytest.raises(UserError, match="has a column 'sample_weight' already"):
        clone(model).fit(continuous.rename(columns={"a": "sample_weight"}), sample_weight=weight)


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (np.ones(3), r"shape \(3,\), and the table 200 rows"),
        (np.ones((200, 1)), "give one for each"),
        (["heavy"] * 200, "a number for each row"),
        (np.full(200, np.nan), "needs a number in every row"),
        (-np.ones(200), "numbers >= 0"),
        (np.zeros(200), "every weight"),
        (np.arange(200) == split(200, 0, test=False).train[0], "none of the 40 rows that choose has a weight above 0"),
        (np.arange(200) == split(200, 0, test=False).validation[0], "none of the 160 rows that fit has a weight"),
    ],
)
def test_weights_that_cannot_be(weight: Any, said: str, continuous: pd.DataFrame) -> None:
    with pytest.raises(UserError, match=said):
        Estimator("gaussian", device="cpu").fit(continuous, sample_weight=weight)


# -------------------------------------------------------------------------------------------------------------- draws


def odd_frame(n: int = 80) -> pd.DataFrame:
    """Every dtype that a sample should come back in, under an index of the user's own."""
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "small": rng.integers(0, 9, n).astype("int8"),
            "single": rng.normal(size=n).astype("float32"),
            "maybe": pd.array(rng.integers(0, 50, n), dtype="Int64"),
            "flag": rng.random(n) < 0.4,
            "text": rng.choice(["a", "b", "c"], n),
            "kind": pd.Categorical(rng.choice(["lo", "mid", "hi"], n), ["lo", "mid", "hi"], ordered=True),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 400, n), unit="D"),
        },
        index=pd.Index([f"row {i}" for i in range(n)], name="who"),
    )


def test_samples_have_the_dtypes_of_the_table() -> None:
    frame = odd_frame()
    drawn = quick().fit(frame).sample(50, seed=1)
    assert list(drawn) == list(frame)
    assert drawn.index.equals(pd.RangeIndex(50))
    assert drawn.dtypes.astype(str).to_dict() == frame.dtypes.astype(str).to_dict()
    assert set(drawn["text"]) <= {"a", "b", "c"}
    assert (drawn["day"].dt.normalize() == drawn["day"]).all()
    again = quick().fit(frame)
    pd.testing.assert_frame_equal(again.sample(50, seed=1), drawn)
    assert not again.sample(50, seed=2).equals(drawn)


def test_labels_and_categories_come_back_as_they_were(mixed: pd.DataFrame) -> None:
    """Labels that are no text, levels that no row has, and categories that are numbers."""
    table = mixed.dropna().reset_index(drop=True)
    rare = pd.CategoricalDtype(["grün", "violet", "red", "blue", "green"])
    table = table.assign(colour=table["colour"].astype(rare), smoker=table["smoker"].astype("category"))
    levels = pd.MultiIndex.from_product([["p"], table.columns], names=["u", "v"])
    for labels in (pd.RangeIndex(5), levels, pd.Index([0, "b", 2.5, ("x", 1), "e"])):
        frame = table.set_axis(labels, axis=1)
        fitted = quick().fit(frame)
        holes = frame.copy()
        holes.iloc[3, :2] = np.nan
        for back in (fitted.sample(20), fitted.impute(holes), *fitted.impute(holes, draws=2)):
            pd.testing.assert_index_equal(back.columns, frame.columns)
            assert back.iloc[:, 4].dtype == rare
            assert back.iloc[:, 3].dtype == frame.iloc[:, 3].dtype
    part = table.set_axis(levels, axis=1)
    assert list(quick(ignore=[str(levels[0])]).fit(part).sample(2).columns) == list(levels[1:])


def test_impute_keeps_what_was_seen() -> None:
    frame = odd_frame()
    frame["small"] = frame["small"].astype("Int8")
    hidden = np.random.default_rng(1).random(frame.shape) < 0.2
    hidden[:, 3] = False  # a column of numpy's bool can hold no missing cell
    holes = frame.mask(hidden)
    fitted = quick().fit(holes)
    filled = fitted.impute(holes)
    assert not filled.isna().any().any()
    pd.testing.assert_index_equal(filled.index, holes.index)
    assert filled.dtypes.astype(str).to_dict() == holes.dtypes.astype(str).to_dict()
    assert list(filled) == list(holes)
    for j, name in enumerate(frame):
        pd.testing.assert_series_equal(filled[name][~hidden[:, j]], frame[name][~hidden[:, j]], check_dtype=False)
    draws = fitted.impute(holes, draws=3)
    assert len(draws) == 3
    assert not draws[0].equals(draws[1])
    for draw in draws:
        assert not draw.isna().any().any()
        assert (draw["text"][~hidden[:, 4]] == frame["text"][~hidden[:, 4]]).all()
    pd.testing.assert_frame_equal(fitted.impute(frame), frame, check_dtype=False)  # nothing to fill
    with pytest.raises(UserError, match="at least 1"):
        fitted.impute(holes, draws=0)


def test_given(complete_mixed: pd.DataFrame) -> None:
    """A conditional model: a density of the rest, drawn at given values, refused without them."""
    fitted = quick("mixture", given=["colour"]).fit(complete_mixed)
    assert "given colour" in fitted.log_likelihood(complete_mixed).measure
    drawn = fitted.sample(6, given=pd.DataFrame({"colour": ["red", "blue"]}))
    assert list(drawn) == list(complete_mixed)
    assert drawn["colour"].tolist() == ["red", "blue"] * 3
    for same in ({"colour": ["red", "blue"]}, pd.DataFrame({"colour": ["red", "blue"], "more": 1})):
        pd.testing.assert_frame_equal(fitted.sample(6, given=same), drawn)
    assert fitted.sample(2, given={"colour": "red"})["colour"].tolist() == ["red", "red"]
    with pytest.raises(UserError, match="the columns are no table"):
        fitted.sample(6, given={"colour": ["red", "blue"], "height": [1, 2, 3]})
    assert len(fitted.sample(5, given=complete_mixed)) == 5  # further columns do no harm
    with pytest.raises(UserError, match=r"sampling needs values of colour \(blue, .*\); give given= .*colour=blue"):
        fitted.sample(5)
    with pytest.raises(UserError, match="sampling needs a value of 'colour'"):
        fitted.sample(5, given=pd.DataFrame({"color": ["red"]}))
    with pytest.raises(UserError, match="no level 'rot'"):
        fitted.sample(5, given=pd.DataFrame({"colour": ["rot"]}))
    with pytest.raises(UserError, match="no column 'colour'"):
        fitted.score(complete_mixed.drop(columns="colour"))
    holes = complete_mixed.assign(colour=complete_mixed["colour"].where(complete_mixed.index != 4))
    with pytest.warns(ZooWarning, match=r"'colour' is conditioned upon: its 1 missing cells .*first in row 4"):
        assert fitted.impute(holes).isna().sum().sum() == 1
    with pytest.raises(UserError, match="no column 'color' to draw at; did you mean 'colour'"):
        quick().fit(complete_mixed).sample(5, given={"color": "red"})


# ------------------------------------------------------------------------------------------------------------ keeping


@pytest.mark.parametrize("model", ["mixture", "vae"])
def test_loaded_is_saved(model: str, estimator: Any, mixed: pd.DataFrame, tmp_path: Path) -> None:
    fitted = estimator(model, "mixed")
    loaded = zoo.load(fitted.save(tmp_path / "run"), device="cpu")
    np.testing.assert_array_equal(loaded.score_samples(mixed), fitted.score_samples(mixed))
    pd.testing.assert_frame_equal(loaded.sample(9, seed=2), fitted.sample(9, seed=2))
    pd.testing.assert_frame_equal(loaded.impute(mixed), fitted.impute(mixed))
    assert loaded.schema_ == fitted.schema_
    assert loaded.fitted_ == fitted.fitted_
    assert loaded.model_.verbs == fitted.model_.verbs
    assert loaded.get_params()["model"] == model


def test_zoo_fit_parts_options_from_settings(continuous: pd.DataFrame) -> None:
    fitted = zoo.fit("mixture", continuous, components=2, restarts=1, seed=5, kinds={"a": "continuous"}, device="cpu")
    assert fitted.get_params()["settings"] == {"components": 2, "restarts": 1}
    assert fitted.get_params()["seed"] == 5
    assert fitted.model_.program.components == 2
    with pytest.raises(UserError, match="did you mean 'components'"):
        zoo.fit("mixture", continuous, componnts=2)


def test_time_budget(continuous: pd.DataFrame) -> None:
    settings = {"dim": 2, "fit.steps": 100_000, "fit.patience": 0}
    fitted = Estimator("vae", settings=settings, time_budget=0.5, device="cpu").fit(continuous)
    assert "budget" in fitted.fitted_.stopped
    assert 0 < fitted.fitted_.steps < 100_000
    assert fitted.fitted_.seconds < 3


# -------------------------------------------------------------------------------------------------------------- arviz


def test_to_arviz(estimator: Any, mixed: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    import arviz_stats

    monkeypatch.setattr("zoo.evaluate.arviz.as_installed", lambda tree: tree)
    fitted = estimator("vae", "mixed")
    rows = mixed.iloc[:30]
    tree = fitted.to_arviz(rows, draws=25)
    assert set(tree.children) == {"posterior", "log_likelihood", "posterior_predictive", "observed_data"}
    assert dict(tree["log_likelihood"]["row"].sizes) == {"chain": 1, "draw": 25, "rows": 30}
    assert tree["posterior"]["z"].shape == (1, 25, 30, 2)
    assert set(tree["posterior_predictive"].data_vars) == set(mixed)
    assert tree["posterior_predictive"]["height"].shape == (1, 25, 30)
    assert tree["observed_data"]["height"].shape == (30,)
    for name in ("height", "count", "length"):  # in the table's units
        np.testing.assert_allclose(tree["observed_data"][name], rows[name], atol=1e-9)
    assert tree["observed_data"]["rows"].to_numpy().tolist() == rows.index.tolist()
    assert float(tree["posterior_predictive"]["count"].min()) >= mixed["count"].min()
    assert "nats per row" in tree.attrs["measure"]
    assert arviz_stats.get_log_likelihood(tree).shape == (1, 25, 30)
    if hasattr(arviz_stats, "summary"):  # it comes with an optional package of theirs
        assert len(arviz_stats.summary(tree, var_names=["z"])) == 60
    mixture = estimator("mixture", "mixed").to_arviz(rows, draws=2)
    assert "posterior" not in mixture.children  # its one latent is summed out
    expected = estimator("mixture", "mixed").score_samples(rows)
    np.testing.assert_allclose(mixture["log_likelihood"]["row"][0, 0], expected)


def test_fitting_changes_no_random_state(continuous: pd.DataFrame) -> None:
    """A fit takes its seed, not the caller's generators; and gives the same with any of them."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = quick("vae").fit(continuous).score(continuous)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert quick("vae").fit(continuous).score(continuous) == first


def test_scores_are_means_by_weight():
    """A weight of two counts as the row twice, in the fit's closed form and in every mean."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=80), "w": rng.integers(1, 4, 80)})
    often = frame.loc[frame.index.repeat(frame["w"]), ["x"]]
    weighted = Estimator("gaussian", weight="w", kinds={"x": "continuous"}, device="cpu").fit(frame)
    scores = weighted.log_likelihood(frame)
    each = weighted.score_samples(often.assign(w=1.0))
    assert scores.mean == pytest.approx(each.mean())
    assert scores.mean != pytest.approx(scores.log_likelihood.mean())
    alike = weighted.log_likelihood(frame.assign(w=5.0))
    values = alike.log_likelihood
    assert alike.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(len(values)))


def test_scores_without_the_weight_say_so(continuous: pd.DataFrame) -> None:
    model = quick(weight="w").fit(continuous.assign(w=1.0))
    with pytest.warns(ZooWarning, match="no column 'w', the weight"):
        model.score(continuous)


# ------------------------------------------------------------------------------------------------------- importance


def test_weights_are_worth_their_effective_size() -> None:
    """Alike: all of them; one above all: one; three to one: (3 + 1)^2 / (9 + 1)."""
    log_w = torch.tensor([[0.0, 0.0, math.log(3)], [0.0, -math.inf, 0.0]])
    assert effective(log_w).tolist() == pytest.approx([2.0, 1.0, 1.6])


def test_draws_say_what_they_are_worth(complete_mixed: pd.DataFrame, continuous: pd.DataFrame) -> None:
    """Exact ones have no weights behind them; of a chain's, a missing last column is weighed by nothing that follows,
    a missing first one by all the others; rows with nothing missing are left out."""
    holes = continuous.head(20).copy()
    holes.iloc[:5, 0] = np.nan
    gaussian = Estimator("gaussian", device="cpu", kinds={"*": "continuous"}).fit(continuous)
    _, sizes = gaussian.impute(holes, effective=True)
    assert np.isinf(sizes).all()
    chain = Estimator("chain", settings={"fit.steps": 60}, device="cpu").fit(complete_mixed)
    order = chain.model_.sites.observed["x"].order
    names = [chain.schema_.modelled[j].name for j in order]
    holes = complete_mixed.head(6).copy().set_axis([*"uvwxyz"])
    holes.loc["u", names[-1]] = holes.loc["v", names[0]] = np.nan
    filled, spread, sizes = chain.impute(holes, particles=50, spread=True, effective=True)
    assert filled.notna().all(axis=None)
    assert spread.notna().to_numpy().sum() == 2
    assert sizes.index.equals(holes.index)
    assert sizes["u"] == pytest.approx(100)  # the draws that a best guess is made of
    assert 1 <= sizes["v"] < 99
    assert np.isinf(sizes["w":]).all()
    drawn, sizes = chain.sample(7, given={names[-1]: complete_mixed[names[-1]].iloc[0]}, effective=True)
    assert len(drawn) == len(sizes) == 7
    assert np.isfinite(sizes).all()
    assert np.isinf(chain.sample(3, effective=True)[1]).all()


def test_values_beyond_those_of_the_fit_are_told(continuous: pd.DataFrame) -> None:
    names = list(continuous)
    joint = Estimator("gaussian", device="cpu").fit(continuous)
    with pytest.warns(ZooWarning, match=f"'{names[0]}' is to be 1e\\+06, far from the rows of the fit"):
        joint.sample(2, given={names[0]: 1e6})
    conditional = Estimator("gaussian", device="cpu", given=[names[0]]).fit(continuous)
    with pytest.warns(ZooWarning, match=f"'{names[0]}' is to be -1e\\+06"):
        conditional.sample(2, given={names[0]: -1e6})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        joint.sample(2, given={names[0]: continuous[names[0]].iloc[0]})
        conditional.sample(2, given={names[0]: continuous[names[0]].max()})
