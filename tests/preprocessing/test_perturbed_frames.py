"""Preparation of perturbed frames."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn import SquareDetector, draw_corpus, picture, write_video

from deepfake_ms.data.perturbation import Perturbation
from deepfake_ms.datasets import find_corpus
from deepfake_ms.errors import UserError
from deepfake_ms.manifest import read_manifest
from deepfake_ms.preprocessing.frames import Frame
from deepfake_ms.preprocessing.perturbed_frames import perturb
from deepfake_ms.preprocessing.prepare import prepare_corpus
from deepfake_ms.preprocessing.prepared import find_prepared
from deepfake_ms.preprocessing.settings import PreparationSettings

PLAIN = PreparationSettings(fps=2, crop_size=32, margin=0.3, offset=0)
NOISE = Perturbation("noise", 2, [{"transform": "GaussNoise", "std_range": [0.02, 0.02], "p": 1}])
H264 = Perturbation("h264", 5, [{"transform": "H264", "crf": 45}])
BLOCKS = Perturbation("blocks", 1, [{"transform": "GreyBlocks", "count": 16}])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return draw_corpus(tmp_path_factory.mktemp("corpus"), videos=2)


def prepare(corpus: Path, root: Path, perturbation: Perturbation | None = None, workers: int = 0) -> Path:
    settings = replace(PLAIN, perturbation=perturbation)
    return prepare_corpus(find_corpus("folder", corpus), "demo", settings, root, workers, make_detector=SquareDetector)


def crops(folder: Path) -> dict[str, str]:
    return {row.sample_id: hashlib.sha256((folder / row.crop).read_bytes()).hexdigest() for row in manifest(folder)}


def manifest(folder: Path) -> list:
    return list(read_manifest(folder).itertuples())


def test_perturbed_faces_have_a_folder_of_their_own_that_says_so(corpus, tmp_path):
    plain, noisy = prepare(corpus, tmp_path), prepare(corpus, tmp_path, NOISE)
    assert plain != noisy
    described = json.loads((noisy / "prepared.json").read_text())["preparation"]["perturbation"]
    assert described == {"name": "noise", "level": 2, "transforms": NOISE.transforms}
    assert "perturbation" not in json.loads((plain / "prepared.json").read_text())["preparation"]
    for settings, folder in ((PLAIN, plain), (replace(PLAIN, perturbation=NOISE), noisy)):
        assert find_prepared(tmp_path, "demo", corpus, {}, settings) == folder
    assert crops(plain).keys() == crops(noisy).keys()
    assert not set(crops(plain).values()) & set(crops(noisy).values())


def test_the_number_of_workers_changes_nothing(corpus, tmp_path):
    first, again = prepare(corpus, tmp_path / "a", NOISE), prepare(corpus, tmp_path / "b", NOISE, workers=2)
    assert crops(first) == crops(again)
    assert json.loads((first / "report.json").read_text()) == json.loads((again / "report.json").read_text())


def test_the_draws_are_each_frames_own():
    image = np.full((64, 64, 3), 128, np.uint8)
    found = {
        perturb(Frame(index, 0.0, image), NOISE, video).image.tobytes() for video in ("a", "b") for index in (0, 5)
    }
    assert len(found) == 4
    again = perturb(Frame(5, 1.0, image), NOISE, "b")
    assert (again.index, again.time_s) == (5, 1.0)
    assert again.image.tobytes() in found


def test_h264_compresses_the_whole_video_and_images_alone(corpus, tmp_path):
    plain, compressed = prepare(corpus, tmp_path), prepare(corpus, tmp_path, H264)
    kept = {row.sample_id: (row.frame_index, row.time_s) for row in manifest(compressed)}
    assert kept == {row.sample_id: (row.frame_index, row.time_s) for row in manifest(plain)}
    assert not set(crops(plain).values()) & set(crops(compressed).values())


def test_lost_faces_and_unchanged_frames_are_counted(tmp_path):
    """Darkened, a square of red 190 becomes an improbable face; black frames stay black."""
    square = picture((40, 50, 30))
    duller = np.where(square == 220, 190, square).astype(np.uint8)
    write_video(tmp_path / "corpus/real/a.mp4", [duller] * 11)
    write_video(tmp_path / "corpus/fake/b.mp4", [np.zeros_like(square)] * 6 + [square] * 6)
    dark = {"transform": "RandomBrightnessContrast", "brightness_limit": [0, 0], "contrast_limit": [-0.3, -0.3], "p": 1}
    folder = prepare(tmp_path / "corpus", tmp_path, Perturbation("dark", 1, [dark]))
    classes = json.loads((folder / "report.json").read_text())["classes"]
    names = ("frames_read", "dropped_no_face", "dropped_low_probability", "faces_kept", "frames_unchanged")
    assert [classes["real"][name] for name in names] == [3, 0, 3, 0, 0]
    assert [classes["fake"][name] for name in names] == [3, 2, 0, 1, 2]


def test_a_perturbation_that_changes_no_frame_is_refused(corpus, tmp_path):
    with pytest.raises(UserError, match=r"^preparation\.perturbation changes no frame of this corpus: choose another"):
        prepare(corpus, tmp_path, BLOCKS)  # frames of 96 x 128 pixels
