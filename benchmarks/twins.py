"""The algorithms of `benchmarks.steps` by hand in PyTorch, and as stock Pyro has them where that makes sense.

A twin's `players()` are losses of a batch (n, COLUMNS) of numbers in standard deviations, each with the parameters that
it moves; `stock()` and `elbo` are its form in Pyro.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as T
import torch
import zuko
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn
from torch.distributions import biject_to
from torch.nn.functional import softplus

ROWS, COLUMNS, BATCH = 4096, 8, 256
HIDDEN, DIM, K = (128, 128), 4, 10
CONTEXT, MASKED = 32, (64, 64)

Loss = Callable[[Tensor], Tensor]
Player = tuple[Loss, list[nn.Parameter]]


class Twin(nn.Module):
    elbo = "Trace_ELBO"
    betas = (0.9, 0.999)

    def players(self) -> list[Player]:
        return [(self, list(self.parameters()))]

    def stock(self) -> tuple[Callable[[Tensor], Any], Callable[[Tensor], Any]] | None:
        """Model and guide."""
        return (self.model, self.guide) if hasattr(self, "model") else None

    def guide(self, x: Tensor) -> None:
        pass


def mlp(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_in, HIDDEN[0]), nn.SiLU(), nn.Linear(*HIDDEN), nn.SiLU(), nn.Linear(HIDDEN[1], n_out)
    )


def encoded(encoder: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    loc, raw = encoder(x.float()).chunk(2, -1)
    return loc, softplus(raw) + 1e-4


def divergence(loc: Tensor, scale: Tensor) -> Tensor:
    return 0.5 * (scale.square() + loc.square() - 1 - 2 * scale.log()).sum(-1)


def log_normal(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return (-0.5 * ((x - loc) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


def log_mixture(x: Tensor, log_weights: Tensor, loc: Tensor, tril: Tensor) -> Tensor:
    white = torch.linalg.solve_triangular(tril, (x - loc[:, None]).mT, upper=False)
    log_det = tril.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
    log = -0.5 * white.square().sum(-2) - log_det - 0.5 * COLUMNS * math.log(2 * math.pi)
    return (log_weights[:, None] + log).logsumexp(0)


class Vae(Twin):
    elbo = "TraceMeanField_ELBO"

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(COLUMNS, 2 * DIM), mlp(DIM, 2 * COLUMNS)

    def forward(self, x: Tensor) -> Tensor:
        loc, scale = encoded(self.encoder, x)
        z = loc + scale * torch.randn_like(loc)
        mean, log_scale = self.decoder(z).double().chunk(2, -1)
        return -(log_normal(x, mean, log_scale.exp()) - divergence(loc, scale)).mean()

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
            mean, log_scale = self.decoder(z).double().chunk(2, -1)
            pyro.sample("x", dist.Normal(mean, log_scale.exp()).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("rows", len(x)):
            loc, scale = encoded(self.encoder, x)
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))


class Ppca(Vae):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(DIM, COLUMNS).double()
        self.log_noise = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        loc, scale = encoded(self.encoder, x)
        z = loc + scale * torch.randn_like(loc)
        likelihood = log_normal(x, self.decoder(z.double()), self.log_noise.exp().expand(COLUMNS))
        return -(likelihood - divergence(loc, scale)).mean()

    def model(self, x: Tensor) -> None:
        pyro.module("ppca", self)
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z.double()), self.log_noise.exp()).to_event(1), obs=x)


class Gmm(Twin):
    elbo = "TraceEnum_ELBO"

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(K, dtype=torch.float64))
        self.loc = nn.Parameter(torch.randn(K, COLUMNS, dtype=torch.float64))
        self.raw = nn.Parameter(torch.zeros(K, COLUMNS, COLUMNS, dtype=torch.float64))

    def tril(self) -> Tensor:
        return self.raw.tril(-1) + torch.diag_embed(self.raw.diagonal(dim1=-2, dim2=-1).exp())

    def forward(self, x: Tensor) -> Tensor:
        return -log_mixture(x, self.logits.log_softmax(0), self.loc, self.tril()).mean()

    def model(self, x: Tensor) -> None:
        pyro.module("gmm", self)
        with pyro.plate("rows", len(x)):
            k = pyro.sample("cluster", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.MultivariateNormal(self.loc[k], scale_tril=self.tril()[k]), obs=x)


class Flow(Twin):
    def __init__(self) -> None:
        super().__init__()
        self.flow = zuko.flows.NSF(COLUMNS, transforms=3, hidden_features=(64, 64), bins=8)

    def forward(self, x: Tensor) -> Tensor:
        return -self.flow().log_prob(x.float()).mean()

    def model(self, x: Tensor) -> None:
        pyro.module("flow", self.flow)
        pyro.factor("x", self.flow().log_prob(x.float()).sum())


class Iaf(Vae):
    """A VAE whose guide is two inverse autoregressive flows, zuko's by hand and Pyro's own in the stock form."""

    elbo = "Trace_ELBO"

    def __init__(self) -> None:
        super().__init__()
        self.encoder = mlp(COLUMNS, 2 * DIM + CONTEXT)
        order = torch.arange(DIM)
        self.layers = nn.ModuleList(
            zuko.flows.MaskedAutoregressiveTransform(DIM, CONTEXT, order=o, hidden_features=MASKED)
            for o in (order, order.flip(0))
        )
        self.pyros = nn.ModuleList(T.conditional_affine_autoregressive(DIM, CONTEXT, list(MASKED)) for _ in range(2))

    def players(self) -> list[Player]:
        parts = (self.encoder, self.decoder, self.layers)
        return [(self, [p for part in parts for p in part.parameters()])]

    def read(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loc, raw, context = self.encoder(x.float()).split([DIM, DIM, CONTEXT], -1)
        return loc, softplus(raw) + 1e-4, context

    def forward(self, x: Tensor) -> Tensor:
        loc, scale, context = self.read(x)
        z = loc + scale * torch.randn_like(loc)
        log_q = log_normal(z, loc, scale)
        for layer in self.layers:
            z, ladj = layer(context).call_and_ladj(z)
            log_q = log_q - ladj
        mean, log_scale = self.decoder(z).double().chunk(2, -1)
        prior = log_normal(z, torch.zeros_like(z), torch.ones_like(z))
        return -(log_normal(x, mean, log_scale.exp()) + prior - log_q).mean()

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        pyro.module("pyros", self.pyros)
        with pyro.plate("rows", len(x)):
            loc, scale, context = self.read(x)
            base = dist.Normal(loc, scale).to_event(1)
            q = dist.ConditionalTransformedDistribution(base, list(self.pyros)).condition(context)
            pyro.sample("z", q)


class BayesianGmm(Twin):
    """Priors on all parameters, and independent Normals over their unconstrained values: one draw a step, its density
    with the guide's parameters held still (Roeder et al. 2017)."""

    elbo = "TraceEnum_ELBO"

    def __init__(self) -> None:
        super().__init__()
        one = torch.ones(K, COLUMNS, dtype=torch.float64)
        self.priors = {
            "weights": torch.distributions.Dirichlet(one[:, 0] / K, validate_args=False),
            "loc": torch.distributions.Normal(0 * one, 2 * one, validate_args=False),
            "scale": torch.distributions.LogNormal(-0.5 * one, one, validate_args=False),
            "corr": torch.distributions.LKJCholesky(COLUMNS, 2 * one[:, 0], validate_args=False),
        }
        starts = {"weights": one[:, 0] / K, "loc": torch.randn_like(one), "scale": one}
        starts["corr"] = torch.eye(COLUMNS, dtype=torch.float64).repeat(K, 1, 1)
        self.maps = {name: biject_to(prior.support) for name, prior in self.priors.items()}
        inner = {name: self.maps[name].inv(value) for name, value in starts.items()}
        self.centre = nn.ParameterDict({name: nn.Parameter(u.clone()) for name, u in inner.items()})
        self.log_scale = nn.ParameterDict({name: nn.Parameter(torch.full_like(u, -2.3)) for name, u in inner.items()})

    def players(self) -> list[Player]:
        return [(self, [*self.centre.values(), *self.log_scale.values()])]

    def forward(self, x: Tensor) -> Tensor:
        value, log = {}, torch.zeros((), dtype=torch.float64)
        for name, prior in self.priors.items():
            loc, scale = self.centre[name], self.log_scale[name].exp()
            u = loc + scale * torch.randn_like(loc)
            value[name] = self.maps[name](u)
            log = log + prior.log_prob(value[name]).sum() + self.maps[name].log_abs_det_jacobian(u, value[name]).sum()
            log = log - log_normal(u, loc.detach(), scale.detach()).sum()
        tril = value["scale"][..., None] * value["corr"]
        rows = log_mixture(x, value["weights"].clamp_min(1e-12).log(), value["loc"], tril)
        return -(rows.mean() + log / ROWS)

    def stock(self) -> tuple[Callable[[Tensor], Any], Callable[[Tensor], Any]]:
        return self.model, AutoNormal(pyro.poutine.block(self.model, hide=["cluster"]))

    def model(self, x: Tensor) -> None:
        one = torch.ones(K, COLUMNS, dtype=torch.float64)
        weights = pyro.sample("weights", dist.Dirichlet(one[:, 0] / K))
        loc = pyro.sample("loc", dist.Normal(0 * one, 2 * one).to_event(2))
        scale = pyro.sample("scale", dist.LogNormal(-0.5 * one, one).to_event(2))
        corr = pyro.sample("corr", dist.LKJCholesky(COLUMNS, 2 * one[:, 0]).to_event(1))
        with pyro.plate("rows", ROWS, subsample=torch.arange(len(x))):
            k = pyro.sample("cluster", dist.Categorical(weights), infer={"enumerate": "parallel"})
            tril = (scale[..., None] * corr)[k]
            pyro.sample("x", dist.MultivariateNormal(loc[k], scale_tril=tril), obs=x)


