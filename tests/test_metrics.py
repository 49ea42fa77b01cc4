"""Metrics against scikit-learn and against the paper's own arithmetic."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from deepfake_ms.labels import FAKE, REAL
from deepfake_ms.metrics import TITLES, score, score_table, video_scores


def test_scores_equal_scikit_learn():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 301)
    probability = np.clip(0.3 * labels + 0.7 * random.random(301), 0, 1)
    decided = probability > 0.5
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(labels, decided),
        "macro_f1": sklearn_metrics.f1_score(labels, decided, average="macro"),
        "auroc": sklearn_metrics.roc_auc_score(labels, probability),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels, decided),
        "real_error": (decided & (labels == REAL)).sum() / (labels == REAL).sum(),
        "fake_error": (~decided & (labels == FAKE)).sum() / (labels == FAKE).sum(),
    }
    measured = score(torch.tensor(probability), torch.tensor(labels))
    assert list(measured) == list(TITLES)  # the order of the tables
    assert measured == pytest.approx(expected, abs=1e-6)


def test_published_base_row_is_macro_f1():
    """863 fakes and 135 reals wrong on the paper's test set give the published .9333 and .8408."""
    labels = torch.tensor([REAL] * 1415 + [FAKE] * 13543)
    probability = torch.tensor([0.9] * 135 + [0.1] * 1280 + [0.1] * 863 + [0.9] * 12680)
    measured = score(probability, labels)
    assert round(measured["accuracy"], 4) == 0.9333
    assert round(measured["macro_f1"], 4) == 0.8408
    assert measured["fake_error"] == pytest.approx(863 / 13543)


def test_video_score_is_the_mean_over_its_frames_by_video_id():
    predictions = pd.DataFrame({"video_id": ["a", "b", "a"], "label": [1, 0, 1], "fake_probability": [0.2, 0.4, 1.0]})
    videos = video_scores(predictions).set_index("video_id")
    assert videos.loc["a", "fake_probability"] == pytest.approx(0.6)
    assert videos.loc["a", "frames"] == 2
    levels = score_table(predictions)
    assert levels["frame"]["accuracy"] == pytest.approx(2 / 3)
    assert levels["video"]["accuracy"] == 1
