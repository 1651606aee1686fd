"""Tables whose density is known: what a fit is held against.

Each is made as `Generator()`, with `sample(n, rng)` (a table) and `log_density(table)` (nats per row, in the table's
units and measure: densities of numbers, masses of levels and counts; missing cells marginalised).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import logsumexp


class GaussianMixture:
    """Three overlapping, elongated Gaussians in the plane."""

    weights = np.array([0.5, 0.3, 0.2])
    means = np.array([[0.0, 0.0], [4.0, 1.0], [1.0, 5.0]])
    covariances = np.array([[[1.0, 0.6], [0.6, 0.8]], [[0.5, -0.3], [-0.3, 1.0]], [[2.0, 0.0], [0.0, 0.3]]])

    def sample(self, n, rng):
        k = rng.choice(3, n, p=self.weights)
        tril = np.linalg.cholesky(self.covariances)
        x = self.means[k] + np.einsum("nij,nj->ni", tril[k], self.noise(n, rng))
        return pd.DataFrame(x, columns=["a", "b"])

    def noise(self, n, rng):
        return rng.normal(size=(n, 2))

    def component(self, k):
        return stats.multivariate_normal(self.means[k], self.covariances[k])

    def log_density(self, frame):
        x = frame[["a", "b"]].to_numpy()
        return logsumexp([np.log(self.weights[k]) + self.component(k).logpdf(x) for k in range(3)], axis=0)


class HeavyTails(GaussianMixture):
    """The same with Student's t of three degrees of freedom."""

    df = 3.0

    def noise(self, n, rng):
        return rng.normal(size=(n, 2)) / np.sqrt(rng.chisquare(self.df, size=(n, 1)) / self.df)

    def component(self, k):
        return stats.multivariate_t(self.means[k], self.covariances[k], df=self.df)


class Factors:
    """Six columns of two factors, each column with its own noise."""

    loadings = np.array([[2.0, 0.0], [1.5, 0.5], [1.0, -1.0], [0.0, 1.5], [0.5, 0.0], [0.0, -0.7]])
    noise = np.array([0.3, 0.5, 0.2, 0.6, 1.0, 0.4])

    def sample(self, n, rng):
        x = rng.normal(size=(n, 2)) @ self.loadings.T + self.noise * rng.normal(size=(n, 6))
        return pd.DataFrame(x, columns=list("abcdef"))

    def log_density(self, frame):
        covariance = self.loadings @ self.loadings.T + np.diag(self.noise**2)
        return stats.multivariate_normal(np.zeros(6), covariance).logpdf(frame.to_numpy())


class FactorMixture:
    """Two clusters in six columns, each along a direction of its own."""

    def __init__(self):
        rng = np.random.default_rng(7)
        self.loadings = 2.0 * rng.normal(size=(2, 6, 1))
        self.means = np.array([np.zeros(6), np.linspace(-2, 3, 6)])
        self.noise = np.array([0.3, 0.5, 0.2, 0.6, 1.0, 0.4])

    def sample(self, n, rng):
        k = rng.choice(2, n, p=[0.6, 0.4])
        x = self.means[k] + self.loadings[k, :, 0] * rng.normal(size=(n, 1)) + self.noise * rng.normal(size=(n, 6))
        return pd.DataFrame(x, columns=list("abcdef"))

    def log_density(self, frame):
        covariances = [w @ w.T + np.diag(self.noise**2) for w in self.loadings]
        parts = [
            np.log(p) + stats.multivariate_normal(m, c).logpdf(frame.to_numpy())
            for p, m, c in zip([0.6, 0.4], self.means, covariances, strict=True)
        ]
        return logsumexp(parts, axis=0)


class MixedWithHoles:
    """Three clusters of a float, a count, a yes or no, and four colours; a fifth of the cells missing at random."""

    weights = np.array([0.5, 0.3, 0.2])
    means, scales = np.array([0.0, 3.0, -3.0]), np.array([1.0, 0.5, 0.8])
    rates = np.array([2.0, 6.0, 12.0])
    yes = np.array([0.2, 0.7, 0.5])
    colours = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]])
    names = np.array(["red", "green", "blue", "grey"], dtype=object)

    def sample(self, n, rng):
        k = rng.choice(3, n, p=self.weights)
        frame = pd.DataFrame(
            {
                "size": self.means[k] + self.scales[k] * rng.normal(size=n),
                "visits": rng.poisson(self.rates[k]).astype(float),
                "member": np.where(rng.random(n) < self.yes[k], "yes", "no").astype(object),
                "colour": self.names[(rng.random((n, 1)) > self.colours[k].cumsum(1)).sum(1)],
            }
        )
        return frame.mask(rng.random(frame.shape) < 0.2)

    def log_density(self, frame):
        joint = []
        for k in range(3):
            size = stats.norm(self.means[k], self.scales[k]).logpdf(frame["size"])
            visits = stats.poisson(self.rates[k]).logpmf(frame["visits"])
            member = np.log(frame["member"].map({"yes": self.yes[k], "no": 1 - self.yes[k]}).astype(float))
            colour = np.log(frame["colour"].map(dict(zip(self.names, self.colours[k], strict=True))).astype(float))
            cells = np.stack([size, visits, member, colour])
            joint.append(np.log(self.weights[k]) + np.where(frame.isna().to_numpy().T, 0.0, cells).sum(0))
        return logsumexp(joint, axis=0)


