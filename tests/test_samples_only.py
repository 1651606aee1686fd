"""What is fitted without a likelihood: draws with gradients, distances, games, and what is said of them."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from generators import GaussianGrid, GaussianRing
from scipy import stats
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import zoo
from zoo.errors import UserError
from zoo.estimator import Estimator
from zoo.evaluate import posterior
from zoo.fitting.average import Average
from zoo.fitting.loop import fit
from zoo.fitting.settings import FitSettings
from zoo.model import Model
from zoo.objectives.adversarial import Adversarial, log_given
from zoo.objectives.critic import Neighbours
from zoo.objectives.elbo import elbo_of_rows
from zoo.objectives.samples import drawn, drawn_rows, real, run, told
from zoo.objectives.transport import divergence
from zoo.objectives.turn import Turn
from zoo.objectives.two_sample import Sampled, coverage, discrepancy, energy_distance, precision, pulls
from zoo.recipe import Recipe
from zoo.registry import Registry
from zoo.rows.relaxed import relaxed
from zoo.scope import scope
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema

KINDS = ("straight-through", "gumbel", "score")


def spiked(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """A number that is zero in half of the rows, a rounded one, a level and a yes or no; some cells missing."""
    rng = np.random.default_rng(seed)
    here = rng.random(n) < 0.5
    frame = pd.DataFrame(
        {
            "rain": np.where(here, 0.0, np.exp(rng.normal(size=n))),
            "age": rng.integers(20, 60, n).astype(float),
            "wet": np.where(here, "no", "yes"),
            "colour": rng.choice(["red", "green", "blue"], n),
        }
    )
    holes = rng.random(frame.shape) < 0.1
    return frame.mask(holes)


@pytest.fixture(scope="module")
def generator() -> tuple[Model, pd.DataFrame]:
    frame = spiked()
    recipe = Registry.load()["gan"].small()
    model = Model(recipe, Codec.fit(infer_schema(frame), frame))
    with scope(0):
        model.initialise(model.rows(frame))
    return model, frame


# --------------------------------------------------------------------------------------------- draws with gradients


def test_the_table_has_what_is_tested(generator):
    schema = generator[0].schema
    assert schema.spiked
    assert schema.has_lattice
    assert schema.has_missing
    assert len(schema.binary) == len(schema.categorical) == 1


@pytest.mark.parametrize("levels", KINDS)
def test_draws_are_laid_out_as_rows_are(levels, generator):
    """Hard draws are features of rows: read as rows and written as features again they are the same."""
    model, frame = generator
    rows = model.rows(frame)
    with torch.no_grad(), scope(1):
        x = drawn(model, rows, levels)
    schema, flags = model.schema, x[:, -len(model.schema.modelled) :]
    assert x.shape == rows.features().shape
    assert torch.equal(flags, rows.cells.seen.float())
    plain = len(schema.numeric) + len(schema.binary)
    begin = plain
    for size, owner in zip(schema.blocks, [*range(plain, len(schema.modelled)), *schema.spiked], strict=True):
        block = x[:, begin : begin + size]
        torch.testing.assert_close(block.sum(1), flags[:, owner])  # one level where seen, none where not
        if levels != "gumbel":
            assert set(block.unique().tolist()) <= {0.0, 1.0}
        begin += size
    assert (x[:, :plain][~rows.cells.seen[:, :plain]] == 0).all()
    # an atom's number is the atom's place
    (j,) = schema.spiked
    atom = (x[:, begin - schema.blocks[-1] + 1 : begin] > 0.999).any(1)
    if levels != "gumbel":
        places = model.codec.atom_places[j].float()
        assert atom.any()
        assert (x[atom, j][:, None] - places).abs().amin(1).max() < 1e-5


def test_draws_come_as_often_as_the_density_says(generator):
    """Levels of hard draws against the density's masses, atoms among them. Failure rate 1e-6 for each."""
    model, _ = generator
    rows = model.blank(4000)
    with torch.no_grad(), scope(2):
        first = run(model.program, rows).latents
        latents = {name: value[:1].expand(4000, *value.shape[1:]) for name, value in first.items()}
        density = run(model.program, rows, latents).density
        x = relaxed(density, rows, "score").features
        exact = density.sample()
    schema = model.schema
    begin, plain = len(schema.numeric) + len(schema.binary), len(schema.numeric) + len(schema.binary)
    for b, size in enumerate(schema.blocks):
        drawable = size - 1 if b < len(schema.categorical) else size
        masses = density.levels.block(b, drawable).exp()[0].numpy()
        counts = x[:, begin : begin + drawable].sum(0).numpy()
        expected = masses / masses.sum() * 4000
        keep = expected > 5
        if keep.sum() > 1:
            expected *= counts[keep].sum() / expected[keep].sum()
            assert stats.chisquare(counts[keep], expected[keep]).pvalue > 1e-6
        begin += size
    for j in range(plain):
        ours, theirs = x[:, j].numpy(), exact[:, j].clamp(-8, 8).numpy()
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-6


