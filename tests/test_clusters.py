"""Components merged into clusters, and whether they are found again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_circles, make_moons
from sklearn.metrics import adjusted_rand_score

import zoo
from zoo.errors import UserError
from zoo.estimator import Estimator
from zoo.evaluate.clusters import Clusters

PLAIN = {"*": "continuous"}
GRID = {"components": {"grid": [1, 2, 4]}, "restarts": 4}


def normal(x: np.ndarray, loc: float, scale: float = 1.0) -> np.ndarray:
    return np.exp(-0.5 * ((x - loc) / scale) ** 2) / scale


def shares(*densities: np.ndarray) -> np.ndarray:
    joint = np.stack(densities, 1)
    return joint / joint.sum(1, keepdims=True)


def table(x: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(x, columns=[f"x{j}" for j in range(x.shape[1])])


def blobs(seed: int, n: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    """Three clusters, 8 standard deviations apart."""
    rng = np.random.default_rng(seed)
    label = rng.integers(3, size=n)
    return table(rng.normal(size=(n, 2)) + 8 * np.array([[0, 0], [1, 0], [0, 1]])[label]), label


# ---- the merge, from responsibilities alone


def test_halves_of_one_gaussian_are_one_cluster() -> None:
    x = np.random.default_rng(0).normal(size=2000)
    assert Clusters.of(shares(normal(x, -0.3), normal(x, 0.3))).count == 1
    assert Clusters.of(shares(0.5 * normal(x, 0.0, 0.7), 0.5 * normal(x, 0.0, 1.3))).count == 1


def test_clusters_apart_stay_and_split_ones_are_joined() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=500), rng.normal(10, 1, size=500)])
    parted = Clusters.of(shares(normal(x, 0), normal(x, 10)))
    assert (parted.count, parted.runner_up) == (2, 1)
    split = Clusters.of(shares(normal(x, -0.2), normal(x, 10), normal(x, 0.2)))
    assert split.count == 2
    assert split.mapping().tolist() == [0, 1, 0]


def test_an_overlap_is_the_share_of_rows_that_drawn_labels_exchange() -> None:
    """By simulation: labels of about 1000 rows, drawn 50 times; 5 standard errors, wrong once in a million."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(size=3000), rng.normal(2, 1, size=1000)])
    t = shares(0.75 * normal(x, 0), 0.25 * normal(x, 2))
    ((_, _, overlap),) = Clusters.of(t).joins
    first, second = ((rng.random((50, len(x))) < t[:, 1]) for _ in range(2))
    crossed = (second & ~first).sum() / t[:, 1].sum() / 50
    assert overlap == pytest.approx(crossed, abs=5 * 0.5 / np.sqrt(50 * 1000))


def test_a_weight_is_that_many_rows_and_order_does_not_matter() -> None:
    x = np.random.default_rng(2).normal(size=(200, 1)) + np.repeat([0.0, 3.0], 100)[:, None]
    t = shares(*(normal(x[:, 0], m) for m in (0, 1, 3, 4)))
    weight = np.random.default_rng(3).integers(1, 4, size=200)
    once, often = Clusters.of(t, weight.astype(float)), Clusters.of(t.repeat(weight, 0))
    assert once.count == often.count
    np.testing.assert_allclose([j[2] for j in once.joins], [j[2] for j in often.joins], rtol=1e-10)
    assert [j[:2] for j in Clusters.of(t[::-1]).joins] == [j[:2] for j in Clusters.of(t).joins]


def test_a_component_without_rows_is_no_cluster() -> None:
    x = np.repeat([0.0, 10.0], 100)
    t = np.column_stack([shares(normal(x, 0), normal(x, 10)), np.zeros(200)])
    assert Clusters.of(t).count == 2
    assert Clusters.of(np.ones((5, 1))).sentence() == "1 component"


def test_every_number_of_clusters_is_nested_in_the_next() -> None:
    t = np.random.default_rng(4).dirichlet(np.full(6, 0.2), size=300)
    clusters = Clusters.of(t)
    for k in range(1, 6):
        pairs = set(zip(clusters.mapping(k + 1).tolist(), clusters.mapping(k).tolist(), strict=True))
        assert len(pairs) == k + 1
        np.testing.assert_allclose(clusters.merge(t, k).sum(1), 1.0, rtol=1e-12)
    for k in (0, 7):
        with pytest.raises(UserError, match=f"{k} clusters cannot be made of 6 components"):
            clusters.mapping(k)
    assert Clusters.from_json(json.loads(json.dumps(clusters.to_json()))) == clusters


# ---- fitted


@pytest.mark.parametrize("make", [make_moons, make_circles])
def test_curved_clusters_are_put_together(make: Callable[..., tuple[np.ndarray, np.ndarray]]) -> None:
    """A Gaussian is none of them; two moons, two rings. Of 12 other seeds the moons pass all, the rings 11."""
    more = {"factor": 0.4} if make is make_circles else {}
    x, label = make(800, noise=0.06, random_state=0, **more)
    settings = {"components": {"grid": [1, 12]}, "restarts": 4}
    model = Estimator("gmm", settings=settings, kinds=PLAIN, device="cpu").fit(table(x))
    assert model.clusters_ is not None
    assert model.clusters_.components == 12
    assert adjusted_rand_score(label, model.predict(table(x))) > 0.9


