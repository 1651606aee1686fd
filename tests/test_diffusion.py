"""Diffusions, scores, flows and energies against closed forms: Gaussian rows have a known score, bound and flow."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from generators import GaussianRing
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

import zoo
from zoo.errors import UserError
from zoo.estimator import Estimator
from zoo.evaluate import posterior
from zoo.evaluate.likelihood import score
from zoo.flows.angle import exact, guessed, ladder, measure, move
from zoo.model import Model
from zoo.priors.diffusion import Carried
from zoo.programs.denoiser import Told, partly, spread_out
from zoo.programs.diffusion import back, schedule_of
from zoo.programs.score import angle_of
from zoo.registry import Registry
from zoo.rows import multinomial
from zoo.rows.rows import Rows
from zoo.scope import scope
from zoo.table.infer import infer_schema

COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.5]], dtype=torch.float64)
TRUTH = MultivariateNormal(torch.zeros(2, dtype=torch.float64), COVARIANCE)


def velocity(u: Tensor, angle: Tensor) -> Tensor:
    """E[cos(a) e - sin(a) x | u] where x is Normal(0, COVARIANCE)."""
    c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
    eye = torch.eye(2, dtype=u.dtype)
    matrix = c * s * (eye - COVARIANCE) @ torch.linalg.inv(c**2 * COVARIANCE + s**2 * eye)
    return (matrix @ u[..., None])[..., 0]


RING = 1.5 * torch.stack([torch.arange(8).mul(math.pi / 4).cos(), torch.arange(8).mul(math.pi / 4).sin()], -1).double()
SIGMA = 0.03


def ring_velocity(u: Tensor, angle: Tensor) -> Tensor:
    """E[cos(a) e - sin(a) x | u] where x is one of eight Gaussians."""
    c, s = angle.cos()[:, None], angle.sin()[:, None]
    wide = c.square() * SIGMA**2 + s.square()
    away = u[:, None] - c[..., None] * RING
    share = torch.softmax(-0.5 * away.square().sum(-1) / wide, -1)[..., None]
    row = (share * (RING + (c * SIGMA**2 / wide)[..., None] * away)).sum(1)
    return c / s * (u - c * row) - s * row


class Known(nn.Module):
    """A denoiser that knows the law of the rows: Normal(0, COVARIANCE), if no other is named."""

    def __init__(self, owners: Tensor, flow=velocity):
        super().__init__()
        self.owners, self.flow = owners, flow

    def guided(self, u: Tensor, levels: Tensor, angle: Tensor, told: Told, strength: float) -> tuple[Tensor, Tensor]:
        return self.flow(u, angle), u.new_zeros(len(u), *levels.shape[1:])


def normal_table(n: int = 3000) -> pd.DataFrame:
    x = TRUTH.sample((n,))
    return pd.DataFrame(x.numpy(), columns=["a", "b"])


def knowing(build, name: str, **settings) -> tuple[Model, Rows, Tensor]:
    """(a model that knows the truth, rows, log p of each): columns in their own units, centre 0 and scale 1."""
    torch.manual_seed(1)
    frame = normal_table(400)
    model = build(name, frame, **{"program.marginals": "codec", **settings})
    model.codec.loc.zero_()
    model.codec.scale.fill_(1.0)
    model.codec._known.clear()
    assert all(c.transform == "none" for c in model.schema.numeric)
    model.program.denoiser = Known(model.program.denoiser.owners)
    truth = TRUTH.log_prob(torch.tensor(frame.to_numpy()))
    return model, model.rows(frame), truth


# ------------------------------------------------------------------------------------------------------------- the flow


def test_the_flow_of_a_gaussian_has_its_density():
    """log p along the flow, its divergence exact, or guessed without bias; there and back is where one was."""
    u = TRUTH.sample((100,))
    angles = ladder(1e-4, math.atan(200.0), 40)
    end, total = measure(exact(velocity, 2), u, angles)
    log = -0.5 * end.square().sum(-1) - math.log(2 * math.pi) + total
    truth = TRUTH.log_prob(u)
    np.testing.assert_allclose(log, truth, atol=1e-3)
    back_again = move(velocity, end, ladder(1e-4, math.atan(200.0), 100).flip(0))
    np.testing.assert_allclose(back_again, u, atol=2e-2)
    probes = [2.0 * torch.randint_like(u, 2) - 1 for _ in range(20)]
    few = ladder(1e-4, math.atan(200.0), 10)
    guesses = torch.stack([measure(guessed(velocity, p), u, few)[1] for p in probes])
    even = measure(exact(velocity, 2), u, few)[1]
    error = guesses.mean(1).std() / math.sqrt(20)  # failure rate 6e-7
    assert abs(float(guesses.mean() - even.mean())) < 5 * float(error) + 1e-9


SAID = {
    "v": velocity,
    "noise": lambda u, angle: angle.sin()[:, None] * u + angle.cos()[:, None] * velocity(u, angle),
    "x0": lambda u, angle: -angle.sin()[:, None] * velocity(u, angle),
}
"""What a network says that knows the law of the rows, by what it predicts."""


@pytest.mark.parametrize("predicts", ["noise", "x0"])
def test_what_is_predicted_changes_nothing_that_is_known(predicts, build):
    """The bound of the same law, told as noise or as rows, is that told as v."""
    bounds = []
    for said in ("v", predicts):
        model, rows, _ = knowing(build, "ddpm", **{"program.predicts": said})
        model.program.denoiser = Known(model.program.denoiser.owners, SAID[said])
        with torch.no_grad(), scope(0):
            bounds.append(model.program.log_prob(rows, 2))
    np.testing.assert_allclose(*bounds, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("predicts", ["noise", "x0"])
def test_every_kind_of_prediction_is_fitted_to_a_bound_of_use(predicts):
    """Within a nat of the truth after few steps; three seeds were within half a nat."""
    torch.manual_seed(4)
    frame = normal_table(2000)
    sets = {"program.predicts": predicts, "program.network.width": 64, "program.network.blocks": 2, "fit.steps": 800}
    estimator = Estimator("ddpm", kinds={"*": "continuous"}, settings=sets, device="cpu").fit(frame)
    truth = float(TRUTH.log_prob(torch.tensor(frame.to_numpy())).mean())
    assert truth - 1.0 < estimator.log_likelihood(frame).mean < truth + 0.1


@pytest.mark.parametrize("name", ["score-vp", "score-ve", "flow-matching"])
def test_a_known_score_gives_the_likelihood(name, build):
    model, rows, truth = knowing(build, name, **{"program.solver": 40, "program.trace": 2})
    scores = score(model, rows)
    assert scores.bound == "estimate"
    assert not scores.monte_carlo.any()
    # the ends of the path leave this: noise to signal of 0.01 there, and what is not yet noise at the other end
    np.testing.assert_allclose(scores.log_likelihood, truth, atol=0.03)
    assert abs(scores.log_likelihood.mean() - float(truth.mean())) < 5e-3
    with torch.no_grad():
        halved = model.program.solver_error(rows)
    assert halved.abs().max() < 0.02
    assert np.abs(scores.log_likelihood - truth.numpy()).max() < 0.03 + float(halved.abs().max())
    (stated,) = scores.shared
    assert stated.what == "solver"
    assert stated.error == pytest.approx(float(halved.mean().abs()), abs=5e-3)
    assert "divergence exact" in stated.says
    assert scores.to_json()["shared_errors"] == [stated._asdict()]


def test_the_divergence_by_probes_varies_as_it_says(build):
    """Over many draws of each row, their standard deviation is that of two probes; failure rate below 1e-6."""
    model, rows, _ = knowing(build, "flow-matching", **{"program.trace": 0, "program.solver": 16})
    some = rows.take(torch.arange(50))
    with torch.no_grad():
        many = model.program.log_prob(some, 60)
        told = torch.stack([model.program.trace_error(some) for _ in range(30)]).square().mean(0).sqrt()
    ratio = float(told.mean() / many.std(0).mean())
    assert 0.8 < ratio < 1.25
    (stated,) = score(model, rows).shared
    assert "random probes that vary by" in stated.says


@pytest.mark.parametrize(
    ("name", "sampler"), [("score-vp", "sde"), ("score-ve", "sde"), ("score-ve", "pc"), ("flow-matching", "ode")]
)
def test_a_known_score_draws_the_rows(name, sampler, build):
    """Their covariance, within 5 standard errors and what so many steps leave."""
    model, _, _ = knowing(build, name, **{"program.sampler": sampler, "program.walk": 200})
    x = posterior.sample(model, 4000, seed=1)
    assert np.abs(np.cov(x.T.numpy()) - COVARIANCE.numpy()).max() < 0.15
    assert x.mean(0).abs().max() < 0.1


@pytest.mark.parametrize(("sampler", "walk"), [("ancestral", 100), ("ddim", 50)])
def test_a_known_denoiser_draws_the_rows_step_by_step(sampler, walk, build):
    model, _, _ = knowing(build, "ddpm", **{"program.steps": 400, "program.sampler": sampler, "program.walk": walk})
    x = posterior.sample(model, 8000, seed=1)
    # steps without noise are of the first order: so few lose some of the spread
    assert np.abs(np.cov(x.T.numpy()) - COVARIANCE.numpy()).max() < 0.15


@pytest.mark.parametrize(
    ("name", "walk"), [("ddpm", 100), ("ddim", 20), ("score-vp", 200), ("score-ve", 200), ("flow-matching", 40)]
)
def test_a_known_score_of_narrow_modes_draws_them_as_they_are(name, walk, build):
    """By the steps of the entry itself: as much within three deviations as there should be, and as wide, both within
    5 standard errors (failure rate 6e-7) and what the steps leave; every mode has its eighth."""
    steps = {"program.steps": 1000} if name.startswith("dd") else {}
    model, _, _ = knowing(build, name, **{"program.walk": walk, **steps})
    model.program.denoiser = Known(model.program.denoiser.owners, ring_velocity)
    n = 1500
    x = posterior.sample(model, n, seed=1)
    away = torch.linalg.norm(x[:, None] - RING, dim=-1)
    share = 1 - math.exp(-4.5)
    assert float((away.amin(1) < 3 * SIGMA).double().mean()) > share - 5 * math.sqrt(share * (1 - share) / n) - 0.005
    wide = (x - RING[away.argmin(1)])[away.amin(1) < 5 * SIGMA].std() / SIGMA
    assert abs(float(wide) - 1) < 5 / math.sqrt(4 * n) + 0.06
    counts = torch.bincount(away.argmin(1), minlength=8)
    # few steps without noise favour some modes over others
    assert (counts / n - 1 / 8).abs().max() < 5 * math.sqrt(1 / 8 * 7 / 8 / n) + 0.02


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_bound_of_a_known_denoiser_is_below_the_truth_and_near(schedule, build):
    """Failure rate 6e-7."""
    model, rows, truth = knowing(build, "ddpm", **{"program.steps": 1000, "program.schedule": schedule, "terms": 30})
    scores = score(model, rows, 10)
    assert scores.bound == "lower"
    gap = float(truth.mean()) - scores.mean
    assert -5 * scores.monte_carlo_error < gap < 0.1 + 5 * scores.monte_carlo_error


def test_the_bound_is_tight_where_columns_are_independent(build, mixed):
    """A network that says nothing stands for independent columns, and every step then goes back as it should: the bound
    is the sum of the columns' own log-densities. Failure rate 6e-7."""
    model = build("ddpm", mixed, **{"program.steps": 20, "program.terms": 20})
    rows = model.rows(mixed)
    model.program.initialise(rows)
    silence(model.program.denoiser.network)
    scores = score(model, rows, 20)
    program = model.program
    expected = program.scores.encode(rows).base
    n = len(model.schema.numeric)
    codes = rows.cells.x[:, n:].long()
    own = torch.stack([program.scores.shares[b, codes[:, b]].log() for b in range(codes.shape[1])], -1)
    expected = expected + torch.where(rows.cells.seen[:, n:], own, 0.0).sum(-1)
    assert abs(scores.mean - float(expected.mean())) < 5 * scores.monte_carlo_error + 1e-9
    assert scores.monte_carlo_error < 0.4


