"""Time to equal held-out density: zoo beside other libraries, on the same rows, at the settings these come with.

    python -m benchmarks.peers [CONTEST ...] [--seeds 0 1 2] [--quick] [-o FOLDER]

A table is drawn from a process that is known, 80/10/10 in training, validation and test rows, standardised by the
training rows. Both sides are told the same numbers of components, factors, latents, layers and widths. `seconds` are
of processor time, of a fit and its scores on validation and test rows. `to equal` is when zoo's score on the validation
rows is first no less, by 0.005 nats, than the other's after all of its fit: at a look where zoo looks, else at its end.
The difference is paired, by test row. A library that is not installed is left out, and said so:
`pip install -c constraints.txt -e '.[bench]'`.

What is compared: mixtures of full covariances, zoo's from its ten starts on a part of the rows, scikit-learn's and
pomegranate's from one, as they come, and scikit-learn's from ten; scikit-learn's factor analysis; zuko's NSF and MAF,
trained as its documentation does, with the number of steps, early stop and rate of zoo; pythae's VAE with the networks
of zoo's (its own decoder ends between 0 and 1) and its own trainer as it comes, whose decoder has unit variance and is
scored with that of its residuals, by the bound of 100 importance-weighted draws on both sides.
CTGAN has no density: both sides are judged by their rows.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import logging
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import FactorAnalysis
from sklearn.mixture import GaussianMixture

import zoo
from benchmarks import flows
from benchmarks.defaults import hidden
from benchmarks.density import Parts, paired
from benchmarks.kept import Line, keep
from zoo.networks.mlp import MLP
from zoo.registry import Registry

EQUAL = 0.005
ROWS, QUICK_ROWS = 10_000, 2_000
DRAWS = 100
RESULTS = Path(__file__).parent / "results"


# ------------------------------------------------------------------------------------------------------------- tables


def clusters(rng: np.random.Generator, n: int) -> np.ndarray:
    """Ten Gaussians of eight columns that overlap."""
    k = rng.integers(10, size=n)
    centre, mix = 2.5 * rng.normal(size=(10, 8)), np.eye(8) + 0.4 * rng.normal(size=(10, 8, 8))
    return centre[k] + np.einsum("nij,nj->ni", mix[k], rng.normal(size=(n, 8)))


def factors(rng: np.random.Generator, n: int) -> np.ndarray:
    """Five factors under twenty columns, each with noise of its own."""
    return rng.normal(size=(n, 5)) @ rng.normal(size=(5, 20)) + rng.normal(size=(n, 20)) * rng.uniform(0.3, 2, 20)


def curved(rng: np.random.Generator, n: int) -> np.ndarray:
    """Two latents, bent into ten columns."""
    hidden = np.tanh(rng.normal(size=(n, 2)) @ rng.normal(size=(2, 32)) + rng.normal(size=32))
    return hidden @ rng.normal(size=(32, 10)) / 4 + 0.2 * rng.normal(size=(n, 10))


TABLES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "clusters": clusters,
    "factors": factors,
    "curved": curved,
    "pinwheel": flows.draw_pinwheel,
}


def parts_of(table: str, n: int, seed: int) -> Parts:
    x = TABLES[table](np.random.default_rng(seed), n)
    a, b = int(0.8 * n), int(0.9 * n)
    return Parts.of(x[:a], x[a:b], x[b:])


# -------------------------------------------------------------------------------------------------------------- peers


@dataclass
class Found:
    """Log-density of the validation rows and of the test rows (n,), and seconds of processor time."""

    validation: np.ndarray
    test: np.ndarray
    seconds: float


Density = Callable[[np.ndarray], np.ndarray]


def timed(parts: Parts, fit: Callable[[np.ndarray, np.ndarray], Density]) -> Found:
    train, validation, test = (x.to_numpy() for x in (parts.train, parts.validation, parts.test))
    started = time.process_time()
    density = fit(train, validation)
    scores = density(validation), density(test)
    return Found(*scores, time.process_time() - started)


def by_scikit_learn(parts: Parts, seed: int, settings: dict[str, Any]) -> Found:
    model: Any = (
        FactorAnalysis(settings["dim"], random_state=seed)
        if "dim" in settings
        else GaussianMixture(settings["components"], n_init=settings.get("starts", 1), random_state=seed)
    )
    return timed(parts, lambda train, _: model.fit(train).score_samples)


def by_pomegranate(parts: Parts, seed: int, settings: dict[str, Any]) -> Found:
    from pomegranate.distributions import Normal
    from pomegranate.gmm import GeneralMixtureModel

    torch.set_num_threads(1)  # its import takes all cores, for every contest that follows

    def fit(train: np.ndarray, _: np.ndarray) -> Density:
        model = GeneralMixtureModel([Normal() for _ in range(settings["components"])], random_state=seed)
        model.fit(torch.tensor(train, dtype=torch.float32))
        return lambda x: model.log_probability(torch.tensor(x, dtype=torch.float32)).double().numpy()

    torch.manual_seed(seed)
    return timed(parts, fit)


def by_zuko(parts: Parts, seed: int, settings: dict[str, Any]) -> Found:
    model = settings.pop("model")
    recipe = Registry.load().recipe(model, settings)
    both = Parts(parts.train, parts.validation, pd.concat([parts.validation, parts.test]))
    started = time.process_time()
    rows, _, _ = flows.peer(model, both, seed, recipe)
    cut = len(parts.validation)
    return Found(rows[:cut], rows[cut:], time.process_time() - started)


def by_pythae(parts: Parts, seed: int, settings: dict[str, Any]) -> Found:
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self, n_in: int, dim: int):
            super().__init__()
            self.network, self.latent_dim = MLP(n_in, 2 * dim), dim

        def forward(self, x: torch.Tensor) -> Any:
            loc, log_covariance = self.network(x).chunk(2, -1)
            return ModelOutput(embedding=loc, log_covariance=log_covariance)

    class Decoder(BaseDecoder):
        def __init__(self, dim: int, n_out: int):
            super().__init__()
            self.network = MLP(dim, n_out)

        def forward(self, z: torch.Tensor) -> Any:
            return ModelOutput(reconstruction=self.network(z))

    def fit(train: np.ndarray, validation: np.ndarray) -> Density:
        d, dim = train.shape[1], settings["dim"]
        config = VAEConfig(input_dim=(d,), latent_dim=dim, reconstruction_loss="mse")
        model = VAE(config, Encoder(d, dim), Decoder(dim, d))
        sets = [BaseDataset(torch.tensor(x, dtype=torch.float32), torch.zeros(len(x))) for x in (train, validation)]
        with tempfile.TemporaryDirectory() as folder:
            asked = BaseTrainerConfig(output_dir=folder, no_cuda=True, seed=seed, keep_best_on_train=False)
            trainer = BaseTrainer(model, sets[0], sets[1], asked)
            trainer.train()
        best = trainer.model.eval()
        with torch.no_grad():
            x = sets[0].data
            said = best.encoder(x)
            z = said.embedding + (0.5 * said.log_covariance).exp() * torch.randn_like(said.embedding)
            scale = (best.decoder(z).reconstruction - x).square().mean(0).sqrt()
        return lambda rows: _bound(best, torch.tensor(rows, dtype=torch.float32), scale)

    torch.manual_seed(seed)
    return timed(parts, fit)


def _bound(model: Any, x: torch.Tensor, scale: torch.Tensor) -> np.ndarray:
    """log mean p(x | z) p(z) / q(z | x) over draws of q (n,)."""
    normal = torch.distributions.Normal
    with torch.no_grad():
        said = model.encoder(x)
        q = normal(said.embedding, (0.5 * said.log_covariance).exp())
        logs = []
        for _ in range(DRAWS):
            z = q.sample()
            log = normal(model.decoder(z).reconstruction, scale).log_prob(x).sum(-1)
            logs.append(log + normal(0.0, 1.0).log_prob(z).sum(-1) - q.log_prob(z).sum(-1))
        return (torch.stack(logs).double().logsumexp(0) - math.log(DRAWS)).numpy()


# ------------------------------------------------------------------------------------------------------------ contests


@dataclass(frozen=True)
class Contest:
    """A model of zoo's with its settings, what the other side is told besides, the library, and the table of both."""

    model: str
    settings: dict[str, Any]
    told: dict[str, Any]
    library: str
    package: str
    fit: Callable[[Parts, int, dict[str, Any]], Found]
    table: str

    @property
    def name(self) -> str:
        return f"{self.model}, {self.library}"


