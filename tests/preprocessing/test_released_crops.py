"""The paper's preparation reproduces the released crops, which come from another face detector."""

import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from released_faces import released_faces

import deepfake_ms
from deepfake_ms.composition import CONFIG_FOLDER
from deepfake_ms.preprocessing.crops import crop_box
from deepfake_ms.preprocessing.settings import PreparationSettings


def configured(name):
    return PreparationSettings(**OmegaConf.load(CONFIG_FOLDER / "preparation" / f"{name}.yaml"))


def overlap(box, other):
    width, height = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    shared = max(width, 0) * max(height, 0)
    return shared / (np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - shared)


def overlaps(faces, settings):
    """Video -> intersection over union of our and the released crop, per frame."""
    found = {}
    for face in faces:
        box = np.array(crop_box(face.ours, *face.frame_size, settings))
        found.setdefault(face.video, []).append(overlap(box, face.crop_box))
    return found


def test_the_defaults_are_those_of_the_paper():
    assert configured("paper") == PreparationSettings()
    assert configured("paper").fps == 1


def test_the_wide_crop_is_the_one_of_earlier_versions():
    values = {"face": "tracked", "margin": 0.3, "offset": 0.0, "edge": "black", "enlarge": "cubic"}
    assert configured("wide") == PreparationSettings(**asdict(PreparationSettings()) | values)


@pytest.mark.parametrize("path", sorted((CONFIG_FOLDER / "preparation").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_lists_every_setting(path):
    assert {*OmegaConf.load(path), "perturbation"} == set(asdict(PreparationSettings()))  # a group of its own
    configured(path.stem)


def test_the_protocol_of_deepfakebench():
    settings = configured("deepfakebench")
    assert (settings.frames, settings.fps, settings.crop_size, settings.align) == (32, None, 256, "five_points")
    assert (settings.margin, settings.face, settings.max_frames) == (0.3, "largest", None)


def test_the_paper_is_cited_by_its_own_numbering():
    """Augmentation 2.3, curriculum 2.4, loss 2.5, data 3.1, metrics 3.2, ablation 3.4."""
    package = Path(deepfake_ms.__file__).parent
    folders = (CONFIG_FOLDER / "preparation", CONFIG_FOLDER / "data", package / "preprocessing", package / "datasets")
    cited = {
        number
        for folder in folders
        for path in folder.rglob("*.*")
        if path.suffix in (".py", ".yaml")
        for number in re.findall(r"\bpaper\b[^.]{,20}section (\d+(?:\.\d+)*)", path.read_text())
    }
    assert "3.1" in cited
    assert cited <= {"2.3", "2.4", "2.5", "3.1", "3.2", "3.4"}


def test_the_crops_overlap_with_the_released_ones(shared):
    """Measured: .874 over the 61 frames, .820 over the five videos; with the wide crop .379."""
    faces = released_faces(shared)
    assert len(faces) == 61
    of_paper, of_wide = overlaps(faces, configured("paper")), overlaps(faces, configured("wide"))
    assert np.mean(np.concatenate(list(of_paper.values()))) >= 0.86
    assert np.mean([np.mean(each) for each in of_paper.values()]) >= 0.8
    assert np.mean(np.concatenate(list(of_wide.values()))) < 0.45


def test_the_eyes_are_as_far_apart_as_in_the_released_crops(shared):
    """In sides of the crop; measured: .451 and .448."""
    ours, theirs = [], []
    for face in released_faces(shared):
        box = np.array(crop_box(face.ours, *face.frame_size, configured("paper")))
        for distances, (left, top, right, bottom) in ((ours, box), (theirs, face.crop_box)):
            eyes = face.ours.landmarks[:2] / (right - left, bottom - top)
            distances.append(np.linalg.norm(eyes[1] - eyes[0]))
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.015)