@pytest.mark.parametrize("name", ["score-vp", "flow-matching"])
def test_a_silent_flow_stands_still(name, build, mixed):
    """No velocity, no divergence: the base density, levels among it, to the last digit."""
    model = build(name, mixed)
    rows = model.rows(mixed)
    model.program.initialise(rows)
    silence(model.program.denoiser.network)
    with torch.no_grad(), scope(0):
        got = model.program.log_prob(rows, 2)
        base = model.program.scores.encode(rows).base
        a = model.program._span[0]
        u = model.program.scores.encode(rows)
    # standard Normal rows shrink by cos(a) at the first angle, and their density is told there
    slack = u.u.square().sum(-1) * math.sin(a) ** 2 + u.seen.sum(-1) * math.sin(a) ** 2
    assert ((got - base).abs() <= 3 * slack + 1e-2).all()


def silence(network: nn.Module) -> None:
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()


# --------------------------------------------------------------------------------------------------------------- levels


def test_a_step_back_over_levels_is_bayes_rule():
    """q(x_s | x_t, x_0) sums to one, and is what enumeration gives."""
    share = torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]], dtype=torch.float64)
    keep_s, keep_t = torch.tensor([0.7], dtype=torch.float64), torch.tensor([0.4], dtype=torch.float64)
    for first in range(2):
        for now in range(2):
            codes0, codes = torch.tensor([[first, first]]), torch.tensor([[now, now]])
            x_0, x_t = multinomial.hot(codes0, 3), multinomial.hot(codes, 3)
            got = multinomial.back(x_t, x_0, keep_s, keep_t, share)
            np.testing.assert_allclose(got.sum(-1), 1.0, rtol=1e-12)
            for b in range(2):
                stay = 0.4 / 0.7
                q_s = 0.7 * x_0[0, b] + 0.3 * share[b]
                step = torch.stack([stay * multinomial.hot(torch.tensor([s]), 3)[0] + (1 - stay) * share[b]
                                    for s in range(3)])[:, now]  # fmt: skip
                np.testing.assert_allclose(got[0, b], q_s * step / (q_s * step).sum(), rtol=1e-9, atol=1e-12)
    told = torch.tensor([[[0.2, 0.5, 0.3], [0.6, 0.4, 0.0]]], dtype=torch.float64)
    np.testing.assert_allclose(multinomial.back(x_t, told, keep_s, keep_t, share).sum(-1), 1.0, rtol=1e-12)