CONTESTS = {
    contest.name: contest
    for contest in (
        Contest("gmm", {"components": 10}, {}, "scikit-learn", "sklearn", by_scikit_learn, "clusters"),
        Contest("gmm", {"components": 10}, {"starts": 10}, "scikit-learn x 10", "sklearn", by_scikit_learn, "clusters"),
        Contest("gmm", {"components": 10}, {}, "pomegranate", "pomegranate", by_pomegranate, "clusters"),
        Contest("factor-analysis", {"dim": 5}, {}, "scikit-learn", "sklearn", by_scikit_learn, "factors"),
        Contest("nsf", {}, {"model": "nsf"}, "zuko", "zuko", by_zuko, "pinwheel"),
        Contest("maf", {}, {"model": "maf"}, "zuko", "zuko", by_zuko, "pinwheel"),
        Contest("vae", {"dim": 2} | hidden(128, 128), {}, "pythae", "pythae", by_pythae, "curved"),
    )
}


def ours(model: str, settings: dict[str, Any], parts: Parts, seed: int) -> tuple[Found, list[tuple[float, float]], str]:
    """What zoo gives, its looks: (seconds so far, score on the validation rows), and how its steps were run."""
    schema = zoo.infer_schema(parts.train, kinds={"*": "continuous"})
    looks: list[tuple[float, float]] = []
    started = time.process_time()

    def look(step: int, planned: int, seen: dict[str, float]) -> None:
        looks.append((time.process_time() - started, seen["validation"]))

    fitted = zoo.Estimator(model, settings=settings, seed=seed, device="cpu").fit_parts(
        parts.train, parts.validation, schema, progress=look
    )
    scores = [fitted.log_likelihood(x, DRAWS).log_likelihood for x in (parts.validation, parts.test)]
    return Found(scores[0], scores[1], time.process_time() - started), looks, fitted.fitted_.tier


