"""The size of the released eye masks, and the faces that they miss."""

import dataclasses

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from deepfake_ms.composition import compose
from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.errors import UserError
from deepfake_ms.manifest import LANDMARK_COLUMNS, SCHEMA, read_manifest, write_manifest


def mask_of(*overrides: str) -> FaceMask:
    return FaceMask.from_settings(OmegaConf.to_container(compose(*overrides).mask))


# --- size


@pytest.mark.parametrize("distance", [40, 97, 200])
@pytest.mark.parametrize("roll", [0.0, 20.0, -35.0])
def test_eye_masks_have_the_measured_size_and_place(distance, roll):
    """.81 x .43 eye distances, centred .035 below the eye: area .81 * .43 each, and dlib's eye points covered."""
    along = np.array([np.cos(np.deg2rad(roll)), np.sin(np.deg2rad(roll))])
    across = np.array([-along[1], along[0]])
    landmarks = np.full((5, 2), np.nan)
    landmarks[:2] = 400 + np.outer([-distance / 2, distance / 2], along)
    region = mask_of().region(800, 800, landmarks)
    assert region.sum() == pytest.approx(2 * 0.81 * 0.43 * distance**2, rel=0.04)
    y, x = np.nonzero(region)
    centre = np.array([x.mean(), y.mean()]) - 400
    assert centre @ across == pytest.approx(0.035 * distance, abs=0.6)
    assert centre @ along == pytest.approx(0, abs=0.6)
    # A wide open eye: half the box wide, a third of the tallest released box (.55) high.
    for eye in landmarks[:2]:
        for right, below in ((-0.2, 0), (0.2, 0), (-0.1, -0.09), (0.1, -0.09), (-0.1, 0.09), (0.1, 0.09)):
            point = np.rint(eye + distance * (right * along + below * across)).astype(int)
            assert region[point[1], point[0]]


def test_masks_that_build_on_the_eyes_have_their_size():
    eyes = mask_of().regions["eyes"]
    assert dataclasses.astuple(eyes) == (0.81, 0.43, 0.035)
    assert mask_of("mask=random_boxes").regions == {"eyes": eyes}
    assert mask_of("mask=eyes_and_mouth").regions["eyes"] == eyes


# --- missed faces


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """White faces, 3 of each of 300 videos, half of them fake."""
    folder = tmp_path_factory.mktemp("prepared")
    cv2.imwrite(str(folder / "white.png"), np.full((32, 32, 3), 255, dtype=np.uint8))
    known = dict(zip(LANDMARK_COLUMNS, (10.0, 12.0, 22.0, 12.0, 16.0, 18.0, 11.0, 24.0, 21.0, 24.0), strict=True))
    rows = [
        dict.fromkeys(SCHEMA.names)
        | dict.fromkeys(("box_left", "box_top", "box_right", "box_bottom", "time_s"), 0.0)
        | {"sample_id": f"{video}#{frame}", "source": f"{video}.mp4", "video_id": f"v{video}", "identities": []}
        | {"label": ("real", "fake")[video % 2], "method": "swap", "frame_index": frame, "probability": 1.0}
        | {"crop": "white.png", "sha256": f"{video}-{frame}", **known}
        for frame in range(3)
        for video in range(300)
    ]
    write_manifest(rows, folder)
    return folder, read_manifest(folder)


def unmasked(faces, share=0.27, rows=None, epoch=0, **settings) -> np.ndarray:
    """Which faces come out white, bool [N]."""
    folder, manifest = faces
    rows = np.arange(len(manifest)) if rows is None else rows
    mask = mask_of(f"mask.missed={share}")
    data = FaceDataset(manifest, rows, folder, mask=mask, input_size=32, **settings)
    return np.array([data.pixels(position, epoch).min() == 255 for position in range(len(data))])


def test_the_share_of_the_videos_is_missed_with_all_their_faces(faces):
    missed = unmasked(faces).reshape(3, 300)
    assert (missed == missed[0]).all()
    assert missed[0].mean() == pytest.approx(0.27, abs=0.06)
    for label in range(2):  # independent of the label
        assert missed[0, label::2].mean() == pytest.approx(0.27, abs=0.09)


def test_the_same_faces_are_missed_in_every_epoch_stage_and_selection(faces):
    missed = unmasked(faces)
    assert np.array_equal(unmasked(faces, stage="3_masked_eyes", epoch=7), missed)
    rows = np.arange(len(missed))[::-7]
    assert np.array_equal(unmasked(faces, rows=rows), missed[rows])
    assert not np.array_equal(unmasked(faces, seed=1), missed)


def test_a_larger_share_misses_the_same_videos_and_more(faces):
    few, many = unmasked(faces, 0.27), unmasked(faces, 0.5)
    assert (many | ~few).all()
    assert many.sum() > few.sum()


def test_described_masks_miss_nothing_and_a_share_of_1_everything(faces):
    assert mask_of().missed == 0
    assert not unmasked(faces, 0).any()
    assert unmasked(faces, 1).all()


@pytest.mark.parametrize("share", [-0.1, 1.1, "nan"])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(UserError, match=r"mask\.missed=.* is not a share of the videos"):
        mask_of(f"mask.missed={share}")


@pytest.mark.parametrize("mask", ["eyes", "mouth", "nose", "eyes_and_mouth", "random_boxes"])
def test_every_mask_can_miss(mask):
    assert mask_of(f"mask={mask}", "mask.missed=0.27").missed == 0.27
