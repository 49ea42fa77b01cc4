"""The protocol card's words on sampling and crops."""

import pytest

from deepfake_ms.composition import compose
from deepfake_ms.evaluation.protocol_card import describe_preparation


@pytest.fixture
def about():
    return {"preparation": dict(compose("preparation=paper").preparation), "files": {"real/a.mp4": 10}}


def test_videos_are_sampled(about):
    crop = "MTCNN, largest face, 0.8 times the box, not aligned, 224 px"
    assert describe_preparation(about) == ("1 per second", crop)
    about["preparation"] |= {"fps": None, "frames": 32, "max_frames": 8}
    assert describe_preparation(about)[0] == "32 evenly spaced per video, the first 8"


def test_all_images_are_taken(about):
    about["files"] = {"real/a/1.png": 10, "list.csv": 20}
    assert describe_preparation(about)[0] == "every image"
    about["files"]["real/b.mp4"] = 10
    assert describe_preparation(about)[0] == "1 per second"


def test_faces_without_recorded_settings(about):
    assert describe_preparation({}) == ("unknown", "unknown")
