"""Comparing detectors: the table's numbers are those of the functions that it combines."""

import numpy as np
import pandas as pd
import pytest
from test_intervals import simulate

from deepfake_ms.scoring.comparison import COLUMNS, compare
from deepfake_ms.scoring.intervals import paired_difference
from deepfake_ms.scoring.metrics import video_scores
from deepfake_ms.scoring.significance import delong_test, holm

DETECTORS = {"first": simulate(0), "second": simulate(1), "third": simulate(2)}
BOTH = {"easy": DETECTORS, "other": {name: simulate(3 + draw) for draw, name in enumerate(DETECTORS)}}


def test_differences_are_from_the_first_and_holm_covers_all_test_sets():
    table = compare(BOTH, resamples=200)
    assert tuple(table.columns) == COLUMNS
    assert table[["test_set", "detector"]].to_numpy().tolist() == [[t, d] for t in BOTH for d in DETECTORS]
    assert table.loc[table["detector"] == "first", "difference":].isna().all(axis=None)
    row = table.set_index(["test_set", "detector"]).loc[("easy", "third")]
    paired = paired_difference({0: DETECTORS["third"]}, {0: DETECTORS["first"]}, "video", ["auroc"], resamples=200)
    own = [row[name] for name in ("difference", "difference_low", "difference_high", "p_bootstrap")]
    assert own == paired.loc["auroc", ["mean", "low", "high", "p_value"]].tolist()
    assert row["difference"] == pytest.approx(row["value"] - table["value"][0])
    third, first = (video_scores(DETECTORS[name]) for name in ("third", "first"))
    assert row["p_delong"] == delong_test(third["fake_probability"], first["fake_probability"], first["label"])
    for test in ("p_bootstrap", "p_delong"):
        np.testing.assert_array_equal(table[f"{test}_holm"], holm(table[test]))
        assert table[test].notna().sum() == 4
    assert (table["real_videos"].unique(), table["fake_videos"].unique()) == ([15], [45])


@pytest.mark.parametrize(("level", "metric"), [("frame", "auroc"), ("video", "eer")])
def test_delong_is_for_auroc_per_video_only(level, metric):
    table = compare({"easy": DETECTORS}, level, metric, resamples=50)
    assert table[["p_delong", "p_delong_holm"]].isna().all(axis=None)
    assert table["p_bootstrap"].notna().sum() == 2


def test_delong_and_bootstrap_agree():
    detectors = {
        name: simulate(draw, videos=200, separation=separation)
        for name, draw, separation in (("weak", 0, 0.8), ("strong", 1, 2.0), ("similar", 2, 1.0))
    }
    table = compare({"t": detectors}).set_index("detector")
    assert table.loc["strong", "p_delong"] < 0.01
    assert table.loc["strong", "p_bootstrap"] < 0.01
    assert table.loc["similar", "p_delong"] == pytest.approx(table.loc["similar", "p_bootstrap"], abs=0.05)


def test_one_comparison_is_not_adjusted():
    table = compare({"t": {name: DETECTORS[name] for name in ("first", "second")}}, resamples=50)
    pd.testing.assert_series_equal(table["p_delong_holm"], table["p_delong"], check_names=False)
