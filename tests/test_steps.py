"""How a step is run changes nothing but its speed: graphs against Python, and what falls back to Python."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from entries import law
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from zoo.fitting import captured
from zoo.fitting.captured import CapturedStep, step_of
from zoo.fitting.forensics import NonFiniteError
from zoo.fitting.loop import fit
from zoo.fitting.settings import FitSettings
from zoo.fitting.source import InMemory, Streamed
from zoo.fitting.step import EagerStep
from zoo.fitting.tape import Unwritable, bound, written
from zoo.model import Model
from zoo.objectives.elbo import Elbo
from zoo.objectives.turn import Turn
from zoo.recipe import Recipe
from zoo.scope import scope
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema


def table(n=100, loc=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": loc + rng.normal(size=n), "b": rng.normal(size=n)})


def of(program, frame=None, **more):
    """A model of one of the programs below in the table's own units, and its rows."""
    frame = table() if frame is None else frame
    recipe = Recipe.from_table(program, {"program": f"{__name__}:{program}", **more})
    model = Model(recipe, Codec(infer_schema(frame, kinds={"*": "continuous"})))
    return model, model.rows(frame)


def location(rows):
    loc = pyro.param("loc", torch.zeros(2, dtype=torch.float64))
    with rows.plate():
        rows.observe(torch.cat([loc, torch.zeros_like(loc)]))


