"""Flows: maps whose Jacobian is what they say, that can be undone, and that stay finite far out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from zoo.flows import NAMES, contractive
from zoo.flows.contractive import Contraction
from zoo.model import Model
from zoo.registry import Registry
from zoo.table.codec import Codec
from zoo.table.infer import infer_schema
from zoo.targets import Spec, locate, resolve, settings_of

every = pytest.mark.parametrize("name", NAMES)
SMALL = {"hidden": [8], "steps": 4}


def make(name: str, features: int, context: int, seed: int = 0, stir: float = 0.15) -> torch.nn.Module:
    """A flow away from where it starts: every parameter stirred."""
    torch.manual_seed(seed)
    flow = resolve("flow", Spec(name, {k: v for k, v in SMALL.items() if k in settings(name)}))(features, context)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(stir * torch.randn_like(parameter))
    return flow.double()


def settings(name: str) -> set[str]:
    return set(settings_of(locate("flow", name)))


def context(n: int, width: int) -> torch.Tensor | None:
    return torch.randn(n, width, dtype=torch.float64) if width else None


@pytest.mark.slow
@every
@pytest.mark.parametrize(("features", "width"), [(1, 0), (2, 0), (3, 2), (5, 1)])
def test_the_jacobian_is_what_it_says(name: str, features: int, width: int) -> None:
    """log|det| of autograd's Jacobian, row by row; double precision."""
    flow = make(name, features, width).eval()
    x, c = 1.5 * torch.randn(6, features, dtype=torch.float64), context(6, width)
    _, ladj = flow(c).call_and_ladj(x)
    for i in range(len(x)):
        given = None if c is None else c[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(lambda v: flow(given)(v[None])[0], x[i])  # noqa: B023
        torch.testing.assert_close(ladj[i], torch.linalg.slogdet(jacobian)[1], atol=1e-6, rtol=1e-6)


@every
@pytest.mark.parametrize(("features", "width"), [(1, 0), (2, 1), (4, 2)])
def test_the_inverse_undoes_it(name: str, features: int, width: int) -> None:
    flow = make(name, features, width).eval()
    x, c = 2 * torch.randn(50, features, dtype=torch.float64), context(50, width)
    transform = flow(c)
    y, ladj = transform.call_and_ladj(x)
    back, other = transform.inv.call_and_ladj(y)
    torch.testing.assert_close(back, x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(other, -ladj, atol=1e-4, rtol=1e-4)
    assert transform.inv.inv is transform or torch.equal(transform.inv.inv(x), transform(x))


@every
def test_the_gradient_of_the_inverse(name: str) -> None:
    """d(f^-1(y))/dy is the inverse of the Jacobian there."""
    flow = make(name, 3, 0).eval()
    x = torch.randn(3, dtype=torch.float64)
    transform = flow(None)
    there = torch.autograd.functional.jacobian(lambda v: transform(v[None])[0], x)
    back = torch.autograd.functional.jacobian(lambda v: transform.inv(v[None])[0], transform(x[None])[0].detach())
    torch.testing.assert_close(back @ there, torch.eye(3, dtype=torch.float64), atol=1e-4, rtol=1e-4)


@every
def test_a_fresh_flow_is_near_the_identity_and_reads_its_context(name: str) -> None:
    flow = make(name, 3, 2, stir=0.0).float()
    x, c = torch.randn(200, 3), torch.randn(200, 2)
    y, ladj = flow(c).call_and_ladj(x)
    assert y.dtype == ladj.dtype == torch.float32
    assert (y - x).abs().mean() < 0.3
    assert ladj.shape == (200,)
    assert not torch.equal(y, flow(-c)(x))


@every
def test_every_weight_moves(name: str) -> None:
    flow = make(name, 3, 2, stir=0.0).float().train()
    y, ladj = flow(torch.randn(64, 2)).call_and_ladj(torch.randn(64, 3))
    (0.5 * y.square().sum(-1) - ladj).mean().backward()
    for key, parameter in flow.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.any(), key


UNUSED = [name for name in NAMES if not any(f"'{name}'" in str(recipe) for recipe in Registry.load().values())]


@pytest.mark.parametrize("name", UNUSED)
def test_a_step_can_be_captured(name: str) -> None:
    """Value and gradients as one graph, replayed on other rows: no look at the data, no branch on it. Flows that an
    entry has are captured with it, in test_steps.py."""
    flow = make(name, 3, 2).float().train()
    parameters = list(flow.parameters())

    def step(x: torch.Tensor, c: torch.Tensor) -> list[torch.Tensor]:
        y, ladj = flow(c).call_and_ladj(x)
        loss = (0.5 * y.square().sum(-1) - ladj).mean()
        return [loss, *torch.autograd.grad(loss, parameters)]

    graph = make_fx(step)(torch.randn(8, 3), torch.randn(8, 2))
    x, c = 3 * torch.randn(8, 3), torch.randn(8, 2)
    for ours, replayed in zip(step(x, c), graph(x, c), strict=True):
        torch.testing.assert_close(replayed, ours)


@every
@pytest.mark.parametrize("far", [50.0, 1e4, 1e12])
def test_finite_far_out(name: str, far: float) -> None:
    """Values, log-determinants and gradients, with weights as large as a fit may make them."""
    flow = make(name, 3, 1, stir=1.0).float()
    corner = torch.tensor([[far, -far, far], [0.0, far, 0.0], [-far, 0.1, -0.2]])
    y, ladj = flow(torch.ones(3, 1)).call_and_ladj(corner)
    loss = (0.5 * (y.double() / far).square().sum(-1) - ladj).sum()
    loss.backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(ladj).all()
    assert all(torch.isfinite(p.grad).all() for p in flow.parameters() if p.grad is not None)


def test_the_stochastic_trace_is_the_determinant_on_average() -> None:
    """Of a contraction: the mean of many estimates, within five standard errors and what the cut series leaves out."""
    torch.manual_seed(0)
    flow = Contraction(4, 0, (16,), exact_up_to=0, terms=12).double()
    with torch.no_grad():
        flow.network.strength.fill_(0.1)
        x = torch.randn(1, 4, dtype=torch.float64).expand(4000, -1)
        exact = flow.eval()(None).call_and_ladj(x[:1])[1]
        found = flow.train()(None).call_and_ladj(x)[1]
    assert found.std() > 0
    # the network's Lipschitz constant is at most 0.97 sigmoid(1) = 0.71: of four eigenvalues what is beyond 12 terms
    rest = 4 * 0.71**13 / 13 / (1 - 0.71)
    assert abs(found.mean() - exact[0]) < 5 * found.std() / 4000**0.5 + rest


def test_a_determinant_that_is_estimated_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=list("abc"))
    codec = Codec.fit(infer_schema(frame), frame)
    small = Registry.load()["iresnet"].small_sets
    bounds = []
    for largest in (128, 2):
        monkeypatch.setattr(contractive, "LARGEST", largest)
        sets = {**small, "program.flow.exact_up_to": 2}
        bounds.append(Model(Registry.load().recipe("iresnet", sets), codec).bound())
    assert bounds == ["exact", "estimate"]
