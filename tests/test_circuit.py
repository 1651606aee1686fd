"""The circuit against sums over all of its hidden states, and its start against known generators."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import quiet_schema
from scipy import stats
from torch import Tensor

from zoo.em import trees
from zoo.em.structure import chow_liu, information
from zoo.evaluate import posterior
from zoo.evaluate.likelihood import score
from zoo.model import Model
from zoo.registry import Registry
from zoo.rows.rows import Rows
from zoo.rows.tree import Tree
from zoo.scope import scope
from zoo.table.codec import Codec

PARENT = [0, 0, 0, 1, 3]  # the second state has a child and a grandchild


def circuit(frame: pd.DataFrame, components: int = 2, states: int = 3) -> Model:
    """Random parameters, and a tree whose order is not that of the columns."""
    recipe = Registry.load()["circuit"].with_settings({"components": components, "states": states})
    model = Model(recipe, Codec.fit(quiet_schema(frame), frame))
    program, d = model.program, len(model.schema.modelled)
    with torch.no_grad(), scope(1):
        for parameter in (program.root, program.edges, program.leaves, program.weights.bias):
            parameter.normal_(0.0, 1.5)
        # the level reserved for the unseen is never drawn: where draws are held against masses it has next to none
        unseen = len(model.schema.numeric) + len(model.schema.binary) - 1
        for column in model.schema.categorical:
            unseen += column.n_logits
            program.leaves[:, unseen] = -20.0
        program.order.copy_(torch.randperm(d))
        program.parent.copy_(torch.tensor(PARENT[:d]))
    return model


def log_joint(model: Model, rows: Rows) -> Tensor:
    """log p(cluster, z, seen cells) (K, H, ..., H, n), one dimension for each state: nothing is summed."""
    program, d = model.program, len(model.schema.modelled)
    cells = model.heads(program.leaves[:, None], rows.cells).log_cells(rows.cells.x)
    weights = program.weights.bias.double().log_softmax(0)
    root, edges = program.root.log_softmax(-1), program.edges.log_softmax(-1)
    out = torch.empty(program.components, *[program.states] * d, rows.n, dtype=torch.float64)
    for k, *z in itertools.product(range(program.components), *[range(program.states)] * d):
        total = weights[k] + root[k, z[0]] + sum(cells[z[i], :, program.order[i]] for i in range(d))
        out[(k, *z)] = total + sum(edges[k, i - 1, z[program.parent[i]], z[i]] for i in range(1, d))
    return out


@pytest.fixture
def three_levels(levels: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return levels.assign(colour=rng.choice(["red", "green", "blue"], len(levels)))


def every_cell(model: Model) -> Rows:
    """Every combination of levels, the unseen ones too."""
    sizes = [max(2, column.n_logits) for column in model.schema.modelled]
    x = torch.tensor(list(itertools.product(*map(range, sizes))), dtype=torch.float64)
    return model.blank(len(x)).filled(x)


def with_seen(rows: Rows, seen: Tensor) -> Rows:
    return rows.filled(rows.cells.x, seen)


@torch.no_grad()
def test_the_density_is_the_sum_over_all_states(mixed):
    model = circuit(mixed)
    rows = model.rows(mixed.head(40))
    assert not rows.complete
    summed = log_joint(model, rows).flatten(0, -2).logsumexp(0)
    # weights of clusters are float32
    np.testing.assert_allclose(score(model, rows).log_likelihood, summed, atol=1e-6)
    # the tree alone, without them, is float64: rounding of some hundred sums
    program = model.program
    tree = Tree(
        rows, program.leaves, program.root.log_softmax(-1), program.edges.log_softmax(-1), program.order,
        program.parent, torch.arange(2)[:, None],
    )  # fmt: skip
    given_cluster = log_joint(model, rows).flatten(1, -2).logsumexp(1)
    weights = program.weights.bias.double().log_softmax(0)[:, None]
    np.testing.assert_allclose(tree.log_prob(rows.cells.x) + weights, given_cluster, atol=1e-10)
    assert model.bound(complete=False) == "exact"


def test_cluster_probabilities_are_those_of_all_states(mixed):
    model = circuit(mixed)
    rows = model.rows(mixed.head(40))
    with torch.no_grad():
        expected = log_joint(model, rows).flatten(1, -2).logsumexp(1).softmax(0).T
    # weights of clusters are float32
    np.testing.assert_allclose(posterior.cluster_probabilities(model, rows), expected, atol=1e-6)


def test_masses_of_all_levels_sum_to_one(three_levels):
    model = circuit(three_levels)
    rows = every_cell(model)
    assert np.exp(score(model, rows).log_likelihood).sum() == pytest.approx(1.0, abs=1e-6)
    # and with a hole, over the other two: the masses of its column are summed out
    seen = torch.ones_like(rows.cells.seen)
    seen[:, 1] = False
    marginal = np.exp(score(model, with_seen(rows, seen)).log_likelihood)
    for cell in range(3):
        same = ((rows.cells.x - rows.cells.x[cell])[:, [0, 2]] == 0).all(1).numpy()
        joint = np.exp(score(model, rows).log_likelihood)
        assert joint[same].sum() == pytest.approx(marginal[cell], rel=1e-6)


def test_draws_come_as_often_as_their_masses_say(three_levels):
    model = circuit(three_levels)
    rows = every_cell(model)
    masses = np.exp(score(model, rows).log_likelihood)
    drawn = posterior.sample(model, 20000, seed=1)
    observed = times_drawn(rows, drawn)
    assert observed.sum() == 20000
    assert agree(observed, masses) > 1e-6  # that is the failure rate


def times_drawn(rows: Rows, drawn: Tensor) -> np.ndarray:
    return (rows.cells.x[:, None] == drawn).all(-1).double().sum(1).numpy()


def agree(observed: np.ndarray, masses: np.ndarray) -> float:
    """p-value of counts, cells that expect less than 5 pooled."""
    expected = masses / masses.sum() * observed.sum()
    rare = expected < 5
    observed = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    there = expected > 0
    return float(stats.chisquare(observed[there], expected[there]).pvalue)


@pytest.mark.parametrize("hidden", [(0,), (1,), (0, 2), (0, 1, 2)])
def test_completions_agree_with_the_conditional(three_levels, hidden):
    """Levels drawn given the others: frequencies against masses summed over all states."""
    model = circuit(three_levels)
    rows, n = every_cell(model), 20000
    seen = torch.ones_like(rows.cells.seen)
    seen[:, hidden] = False
    cell = 5
    with torch.no_grad():
        joint = log_joint(model, rows).flatten(0, -2).logsumexp(0).exp().numpy()
    kept = [j for j in range(3) if j not in hidden]
    same = (rows.cells.x[:, kept] == rows.cells.x[cell, kept]).all(1).numpy()
    last = torch.tensor([max(2, c.n_logits) - (c.kind == "categorical") for c in model.schema.modelled])
    known = (rows.cells.x < last)[:, hidden].all(1).numpy()
    one = with_seen(rows, seen).take(torch.full((n // 4,), cell))
    drawn = posterior.complete(model, one, draws=4, seed=2).flatten(0, 1)
    observed = times_drawn(rows, drawn)
    assert observed[same & known].sum() == n
    assert agree(observed[same & known], joint[same & known]) > 1e-6  # that is the failure rate


def test_a_conditional_is_a_joint_over_a_marginal(continuous):
    """p(a | b, c) through holes: what the states say given b and c, and one over all of a."""
    model = circuit(continuous)
    a = np.linspace(-60, 50, 22001)
    frame = pd.DataFrame({"a": a, "b": continuous["b"][3], "c": continuous["c"][3]})
    rows = model.rows(frame)
    hole = model.rows(frame.head(1).assign(a=np.nan))
    log = score(model, rows).log_likelihood - score(model, hole).log_likelihood
    assert np.trapezoid(np.exp(log), a) == pytest.approx(1.0, abs=1e-4)  # of the grid
    with torch.no_grad():
        states = log_joint(model, hole)
        place = int(model.program.order.argsort()[model.schema.names.index("a")])
        keep = 1 + place
        of_a = states.movedim(keep, 0).flatten(1).logsumexp(1).log_softmax(0)
        leaf = model.heads(model.program.leaves[:, None], rows.cells).log_cells(rows.cells.x)[..., 0]
        expected = (of_a[:, None] + leaf).logsumexp(0)
    np.testing.assert_allclose(log, expected, atol=1e-6)  # weights of clusters are float32


# ------------------------------------------------------------------------------------------------------- the start


def chain_of_levels(n: int, d: int = 5, stay: float = 0.85) -> pd.DataFrame:
    """A Markov chain of binary columns, in an order that is not the table's."""
    rng = np.random.default_rng(0)
    x = [rng.random(n) < 0.5]
    for _ in range(d - 1):
        x.append(np.where(rng.random(n) < stay, x[-1], ~x[-1]))
    names = np.random.default_rng(1).permutation(list("abcde"[:d]))
    return pd.DataFrame({name: np.where(x[i], "yes", "no") for i, name in enumerate(names)})[sorted(names)]


