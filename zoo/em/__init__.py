"""Mixtures by expectation-maximisation: where every mixture, Gaussian and factor model starts from."""
