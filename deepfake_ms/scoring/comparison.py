"""Several detectors on the same test sets: scores with intervals, and tests of their differences from the first."""

from collections.abc import Mapping

import pandas as pd

from deepfake_ms.labels import FAKE, REAL
from deepfake_ms.scoring.intervals import bootstrap_intervals, paired_difference
from deepfake_ms.scoring.metrics import video_scores
from deepfake_ms.scoring.significance import delong_test, holm

RESAMPLES = 2000
COLUMNS = (
    *("test_set", "detector", "level", "metric", "real_videos", "fake_videos", "value", "low", "high"),
    *("difference", "difference_low", "difference_high"),
    *("p_bootstrap", "p_bootstrap_holm", "p_delong", "p_delong_holm"),
)


def compare(
    test_sets: Mapping[str, Mapping[str, pd.DataFrame]],
    level: str = "video",
    metric: str = "auroc",
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Compare every detector with the first one on each test set.

    Args:
        test_sets: predictions per test set and detector, all of a test set of the same faces, in the form that
            `deepfake_ms.scoring.intervals` takes.
        level: ``frame`` or ``video``.
        metric: a name from `deepfake_ms.scoring.metrics.TITLES`; the threshold is .5.
        resamples: number of bootstrap resamples of the videos.

    Returns:
        One row per test set and detector with `COLUMNS`: numbers of videos; the metric with its 95 % interval; its
        difference from the first detector, detector minus first, with the interval and p-value of the paired bootstrap
        over videos; the p-value of DeLong's test; and both p-values adjusted by Holm for all comparisons of the table.
        The first detector has no difference. DeLong's test is left out (NaN) at frame level, where it would treat the
        correlated frames of a video as independent, and for metrics other than AUROC.

    Raises:
        UserError: as in `deepfake_ms.scoring.intervals.paired_difference`.
    """
    rows = []
    for test_set, detectors in test_sets.items():
        first, *_ = detectors.values()
        for name, predictions in detectors.items():
            own = bootstrap_intervals({0: predictions}, level, [metric], resamples=resamples).loc[metric]
            labels = video_scores(predictions)["label"]
            row = {"test_set": test_set, "detector": name, "level": level, "metric": metric}
            row |= {"real_videos": (labels == REAL).sum(), "fake_videos": (labels == FAKE).sum()}
            row |= {"value": own["mean"], "low": own["low"], "high": own["high"]}
            if predictions is not first:
                row |= _difference(predictions, first, level, metric, resamples)
            rows.append(row)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for test in ("p_bootstrap", "p_delong"):
        table[f"{test}_holm"] = holm(table[test].astype("float64"))
    return table


def _difference(
    predictions: pd.DataFrame, first: pd.DataFrame, level: str, metric: str, resamples: int
) -> dict[str, float]:
    paired = paired_difference({0: predictions}, {0: first}, level, [metric], resamples=resamples).loc[metric]
    found = {"difference": paired["mean"], "difference_low": paired["low"], "difference_high": paired["high"]}
    found["p_bootstrap"] = paired["p_value"]
    if level == "video" and metric == "auroc":
        videos, others = video_scores(predictions), video_scores(first)
        found["p_delong"] = delong_test(videos["fake_probability"], others["fake_probability"], videos["label"])
    return found