def entropy(p: float) -> float:
    return -(p * math.log(p) + (1 - p) * math.log(1 - p))


def test_information_of_known_columns():
    """Two bits that agree with probability 0.85, and one apart; missing pairs are left out. 5 standard errors."""
    n = 40000
    frame = chain_of_levels(n, d=2).assign(c=np.random.default_rng(3).choice(["u", "v", "w"], n))
    codes = [torch.tensor(pd.factorize(frame[c], sort=True)[0]) for c in "abc"]
    codes[0][:1000] = -1
    found = information(codes, torch.ones(n, dtype=torch.float64))
    # a bit's log ratio has the deviation sqrt(p (1 - p)) log(p / (1 - p))
    error = math.sqrt(0.85 * 0.15 / (n - 1000)) * math.log(0.85 / 0.15)
    assert float(found[0, 1]) == pytest.approx(math.log(2) - entropy(0.85), abs=5 * error)
    assert float(found[0, 2]) == pytest.approx(0.0, abs=20 / n)  # chi-square of 2 degrees, over 2 n
    assert torch.equal(found, found.T)


def test_the_tree_is_the_one_that_made_the_table(build):
    frame = chain_of_levels(3000)
    model = build("circuit", frame)
    order, parent = chow_liu(model.rows(frame))
    names = model.schema.names
    found = {frozenset((names[order[i]], names[order[parent[i]]])) for i in range(1, 5)}
    chain = np.random.default_rng(1).permutation(list("abcde"))
    assert found == {frozenset(pair) for pair in itertools.pairwise(chain)}
    assert names[order[0]] == chain[2]  # the middle