@pytest.mark.parametrize("levels", KINDS)
def test_the_gradient_of_a_levels_mass(levels):
    """d/d logit of P(yes) for one binary column at logit 0.4: sigma(1 - sigma), up to the bias of the relaxation.

    The score estimator has none: within 5 of its standard errors, failure rate 6e-7.
    """
    frame = pd.DataFrame({"answer": np.tile(["no", "yes"], 5000)})
    model = Model(Registry.load()["gan"].small(), Codec.fit(infer_schema(frame), frame))
    rows = model.blank(20_000)
    logit = torch.full((20_000, 1), 0.4, dtype=torch.float64, requires_grad=True)
    with scope(3):
        draw = relaxed(model.heads(logit), rows, levels, 0.3)
    yes = draw.features[:, 0]
    loss = yes + (yes - yes.mean()).detach() * draw.log_mass if levels == "score" else yes
    (each,) = torch.autograd.grad(loss.sum(), logit)
    s = 1 / (1 + math.exp(-0.4))
    error = float(each.std() / math.sqrt(len(each)))
    slack = 0.0 if levels == "score" else 0.02
    assert float(each.mean()) == pytest.approx(s * (1 - s), abs=5 * error + slack)


def test_real_rows_lie_in_their_cells(generator):
    model, frame = generator
    rows = model.rows(frame)
    with scope(4):
        x = real(rows)
    n = len(model.schema.numeric)
    inside = (x[:, :n] >= rows.cells.lo.float() - 1e-5) & (x[:, :n] <= rows.cells.hi.float() + 1e-5)
    assert (inside | (rows.cells.atom > 0) | ~rows.cells.seen[:, :n]).all()
    assert torch.equal(x[:, n:], rows.features()[:, n:])
    again = rows.filled(rows.cells.x, rows.cells.seen)
    torch.testing.assert_close(again.features(), rows.features())
    assert torch.equal(drawn_rows(model, rows).cells.seen, rows.cells.seen)


def test_a_program_of_a_joint_density_is_refused(continuous, build):
    recipe = Registry.load()["mmd-generator"].set("program", "gaussian")
    model = build(recipe, continuous)
    with pytest.raises(UserError, match="a predictor of all columns"):
        model.objective.loss(model, model.rows(continuous))


# ----------------------------------------------------------------------------------------------------- distances


def clouds(shift: float, n: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 2)), rng.normal((shift, 0.0), size=(n, 2))
    return torch.tensor(x), torch.tensor(y), torch.ones(n, dtype=torch.float64)


