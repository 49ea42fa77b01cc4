"""Settings of the preparation: which are allowed, what they sample and align, and how they name the folder."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn import WholeSquareDetector, draw_corpus, picture, write_video
from preparing import SETTINGS, prepare, report_of

from deepfake_ms.datasets import find_corpus
from deepfake_ms.errors import UserError
from deepfake_ms.manifest import LANDMARK_COLUMNS, read_manifest
from deepfake_ms.preprocessing.alignment import template_points
from deepfake_ms.preprocessing.fingerprint import fingerprint_corpus, hash_contents
from deepfake_ms.preprocessing.settings import PreparationSettings

ALIGNED = replace(SETTINGS, edge="black", enlarge="linear", align="five_points")


def test_the_fingerprint_covers_settings_contents_and_labels(tmp_path):
    sources = find_corpus("folder", draw_corpus(tmp_path / "corpus")).sources

    def named(sources, settings=SETTINGS):
        return fingerprint_corpus(sources, settings, hash_contents(sources, tmp_path / "digests"))

    known = {named(sources)}
    assert known == {named(sources[::-1], PreparationSettings(fps=2.0, crop_size=32.0, margin=0.3, offset=0))}
    for other in (
        named(sources, replace(SETTINGS, margin=0.4)),
        named(sources, replace(SETTINGS, max_frames=3)),
        named(sources, replace(SETTINGS, fps=None, frames=3)),
        named(sources, replace(SETTINGS, edge="black", enlarge="linear")),
        named(sources, ALIGNED),
        named(sources[1:]),
        named([replace(sources[0], label="real"), *sources[1:]]),
        named([replace(sources[0], source_video="real/video0"), *sources[1:]]),
        named([replace(sources[0], path=sources[1].path), *sources[1:]]),
    ):
        assert other not in known
        known.add(other)


def test_folders_of_earlier_versions_keep_their_fingerprint(tmp_path):
    """The settings that were added later do not appear while they have their default."""
    known = {
        "pipeline_version": 4,
        "fps": 1.0,
        "crop_size": 224,
        "face": "largest",
        "margin": -0.2,
        "offset": 0.07,
        "edge": "clip",
        "enlarge": "area",
        "min_probability": 0.9,
    }
    assert PreparationSettings().as_dict() == known
    assert fingerprint_corpus([], PreparationSettings(), []) == "c40bc7d2f31f"
    assert PreparationSettings(fps=None, frames=32, max_frames=8).as_dict() == known | {
        "fps": None,
        "frames": 32,
        "max_frames": 8,
    }
    assert ALIGNED.as_dict()["align"] == "five_points"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"frames": 32}, r"^fps=1\.0 and frames=32 are both set: set one of them to null\.$"),
        ({"fps": None}, r"^fps and frames are both null: set one of them, e\.g\. fps=1 or frames=32\.$"),
        ({"align": "five_points"}, "needs offset=0, edge=black and enlarge=linear: set these three, or choose prep"),
        ({"align": "five_points", "offset": 0, "edge": "black"}, "^align=five_points needs"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values, sentence):
    with pytest.raises(UserError, match=sentence):
        PreparationSettings(**values)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fps": 0},
        {"fps": float("nan")},
        {"fps": None},
        {"fps": "1"},
        {"crop_size": 0},
        {"crop_size": 32.5},
        {"margin": -1},
        {"offset": 1.1},
        {"min_probability": 1.1},
        {"face": "nearest"},
        {"edge": None},
        {"enlarge": "nearest"},
        {"frames": 0, "fps": None},
        {"frames": 2.5, "fps": None},
        {"frames": "32", "fps": None},
        {"max_frames": 0},
        {"max_frames": True},
        {"align": "dlib"},
        {"align": None},
    ],
)
def test_invalid_settings_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        PreparationSettings(**wrong)


@pytest.mark.parametrize(
    ("values", "images", "frames"),
    [
        ({"fps": None, "frames": 3}, [0, 2, 4], [0, 10, 20]),
        ({"fps": None, "frames": 100}, [0, 1, 2, 3, 4], list(range(21))),
        ({"fps": None, "frames": 3, "max_frames": 2}, [0, 2], [0, 10]),
        ({"max_frames": 4}, [0, 1, 2, 3], [0, 5, 10, 15]),
    ],
)
def test_a_number_of_images_or_frames_is_sampled(tmp_path, values, images, frames):
    for number in range(5):
        (tmp_path / "corpus").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"corpus/a_{10 * number}.png"), picture((60, 40, 30))[..., ::-1])
    write_video(tmp_path / "corpus/b.mp4", [picture((60, 40, 30))] * 21)
    folder = prepare(tmp_path / "corpus", tmp_path / "prepared", settings=replace(SETTINGS, **values))
    manifest = read_manifest(folder)
    assert sorted(manifest[manifest.video_id == "a"].frame_index) == [10 * number for number in images]
    assert sorted(manifest[manifest.video_id == "b"].frame_index) == frames
    assert report_of(folder)["classes"]["unlabelled"]["frames_read"] == len(images) + len(frames)


def test_images_that_are_not_sampled_are_not_read(tmp_path):
    """If all sampled images are unreadable, so is their video."""
    (tmp_path / "corpus").mkdir()
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"corpus/a_{number}.png"), picture((60, 40, 30))[..., ::-1])
    cv2.imwrite(str(tmp_path / "corpus/b.png"), picture((60, 40, 30))[..., ::-1])
    for number in (0, 3, 4):
        (tmp_path / f"corpus/a_{number}.png").write_bytes(b"")
    folder = prepare(tmp_path / "corpus", tmp_path / "prepared", settings=replace(SETTINGS, fps=None, frames=2))
    report = report_of(folder)
    assert [each["source"] for each in report["quarantined"]] == ["a_0.png", "a_4.png"]
    assert report["classes"]["unlabelled"]["videos_quarantined"] == 1


def test_a_truncated_video_is_quarantined_if_frames_are_sampled_by_number(tmp_path):
    root = draw_corpus(tmp_path / "corpus", videos=2)
    noise = [np.random.default_rng(i).integers(0, 255, (96, 128, 3), np.uint8) for i in range(60)]
    images = [picture((60, 40, 30))] * 30 + noise
    for name, options in (("cut.mp4", {"movflags": "faststart"}), ("cut.mkv", {}), ("cut.avi", {})):
        path = write_video(root / "fake" / name, images, options=options)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    settings = replace(SETTINGS, fps=None, frames=4, max_frames=1)
    folder = prepare(root, tmp_path / "prepared", settings=settings)
    reasons = {each["source"]: each["reason"] for each in report_of(folder)["quarantined"]}
    assert sorted(reasons) == ["fake/cut.avi", "fake/cut.mkv", "fake/cut.mp4"]
    assert all(reason.startswith("truncated") for reason in reasons.values())


def test_aligned_landmarks_are_in_pixels_of_the_crop_and_boxes_in_pixels_of_the_frame(tmp_path):
    (tmp_path / "corpus").mkdir()
    for name, place in (("a", (60, 40)), ("b", (10, 40)), ("c", (5, 40))):
        cv2.imwrite(str(tmp_path / f"corpus/{name}.png"), picture((*place, 30))[..., ::-1])
    settings = replace(ALIGNED, crop_size=64)
    folder = prepare(tmp_path / "corpus", tmp_path / "prepared", settings=settings, detector=WholeSquareDetector)
    manifest = read_manifest(folder)
    assert np.allclose(manifest.box_left, [45, -5, -10], atol=1)
    landmarks = manifest[LANDMARK_COLUMNS].to_numpy().reshape(3, 5, 2)
    assert np.allclose(landmarks.mean(axis=1), template_points(64, 0.3).mean(axis=0), atol=0.01)
    assert np.allclose(landmarks, landmarks[0], atol=0.5)  # the same face at three places
    for row, points in zip(manifest.itertuples(), landmarks, strict=True):
        crop = cv2.imread(str(folder / row.crop))[..., ::-1]
        nose = crop[tuple(points[2].round().astype(int)[::-1])].astype(int)
        assert nose[0] - nose[1] > 100
    counts = report_of(folder)["classes"]["unlabelled"]
    assert (counts["faces_kept"], counts["faces_over_edge"], counts["eyes_outside"]) == (3, 2, 1)