def test_the_start_recovers_the_entropy_of_a_chain():
    """Of held-out rows, within 4 standard errors (failure rate 6e-5) and what 30 parameters lose, some 30 / 2n."""
    frame, n = chain_of_levels(8000), 4000
    recipe = Registry.load()["circuit"].with_settings({"components": 1, "states": 2})
    model = Model(recipe, Codec.fit(quiet_schema(frame), frame.head(n)))
    with scope(0):
        model.initialise(model.rows(frame.head(n)))
    held = score(model, model.rows(frame.tail(n)))
    truth = -(math.log(2) + 4 * entropy(0.85))
    assert held.mean == pytest.approx(truth, abs=4 * held.standard_error + 30 / n)


@pytest.mark.parametrize("components", [1, 3])
def test_em_climbs(mixed, components, monkeypatch):
    """Each full step raises the likelihood with the prior's part of it; here, of many steps, the likelihood alone."""
    values = []
    for steps in (1, 40):
        monkeypatch.setattr(trees, "LEAST_STEPS", steps)
        model = circuit(mixed, components, states=4)
        with scope(0):
            model.initialise(model.rows(mixed))
        values.append(score(model, model.rows(mixed)).mean)
    assert values[1] > values[0] + 0.01


def test_one_column_and_one_state(pair):
    """A tree of one column is a mixture over its states; one state leaves the columns independent."""
    alone = circuit(pair[["a"]])
    grid = pd.DataFrame({"a": np.linspace(-60, 50, 22001)})
    density = np.exp(score(alone, alone.rows(grid)).log_likelihood)
    assert np.trapezoid(density, grid["a"]) == pytest.approx(1.0, abs=1e-4)  # of the grid
    apart = circuit(pair, components=1, states=1)
    parts = [score(apart, apart.rows(pair.assign(**{c: np.nan}))).log_likelihood for c in pair]
    np.testing.assert_allclose(score(apart, apart.rows(pair)).log_likelihood, sum(parts), atol=1e-10)
