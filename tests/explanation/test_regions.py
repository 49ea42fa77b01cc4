"""Regions of a face: a partition of the crop, and the places where the generator draws."""

import dataclasses

import cv2
import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from deepfake_ms.composition import CONFIG_FOLDER
from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.datasets.miniature import ArtefactStrengths, MiniatureSettings, plan_corpus, render_video
from deepfake_ms.datasets.miniature.corpus import describe_corpus, render_one
from deepfake_ms.datasets.miniature.identity import invent_person
from deepfake_ms.datasets.miniature.truth import artefact_regions, read_plan
from deepfake_ms.errors import UserError
from deepfake_ms.explanation.regions import REGIONS, divide, shares
from deepfake_ms.explanation.truth import true_regions
from deepfake_ms.manifest import BOX_COLUMNS
from deepfake_ms.preprocessing.crops import crop_face
from deepfake_ms.preprocessing.faces import Face
from deepfake_ms.preprocessing.settings import PreparationSettings

LANDMARKS = np.array([[[30.0, 40.0], [66.0, 42.0], [48.0, 60.0], [34.0, 74.0], [62.0, 75.0]]])


@pytest.fixture(scope="module")
def masks():
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        regions = OmegaConf.to_container(compose("explain").regions)
    return {name: FaceMask.from_settings(each) for name, each in regions.items()}


def test_every_pixel_belongs_to_one_region(masks):
    (regions,) = divide(masks, 96, LANDMARKS)
    assert regions.shape == (len(REGIONS), 96, 96)
    assert (regions.sum(axis=0) == 1).all()
    named = dict(zip(REGIONS, regions, strict=True))
    np.testing.assert_array_equal(named["eyes"], masks["eyes"].region(96, 96, LANDMARKS[0]))
    assert named["mouth"][75, 48]
    assert named["nose"][60, 48]
    assert named["rest of the face"][92, 48]
    assert named["outside the face"][[0, 0, -1, -1], [0, -1, 0, -1]].all()


def test_shares_of_a_map(masks):
    regions = divide(masks, 96, np.repeat(LANDMARKS, 3, axis=0))
    maps = np.stack([np.ones((96, 96)), regions[1, REGIONS.index("mouth")], np.zeros((96, 96))]).astype(np.float32)
    found = shares(maps, regions).set_index(["face", "region"])
    even = found.loc[0]
    assert even["share"].sum() == pytest.approx(1)
    np.testing.assert_allclose(even["share"], even["area"], rtol=1e-6)
    np.testing.assert_allclose(even["density"], 1, rtol=1e-6)
    assert found.loc[(1, "mouth"), "share"] == pytest.approx(1)
    assert found.loc[(1, "mouth"), "density"] == pytest.approx(1 / even.loc["mouth", "area"])
    assert found.loc[(1, "eyes"), "share"] == 0
    assert found.loc[2, "share"].isna().all()


@pytest.fixture(scope="module")
def drawn():
    settings = MiniatureSettings(identities=8, fakes=4, artefacts=ArtefactStrengths(1.0, 1.0, 1.0, 1.0))
    return settings, next(video for video in plan_corpus(settings) if video.is_fake)


def test_the_generator_knows_where_its_artefacts_are(drawn, masks):
    """The artefacts at eyes and mouth lie in the regions of these names; the others cover the inner face."""
    settings, video = drawn
    features = invent_person(settings.seed, video.donor).features
    for number, (_, eyes) in list(enumerate(render_video(video, settings)))[::8]:
        found = artefact_regions(video, settings, number)
        assert set(found) == {"eyes", "seam", "mouth", "resample"}
        distance = np.hypot(*(eyes[1] - eyes[0]))
        across = np.array([-(eyes[1] - eyes[0])[1], (eyes[1] - eyes[0])[0]]) / distance
        middle = eyes.mean(axis=0)
        mouth = middle + (features.mouth_y - features.eye_y) / (2 * features.eye_x) * distance * across
        nose, aside = middle + 0.6 * distance * across, np.array([0.4 * distance, 0])
        landmarks = np.array([*eyes, nose, mouth - aside, mouth + aside])
        (regions,) = divide(masks, settings.size, landmarks[None])
        named = dict(zip(REGIONS, regions, strict=True))
        for name in ("eyes", "mouth"):
            assert found[name].any()
            assert named[name][found[name]].mean() > 0.95, name
        assert not named["outside the face"][found["seam"]].mean() > 0.1
        assert found["seam"].sum() > 10 * found["eyes"].sum()


def test_an_artefact_of_strength_0_has_no_region(drawn):
    settings, video = drawn
    weak = dataclasses.replace(video, artefacts=ArtefactStrengths(eyes=0.0, seam=0.0, mouth=1.0, resample=0.0))
    assert set(artefact_regions(weak, settings, 0)) == {"mouth"}


def test_true_regions_are_in_the_pixels_of_the_crops(drawn, tmp_path):
    """The region of an artefact is where crops of the frame with and without it differ."""
    settings, video = drawn
    (tmp_path / "corpus.json").write_text(describe_corpus(settings))
    real = next(each for each in plan_corpus(settings) if not each.is_fake)
    box = np.array([70.0, 60.0, 180.0, 200.0])
    rows = [
        {
            "source": each.name,
            "label": label,
            "frame_index": 8,
            "probability": 1.0,
            **dict(zip(BOX_COLUMNS, box, strict=True)),
        }
        for each, label in ((video, "fake"), (real, "real"))
    ]
    preparation = PreparationSettings()
    faces = PreparedFaces(tmp_path / "prepared", {"preparation": preparation.as_dict()}, pd.DataFrame(rows))
    found, nothing = true_regions(faces, tmp_path, np.array([0, 1]), 112)
    assert nothing == {}
    assert set(found) == {"eyes", "seam", "mouth", "resample"}
    none = ArtefactStrengths(0.0, 0.0, 0.0, 0.0)
    crops = []
    for artefacts in (none, dataclasses.replace(none, mouth=video.artefacts.mouth)):
        frame, _ = render_one(dataclasses.replace(video, artefacts=artefacts), settings, 8)
        crops.append(crop_face(frame, Face(box, np.zeros((5, 2)), 1.0), preparation)[0].astype(int))
    changed = cv2.resize((np.abs(crops[0] - crops[1]).max(axis=2) >= 4).astype(np.uint8), (112, 112)) > 0
    overlap = (found["mouth"] & changed).sum() / (found["mouth"] | changed).sum()
    assert overlap > 0.8
    aligned = {**preparation.as_dict(), "align": "five_points", "offset": 0, "edge": "black", "enlarge": "linear"}
    with pytest.raises(UserError, match=r"aligned faces, .*: prepare the corpus with preparation.align=none"):
        true_regions(dataclasses.replace(faces, about={"preparation": aligned}), tmp_path, np.array([0]), 112)
    with pytest.raises(UserError, match=r"is not the corpus of .*: it has no fake other.mp4"):
        true_regions(dataclasses.replace(faces, manifest=faces.manifest.assign(source="other.mp4")), tmp_path, [0], 112)


def test_only_drawn_corpora_have_a_plan(tmp_path):
    with pytest.raises(UserError, match=r"corpus.json is missing: only for a drawn corpus"):
        read_plan(tmp_path)
