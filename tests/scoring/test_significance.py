"""DeLong's test against placements counted one by one and by hand, and Holm against hand values."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from deepfake_ms.randomness import key
from deepfake_ms.scoring.significance import delong_test, holm


def counted(a, b, labels):
    """AUROC difference and its variance by DeLong's definition, from every pair of a fake and a real."""
    fakes, reals = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    wins = [np.array([[(s[f] > s[r]) + (s[f] == s[r]) / 2 for r in reals] for f in fakes]) for s in (a, b)]
    by_fake, by_real = ([win.mean(axis=axis) for win in wins] for axis in (1, 0))
    covariance = np.cov(by_fake) / len(fakes) + np.cov(by_real) / len(reals)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return wins[0].mean() - wins[1].mean(), variance


@pytest.mark.parametrize("draw", range(5))
@pytest.mark.parametrize("decimals", [1, 8])  # with and without ties
def test_delong_from_counted_pairs(draw, decimals):
    random = np.random.default_rng(key("delong", draw))
    labels = (np.arange(40) % 3 > 0).astype(int)
    shared = random.normal(size=40) + labels
    a, b = (np.round(stats.norm.cdf(shared + random.normal(size=40)), decimals) for _ in range(2))
    difference, variance = counted(a, b, labels)
    assert difference == pytest.approx(roc_auc_score(labels, a) - roc_auc_score(labels, b))
    expected = 2 * stats.norm.sf(abs(difference) / math.sqrt(variance))
    assert delong_test(a, b, labels) == pytest.approx(expected, rel=1e-9)
    assert delong_test(b, a, labels) == pytest.approx(expected, rel=1e-9)


def test_delong_by_hand():
    labels = np.array([1, 1, 0, 0])
    perfect, one_pair_wrong = [0.9, 0.8, 0.2, 0.1], [0.9, 0.6, 0.7, 0.2]
    # Placements differ by (0, .5) for the fakes and (.5, 0) for the reals: difference .25, variance .125/2 + .125/2.
    assert delong_test(perfect, one_pair_wrong, labels) == pytest.approx(
        math.erfc(0.25 / math.sqrt(0.125) / math.sqrt(2))
    )


def test_delong_without_variance():
    labels, perfect = np.array([1, 1, 0, 0]), np.array([0.9, 0.8, 0.2, 0.1])
    assert delong_test(perfect, perfect**2, labels) == 1
    assert math.isnan(delong_test(perfect, np.full(4, 0.5), labels))
    assert math.isnan(delong_test(perfect, perfect[::-1], np.array([1, 0, 0, 0])))


def test_delong_rejects_a_true_null_hypothesis_as_often_as_it_says():
    random = np.random.default_rng(key("delong null"))
    labels = (np.arange(120) % 2).astype(int)
    p_values = []
    for _ in range(400):
        shared = random.normal(size=120) + labels
        p_values.append(delong_test(*(shared + random.normal(size=120) for _ in range(2)), labels))
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.09


def test_holm_by_hand():
    # Ascending: .005 * 4, .01 * 3, .03 * 2, and .04 * 1, which may not be below its predecessor.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1, 1])
    np.testing.assert_allclose(holm([math.nan, 0.02, 0.03]), [math.nan, 0.04, 0.04])
    assert holm([]).tolist() == []
