"""Tests of differences between detectors."""

import math

import numpy as np
from scipy import stats

from deepfake_ms.labels import FAKE


def delong_test(fake_probability: np.ndarray, other: np.ndarray, labels: np.ndarray) -> float:
    """Two-sided p-value of DeLong's test for the AUROCs of two detectors on the same independent videos.

    The frames of a video are correlated: give one score per video. The variance follows DeLong, DeLong and
    Clarke-Pearson (1988), computed from midranks as by Sun and Xu (2014). scipy, scikit-learn and statsmodels have no
    such test.

    Args:
        fake_probability: scores of one detector [N].
        other: scores of the other [N].
        labels: int [N], 0 real, 1 fake.

    Returns:
        The p-value; 1 if all placements are equal, NaN if a class has fewer than two videos or if the variance of a
        difference is estimated as zero.
    """
    fake = np.asarray(labels) == FAKE
    if min(fake.sum(), (~fake).sum()) < 2:
        return math.nan
    differences = [a - b for a, b in zip(_placements(fake_probability, fake), _placements(other, fake), strict=True)]
    difference = differences[0].mean()
    if all(np.ptp(each) == 0 for each in differences):
        return 1.0 if difference == 0 else math.nan
    variance = sum(each.var(ddof=1) / len(each) for each in differences)
    return float(2 * stats.norm.sf(abs(difference) / math.sqrt(variance)))


def _placements(scores: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per fake, the share of reals below it; per real, the share of fakes above it. A tie counts one half."""
    scores = np.asarray(scores)
    ranks = stats.rankdata(scores)
    fakes, reals = scores[fake], scores[~fake]
    above_reals = (ranks[fake] - stats.rankdata(fakes)) / len(reals)
    below_fakes = 1 - (ranks[~fake] - stats.rankdata(reals)) / len(fakes)
    return above_reals, below_fakes


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values [N] adjusted by Holm (1979) for N comparisons; NaN stays NaN and does not count as a comparison."""
    p_values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(p_values, math.nan)
    ascending = np.argsort(p_values)[: np.count_nonzero(~np.isnan(p_values))]  # NaN is sorted to the end
    factors = np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(1, np.maximum.accumulate(factors * p_values[ascending]))
    return adjusted