class Gan(Twin):
    """A critic and a generator, each with a move: both logistic losses of Goodfellow et al. 2014."""

    betas = (0.5, 0.9)

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = mlp(DIM, 2 * COLUMNS), mlp(2 * COLUMNS, 1)

    def players(self) -> list[Player]:
        return [
            (self.critics, list(self.critic.parameters())),
            (self.generators, list(self.generator.parameters())),
        ]

    def drawn(self, n: int) -> Tensor:
        mean, log_scale = self.generator(torch.randn(n, DIM)).double().chunk(2, -1)
        return (mean + log_scale.exp() * torch.randn_like(mean)).float()

    def critics(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            both = torch.cat([x.float(), self.drawn(len(x))])
        of_rows, of_draws = self.critic(flagged(both))[:, 0].chunk(2)
        return (softplus(-of_rows) + softplus(of_draws)).mean()

    def generators(self, x: Tensor) -> Tensor:
        return softplus(-self.critic(flagged(self.drawn(len(x))))[:, 0]).mean()


def flagged(x: Tensor) -> Tensor:
    """Beside the numbers, that they are seen."""
    return torch.cat([x, torch.ones_like(x)], 1)


class Ddpm(Twin):
    """One amount of noise a row, evenly spread; the network reads waves of the row and of the noise, and says v."""

    STEPS, FREQUENCIES, RIPPLES = 1000, 8, 4

    def __init__(self) -> None:
        super().__init__()
        self.network = mlp(COLUMNS * (1 + 2 * self.RIPPLES + 2) + 1 + 2 * self.FREQUENCIES, COLUMNS)
        at = torch.arange(self.STEPS + 1, dtype=torch.float64) / self.STEPS
        signal = ((at + 0.008) / 1.008 * math.pi / 2).cos()
        self.register_buffer("angles", (signal / signal[0]).clamp(0, 1).acos())
        self.register_buffer("waves", torch.logspace(-1, math.log10(2 * math.pi), self.FREQUENCIES))
        self.register_buffer("ripples", 2.0 ** torch.arange(self.RIPPLES))

    angles: Tensor
    waves: Tensor
    ripples: Tensor

    def forward(self, x: Tensor) -> Tensor:
        place = (torch.rand(()) + torch.randperm(len(x)) / len(x)).remainder(1.0)
        a = self.angles[1 + (place * self.STEPS).long()][:, None]
        noise = torch.randn_like(x)
        u = (a.cos() * x + a.sin() * noise).float()
        level = a.tan().log().clamp(-7, 7).float()
        ripples, waves = (u[:, :, None] * self.ripples).flatten(1), level * self.waves
        flags = torch.cat([torch.ones_like(u), torch.zeros_like(u)], 1)
        parts = [u, ripples.sin(), ripples.cos(), flags, level / 7, waves.sin(), waves.cos()]
        said = self.network(torch.cat(parts, 1)).double()
        return (said - (a.cos() * noise - a.sin() * x)).square().mean()