def state(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def taken(model, rows, tier, steps=12, batch=80, seed=0, learning_rate=None, before=None, **settings):
    """Steps of a model from where it is: (numbers of each step, the state they leave, the steps). Undone afterwards."""
    start = state(model)
    settings = FitSettings(**{**model.recipe.fit, "tier": tier, **settings})
    model.train()
    with scope(seed):
        moves = [step_of(model, turn, settings, 1000) for turn in model.objective.turns(model)]
        numbers = []
        for i, (_, part) in enumerate(InMemory(rows).batches(batch, steps)):
            if before:
                before(i, moves)
            numbers += [[float(t) for t in move(part)] for move in moves]
    after = state(model)
    model.load_state_dict(start)
    model.eval()
    return np.array(numbers), after, moves


def same(a, b, tolerance=0.0):
    return all(torch.allclose(a[k].double(), b[k].double(), rtol=tolerance, atol=tolerance) for k in a)


# ------------------------------------------------------------------------------------------------ one step, two tiers


@law("continuous", "mixed", own=True)
def test_a_graph_gives_pythons_numbers(name, table, build, tables):
    """Three epochs of batches of 80, 80 and 40 rows: the graph has the same operations, so the same numbers."""
    model = build(name, tables[table])
    rows = model.rows(tables[table])
    with scope(0):
        model.initialise(rows)
    python, by_python, _ = taken(model, rows, "eager", 9)
    graph, by_graph, moves = taken(model, rows, "graph", 9)
    for move in moves:  # what cannot be written down runs in Python, and says why
        assert (move.tier, move.why) == ("graph", "") or (move.tier == "eager" and move.why)
    if model.recipe.objective.use in ("elbo", "iwae", "reconstruction"):
        assert {move.tier for move in moves} == {"graph"}
    assert np.isfinite(python).all()
    np.testing.assert_allclose(graph, python, rtol=1e-9)
    assert same(by_python, by_graph, 1e-9)
    assert not same(state(model), by_graph, 1e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler")
@pytest.mark.parametrize(("name", "table"), [("vae", "pair"), ("latent-class", "levels")])
def test_a_compiled_step_gives_pythons_numbers(name, table, build, tables):
    """Within rounding of single precision, which Adam's first steps, all of one length, may turn round."""
    model = build(name, tables[table])
    rows = model.rows(tables[table])
    with scope(0):
        model.initialise(rows)
    python, by_python, _ = taken(model, rows, "eager", 10, 100)
    compiled, by_compiled, moves = taken(model, rows, "compiled", 10, 100)
    assert {(move.tier, move.why) for move in moves} == {("compiled", "")}
    np.testing.assert_allclose(compiled, python, rtol=1e-3)
    assert same(by_python, by_compiled, 1e-2)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is there")
@pytest.mark.parametrize("name", ["vae", "mixture", "nsf"])
def test_a_cuda_graph_gives_pythons_numbers(name, build, mixed):
    model = build(name, mixed)
    rows = model.rows(mixed)
    with scope(0):
        model.initialise(rows)
    model = model.to("cuda")
    rows = model.rows(mixed)
    python, by_python, _ = taken(model, rows, "eager", 10, 100)
    graph, by_graph, moves = taken(model, rows, "auto", 10, 100)
    assert {(move.tier, move.why) for move in moves} == {("cuda graph", "")}
    np.testing.assert_allclose(graph, python, rtol=1e-3)
    assert same(by_python, by_graph, 1e-2)


@pytest.mark.parametrize("name", ["vae", "mixture"])
def test_a_whole_fit_is_the_same_in_either_tier(name, build, mixed):
    """Looks, schedule, annealing and the best state too; and the same seed gives the same numbers within a tier."""
    ends = []
    for tier in ("eager", "graph", "graph"):
        model = build(name, mixed)
        rows = model.rows(mixed)
        settings = FitSettings(**{**model.recipe.fit, "batch": 64, "steps": 40, "tier": tier})
        fitted = fit(model, rows, model.rows(mixed[:50]), settings)
        assert (fitted.tier, fitted.why) == (tier, "")
        ends.append((state(model), [look["loss"] for look in fitted.history]))
    assert ends[1][1] == pytest.approx(ends[0][1], rel=1e-9)
    assert same(ends[0][0], ends[1][0], 1e-9)
    assert ends[1][1] == ends[2][1]
    assert same(ends[1][0], ends[2][0])


def test_annealing_and_schedules_are_read_at_every_step(build, continuous):
    """A graph is written while the divergence has no weight and the rate is high; both change afterwards."""
    model = build("vae", continuous, **{"objective.anneal": 0.5})
    rows = model.rows(continuous)

    def before(i, moves):
        model.objective.progress.fill_(i / 10)
        for move in moves:
            move.set_learning_rate(0.01 * (1 - i / 12))

    (python, by_python, _), (graph, by_graph, _) = (
        taken(model, rows, tier, before=before) for tier in ("eager", "graph")
    )
    assert np.array_equal(python, graph)
    assert same(by_python, by_graph)
    flat, _, _ = taken(model, rows, "graph", before=lambda i, moves: model.objective.progress.fill_(0.0))
    assert graph[0, 0] == flat[0, 0]
    assert graph[5, 0] > flat[5, 0]  # the whole divergence counts
    _, still, _ = taken(model, rows, "graph", before=lambda i, moves: [move.set_learning_rate(0.0) for move in moves])
    assert same(still, state(model))


class Alternating(Elbo):
    """Two players: the program's parameters at every step, the guide's at every second."""

    def turns(self, model):
        for part, often in ((model.program, 1), (model.guide, 2)):
            yield Turn([p for p in part.parameters() if p.numel()], lambda rows: self.loss(model, rows), often)


def test_every_turn_is_captured_and_moves_its_own_parameters(build, continuous):
    ends = []
    for tier in ("eager", "graph"):
        model = build("vae", continuous)
        model.objective = Alternating()
        rows = model.rows(continuous)
        before = state(model)
        fitted = fit(model, rows, None, FitSettings(steps=25, batch=80, tier=tier))
        assert fitted.tier == tier
        ends.append((state(model), fitted.history))
        assert any(not torch.equal(v, before[k]) for k, v in ends[-1][0].items() if k.startswith("guide"))
    assert same(ends[0][0], ends[1][0], 1e-9)
    assert ends[0][1][0]["loss"] == pytest.approx(ends[1][1][0]["loss"], rel=1e-9)


def test_a_long_fit_takes_compiled_code_at_a_step_that_is_fixed(monkeypatch):
    """And stays with its graph where that cannot be had, or gives other numbers; the reason is told."""
    monkeypatch.setattr(captured, "COMPILED_AT", 20)
    settings = FitSettings(steps=captured.WORTH_COMPILING)
    model, rows = of("location")
    batches = [part for _, part in InMemory(rows).batches(100, 30)]
    turn = next(model.objective.turns(model))

    def tiers(step):
        with scope(0):
            return [(step(part), step.tier)[1] for part in batches]

    faithful = lambda module, inputs: lambda given: list(module.forward(*given))  # noqa: E731
    monkeypatch.setattr(captured, "compiler", lambda: "c++")
    monkeypatch.setattr(captured, "compiled", faithful)
    assert tiers(step_of(model, turn, settings, settings.steps)) == 19 * ["graph"] + 11 * ["compiled"]
    assert set(tiers(step_of(model, turn, settings, settings.steps, timed=True))) == {"graph"}
    assert set(tiers(step_of(model, turn, settings, settings.steps - 1))) == {"graph"}
    wrong = lambda module, inputs: lambda given: [1.01 * t for t in module.forward(*given)]  # noqa: E731
    monkeypatch.setattr(captured, "compiled", wrong)
    step = step_of(model, turn, settings, settings.steps)
    assert set(tiers(step)) == {"graph"}
    assert "compiled code gives other numbers" in step.why
    monkeypatch.setattr(captured, "compiler", lambda: None)
    step = step_of(model, turn, settings, settings.steps)
    assert set(tiers(step)) == {"graph"}
    assert "no C++ compiler" in step.why


class Normed(nn.Module):
    """A network with running statistics, dropout and a layer of bounded gain: buffers that every step changes."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_in, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), spectral_norm(nn.Linear(8, n_out))
        )

    def forward(self, x):
        return self.layers(x)


def test_running_statistics_go_on_and_a_check_leaves_no_trace(continuous):
    network = {"network": {"use": f"{__name__}:Normed"}}
    table_ = {"program": {"use": "latent", "dim": 1, **network}, "guide": {"use": "encoder", **network}}
    model = Model(Recipe.from_table("v", table_), Codec.fit(infer_schema(continuous), continuous))
    rows = model.rows(continuous)
    python, by_python, _ = taken(model, rows, "eager")
    graph, by_graph, moves = taken(model, rows, "graph")
    assert moves[0].tier == "graph"
    assert np.array_equal(python, graph)
    assert same(by_python, by_graph)
    start = state(model)
    assert [int(v - start[k]) for k, v in by_graph.items() if "num_batches" in k] == [12, 12]


def test_clipping_and_adam_are_torchs_own():
    """Parameters of two types and a long gradient: against torch's clipping and Adam."""
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(5, dtype=torch.float64))]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    optimiser = torch.optim.Adam(theirs, lr=0.01)
    _, rows = of("location")
    for i in range(5):
        scale = torch.tensor(10.0 ** (i - 1))
        turn = Turn(ours, lambda _, s=scale: s * sum(p.double().square().sum() for p in ours))
        if not i:
            step = EagerStep(turn, 0.01, 1.0)
        step.turn = turn
        _loss, norm = step(rows)
        optimiser.zero_grad()
        (scale * sum(p.double().square().sum() for p in theirs)).backward()
        assert float(norm) == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs, 1.0)), rel=1e-6)
        optimiser.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------------------------------------- what cannot be captured