def test_levels_are_forgotten_as_they_should():
    """Frequencies; failure rate 6e-7 for each."""
    share = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    codes = torch.full((40_000, 1), 2)
    drawn = multinomial.forgotten(codes, torch.full((40_000,), 0.6).double(), share)
    expected = multinomial.forget(multinomial.hot(codes[:1], 3), torch.tensor([0.6]).double(), share)[0, 0]
    found = torch.bincount(drawn[:, 0], minlength=3) / 40_000
    assert ((found - expected).abs() < 5 * (expected * (1 - expected) / 40_000).sqrt()).all()


# ---------------------------------------------------------------------------------------------------------- small parts


def test_schedules():
    for name in ("cosine", "linear"):
        a = schedule_of(name, 1000)
        assert float(a[0]) == 0
        assert (a.diff() > 0).all()
        assert float(a[-1].cos() ** 2) < 1e-3
    for path, first, last in (("ve", 0.01, 20.0), ("vp", 0.02, 1e2), ("line", 2e-3, 5e2)):
        ends = angle_of(path, torch.tensor([0.0, 1.0]).double()).tan()
        assert ends[0] < first * 1.1
        assert ends[1] > last * 0.9
    # for standard Normal rows a step back has the large variance, whatever the row was told to be
    u, a, b = torch.randn(5, 2).double(), torch.tensor(0.3).double(), torch.tensor(0.8).double()
    mean, small, large = back(u, b.cos() * u, a, b)
    np.testing.assert_allclose(mean, b.cos() / a.cos() * u, rtol=1e-9)
    assert small < large