def to_equal(found: Found, looks: list[tuple[float, float]], value: float) -> float | None:
    """Seconds until a score on the validation rows is `value`; None where it never is."""
    ends = [*looks, (found.seconds, float(found.validation.mean()))]
    return next((seconds for seconds, score in ends if score >= value - EQUAL), None)


def held(name: str, seed: int, quick: bool) -> Line:
    contest = CONTESTS[name]
    parts = parts_of(contest.table, QUICK_ROWS if quick else ROWS, seed)
    settings = contest.settings | ({"fit.steps": 500} if quick and contest.library in ("zuko", "pythae") else {})
    few = Parts(*(x[:200] for x in (parts.train, parts.validation, parts.test)))
    with contextlib.suppress(Exception):  # what is loaded at first use is no part of a fit
        ours(contest.model, {**settings, "fit.steps": 2}, few, seed)
    mine, looks, tier = ours(contest.model, settings, parts, seed)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        other = contest.fit(parts, seed, settings | contest.told)
    difference, error = paired(mine.test, other.test)
    return {
        "contest": name, "table": contest.table, "rows": len(parts.train), "columns": parts.train.shape[1],
        "seed": seed, "quick": quick, "tier": tier, "value": float(mine.test.mean()),
        "other value": float(other.test.mean()), "difference": difference, "error": error, "seconds": mine.seconds,
        "other seconds": other.seconds, "to equal": to_equal(mine, looks, float(other.validation.mean())),
    }  # fmt: skip


# --------------------------------------------------------------------------------------------------- rows, no density