def looks_at_data(rows):
    loc = pyro.param("loc", torch.zeros(2, dtype=torch.float64))
    if rows.cells is not None and rows.cells.x[:, 0].mean() > 0:
        loc = 2 * loc
    with rows.plate():
        rows.observe(torch.cat([loc, torch.zeros_like(loc)]))


def looks_at_a_parameter(rows):
    loc = pyro.param("loc", torch.zeros(2, dtype=torch.float64))
    with rows.plate():
        rows.observe(torch.cat([loc * (1 + float(loc.sum().detach())), torch.zeros_like(loc)]))


def picks_by_a_mask(rows):
    loc = pyro.param("loc", torch.zeros(2, dtype=torch.float64))
    with rows.plate():
        x = torch.zeros(rows.n, 2) if rows.cells is None else rows.cells.x
        high = x[x[:, 0] > 0].mean() if rows.cells is not None else 0.0
        rows.observe(torch.cat([loc + high, torch.zeros_like(loc)]))


COUNT = [0]


def counts_in_python(rows):
    """Annealing by a Python number: a graph would keep the first one."""
    COUNT[0] += 1
    loc = pyro.param("loc", torch.zeros(2, dtype=torch.float64))
    with rows.plate():
        rows.observe(torch.cat([loc, torch.zeros_like(loc) + 0.001 * COUNT[0]]))


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("looks_at_data", "Python reads a number of a tensor"),
        ("looks_at_a_parameter", "Python reads a number of a tensor"),
        ("picks_by_a_mask", "picked by a mask that depends on the data"),
        ("counts_in_python", "does not do the same at every step"),
    ],
)
def test_what_cannot_be_captured_is_run_by_python_and_says_why(program, why):
    model, rows = of(program)
    fitted = fit(model, rows, None, FitSettings(steps=30, batch=100, tier="graph"))
    assert fitted.tier == "eager"
    assert why in fitted.why
    if program != "counts_in_python":  # its count goes on
        python, by_python, _ = taken(model, rows, "eager")
        graph, by_graph, _ = taken(model, rows, "graph")
        assert np.array_equal(python, graph)
        assert same(by_python, by_graph)


