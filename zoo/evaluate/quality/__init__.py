"""How good rows are that a model, or anything else, has made: measured beside real rows, without asking for a density.

Every measure is a function of samples of rows; `judge` takes them all, with real rows against real ones as the ceiling
and independent columns as the floor. To add one: write it in a file of its own, as a function that returns `Value`s,
name it in `metrics.METRICS`, call it in `bench.Bench`, and hold it against a closed form in `tests/test_quality.py`.
"""