def mixed(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Three clusters seen in two numbers, a count and two columns of levels."""
    k = rng.integers(3, size=n)
    z = rng.normal(size=n)
    return pd.DataFrame(
        {
            "height": np.array([-2.0, 0.0, 2.5])[k] + 0.7 * z,
            "width": 0.8 * z + np.array([1.0, -1.0, 0.0])[k] + 0.4 * rng.normal(size=n),
            "count": rng.poisson(3 + 2 * k),
            "colour": np.array(["red", "green", "blue"])[np.where(rng.random(n) < 0.7, k, rng.integers(3, size=n))],
            "smoker": np.where(rng.random(n) < np.array([0.2, 0.5, 0.8])[k], "yes", "no"),
        }
    )


def rows_by_ctgan(seed: int, quick: bool) -> list[Line]:
    """CTGAN and zoo's gan, ddpm and mixture: seconds to fit, and the shape, trend and C2ST of as many rows."""
    from ctgan import CTGAN

    frame = mixed(np.random.default_rng(seed), (QUICK_ROWS if quick else ROWS) // 2)
    cut = len(frame) * 9 // 10
    train, test = frame[:cut], frame[cut:].reset_index(drop=True)
    lines = []

    def judged(name: str, fit: Callable[[], pd.DataFrame]) -> None:
        started = time.process_time()
        drawn = fit()
        seconds = time.process_time() - started
        found = zoo.judge(test, drawn)
        line = {"contest": "rows, ctgan", "model": name, "table": "mixed", "rows": cut, "seed": seed, "quick": quick}
        lines.append(line | {"seconds": seconds} | {k: found[k].value for k in ("shape", "trend", "c2st")})

    def by_ctgan() -> pd.DataFrame:
        torch.manual_seed(seed)
        np.random.seed(seed)
        model = CTGAN(epochs=10 if quick else 300, enable_gpu=False)
        model.fit(train, ["colour", "smoker"])
        rows: pd.DataFrame = model.sample(len(test))
        return rows

    judged("ctgan", by_ctgan)
    for model in ("gan", "mixture"):
        sets = {"fit.steps": 100} if quick and model == "gan" else {}
        judged(model, lambda m=model, s=sets: zoo.Estimator(m, settings=s, seed=seed).fit(train).sample(len(test)))
    return lines


# --------------------------------------------------------------------------------------------------------------- pages


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """The median, in brackets the least and the most."""
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{np.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def page(lines: list[Line]) -> str:
    out = [
        "# Beside other libraries", "",
        "`python -m benchmarks.peers` says what is compared. Medians over seeds, in brackets the least and the most;",
        "the differences' errors are over test rows. Steps: how zoo's were run. Ratios are zoo's seconds to its.",
        "", "| contest | table | rows x columns | steps | seeds | zoo, nats | difference | zoo, s | other, s | ratio "
        "| to equal, s | ratio to equal |", "|---" * 12 + "|",
    ]  # fmt: skip
    density = [line for line in lines if "difference" in line]
    for name, quick in sorted({(line["contest"], line["quick"]) for line in density}):
        some = [line for line in density if (line["contest"], line["quick"]) == (name, quick)]
        first, reached = some[0], [line for line in some if line["to equal"] is not None]
        ratios = spread([line["seconds"] / line["other seconds"] for line in some])
        error = np.mean([line["error"] for line in some])
        cells = [
            name + (", quick" if quick else ""), first["table"], f"{first['rows']} x {first['columns']}", first["tier"],
            len(some), spread([line["value"] for line in some], ".3f"),
            f"{spread([line['difference'] for line in some], '+.3f')} ± {error:.3f}",
            spread([line["seconds"] for line in some]), spread([line["other seconds"] for line in some]), ratios,
            (spread([line["to equal"] for line in reached]) if reached else "")
            + (f"; never in {len(some) - len(reached)} of {len(some)}" if len(reached) < len(some) else ""),
            spread([line["to equal"] / line["other seconds"] for line in reached]) if reached else "-",
        ]  # fmt: skip
        out.append("| " + " | ".join(map(str, cells)) + " |")
    rows = [line for line in lines if "shape" in line]
    if rows:
        out += ["", "Rows without a density: shape, trend and C2ST of `zoo judge`, 1 at best.", ""]
        out += ["| model | rows | seeds | shape | trend | C2ST | s |", "|---" * 7 + "|"]
    for name, quick in sorted({(line["model"], line["quick"]) for line in rows}):
        some = [line for line in rows if (line["model"], line["quick"]) == (name, quick)]
        cells = [name + (", quick" if quick else ""), some[0]["rows"], len(some)]
        cells += [spread([line[k] for line in some], ".3f") for k in ("shape", "trend", "c2st")]
        out.append("| " + " | ".join(map(str, [*cells, spread([line["seconds"] for line in some])])) + " |")
    return "\n".join(out) + "\n"


def installed(package: str) -> bool:
    if importlib.util.find_spec(package) is None:
        print(f"{package} is not installed, and is left out", flush=True)
        return False
    return True


def measured(names: Sequence[str], seeds: Sequence[int], quick: bool, output: Path) -> list[Line]:
    """Lines of these contests, kept beside those of earlier calls."""
    logging.disable(logging.WARNING)
    lines: list[Line] = []
    for name in names:
        package = "ctgan" if name == "rows, ctgan" else CONTESTS[name].package
        if not installed(package):
            continue
        for seed in seeds:
            new = rows_by_ctgan(seed, quick) if package == "ctgan" else [held(name, seed, quick)]
            for line in new:
                print(line, flush=True)
            lines += new
            keep(output / "peers.json", new, ("contest", "model", "seed", "quick"), page)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contests", nargs="*", metavar="CONTEST")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="fewer rows and steps")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    asked.output.mkdir(parents=True, exist_ok=True)
    measured(asked.contests or [*CONTESTS, "rows, ctgan"], asked.seeds, asked.quick, asked.output)


if __name__ == "__main__":
    main()