SLOW = [0]


def drifts(rows):
    """Python that changes what it does after a hundred calls."""
    SLOW[0] += 1
    loc = pyro.param("loc", torch.zeros(2, dtype=torch.float64))
    with rows.plate():
        rows.observe(torch.cat([loc, torch.zeros_like(loc) + (SLOW[0] > 60)]))


def test_a_graph_that_no_longer_holds_is_left():
    """It agrees at first and at the tenth step, not at the hundredth."""
    SLOW[0] = 0
    model, rows = of("drifts")
    model.train()
    with scope(0):
        step = CapturedStep(model, EagerStep(next(model.objective.turns(model)), 0.01, 20.0))
        for _, part in InMemory(rows).batches(100, 20):
            step(part)
        assert step.tier == "graph"
        SLOW[0] = 100
        for _, part in InMemory(rows).batches(100, 100):
            step(part)
    assert step.tier == "eager"
    assert "does not do the same" in step.why


def test_short_fits_are_not_captured():
    model, rows = of("location")
    fitted = fit(model, rows, None, FitSettings(steps=captured.WORTH - 1, batch=100))
    assert fitted.tier == "eager"
    assert "too few" in fitted.why
    assert fit(model, rows, None, FitSettings(steps=captured.WORTH, batch=100)).tier == "graph"
    assert fit(model, rows, None, FitSettings(steps=captured.WORTH, batch=100, tier="eager")).tier == "eager"


def test_eval_mode_has_a_graph_of_its_own(build, continuous):
    """The chain hides cells while it trains."""
    model = build("chain", continuous)
    rows = model.rows(continuous)
    with scope(0):
        step = CapturedStep(model, EagerStep(next(model.objective.turns(model)), 1e-9, 20.0))
        model.train()
        hidden = [float(step(rows)[0]) for _ in range(3)]
        model.eval()
        plain = [float(step(rows)[0]) for _ in range(3)]
    assert len(set(hidden)) == 3
    assert plain == pytest.approx([plain[0]] * 3, rel=1e-6)


# -------------------------------------------------------------------------------------------------- non-finite numbers


def bursts(rows):
    """The loss is infinite for batches that hold a value above 4."""
    loc = pyro.param("loc", torch.zeros(2, dtype=torch.float64))
    with rows.plate():
        bad = 0.0 if rows.cells is None else torch.where(rows.cells.x > 4, torch.inf, 0.0)
        rows.observe(torch.cat([(loc + bad).expand(rows.n, -1), torch.zeros(rows.n, 2, dtype=torch.float64)], -1))


