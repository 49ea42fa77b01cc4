"""The drawings: what a swap and its artefacts change, and whether a face detector finds the faces."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from torch import nn
from torch.nn.functional import cross_entropy

from deepfake_ms.datasets.miniature import ArtefactStrengths, MiniatureSettings, draw_corpus, plan_corpus, render_video
from deepfake_ms.datasets.miniature.canvas import SIDES, X, Y, window
from deepfake_ms.datasets.miniature.face import Face
from deepfake_ms.datasets.miniature.fakes import SwappedFace
from deepfake_ms.datasets.miniature.features import EYE_WINDOW, MOUTH_DROP, MOUTH_WINDOW
from deepfake_ms.datasets.miniature.identity import Person, invent_person
from deepfake_ms.datasets.miniature.scene import Scene
from deepfake_ms.datasets.miniature.settings import NO_ARTEFACTS

MOMENT = replace(Scene(seed=1, size=256).moment(0.5), blink=0.3, mouth_opening=0.4)
TARGET, DONOR = Face(invent_person(0, "id0")), invent_person(0, "id1")


def swap(**strengths):
    return SwappedFace(TARGET, DONOR, replace(NO_ARTEFACTS, **strengths), np.random.default_rng(5))


def changed(image, other):
    return np.abs(image - other).max(axis=2) > 1e-5


def test_swap_without_artefacts_is_the_donors_features_in_the_targets_look():
    flawless = swap()
    inside, outside = flawless.mask[..., 0] == 1, flawless.mask[..., 0] == 0
    image = flawless.shade(MOMENT)
    native = Face(Person(TARGET.person.look, DONOR.features)).shade(MOMENT)
    assert not changed(image, native)[inside].any()
    assert not changed(image, TARGET.shade(MOMENT))[outside].any()
    assert changed(image, TARGET.shade(MOMENT))[inside].mean() > 0.2


def test_mask_covers_the_features_and_not_the_hair():
    mask, features = swap().mask[..., 0], DONOR.features
    for side in SIDES:
        assert mask[window(side * features.eye_x, features.eye_y, 0.17, 0.10)].min() == 1
    assert mask[window(0, features.mouth_y, 0.2, 0.08)].min() == 1
    assert mask[TARGET.person.look.hairline - 0.2 > Y].max() == 0


def area_of(artefact, face):
    area = np.zeros_like(X, bool)
    if artefact == "eyes":
        for side in SIDES:
            area[window(side * face.person.features.eye_x, face.person.features.eye_y, *EYE_WINDOW)] = True
    elif artefact == "mouth":
        area[window(0, face.person.features.mouth_y + MOUTH_DROP, *MOUTH_WINDOW)] = True
    else:
        area |= swap(seam=0.0).mask[..., 0] > 0
    return area


@pytest.mark.parametrize("artefact", ["eyes", "seam", "mouth", "resample"])
def test_artefact_changes_only_its_own_area_and_grows(artefact):
    flawless = swap()
    reference = flawless.shade(MOMENT)
    difference = 0.0
    for strength in (0.2, 0.6, 1.0):
        image = swap(**{artefact: strength}).shade(MOMENT)
        assert not changed(image, reference)[~area_of(artefact, flawless)].any()
        grown = np.abs(image - reference).sum()
        assert grown > difference
        difference = grown


def test_eye_artefact_keeps_the_eyes_open_and_makes_them_differ():
    shut = replace(MOMENT, blink=1.0)
    forged = swap(eyes=1.0)
    left, right = (forged.eye_state(side, shut) for side in SIDES)
    assert left.blink == right.blink == 0
    assert np.abs(left.iris - right.iris).max() > 0.05
    assert left.gaze != right.gaze
    clean = [swap().eye_state(side, shut) for side in SIDES]
    assert clean[0].blink == 1
    assert np.array_equal(clean[0].iris, clean[1].iris)


def test_artefacts_do_not_change_the_surroundings_of_the_face():
    settings = MiniatureSettings(identities=8, fakes=10, seconds=1, fps=1)
    video = next(video for video in plan_corpus(settings) if video.is_fake)
    real = next(each for each in plan_corpus(settings) if each.name == video.scene)
    (forged, eyes), (flawless, _), (original, _) = (
        next(render_video(each, settings))
        for each in (
            replace(video, artefacts=ArtefactStrengths(1, 1, 1, 1)),
            replace(video, artefacts=NO_ARTEFACTS),
            real,
        )
    )
    y, x = np.mgrid[: settings.size, : settings.size]
    inter_ocular = np.linalg.norm(eyes[1] - eyes[0])
    far = np.hypot(x - eyes[:, 0].mean(), y - eyes[:, 1].mean()) > 2.2 * inter_ocular
    assert np.array_equal(forged[far], flawless[far])
    assert np.array_equal(flawless[far], original[far])
    assert np.abs(forged.astype(int) - flawless).mean() > 0.5


def test_mtcnn_finds_faces_and_eyes_after_encoding(tmp_path):
    av = pytest.importorskip("av")
    settings = MiniatureSettings(seed=11, identities=8, videos_per_identity=1, youtube_people=0, fakes=6, fps=1)
    root = draw_corpus(settings, tmp_path, workers=1)
    detector = MTCNN(select_largest=False, device="cpu")
    probabilities, errors = [], []
    for video in plan_corpus(settings)[::2]:
        with av.open(str(root / video.name)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        for frame, (_, eyes) in zip(frames, render_video(video, settings), strict=True):
            _, scores, landmarks = detector.detect(frame, landmarks=True)
            probabilities.append(scores[0] or 0.0)
            if landmarks is not None:
                misses = np.linalg.norm(landmarks[0][:2].astype(float) - eyes, axis=1)
                errors.append(misses.mean() / np.linalg.norm(eyes[1] - eyes[0]))
    assert len(probabilities) == 21
    assert np.mean(np.array(probabilities) >= 0.9) >= 0.98
    assert np.median(errors) < 0.06
    assert max(errors) < 0.10


def faces_of(settings):
    """Face crops [N, 3, 112, 112], whether each is fake [N] and whether it is in the test list [N]."""
    crops, fake, test = [], [], []
    for video in plan_corpus(settings):
        for frame, eyes in render_video(video, settings):
            reach = 1.4 * np.linalg.norm(eyes[1] - eyes[0])
            zoom = 56 / reach
            centre = eyes.mean(axis=0) + np.array([0, 0.3 * reach])
            place = np.array([[zoom, 0, 56 - zoom * centre[0]], [0, zoom, 56 - zoom * centre[1]]])
            crops.append(cv2.warpAffine(frame, place, (112, 112)))
            fake.append(video.is_fake)
            test.append(video.official_test)
    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255 - 0.45
    return images, torch.tensor(fake), torch.tensor(test)


def auc_of_small_network(images, fake, test):
    """Test AUC of four convolution and BatchNorm blocks trained on the faces outside the test list."""
    from sklearn.metrics import roc_auc_score

    torch.manual_seed(0)
    layers, width = [], 3
    for wider in (16, 32, 48, 64):
        layers += [nn.Conv2d(width, wider, 3, stride=2, padding=1), nn.BatchNorm2d(wider), nn.ReLU()]
        width = wider
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    training = torch.nonzero(~test).flatten()
    for _ in range(12):
        for batch in training[torch.randperm(len(training))].split(32)[:-1]:
            views = images[batch] if torch.rand(()) < 0.5 else images[batch].flip(3)
            loss = cross_entropy(network(views), fake[batch].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        scores = network(images[test]).softmax(dim=1)[:, 1]
    return roc_auc_score(fake[test], scores)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_swap_without_artefacts_does_not_leak():
    settings = MiniatureSettings(
        seed=21, identities=32, youtube_people=8, fakes=120, seconds=2, fps=1, artefacts=NO_ARTEFACTS
    )
    assert auc_of_small_network(*faces_of(settings)) < 0.65
    obvious = replace(settings, artefacts=ArtefactStrengths(eyes=1.0, seam=1.0, mouth=1.0, resample=1.0))
    assert auc_of_small_network(*faces_of(obvious)) > 0.9
