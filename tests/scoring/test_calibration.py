"""Temperature scaling finds the temperature that made the scores, and keeps their order."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from deepfake_ms.scoring.calibration import apply_temperature, fit_temperature


def table(logits, labels) -> pd.DataFrame:
    return pd.DataFrame({"label": labels, "fake_probability": expit(np.asarray(logits, dtype=float))})


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_miscalibrated_scores_is_found(temperature):
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, 40_000)
    labels = (random.random(len(logits)) < expit(logits)).astype(int)
    found = fit_temperature(table(logits * temperature, labels))
    assert found == pytest.approx(temperature, rel=0.05)
    calibrated = apply_temperature(table(logits * temperature, labels), found)["fake_probability"]
    assert np.abs(calibrated - expit(logits)).max() < 0.02


def test_the_order_stays_and_certain_scores_are_finite():
    scores = pd.DataFrame({"label": [0, 1, 0, 1], "fake_probability": [0.0, 1.0, 0.3, 0.2]})
    scaled = apply_temperature(scores, 2.0)["fake_probability"]
    assert np.isfinite(scaled).all()
    assert scaled.argsort().tolist() == scores["fake_probability"].argsort().tolist()


def test_one_class_gives_no_temperature_and_changes_nothing():
    scores = table([0.1, 0.4], [1, 1])
    assert np.isnan(fit_temperature(scores))
    assert apply_temperature(scores, float("nan")).equals(scores)