def test_which_cells_are_noise():
    seen = torch.rand(5000, 4) < 0.9
    noised, clean = partly(seen, 0.2)
    assert not (noised & clean).any()
    assert not ((noised | clean) & ~seen).any()
    assert ((noised == seen).all(-1).float().mean() - 0.8).abs() < 0.1
    assert clean.any()
    assert ((seen & ~noised & ~clean).any(-1)).any()
    places = spread_out(1000, torch.device("cpu"))
    assert torch.equal((places * 1000).long().sort().values.unique(), torch.arange(1000))


def test_guidance_of_one_is_none_and_more_goes_further(build, mixed):
    model = build("ddpm", mixed, schema=infer_schema(mixed, given=["colour"]))
    with torch.no_grad():
        for p in model.program.denoiser.parameters():
            p.add_(0.1 * torch.randn_like(p))
    rows = model.rows(mixed)
    d, n = model.program.denoiser, rows.n
    told = Told(rows.cells.seen, ~rows.cells.seen, rows.given)
    u = torch.randn(n, model.program.scores.width).double()
    levels = torch.zeros(n, *d.shape).double()
    a = torch.full((n,), 0.7).double()
    with torch.no_grad():
        plain = d(u, levels, a, told)[0]
        off = d.read(u, levels, a, told, torch.zeros(n, 1))[0]
        assert torch.equal(d.guided(u, levels, a, told, 1.0)[0], plain)
        np.testing.assert_allclose(d.guided(u, levels, a, told, 3.0)[0], off + 3 * (plain - off), atol=1e-6)
    assert not torch.allclose(plain, off)


