"""Decisions on tracks and files, with thresholds and temperatures chosen by hand."""

from dataclasses import replace

import numpy as np
import pytest
from drawn import face

from deepfake_ms.prediction.reference import Reference
from deepfake_ms.prediction.verdict import (
    NO_FACE,
    Limits,
    ScoredFace,
    Track,
    calibrated_thresholds,
    decide_file,
    decide_track,
)


def scored(raw, side=40, distance=0.0, frame=0):
    return ScoredFace(frame, frame / 2, face(50, 50, side), raw, raw, distance)


def track(detector, *raw, level="video", limits=None, number=1, **about):
    faces = [scored(each, frame=frame, **about) for frame, each in enumerate(raw)]
    return decide_track(number, faces, level, detector, limits or Limits())


def test_the_mean_is_compared_with_the_threshold_of_the_level(brightness):
    """Thresholds: .4 for videos, .6 for frames."""
    found = track(brightness, 0.2, 0.5, 0.8)
    assert (found.raw, found.is_fake, found.reason) == (pytest.approx(0.5), True, None)
    assert not track(brightness, 0.1, 0.5, 0.5).is_fake
    assert not track(brightness, 0.5, level="frame").is_fake
    assert track(brightness, 0.7, level="frame").is_fake


def test_calibration_and_decision_agree(brightness):
    """Temperature .5 doubles the logit: P = .5 stays, .4 becomes .308."""
    thresholds = calibrated_thresholds(brightness)
    assert thresholds["video"] == pytest.approx(0.4**2 / (0.4**2 + 0.6**2))
    for value in (0.1, 0.39, 0.41, 0.9):
        found = track(brightness, value, value, value)
        assert found.is_fake == (found.probability > thresholds["video"])
        assert found.probability == pytest.approx(value**2 / (value**2 + (1 - value) ** 2))


def test_interval_of_equal_frames_is_a_point_and_grows_with_their_spread(brightness):
    assert track(brightness, 0.3, 0.3, 0.3).interval == pytest.approx((0.155, 0.155), abs=1e-3)
    assert track(brightness, 0.3, level="frame").interval is None
    low, high = track(brightness, *[0.2, 0.8] * 8).interval
    found = track(brightness, *[0.4, 0.6] * 8)
    assert low < found.interval[0] < found.probability < found.interval[1] < high


def test_interval_is_that_of_the_mean(brightness):
    """Of many independent frames, it is close to the normal approximation."""
    raw = np.random.default_rng(0).uniform(0.2, 0.8, 200)
    uncalibrated = replace(brightness, temperatures={"frame": np.nan, "video": np.nan})
    low, high = track(uncalibrated, *raw).interval
    error = 1.96 * raw.std() / np.sqrt(len(raw))
    assert (low, high) == (pytest.approx(raw.mean() - error, abs=0.004), pytest.approx(raw.mean() + error, abs=0.004))


def test_reasons_to_abstain(brightness):
    limited = replace(
        brightness,
        reference=Reference(np.zeros(14), np.zeros((14, 14)), {"frame": 3.0, "video": 2.0}, smallest_face=32.0),
    )
    assert track(limited, 0.9, 0.9).reason == "only 2 frames"
    assert track(limited, 0.9).reason == "only 1 frame"
    assert track(limited, 0.9, level="frame").reason is None
    assert track(limited, 0.9, 0.9, limits=Limits(min_frames=2)).reason is None
    assert track(limited, *[0.9] * 3, side=31).reason == "face too small (31 px, at least 32)"
    assert track(limited, *[0.9] * 3, side=31, limits=Limits(min_face=20)).reason is None
    unlike = "unlike the training data (distance 2.5, limit 2.0)"
    assert track(limited, *[0.9] * 3, distance=2.5).reason == unlike
    assert track(limited, *[0.9] * 3, distance=2.5, limits=Limits(any_face=True)).reason is None
    assert track(limited, 0.9, distance=2.5, level="frame").reason is None


def test_without_a_threshold_there_is_no_decision(brightness):
    blind = replace(brightness, thresholds={"frame": np.nan, "video": np.nan})
    verdict = decide_file([track(blind, 0.9, 0.9, 0.9)])
    assert (verdict.decision, verdict.reason) == (None, None)


def made(number, raw, weight, reason=None):
    faces = [scored(raw, side=weight)]
    return Track(number, faces, raw, raw, None, raw > 0.5, reason)


def test_one_fake_face_makes_a_video_fake():
    verdict = decide_file([made(1, 0.1, 90), made(2, 0.9, 30), made(3, 0.7, 40)])
    assert (verdict.decision, verdict.track.number) == ("fake", 2)


def test_a_video_is_real_only_if_its_main_face_is_scored():
    assert decide_file([made(1, 0.1, 90), made(2, 0.3, 30)]).decision == "real"
    small = made(2, 0.9, 10, "face too small")
    assert decide_file([made(1, 0.1, 90), small]).decision == "real"
    hidden = decide_file([made(1, 0.9, 90, "unlike the training data"), made(2, 0.1, 30)])
    assert (hidden.decision, hidden.reason, hidden.track.number) == (None, "unlike the training data", 1)


def test_a_fake_bystander_counts_although_the_main_face_is_not_scored():
    verdict = decide_file([made(1, 0.1, 90, "unlike the training data"), made(2, 0.9, 30)])
    assert (verdict.decision, verdict.track.number) == ("fake", 2)


def test_without_faces():
    assert decide_file([]).reason == NO_FACE
    assert decide_file([]).decision is None