def test_distances_of_samples_of_one_distribution_are_zero_on_average():
    """Without bias: the mean over 200 pairs of samples within 4 standard errors of 0, failure rate 6e-5 for each."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(200):
        x, y = (torch.tensor(rng.normal(size=(40, 2))) for _ in range(2))
        w = torch.ones(40)
        found.append([float(discrepancy(x, y, w)), float(energy_distance(x, y, w))])
    means, errors = np.mean(found, 0), np.std(found, 0, ddof=1) / math.sqrt(200)
    assert (np.abs(means) < 4 * errors).all()


def test_the_energy_distance_is_that_of_the_literature():
    x, y, w = clouds(1.0)
    ours = float(energy_distance(x[:, :1], y[:, :1], w))
    biased = stats.energy_distance(x[:, 0], y[:, 0]) ** 2
    # scipy's counts pairs of a row with itself, which are 1/n of all
    assert ours == pytest.approx(biased, abs=4 * 1.2 / len(x))
    heavy = torch.tensor([2.0, 1.0, 1.0]), torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.5], [2.0], [2.5]])
    a, b = heavy[1].numpy(), heavy[2].numpy()
    p = np.outer([2, 1, 1], [2, 1, 1]) / 16
    inner = [(p * cdist(u, u)).sum() / (p.sum() - np.diag(p).sum()) for u in (a, b)]
    expected = 2 * (p * cdist(a, b)).sum() - sum(inner)
    assert float(energy_distance(heavy[1], heavy[2], heavy[0])) == pytest.approx(expected, abs=1e-6)


def test_sinkhorn_tends_to_optimal_transport():
    """At a small blur the divergence is the cost of the best assignment, and its gradient that of the assignment."""
    x, y, w = clouds(1.5, 60)
    y.requires_grad_()
    value = divergence(x, y, w, blur=0.01, scale=0.9, ends=300)
    cost = 0.5 * cdist(x, y.detach(), "sqeuclidean")
    i, j = linear_sum_assignment(cost)
    assert value.item() == pytest.approx(cost[i, j].mean(), rel=5e-3)
    (gradient,) = torch.autograd.grad(value, y)
    expected = np.zeros((60, 2))
    expected[j] = (y.detach().numpy()[j] - x.numpy()[i]) / 60
    # every row is carried whole, wherever assignments that are nearly as good take it
    np.testing.assert_allclose(gradient.sum(0), expected.sum(0), rtol=0.05)
    assert (gradient.numpy() * expected).sum() / np.square(expected).sum() == pytest.approx(1.0, abs=0.05)
    assert float(divergence(x, x.clone(), w, blur=0.05)) == pytest.approx(0.0, abs=1e-4)


def test_coverage():
    x, y, _ = clouds(0.0)
    assert float(coverage(x, y)) == pytest.approx(1 - 0.5**5, abs=0.06)
    assert float(coverage(x, y[:1].expand_as(y))) < 0.05


def test_draws_that_leave_rows_out_are_told_from_draws_beside_them():
    x, y, _ = clouds(0.0)
    assert float(precision(x, y)) > 0.9
    few = x[:1].expand_as(x)
    assert float(precision(x, few)) == 1
    assert float(precision(x, y + 50)) == 0
    for draws, word in ((few, "collapsed"), (y + 50, "beside")):
        look = {"coverage": float(coverage(x, draws)), "precision": float(precision(x, draws))}
        (note,) = Sampled().notes(look)
        assert word in note
    assert Sampled().notes({"coverage": float(coverage(x, y)), "precision": 1.0}) == []


def test_draws_agree_best_where_they_are_of_the_rows_distribution():
    """True draws agree best; those that leave a third out, or have twice the noise, less; copies of one row least."""
    r = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])

    def made(spread: float = 0.3, of: int = 3) -> torch.Tensor:
        return centres[torch.randint(of, (300,), generator=r)] + spread * torch.randn(300, 2, generator=r)

    class Fixed(Sampled):
        def __init__(self, draw):
            super().__init__()
            self.draw = draw

        def beside(self, model, rows):
            return made(), self.draw(), torch.ones(300)

    draws = (made, lambda: made(0.6), lambda: made(of=2), lambda: made()[:1].expand(300, 2))
    true, blurred, left_out, one = (float(Fixed(draw).agreement(None, None)) for draw in draws)
    assert true == pytest.approx(1 - 0.5**5, abs=0.45)  # five deviations
    assert one < left_out < true - 0.1
    assert blurred < true - 0.1


def test_what_a_draw_adds_to_the_energy_distance_leads_as_the_distance_does():
    """Three draws of a coin: over all eight outcomes the reward's gradient is that of the expected distance."""
    x, w = torch.tensor([[0.0], [1.0], [1.0]], dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    logit = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    expected, led = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for outcome in itertools.product((0.0, 1.0), repeat=3):
        y = torch.tensor(outcome, dtype=torch.float64)[:, None]
        log = torch.distributions.Bernoulli(logits=logit).log_prob(y[:, 0])
        chance = log.sum().exp()
        expected = expected + chance * energy_distance(x, y, w)
        led = led + chance.detach() * (pulls(x, y, w) * log).mean()
    truth, found = (torch.autograd.grad(value, logit, retain_graph=True)[0] for value in (expected, led))
    assert float(found) == pytest.approx(float(truth), rel=1e-9)
    assert abs(float(truth)) > 0.01


# ----------------------------------------------------------------------------------------------------------- games


def test_losses_of_a_game():
    """At scores 0 the entropy is 2 log 2; the non-saturating generator's gradient stays where minimax' vanishes."""
    from zoo.objectives.adversarial import LOSSES

    zero = torch.zeros(3)
    assert torch.allclose(LOSSES["non-saturating"][0](zero, zero), torch.full((3,), 2 * math.log(2)))
    losing = torch.tensor(-20.0, requires_grad=True)
    slopes = {name: float(torch.autograd.grad(LOSSES[name][1](losing), losing)[0]) for name in LOSSES}
    assert slopes["non-saturating"] == pytest.approx(-1)
    assert slopes["minimax"] == pytest.approx(0, abs=1e-6)
    assert slopes["hinge"] == slopes["wasserstein"] == -1


def test_a_gradient_penalty_is_that_of_a_linear_critic(continuous, build):
    model = build("wgan-gp", continuous, **{"objective.waves": 0, "objective.network": {"use": "linear"}})
    rows = model.rows(continuous)
    weight = model.objective.critic.network.weight
    x, y = real(rows), drawn(model, rows).detach()
    penalty = model.objective._slope(x, y)
    assert torch.allclose(penalty, (weight.norm() - 1).square().expand(rows.n), atol=1e-5)


def test_a_clipped_critic_stays_in_its_box(continuous, build):
    model = build("wgan", continuous, **{"objective.clip": 0.01})
    model.objective.critic_loss(model, model.rows(continuous))
    assert max(float(p.detach().abs().max()) for p in model.objective.critic.parameters()) <= 0.01


def test_a_spectral_critic_is_no_steeper_than_its_waves(continuous, build):
    """Each map's largest singular value is about 1, after the power iterations of some steps."""
    model = build("hinge-gan", continuous)
    model.train()
    for _ in range(30):
        model.objective.critic_loss(model, model.rows(continuous))
    for module in model.objective.critic.modules():
        if isinstance(module, torch.nn.Linear):
            assert float(torch.linalg.matrix_norm(module.weight.detach(), 2)) == pytest.approx(1.0, abs=0.05)


def test_minibatch_discrimination_counts_neighbours():
    module = Neighbours(3, 2)
    x = torch.randn(5, 3)
    at = module.map(x).view(5, 2, 4).detach()
    expected = torch.tensor([[sum(math.exp(-float((at[i, b] - at[j, b]).abs().sum())) for j in range(5)) / 5
                              for b in range(2)] for i in range(5)])  # fmt: skip
    torch.testing.assert_close(module(x).detach(), expected)


def test_what_a_classifier_says_of_given_columns():
    frame = pd.DataFrame(
        {"x": np.arange(6.0) ** 1.5, "kind": list("abcabc"), "size": [0.1, 0.7, np.nan, 2.2, 1.9, 0.3]}
    )
    model = Model(Registry.load()["acgan"].small(), Codec.fit(infer_schema(frame, given=["kind", "size"]), frame))
    rows = model.rows(frame)
    said = torch.randn(6, model.schema.given)
    log = log_given(model.schema, said, rows.given)
    kind = said[:, :4].log_softmax(1)[torch.arange(6), torch.tensor([0, 1, 2, 0, 1, 2])]
    size = -0.5 * (said[:, 5] - rows.given[:, 5]).square() * torch.tensor([1, 1, 0, 1, 1, 1])
    torch.testing.assert_close(log, kind + size)


@pytest.mark.parametrize("name", ["cgan", "acgan"])
def test_a_conditional_gan_needs_what_is_given(name, continuous):
    with pytest.raises(UserError, match="given"):
        Model(Registry.load()[name].small(), Codec.fit(infer_schema(continuous), continuous))


@pytest.mark.parametrize("loss", ["hinge", "wasserstein"])
def test_a_guide_that_does_not_infer_is_refused(loss, continuous):
    recipe = Registry.load()["bigan"].small().with_settings({"guide": "none", "objective.loss": loss})
    with pytest.raises(UserError, match="take guide = 'encoder'"):
        Model(recipe, Codec.fit(infer_schema(continuous), continuous))


@pytest.mark.slow
def test_a_generator_begins_as_a_mixture():
    """Of a grid of 25 modes it covers all before its first step, and 9 of 10 draws are within 3 sigma."""
    grid = GaussianGrid()
    frame = grid.sample(4000, np.random.default_rng(0))
    model = Model(Registry.load()["gan"], Codec.fit(infer_schema(frame), frame))
    with scope(0):
        model.initialise(model.rows(frame))
    covered, within = grid.covered(model.codec.decode(posterior.sample(model, 2000)))
    assert covered == 25
    assert within > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gan", "energy-generator"])
def test_modes_are_kept(name):
    """A ring of eight modes after 400 steps. Failure rate: none in 20 seeds of the ring."""
    ring = GaussianRing()
    frame = ring.sample(3000, np.random.default_rng(0))
    kept = Estimator(name, settings={"fit.steps": 400}, device="cpu").fit(frame)
    covered, within = ring.covered(kept.sample(2000))
    assert covered == 8
    assert within > 0.9


def test_collapse_is_told():
    """A generator that says one row reaches next to none of the others, and its fit says so."""
    frame = GaussianRing().sample(600, np.random.default_rng(0))
    model = Model(Registry.load()["gan-minimax"].small(), Codec.fit(infer_schema(frame), frame))
    with torch.no_grad():
        for p in model.program.decode.parameters():
            p.zero_()
        model.program.decode[-1].bias[0] = 2 / frame["a"].std()  # in one of the modes
        model.program.decode[-1].bias[2:] = -5.0
    look = model.objective.watch(model, model.rows(frame))
    assert look["coverage"] < 0.1
    assert 0 <= look["critic_accuracy"] <= 1
    (note,) = model.objective.notes(look)
    assert "collapsed" in note
    assert model.objective.notes({"coverage": 0.95}) == []


# ------------------------------------------------------------------------------------------------------------- fits


def test_the_history_tells_the_game(fitted, estimator, continuous):
    frame = continuous
    kept = Estimator("gan", settings={**Registry.load()["gan"].small_sets}, device="cpu").fit(frame)
    look = kept.fitted_.history[-1]
    names = {"critic_loss", "critic_gradient", "generator_loss", "generator_gradient", "critic_accuracy", "coverage"}
    assert names <= set(look)
    assert all(math.isfinite(v) for v in look.values())
    assert kept.fitted_.kept in [*kept.fitted_.history, kept.fitted_.kept | {"step": 0.0}]
    assert {"coverage", "critic_accuracy"} <= set(kept.fitted_.kept)


def test_a_start_that_is_kept_and_has_collapsed_is_told(pair, monkeypatch):
    """No look beats it, and its draws reach few of the rows."""
    monkeypatch.setattr(Adversarial, "agreement", lambda self, model, rows: torch.zeros(()))
    monkeypatch.setattr("zoo.objectives.two_sample.coverage", lambda x, y: torch.tensor(0.1))
    recipe = Registry.load()["gan"].small().with_settings({"fit.steps": 30})
    model = Model(recipe, Codec.fit(infer_schema(pair), pair))
    rows = model.rows(pair)
    done = fit(model, rows, rows, FitSettings(**recipe.fit))
    assert done.kept["step"] == 0
    assert any("start, which was kept" in note for note in done.notes)
    assert any("collapsed" in note for note in done.notes)


@pytest.mark.parametrize("name", ["ddpm", "latent-diffusion", "nce", "gan"])
def test_looks_judge_by_draws_and_seldom_where_these_are_dear(name, mixed, tmp_path):
    """The others tell the loss alone, and what is kept is the best of those that judged."""
    settings = {**Registry.load()[name].small_sets, "fit.steps": 450, "fit.keep": "best", "fit.patience": 0}
    made = Estimator(name, settings=settings, device="cpu").fit_parts(mixed[:120], mixed[120:], infer_schema(mixed))
    history, kept = made.fitted_.history, made.fitted_.kept
    judged = {look["step"]: look["validation"] for look in history if "validation" in look}
    assert [look["step"] for look in history] == [25.0 * i for i in range(1, 19)]
    often = 25 if name == "gan" else 75
    assert list(judged) == [float(step) for step in range(often, 451, often)]
    rows = made.model_.rows(mixed[120:])
    with torch.no_grad(), scope(0):
        assert kept["validation"] == pytest.approx(float(made.model_.objective.agreement(made.model_, rows)), abs=1e-6)
    if name != "latent-diffusion":  # which starts anew with its second part
        assert kept["validation"] >= max(judged.values()) - (1e-4 if name == "gan" else 0.03)
    made.save(tmp_path / "run")
    again = zoo.load(tmp_path / "run").fitted_.history
    assert [set(look) for look in again] == [set(look) for look in history]


def test_few_rows_are_no_judge(mixed):
    """They would as soon keep a start that knows nothing."""
    settings = {**Registry.load()["ddpm"].small_sets, "fit.steps": 50}
    made = Estimator("ddpm", settings=settings, device="cpu").fit_parts(mixed[:190], mixed[190:], infer_schema(mixed))
    assert made.fitted_.kept["step"] == 50
    assert not any("validation" in look for look in made.fitted_.history)
    assert any("10 validation rows are too few" in note for note in made.fitted_.notes)


def test_a_running_mean():
    p = torch.nn.Parameter(torch.zeros(2))
    average = Average([p], 0.9)
    expected = torch.zeros(2)
    for step in range(1, 60):
        with torch.no_grad():
            p.fill_(float(step))
        average.take_in()
        decay = min(0.9, step / (step + 10))
        expected = decay * expected + (1 - decay) * step
    with average.shown():
        torch.testing.assert_close(p.detach(), expected)
    assert float(p.detach()[0]) == 59.0
    average.stay()
    torch.testing.assert_close(p.detach(), expected)


class Breaks(Adversarial):
    """A game whose generator's loss is no number at its 30th call."""

    calls = 0

    def generator_loss(self, model, rows):
        self.calls += 1
        return super().generator_loss(model, rows) * (math.nan if self.calls == 30 else 1.0)


def test_a_fit_that_breaks_off_goes_back(pair):
    recipe = Registry.load()["gan"].small().with_settings({"objective": f"{__name__}:Breaks", "fit.steps": 60})
    model = Model(recipe, Codec.fit(infer_schema(pair), pair))
    rows = model.rows(pair)
    done = fit(model, rows, rows, FitSettings(**recipe.fit))
    assert "not finite at step 33" in done.stopped
    assert "went back to what it was at step 25" in done.stopped
    assert any("broke off" in note for note in done.notes)
    assert torch.isfinite(posterior.sample(model, 50)).all()


def moments(model, rows, *, power: int = 2):
    x, y = real(rows), drawn(model, rows)
    return sum((x.pow(k).mean(0) - y.pow(k).mean(0)).square().sum() for k in range(1, power + 1))


def test_a_loss_of_ones_own_is_one_function(pair):
    """Matching two moments of each column matches them. No number is claimed, and the setting is one."""
    recipe = Recipe.from_table(
        "mine",
        {
            "program": {"use": "latent", "dim": 2, "network": "linear", "noise": "column"},
            "objective": {"use": f"{sys.modules[__name__].__name__}:moments", "power": 2},
        },
    ).check()
    wide = pair.assign(c=np.random.default_rng(0).normal(size=len(pair)))
    model = Model(recipe, Codec.fit(infer_schema(wide), wide))
    rows = model.rows(wide)
    assert model.bound() == "none"
    assert model.verbs == ["sample"]
    done = fit(model, rows, rows, FitSettings(steps=200, batch=200, learning_rate=0.02, patience=0))
    assert "validation" in done.history[-1]
    assert next(iter(model.objective.turns(model))).name == ""
    x = posterior.sample(model, 4000)
    assert torch.allclose(x.mean(0), rows.cells.x.mean(0), atol=0.15)
    assert torch.allclose(x.std(0), rows.cells.x.std(0), atol=0.2)


def test_truncated_latents(continuous, build):
    """Draws of a linear generator with latents within half a deviation have a smaller spread; others are refused."""
    model = build("ppca", continuous)
    model.program.decode.weight.data.fill_(3.0)
    full, cut = posterior.sample(model, 2000), posterior.sample(model, 2000, truncation=0.5)
    assert (cut.std(0) < 0.6 * full.std(0)).all()
    with pytest.raises(UserError, match="no Normal latent"):
        posterior.sample(build("mixture", continuous), 10, truncation=1.0)
    with pytest.raises(UserError, match="above 0"):
        posterior.sample(model, 10, truncation=0.0)


def test_score_gradients_go_with_levels(levels, build):
    model = build("gan", levels, **{"objective.levels": "score"})
    rows = model.rows(levels)
    drawn_, _ = told(model, rows, "score", 0.5)
    parameters = list(model.program.parameters())
    for value, moves in ((drawn_.features, False), (drawn_.log_mass, True)):
        gradients = torch.autograd.grad(value.sum(), parameters, retain_graph=True, allow_unused=True)
        assert any(g is not None and g.any() for g in gradients) == moves
    turn = next(t for t in model.objective.turns(model) if t.name == "generator")
    assert isinstance(turn, Turn)
    gradients = torch.autograd.grad(turn.loss(rows), turn.parameters)
    assert any(g.any() for g in gradients)


def test_what_keeps_its_likelihood_is_chosen_by_it(continuous, build):
    model = build("vae-gan", continuous)
    rows = model.rows(continuous)
    with torch.no_grad(), scope(0):
        found = model.objective.agreement(model, rows)
    with torch.no_grad(), scope(0):
        bound = elbo_of_rows(model, rows, 10).mean()
    torch.testing.assert_close(found, bound)


@pytest.mark.slow
def test_a_critic_of_latents_finds_their_density_ratio(continuous, build):
    """A guide that draws Normal(1, 0.5^2) whatever the row: the fitted score is log q - log p where q lies."""
    sets = {"program.dim": 1, "guide.network": {"use": "linear"}, "objective.network.hidden": [32, 32]}
    model = build("adversarial-vb", continuous, **sets)
    (network,) = model.guide.networks.values()
    with torch.no_grad():
        network.weight.zero_()
        network.weight[0, -1] = 0.5
        network.bias.fill_(1.0)
    rows, objective = model.rows(continuous), model.objective
    optimiser = torch.optim.Adam(objective.critic.parameters(), lr=5e-3)
    with scope(0):
        for _ in range(400):
            optimiser.zero_grad()
            objective.critic_loss(model, rows).backward()
            optimiser.step()
    z = torch.linspace(0.0, 2.0, 9)[:, None]
    truth = stats.norm(1, 0.5).logpdf(z.numpy()) - stats.norm(0, 1).logpdf(z.numpy())
    with torch.no_grad():
        found = torch.stack([objective.score(one.expand(rows.n, 1), rows).mean() for one in z])
    np.testing.assert_allclose(found.numpy(), truth[:, 0], atol=0.3)
    assert objective.watch(model, rows)["critic_accuracy"] > 0.7


LINE = pd.DataFrame(
    np.random.default_rng(0).normal(size=(1500, 1)) * [1.0, -2.0, 3.0]
    + 0.3 * np.random.default_rng(1).normal(size=(1500, 3)),
    columns=["a", "b", "c"],
)
"""Three columns of one latent."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adversarial-vb", "aae", "vae-gan"])
def test_latents_of_a_game_are_those_of_the_rows(name):
    """Embeddings go with the one latent that there is, and those of all rows lie as the prior does."""
    sets = {"program.dim": 1, "fit.steps": 400, "fit.learning_rate": 2e-3}
    kept = Estimator(name, settings=sets, device="cpu").fit(LINE)
    z = kept.transform(LINE)[:, 0]
    assert abs(np.corrcoef(z, LINE["c"])[0, 1]) > 0.95
    assert abs(z.mean()) < 0.3
    assert 0.7 < z.std() < 1.3
    drawn = kept.sample(2000)
    np.testing.assert_allclose(drawn.corr(), LINE.corr(), atol=0.15)


@pytest.mark.slow
def test_an_encoder_of_a_game_tells_what_draws_were_made_with():
    kept = Estimator("bigan", settings={"program.dim": 1, "fit.steps": 250}, device="cpu").fit(LINE)
    model = kept.model_
    with torch.no_grad(), scope(1):
        made, latents = told(model, model.rows(LINE), "straight-through", 0.5)
        (q,) = model.guide.encode(made.features).values()
    assert abs(np.corrcoef(q.mean[:, 0], latents["z"][:, 0])[0, 1]) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cgan", "acgan"])
def test_draws_of_a_conditional_gan_follow_what_is_given(name):
    """Two classes five deviations apart: at least 90% of the draws lie on the side that was asked for."""
    rng = np.random.default_rng(0)
    side = rng.integers(0, 2, 1500)
    frame = pd.DataFrame({"x": 5.0 * side + rng.normal(size=1500), "side": np.where(side, "right", "left")})
    kept = Estimator(name, settings={"fit.steps": 500}, given="side", device="cpu").fit(frame)
    for level, right in (("left", False), ("right", True)):
        drawn = kept.sample(500, given={"side": level})
        assert ((drawn["x"] > 2.5) == right).mean() > 0.9


@pytest.mark.slow
def test_codes_find_clusters(complete_mixed):
    """infogan's codes are of the rows that they made: what its guide says of draws is how they were made."""
    ring = GaussianRing()
    frame = ring.sample(2000, np.random.default_rng(0))
    sets = {"program.prior.components": 8, "fit.steps": 300, "fit.keep": "last"}
    kept = Estimator("infogan", settings=sets, device="cpu").fit(frame)
    modes = ring.nearest(frame)
    table = pd.crosstab(kept.predict(frame), modes)
    assert table.to_numpy().max(axis=1).sum() / len(frame) > 0.9
    assert kept.transform(frame).shape == (2000, 2)


@pytest.mark.slow
def test_codes_are_read_of_the_generator_that_is_kept(monkeypatch):
    """No look beats the start: the guide, which knew nothing then, learns what the start's draws were made with."""
    monkeypatch.setattr(Adversarial, "agreement", lambda self, model, rows: torch.zeros(()))
    frame = GaussianRing().sample(500, np.random.default_rng(0))
    sets = {"program.prior.components": 8, "fit.steps": 300, "fit.keep": "best"}
    model = Estimator("infogan", settings=sets, device="cpu").fit(frame).model_
    with torch.no_grad(), scope(1):
        rows = model.rows(frame)
        made, latents = told(model, rows, "straight-through", 0.5)
        levels = model.guide.read(made.features)[0].argmax(1)
    assert float((levels == latents["cluster"]).double().mean()) > 0.9
