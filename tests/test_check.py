"""`zoo check` finds what is wrong with a model, and finds nothing wrong with zoo's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyro
import pytest

import zoo
from zoo import cli
from zoo.laws import Finding, check
from zoo.line_up import LINE_UP

MINE = """
import torch
import pyro
import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistribution
from torch.distributions import constraints

from zoo.guides.encoder import Encoder


def W(rows):
    return pyro.param("W", lambda: 0.3 * torch.randn(2, rows.full))


def sound(rows):
    with rows.plate():
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        rows.observe(z @ W(rows))


def no_plate_around_the_latent(rows):
    z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with rows.plate():
        rows.observe((z @ W(rows)).expand(rows.n, -1))


def no_plate_around_the_data(rows):
    rows.observe((torch.zeros(rows.n, 2)) @ W(rows))


def no_event_dimension(rows):
    with rows.plate():
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0))
        rows.observe(z @ W(rows))


class Scaled(dist.MultivariateNormal):
    def __init__(self, loc, times):
        self.times = times
        super().__init__(loc, torch.eye(loc.shape[-1], dtype=loc.dtype))

    def expand(self, shape, _instance=None):
        return self

    def log_prob(self, value):
        return self.times * super().log_prob(value)


def counted_many_times(rows):
    loc = pyro.param("loc", lambda: torch.zeros(rows.width, dtype=torch.float64))
    with rows.plate():
        rows.observe(Scaled(loc.expand(rows.n, -1), rows.total / rows.n))


def never_moves(rows):
    with rows.plate():
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        rows.observe(z @ W(rows).detach() + pyro.param("b", lambda: torch.zeros(rows.full)))


def reads_its_neighbours(rows):
    with rows.plate():
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        shift = 0.0 if rows.cells is None else rows.cells.x[:, :1].mean().float()
        rows.observe(z @ W(rows) + shift)


def draws_otherwise(rows):
    with rows.plate():
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        rows.observe(z @ W(rows) + (3.0 if rows.cells is None else 0.0))


def not_finite(rows):
    b = pyro.param("b", lambda: torch.tensor(-1.0))
    with rows.plate():
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        rows.observe(z @ W(rows) + b.log())


def leaves_a_trace(rows):
    pyro.get_param_store()["mine"] = torch.zeros(1)
    with rows.plate():
        rows.observe(pyro.param("b", lambda: torch.zeros(rows.full)).expand(rows.n, -1))


class Unnormalised(TorchDistribution):
    arg_constraints = {}
    support = constraints.real_vector

    def __init__(self, loc):
        self.loc = loc
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    def log_prob(self, value):
        return -0.5 * (value - self.loc).square().sum(-1)

    def sample(self, shape=torch.Size()):
        return self.loc + torch.randn_like(self.loc)


def not_normalised(rows):
    loc = pyro.param("loc", lambda: torch.zeros(rows.width, dtype=torch.float64))
    with rows.plate():
        rows.observe(Unnormalised(loc.expand(rows.n, -1)))


class OfOtherRows(Encoder):
    def proposal(self, name, features):
        return super().proposal(name, features.roll(1, 0))
"""

FAULTS = {
    "no_plate_around_the_latent": "",
    "no_plate_around_the_data": "outside the plate",
    "no_event_dimension": "",
    "counted_many_times": "how many rows are in its batch",
    "never_moves": "no turn moves",
    "reads_its_neighbours": "other rows beside it",
    "draws_otherwise": "draws have the mean log-density",
    "not_finite": "finite",
    "leaves_a_trace": "parameter store",
    "not_normalised": "not normalised",
}
NO_LATENT = ("counted_many_times", "not_normalised", "leaves_a_trace", "no_plate_around_the_data")
NEED = {
    "cvae": {"given": "kind"}, "class-models": {"given": "kind"},
    "grouped-gmm": {"group": "kind"}, "grouped-ppca": {"group": "kind"},
}  # fmt: skip


@pytest.fixture(scope="module")
def models_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("check")
    (folder / "mine_to_check.py").write_text(MINE)
    entries = []
    for name in ("sound", *FAULTS):
        guide = "none" if name in NO_LATENT else "encoder"
        entries.append(f'[{name}]\nprogram = "mine_to_check:{name}"\nguide = "{guide}"\n')
    entries.append('[of_other_rows]\nprogram = "mine_to_check:sound"\nguide = "mine_to_check:OfOtherRows"\n')
    (folder / "models.toml").write_text("\n".join(entries))
    yield str(folder / "models.toml")
    sys.modules.pop("mine_to_check", None)


def table(n: int = 200, mixed: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    z = rng.normal(size=n)
    frame = pd.DataFrame({"a": z + 0.5 * rng.normal(size=n), "b": 2 * z + rng.normal(size=n), "c": rng.normal(size=n)})
    if mixed:
        frame = frame.assign(kind=np.where(z > 0, "high", "low"), hours=rng.poisson(4, size=n))
        frame = frame.mask(rng.random(frame.shape) < 0.05).assign(kind=np.where(z > 0, "high", "low"))
    return frame


def faults(findings: list[Finding]) -> list[str]:
    return [f"{finding.law}: {finding.said}" for finding in findings if finding.holds is False]


def test_a_sound_program_passes(models_file: str) -> None:
    findings = check("sound", table(), models_file=models_file, kinds={"*": "continuous"})
    assert faults(findings) == []
    assert sum(finding.holds is True for finding in findings) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FAULTS, "of_other_rows"])
def test_planted_faults_are_found(name: str, models_file: str) -> None:
    try:
        findings = check(name, table(120), models_file=models_file, kinds={"*": "continuous"})
    finally:
        pyro.clear_param_store()
    found = faults(findings)
    assert found
    expected = FAULTS.get(name, "other rows beside it")
    assert any(expected in said for said in found), found
    assert all(finding.remedy for finding in findings if finding.holds is False)


@pytest.mark.parametrize(
    "name", [n if n == "independent" else pytest.param(n, marks=pytest.mark.slow) for n in LINE_UP]
)
def test_models_of_the_line_up_pass(name: str) -> None:
    findings = check(name, table(200, mixed=True), settings=_small(name), **NEED.get(name, {}))
    assert faults(findings) == []


def _small(name: str) -> dict[str, object]:
    sets = dict(zoo.Registry.load()[name].small_sets)
    sets.pop("fit.steps", None)
    return sets


@pytest.mark.slow
def test_what_fails_ends_with_code_1_and_a_word_on_shapes(
    models_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table(120).to_csv(tmp_path / "t.csv", index=False)
    for name, code in (("sound", 0), ("no_event_dimension", 1)):
        monkeypatch.setattr(sys, "argv", ["zoo", "check", name, str(tmp_path / "t.csv"), "--models-file", models_file])
        try:
            cli.main()
            found = 0
        except SystemExit as stop:
            found = int(stop.code or 0)
        finally:
            pyro.clear_param_store()
        assert found == code
    assert ".to_event(1)" in " ".join(capsys.readouterr().out.split())
