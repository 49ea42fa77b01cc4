"""Contact sheets of masked faces."""

import numpy as np
import pytest
import tiny_run

from deepfake_ms.data.face_masks import FaceMask, Size
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.explanation import contact_sheet
from deepfake_ms.explanation.contact_sheet import CAPTION_HEIGHT, SIZE

EYES = FaceMask({"eyes": Size(0.9, 0.5)})
TILE = CAPTION_HEIGHT + 2 * SIZE


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> PreparedFaces:
    return PreparedFaces.read(tiny_run.write_faces(tmp_path_factory.mktemp("prepared") / "faces"))


def tiles(sheet: np.ndarray, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each face as cropped and as masked."""
    parts = [
        column
        for row in np.split(sheet, len(sheet) // TILE)
        for column in np.split(row, sheet.shape[1] // SIZE, axis=1)
    ]
    assert all((part == 255).all() for part in parts[count:])
    return [(part[CAPTION_HEIGHT : CAPTION_HEIGHT + SIZE], part[CAPTION_HEIGHT + SIZE :]) for part in parts[:count]]


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (3, 1, 3), (8, 1, 8), (11, 2, 8)])
def test_every_face_is_shown_as_cropped_and_as_masked(faces, count, rows, columns):
    sheet = contact_sheet.contact_sheet(faces, count, seed=0, mask=EYES)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (rows * TILE, columns * SIZE, 3)
    region = EYES.region(SIZE, SIZE, np.array([[73.0, 101.0], [157.0, 101.0]]))  # the eyes in 224 px
    for cropped, masked in tiles(sheet, count):
        changed = (cropped != masked).any(axis=2)
        assert (masked[changed] == 0).all()
        assert (changed & region).sum() / (changed | region).sum() > 0.97
    assert len({cropped.tobytes() for cropped, _ in tiles(sheet, count)}) == count


def test_the_labels_take_turns_and_the_seed_chooses_the_faces(faces, monkeypatch):
    shown = []
    caption = contact_sheet._caption
    monkeypatch.setattr(contact_sheet, "_caption", lambda face: shown.append(face) or caption(face))
    sheets = [contact_sheet.contact_sheet(faces, 6, seed, EYES) for seed in (0, 0, 1)]
    assert np.array_equal(sheets[0], sheets[1])
    assert not np.array_equal(sheets[0], sheets[2])
    for labels in ([face["label"] for face in shown[start : start + 6]] for start in (0, 6, 12)):
        assert sorted(labels[:2]) == sorted(labels[2:4]) == sorted(labels[4:]) == ["fake", "real"]


def test_random_boxes_are_those_of_the_training_with_the_same_seed(faces):
    scattered = FaceMask(EYES.regions, place="random")
    first, again, other = (contact_sheet.contact_sheet(faces, 2, seed, scattered) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    places = [(cropped != masked).any(axis=2) for cropped, masked in tiles(first, 2) + tiles(other, 2)]
    assert len({place.tobytes() for place in places}) == 4


def test_more_faces_than_there_are_show_all(faces):
    assert contact_sheet.contact_sheet(faces, 1000, seed=0, mask=EYES).shape == (6 * TILE, 8 * SIZE, 3)  # 47 faces


def test_no_face_is_refused(faces):
    with pytest.raises(UserError, match="count=0: ask for at least one face"):
        contact_sheet.contact_sheet(faces, 0, seed=0, mask=EYES)
