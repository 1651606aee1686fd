"""Many models, one table, one honest ranking.

Every model is fitted on the same rows, scored on the same held-out rows under the same measure, and ranked by its mean
log-likelihood; differences are paired, row by row, against the best model and against independent columns.
"""

from zoo.comparison.entry import Entry
from zoo.comparison.fits import compare, compare_on
from zoo.comparison.keep import load_comparison
from zoo.comparison.result import Comparison

__all__ = ["Comparison", "Entry", "compare", "compare_on", "load_comparison"]