@pytest.mark.parametrize("tier", ["eager", "graph"])
def test_a_loss_that_is_not_finite_stops_parameters_at_its_step(tier):
    frame = table(400)
    frame.loc[123, "a"] = 9.0
    model, rows = of("bursts", frame)
    places = []

    def before(i, moves):
        places.append(model.program.store["loc"].detach().clone())

    numbers, _, _ = taken(model, rows, tier, steps=20, batch=100, before=before)
    bad = int(np.argmin(np.isfinite(numbers).all(1)))
    assert 0 <= bad < 4
    assert all(torch.equal(place, places[bad]) for place in places[bad:])
    assert bad == 0 or not torch.equal(places[0], places[bad])
    with pytest.raises(NonFiniteError, match=r"at step [1-4]: site 'x', column 'a', rows \[123\]"):
        fit(model, rows, None, FitSettings(steps=200, batch=100, tier=tier))


# -------------------------------------------------------------------------------------------------------------- graphs


def test_a_graph_shares_and_folds_what_it_can():
    x = torch.randn(5, 3)
    constant = torch.arange(3.0)

    def function():
        a = (x * constant.exp()).sum()
        b = (x * constant.exp()).sum()
        return [a + b, torch.arange(4).double()]

    module = written(function, [x])
    assert sum(node.op == "call_function" for node in module.graph.nodes) == 3  # mul, sum, add
    for graph in (module, bound(module)):
        other = torch.randn(5, 3)
        total, numbers = graph.forward(other)
        torch.testing.assert_close(total, 2 * (other * constant.exp()).sum())
        assert numbers.tolist() == [0, 1, 2, 3]


def test_writes_views_and_draws_are_kept_in_order():
    x = torch.randn(4)
    running = torch.zeros(4)

    def function():
        before = running + 0
        running.mul_(0.5).add_(x)
        noise = torch.empty(4).normal_()
        out = torch.zeros(4)
        out[1:3] = x[:2]
        again = running + 0
        return [before, again, noise, out, torch.rand(2)]

    module = bound(written(function, [x, running]))
    start = running.clone()
    for seed in range(3):
        running.copy_(start)
        torch.manual_seed(seed)
        expected = function()
        kept = running.clone()
        running.copy_(start)
        torch.manual_seed(seed)
        found = module.forward(x, running)
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
        assert torch.equal(running, kept)


def test_numbers_that_python_reads_are_refused_only_where_they_can_change():
    x, constant = torch.randn(4), torch.tensor(2.0)
    assert torch.equal(written(lambda: [x * float(constant)], [x]).forward(x)[0], 2 * x)
    mask = torch.tensor([True, False, True, True])
    assert torch.equal(written(lambda: [x[mask]], [x]).forward(x)[0], x[mask])
    for function in (lambda: [x * float(x[0])], lambda: [x[x > 0]], lambda: [x.nonzero()], lambda: [x * bool(x.any())]):
        with pytest.raises(Unwritable):
            written(function, [x])


def test_batches_are_the_permutations_rows(build, mixed):
    """Rows of each batch are those at its index; memory and stream alike."""
    model = build("mixture", mixed)
    rows = model.rows(mixed)
    torch.manual_seed(0)
    for source in (InMemory(rows), Streamed(rows.n, lambda epoch: iter([rows]))):
        seen = []
        for index, part in source.batches(3, 200):
            expected = rows.take(index)
            assert part.n == len(index) == expected.n
            for a, b in zip(
                (*part.cells, part.group, part.weight), (*expected.cells, expected.group, expected.weight), strict=True
            ):
                assert torch.equal(a, b)
            seen.append(index)
        assert len(seen) == 200
        assert torch.cat(seen)[:200].sort().values.tolist() == list(range(200))