def test_guidance_of_latents(build, mixed):
    """Of one it is none, and more goes further; a fit hides what is given from some rows, so that both are learned."""
    model = build("latent-diffusion", mixed, schema=infer_schema(mixed, given=["colour"]))
    prior, given = model.program.prior, model.rows(mixed).given
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(0.1 * torch.randn_like(p))
        u, a = torch.randn(len(given), prior.dim), torch.full((len(given),), 0.7)
        told, untold = prior.velocity(u, a, given), prior.velocity(u, a, given, torch.zeros(len(given), 1))
        assert torch.equal(prior.guided(u, a, given), told)
        prior.guidance = 3.0
        torch.testing.assert_close(prior.guided(u, a, given), untold + 3 * (told - untold))
        assert not torch.allclose(told, untold)
        other = prior.velocity(u, a, given.flip(0), torch.zeros(len(given), 1))
    torch.testing.assert_close(other, untold)


# ------------------------------------------------------------------------------------------------------------- energies


class Bowl(nn.Module):
    """f(u) = -k |u|^2 / 2 + b u_1: log Z = -C/2 log(1 + k) + b^2 / (2 (1 + k))."""

    def __init__(self, k: float, b: float):
        super().__init__()
        self.k = nn.Parameter(torch.tensor(k))
        self.b = b

    def forward(self, u: Tensor) -> Tensor:
        return (-0.5 * self.k * u.square().sum(-1) + self.b * u[:, 0])[:, None]


@pytest.mark.parametrize(("k", "b"), [(0.0, 1.5), (3.0, 0.0), (3.0, 2.0)])
def test_log_z_from_both_sides(k, b, build):
    """Annealing up and down encloses a known log Z; failure rate 1e-6."""
    model = build("ebm", normal_table(200), **{"program.temperatures": 50, "program.walkers": 2000})
    model.program.network = Bowl(k, b)
    z = model.program.log_z()
    truth = -math.log(1 + k) + b**2 / (2 * (1 + k))
    assert z.low - 5 * z.low_error < truth < z.high + 5 * z.high_error
    assert abs(z.taken - truth) < 0.04 + 5 * max(z.low_error, z.high_error)
    assert z.taken + 5 * z.error > truth
    assert model.program.log_z() is z
    with torch.no_grad():
        model.program.network.k.add_(1.0)
    assert model.program.log_z() is not z


