"""Contact sheets of masked and of perturbed faces."""

import cv2
import numpy as np
import pytest
import tiny_run

from deepfake_ms.data.face_masks import FaceMask, Size
from deepfake_ms.data.perturbation import Perturbation
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.change import measure_change
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
    describe = contact_sheet._describe
    monkeypatch.setattr(contact_sheet, "_describe", lambda face: shown.append(face) or describe(face))
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


# --- perturbations


def pixelation(*factors: int) -> list[Perturbation]:
    levels = [{"Pixelation": {"factor": factor}} for factor in factors]
    return [
        Perturbation.from_settings({"name": "pixels", "level": level, "levels": levels})
        for level in range(1, len(levels) + 1)
    ]


def test_a_row_for_each_face_and_a_column_for_each_level(faces, monkeypatch):
    written = []
    caption = contact_sheet._caption
    monkeypatch.setattr(contact_sheet, "_caption", lambda text: written.append(text) or caption(text))
    types = [pixelation(1, 2, 4), pixelation(8)]
    sheet = contact_sheet.perturbation_sheet(faces, 2, 0, types)
    row = SIZE + CAPTION_HEIGHT
    block = 2 * row + CAPTION_HEIGHT
    assert sheet.shape == (2 * block, 4 * SIZE, 3)
    assert (sheet[block:, 2 * SIZE :] == 255).all()

    def shown(kind: int, face: int, column: int) -> np.ndarray:
        top = kind * block + face * row
        return sheet[top : top + SIZE, column * SIZE : (column + 1) * SIZE]

    for face in range(2):
        cropped = shown(0, face, 0)
        assert np.array_equal(cropped, shown(1, face, 0))
        for kind, levels in enumerate(types):
            for column, level in enumerate(levels, start=1):
                assert np.array_equal(shown(kind, face, column), level(cropped, seed=0))
    changes = [
        measure_change((shown(kind, face, 0), shown(kind, face, column)) for face in range(2)).mean_psnr
        for kind, column in ((0, 2), (0, 3), (1, 1))
    ]
    named = [text for text in written if text.startswith(("pixels", "level"))]
    assert named == [
        *("pixels", "level 1: unchanged", f"level 2: {changes[0]:.1f} dB", f"level 3: {changes[1]:.1f} dB"),
        *("pixels", f"level 1: {changes[2]:.1f} dB"),
    ]


def test_perturbations_are_drawn_on_the_command_line(faces, call):
    arguments = ("what=perturbations", "count=1", f"prepared={faces.folder}", "output=sheets")
    status, printed, errors = call("explain", *arguments, "perturbations=[jpeg,h264]")
    assert status == 0, errors
    assert printed == "1 faces, as cropped and at every level of jpeg, h264: sheets/faces_jpeg_h264.png\n"
    assert cv2.imread("sheets/faces_jpeg_h264.png").shape == (2 * (SIZE + 2 * CAPTION_HEIGHT), 6 * SIZE, 3)
    for names, sentence in (
        ("[jpg]", "perturbations=jpg: there is no conf/perturbation/jpg.yaml."),
        ("[none]", "perturbations=['none']: give types, such as perturbations=[jpeg,h264]."),
        ("[]", "perturbations=[]: give types, such as perturbations=[jpeg,h264]."),
    ):
        status, _, errors = call("explain", *arguments, f"perturbations={names}")
        assert (status, errors) == (2, f"error: {sentence}\n")