class Grouped:
    """Three clusters whose weights differ by group, of twenty groups."""

    groups = 20
    means = np.array([[0.0, 0.0], [3.0, 1.0], [0.0, 4.0]])

    def __init__(self, spread=1.0):
        logits = spread * np.random.default_rng(3).normal(size=(self.groups, 3))
        self.weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    def sample(self, n, rng, sizes=None):
        """n rows of groups chosen alike, or `sizes` rows of each."""
        g = rng.integers(self.groups, size=n) if sizes is None else np.repeat(np.arange(self.groups), sizes)
        k = (rng.random((len(g), 1)) > self.weights[g].cumsum(1)).sum(1)
        x = self.means[k] + 0.7 * rng.normal(size=(len(g), 2))
        return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "group": [f"g{i:02d}" for i in g]})

    def log_density(self, frame):
        g = frame["group"].str[1:].astype(int).to_numpy()
        x = frame[["a", "b"]].to_numpy()
        parts = [stats.multivariate_normal(m, 0.49).logpdf(x) for m in self.means]
        return logsumexp(np.log(self.weights[g]).T + np.array(parts), axis=0)


class GroupedCentres:
    """A line in four columns around a centre of each of twenty groups."""

    groups = 20
    loadings = np.array([2.0, 1.0, -1.0, 0.5])

    def __init__(self):
        self.centres = np.random.default_rng(4).normal(size=(self.groups, 4))

    def sample(self, n, rng, sizes=None):
        g = rng.integers(self.groups, size=n) if sizes is None else np.repeat(np.arange(self.groups), sizes)
        x = self.centres[g] + rng.normal(size=(len(g), 1)) * self.loadings + 0.4 * rng.normal(size=(len(g), 4))
        frame = pd.DataFrame(x, columns=list("abcd"))
        return frame.assign(group=[f"g{i:02d}" for i in g])

    def log_density(self, frame):
        g = frame["group"].str[1:].astype(int).to_numpy()
        covariance = np.outer(self.loadings, self.loadings) + 0.16 * np.eye(4)
        return stats.multivariate_normal(np.zeros(4), covariance).logpdf(frame[list("abcd")] - self.centres[g])


class Banana:
    """b = a^2 + noise."""

    def sample(self, n, rng):
        a = rng.normal(size=n)
        return pd.DataFrame({"a": a, "b": a**2 + 0.5 * rng.normal(size=n)})

    def log_density(self, frame):
        return stats.norm.logpdf(frame["a"]) + stats.norm.logpdf(frame["b"], frame["a"] ** 2, 0.5)


class Rings:
    """Two rings: the radius is Normal about 1 or 3, the angle uniform."""

    def sample(self, n, rng):
        r = np.where(rng.random(n) < 0.4, 1.0, 3.0) + 0.15 * rng.normal(size=n)
        angle = rng.uniform(0, 2 * np.pi, n)
        return pd.DataFrame({"a": r * np.cos(angle), "b": r * np.sin(angle)})

    def log_density(self, frame):
        r = np.hypot(frame["a"].to_numpy(), frame["b"].to_numpy())
        # a radius of -r at an angle of half a turn more is the same place
        parts = [
            np.log(w) + np.logaddexp(stats.norm(m, 0.15).logpdf(r), stats.norm(m, 0.15).logpdf(-r))
            for w, m in ((0.4, 1.0), (0.6, 3.0))
        ]
        return logsumexp(parts, axis=0) - np.log(2 * np.pi * np.maximum(r, 1e-12))


class Modes:
    """Round Gaussians of one size at `centres` (K, 2)."""

    centres: np.ndarray
    sigma = 0.05

    def sample(self, n, rng):
        k = rng.integers(len(self.centres), size=n)
        return pd.DataFrame(self.centres[k] + self.sigma * rng.normal(size=(n, 2)), columns=["a", "b"])

    def log_density(self, frame):
        x = frame[["a", "b"]].to_numpy()
        square = np.square(x[:, None] - self.centres).sum(-1) / self.sigma**2
        return logsumexp(-0.5 * square, axis=1) - np.log(len(self.centres) * 2 * np.pi * self.sigma**2)

    def distances(self, frame):
        """(n, K), in sigmas."""
        return np.linalg.norm(frame[["a", "b"]].to_numpy()[:, None] - self.centres, axis=-1) / self.sigma

    def nearest(self, frame):
        return self.distances(frame).argmin(1)

    def covered(self, frame, least=0.2):
        """How many modes have at least a fifth of their share of the rows within 3 sigma, and the share of rows that
        are within 3 sigma of a mode (0.989 of true ones)."""
        distances = self.distances(frame)
        near = distances.min(1) <= 3
        counts = np.bincount(distances.argmin(1)[near], minlength=len(self.centres))
        return int((counts >= least * len(frame) / len(self.centres)).sum()), float(near.mean())


class GaussianGrid(Modes):
    """25 modes, 2 apart."""

    centres = np.array([[a, b] for a in (-4.0, -2.0, 0.0, 2.0, 4.0) for b in (-4.0, -2.0, 0.0, 2.0, 4.0)])


class GaussianRing(Modes):
    """Eight modes on a circle of radius 2."""

    centres = 2 * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], -1)