def test_what_was_told_is_kept_and_what_is_asked_for_is_given() -> None:
    frame, label = blobs(0)
    told = Estimator("gmm", settings={"components": 5, "restarts": 4}, kinds=PLAIN, device="cpu").fit(frame)
    assert told.predict_proba(frame).shape == (300, 5)
    np.testing.assert_array_equal(told.predict_proba(frame), told.predict_proba(frame, components=True))
    found = told.predict_proba(frame, clusters=3)
    np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-9)
    assert adjusted_rand_score(label, found.argmax(1)) > 0.95
    with pytest.raises(UserError, match="6 clusters cannot be made of 5 components"):
        told.predict(frame, clusters=6)
    with pytest.raises(UserError, match="merges components"):
        told.predict(frame, clusters=2, components=True)


def test_clusters_are_kept_with_the_run(tmp_path: Path) -> None:
    """The merge is that of the rows that were fitted, whatever table is asked about later."""
    frame, label = blobs(1)
    model = Estimator("clusters", settings=GRID, kinds=PLAIN, device="cpu").fit(frame)
    assert adjusted_rand_score(label, model.predict(frame)) > 0.95
    again = zoo.load(model.save(tmp_path / "run"))
    assert again.clusters_ == model.clusters_
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))
    few = frame[label == label[0]]
    np.testing.assert_allclose(again.predict_proba(few), model.predict_proba(frame)[label == label[0]], rtol=1e-9)
    manifest = tmp_path / "run" / "manifest.json"
    document = json.loads(manifest.read_text())
    document["clusters"]["joins"].append([0, 1, 0.5])
    manifest.write_text(json.dumps(document))
    with pytest.raises(UserError, match="is damaged"):
        zoo.load(tmp_path / "run")


def test_missing_cells_and_levels_cluster_too(estimator: Callable[..., Estimator], mixed: pd.DataFrame) -> None:
    model = estimator("mixture", "mixed")
    assert model.clusters_ is not None
    assert model.clusters_.count == 3
    whole, merged = model.predict_proba(mixed), model.predict_proba(mixed, clusters=2)
    np.testing.assert_allclose(merged.sum(1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(merged, model.clusters_.merge(whole, 2))


def test_cross_validation_fits_all_rows_and_prefers_the_simple() -> None:
    """Gaussian rows are one component, though two may score better by chance."""
    frame = table(np.random.default_rng(5).normal(size=(200, 2)))
    model = Estimator("clusters", settings=GRID, kinds=PLAIN, device="cpu").fit(frame)
    assert model.chosen_ == {"program.components": 1}
    assert model.n_train_ == 200
    assert [choice["chosen"] for choice in model.choices_] == [True] + [False] * (len(model.choices_) - 1)


@pytest.mark.slow
def test_stability_tells_clusters_from_noise() -> None:
    """Uniform rows cut in 5, and three clusters. Of 8 other seeds the index on noise was 0.39 to 0.66."""
    settings = {"components": 5, "restarts": 2}
    noise = table(np.random.default_rng(6).random((200, 3)))
    found = Estimator("clusters", settings=settings, kinds=PLAIN, device="cpu").fit(noise).stability(noise, 4)
    assert found.ari.mean() < 0.75
    assert not found.stable.all()
    frame, _ = blobs(2)
    sure = Estimator("clusters", settings={**GRID, "restarts": 2}, kinds=PLAIN, device="cpu").fit(frame)
    sure = sure.stability(frame, 4)
    assert sure.counts == {3: 4}
    assert sure.ari.min() > 0.95
    assert sure.stable.all()
    assert sure.sentence().startswith("3 clusters in 4 of 4 halves of the rows; adjusted Rand index 1.00")


def test_the_command_line_asks_for_other_clusters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.main import get_command

    from zoo.cli import app

    frame, _ = blobs(3)
    frame.to_csv(tmp_path / "t.csv", index=False)
    settings = {**GRID, "restarts": 2}
    model = Estimator("clusters", settings=settings, kinds=PLAIN, device="cpu").fit(frame)
    model.save(tmp_path / "run")

    def said(*more: str) -> str:
        arguments = ["cluster", str(tmp_path / "run"), str(tmp_path / "t.csv"), *more]
        get_command(app).main(arguments, standalone_mode=False)
        return capsys.readouterr().out

    assert model.clusters_ is not None
    assert model.clusters_.sentence() in said()
    assert json.loads(said("--clusters", "2", "--json"))["clusters"] == 2
    found = json.loads(said("--stability", "2", "--json"))
    assert (found["clusters"], found["components"]) == (3, model.clusters_.components)
    assert found["stability"]["counts"] == {"3": 2}