def test_an_energy_draws_by_its_density(build):
    """Mean and variance of a known tilt, within 5 standard errors; its number is the density, atoms of log Z apart."""
    model = build("ebm", normal_table(200), **{"program.temperatures": 30, "program.walkers": 2000,
                                               "program.marginals": "codec"})  # fmt: skip
    model.program.network = Bowl(3.0, 2.0)
    u = posterior.sample(model, 4000, seed=2)
    n = len(u)
    assert abs(float(u[:, 0].mean()) - 0.5) < 5 * 0.5 / math.sqrt(n) + 0.02
    assert ((u.var(0) - 0.25).abs() < 5 * 0.25 * math.sqrt(2 / n) + 0.01).all()
    rows = model.rows(model.codec.decode(u[:200]))
    got = score(model, rows)
    expected = MultivariateNormal(torch.tensor([0.5, 0.0]).double(), 0.25 * torch.eye(2).double()).log_prob(u[:200])
    unit = rows.cells.unit.sum(-1)
    np.testing.assert_allclose(got.log_likelihood, expected + unit, atol=0.05)


def test_log_z_where_columns_are_given_errs_upwards_by_what_is_stated(build):
    """A known log Z beside a mean over few draws: the stated error covers what it is off."""
    frame = normal_table(200).assign(side=np.where(np.arange(200) % 2, "a", "b"))
    sets = {"program.temperatures": 50, "program.walkers": 300, "program.marginals": "codec"}
    model = build("ebm", frame, schema=infer_schema(frame, given=["side"]), **sets)

    class OfNumbers(Bowl):
        def forward(self, u):
            return super().forward(u[:, : model.program.scores.width])

    model.program.network = OfNumbers(3.0, 2.0)
    rows = model.rows(frame)
    with torch.no_grad(), scope(0):
        own = model.program._log_z(rows, 1)[0]
        (stated,) = model.program.shared_errors(rows)
    truth = -math.log(4.0) + 4.0 / 8.0
    assert abs(float(own.mean()) - truth) < stated.error + 0.05
    assert stated.error > 0
    assert "upwards" in stated.says


def test_draws_have_settings_of_their_own(mixed):
    """ddpm's fit, drawn as ddim, gives what ddim gives of the same parameters; the fit stays as it is."""
    kept = Estimator("ddpm", settings={**Registry.load()["ddpm"].small_sets}, device="cpu").fit(mixed)
    before = kept.sample(50, seed=1)
    quick = {**Registry.load()["ddim"].small_sets, "program.walk": 3, "fit.steps": 1}
    other = Estimator("ddim", settings=quick, device="cpu").fit(mixed)
    other.model_.load_state_dict(kept.model_.state_dict())
    drawn = kept.sample(50, seed=1, settings={"sampler": "ddim", "walk": 3})
    pd.testing.assert_frame_equal(drawn, other.sample(50, seed=1))
    pd.testing.assert_frame_equal(kept.sample(50, seed=1), before)
    with pytest.raises(UserError, match="draws alone"):
        kept.sample(5, settings={"width": 8})
    with pytest.raises(UserError, match="sampler"):
        kept.sample(5, settings={"sampler": "no such"})
    with pytest.raises(UserError, match=r"fit again|draws alone"):
        Estimator("independent", device="cpu").fit(mixed).sample(5, settings={"steps": 1})


def test_the_solver_of_a_latent_density_is_stated(continuous, build):
    """Nothing before the prior settles; then half as many steps are off by more than all steps are."""
    model = build("latent-diffusion", continuous, **{"program.prior.solver": 8})
    rows, prior = model.rows(continuous), model.program.prior
    assert model.program.shared_errors(rows) == []
    with scope(0), torch.no_grad():
        prior.settle(torch.randn(200, prior.dim))
        (stated,) = model.program.shared_errors(rows)
        density = Carried(prior, rows.given)
        z = density.sample()
        off = (density.along(z, 8) - density.along(z, 64)).mean().abs()
    assert stated.what == "solver"
    assert float(off) < stated.error + 1e-3
    assert "latents" in score(model, rows, 5).shared[0].says


def test_telling_rows_from_noise_finds_the_density_and_its_constant(build):
    """NCE of one correlated pair on scores: the number is the truth within what is left of fitting."""
    from zoo.fitting.loop import fit
    from zoo.fitting.settings import FitSettings

    torch.manual_seed(3)
    frame = normal_table(3000)
    model = build("nce", frame, **{"program.network.hidden": [32], "program.temperatures": 30,
                                   "program.walkers": 500, "objective.noise": 2})  # fmt: skip
    rows = model.rows(frame)
    fit(model, rows, None, FitSettings(steps=250, learning_rate=1e-2, patience=0))
    truth = TRUTH.log_prob(torch.tensor(frame.to_numpy()))
    found = score(model, rows.take(torch.arange(500)))
    assert abs(found.mean - float(truth[:500].mean())) < 0.1
    z = model.program.log_z()
    assert abs(z.taken) < 0.1  # the network's own constant is log Z
    (stated,) = found.shared
    assert stated.error == z.error > max(z.low_error, z.high_error)
    assert not found.monte_carlo.any()  # the columns are numbers, and nothing else is drawn


# ---------------------------------------------------------------------------------------------------------- whole fits


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("flow-matching", 1000), ("score-ve", 1000)])  # of a kind with the others
def test_every_mode_of_a_ring_is_drawn(name, steps):
    ring = GaussianRing()
    small = {"fit.steps": steps, "fit.batch": 256, "program.network": {"use": "residual", "width": 128, "blocks": 2}}
    settings = small | {"program.marginals": "scores"}
    made = Estimator(name, settings=settings, kinds={"*": "continuous"}, seed=0, device="cpu")
    frame = ring.sample(5000, np.random.default_rng(0))
    made.fit_parts(frame[:4940], frame[4940:], infer_schema(frame, kinds={"*": "continuous"}))
    covered, within = ring.covered(made.sample(2000))
    assert covered == 8
    assert within > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddpm", "flow-matching"])
def test_draws_are_of_all_rows_where_those_with_every_cell_are_of_a_kind(name):
    """Three rows in ten are of the kind whose deck is known, nine times in ten; of the others it is in two of ten.

    What the kind says of the column that is always seen holds in draws, and so does what their decks are.
    """
    rng = np.random.default_rng(0)
    rich = rng.random(2000) < 0.3
    known = rng.random(2000) < np.where(rich, 0.9, 0.2)
    deck = np.where(rng.random(2000) < np.where(rich, 0.8, 0.1), "high", "low")
    frame = pd.DataFrame({"fare": 4.0 * rich + rng.normal(size=2000), "deck": np.where(known, deck, None)})
    settings = {"fit.steps": 1000, "fit.learning_rate": 4e-3, "program.network.width": 64, "program.walk": 40}
    drawn = Estimator(name, settings=settings, seed=0, device="cpu").fit(frame).sample(2000)
    kind = drawn["fare"] > 2
    assert kind.mean() == pytest.approx(0.3, abs=0.05)  # 0.66 of rows with every cell
    high = [float((drawn["deck"][those] == "high").mean()) for those in (kind, ~kind)]
    assert high[0] > 0.6, high  # 0.8 and 0.1 in the end; drawn all at once they are alike
    assert high[1] < 0.4, high


FOLDER = Path(zoo.__file__).parents[1].parent / "shared" / "data"


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.is_dir(), reason="no folder of tables")
def test_draws_of_a_real_table_have_its_shapes_and_more_of_its_trends_than_independent_columns():
    from benchmarks.synthesis import coded, shapes, trends
    from benchmarks.synthetic_tables import load

    frame, schema = load("shoppers", FOLDER)
    order = np.random.default_rng(0).permutation(len(frame))
    train, test = frame.iloc[order[:9800]], frame.iloc[order[9800:]]
    found = {}
    for name, settings in (
        ("ddpm", {"fit.steps": 500, "program.network.width": 128, "program.walk": 50}),
        ("independent", {}),
    ):
        estimator = zoo.Estimator(name, settings=settings, seed=0).fit_parts(train, None, schema)
        both = coded(test, schema), coded(estimator.sample(len(test)), schema)
        found[name] = shapes(*both, schema), trends(*both, schema)
    print(found)
    assert found["ddpm"][0] > 0.97, found
    assert found["ddpm"][1] > found["independent"][1] + 0.01, found
