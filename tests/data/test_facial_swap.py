"""The multi-scale facial swap: what it changes, which box it reports, and what reaches the batches."""

from collections import Counter

import cv2
import numpy as np
import pytest
from formulas import SIZE, augmentation_of, augmentation_settings, formula_image

from deepfake_ms.data import facial_swap
from deepfake_ms.data.augmentation import augment_with_box
from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.face_masks import FaceMask, Size
from deepfake_ms.data.face_pairs import NO_PARTNER, find_partners
from deepfake_ms.data.facial_swap import KINDS, NOWHERE, WHOLE, CroppedFace, dssim, similarity, swap_faces

SIDE = 112
LANDMARKS = np.array([[40.0, 48.0], [72.0, 48.0], [56.0, 64.0], [44.0, 80.0], [68.0, 80.0]])
BOX = np.array([10.0, 10.0, 90.0, 90.0])
FAKE = CroppedFace(formula_image(1, SIDE), LANDMARKS, BOX)
SOURCE = CroppedFace(formula_image(2, SIDE), LANDMARKS, BOX)
RELEASED = augmentation_settings("augmentation=facial_swap")["facial_swap"]
EYES = FaceMask({"eyes": Size(0.9, 0.5)})


def only(kind: str) -> dict[str, float]:
    """Probabilities with which every swap is of this kind."""
    return {name: float(name == kind) for name in KINDS}


@pytest.fixture
def windows(monkeypatch):
    """Sets the windows' sizes."""
    return lambda *sizes: monkeypatch.setattr(facial_swap, "WINDOWS", sizes)


def swap(seed: int = 0, kinds=RELEASED, fake=FAKE, source=SOURCE, face_mask=None):
    return swap_faces(fake, source, np.random.default_rng(seed), kinds, face_mask)


def pixels_of(box: np.ndarray, side: int = SIDE, margin: int = 0) -> np.ndarray:
    left, top, right, bottom = (box * side).round().astype(int)
    inside = np.zeros((side, side), dtype=bool)
    inside[max(top - margin, 0) : bottom + margin, max(left - margin, 0) : right + margin] = True
    return inside


def changed(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (image != other).any(axis=2)


# --- kinds of swaps and their frequencies


def test_the_draws_alone_determine_the_swap():
    for seed in range(10):
        (image, box), (again, same_box) = swap(seed), swap(seed)
        assert np.array_equal(image, again)
        assert np.array_equal(box, same_box)
        assert image.dtype == np.uint8
        assert image.shape == (SIDE, SIDE, 3)
    assert len({swap(seed)[0].tobytes() for seed in range(10)}) > 3


def test_released_probabilities():
    """A fifth is unchanged and a fifth gets a window, three quarters of which are smaller than the image."""
    outcomes = Counter()
    for seed in range(600):
        image, box = swap(seed)
        if np.array_equal(image, FAKE.image):
            outcomes["unchanged"] += 1
        elif changed(image, FAKE.image)[LANDMARKS.astype(int)[2, 1], LANDMARKS.astype(int)[2, 0]]:
            outcomes["fake under"] += np.array_equal(image[0, 0], FAKE.image[0, 0])
        outcomes["window"] += not np.array_equal(box, WHOLE)
    assert dict(zip(KINDS, (0.2, 0.4, 0.2, 0.2), strict=True)) == RELEASED
    assert outcomes["unchanged"] / 600 == pytest.approx(0.2, abs=0.05)
    assert outcomes["fake under"] / 600 == pytest.approx(0.4, abs=0.06)
    assert outcomes["window"] / 600 == pytest.approx(0.2 * 3 / 4, abs=0.05)


@pytest.mark.parametrize(
    ("kind", "under", "over"), [("source_face_into_fake", FAKE, SOURCE), ("fake_face_into_source", SOURCE, FAKE)]
)
def test_a_whole_face_is_pasted_into_the_other(kind, under, over):
    blends = set()
    for seed in range(8):
        image, box = swap(seed, only(kind))
        assert np.array_equal(box, WHOLE)
        touched = changed(image, under.image)
        assert 0.2 < touched.mean() < 0.6
        rows, columns = np.nonzero(touched)
        assert columns.mean() == pytest.approx(56, abs=3)  # the face's middle
        assert rows.mean() == pytest.approx(48 + 0.35 * 32, abs=3)
        blends.add(bool((image[50:78, 46:66] == over.image[50:78, 46:66]).all()))
    assert blends == {True, False}  # alpha blending keeps the colours of the pasted face, Poisson blending does not


@pytest.mark.parametrize("window", facial_swap.WINDOWS)
def test_a_window_changes_nothing_outside_its_box(windows, window):
    windows(window)
    for seed in range(8):
        image, box = swap(seed, only("window_into_source"))
        touched = changed(image, SOURCE.image)
        assert touched.mean() > 0.02
        assert not touched[~pixels_of(box, margin=2)].any()
        assert (box >= 0).all()
        assert (box <= 1).all()
        height, width = window
        assert box[2:] - box[:2] == pytest.approx([width / 224, height / 224], abs=1e-6)


def test_a_window_is_placed_where_the_faces_differ_most(windows):
    windows((40, 80))
    image = SOURCE.image.copy()
    image[70:86, 44:70] = 255 - image[70:86, 44:70]  # the mouth
    for seed in range(4):
        result, box = swap(seed, only("window_into_source"), fake=CroppedFace(image, LANDMARKS, BOX))
        assert pixels_of(box)[70:86, 44:70].mean() > 0.7
        assert changed(result, SOURCE.image)[72:84, 48:66].mean() > 0.5


def test_faces_that_hardly_differ_are_not_swapped_in_a_window(windows):
    windows((40, 80))
    image = SOURCE.image.copy()
    image[50:54, 50:54] = 0
    fake = CroppedFace(image, LANDMARKS, BOX)
    result, box = swap(0, only("window_into_source"), fake)
    assert np.array_equal(result, image)
    assert np.array_equal(box, WHOLE)


def test_dssim_is_zero_for_equal_images_and_follows_its_formula():
    assert dssim(FAKE.image, FAKE.image).max() < 1e-5
    light, dark = np.full((32, 32, 3), 200, np.uint8), np.full((32, 32, 3), 100, np.uint8)
    constant = (0.01 * 255) ** 2
    ssim = (2 * 200 * 100 + constant) / (200**2 + 100**2 + constant)
    assert dssim(light, dark) == pytest.approx((1 - ssim) / 2, abs=1e-3)


# --- crops with different boxes


def moved(face: CroppedFace, turn: float, scale: float, shift: tuple[float, float]) -> CroppedFace:
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), turn, scale)
    matrix[:, 2] += shift
    image = cv2.warpAffine(face.image, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return CroppedFace(image, face.landmarks @ matrix[:, :2].T + matrix[:, 2], face.box + 10)


def test_similarity_finds_turn_scale_and_shift():
    face = moved(FAKE, 15, 1.2, (4, -3))
    matrix = similarity(LANDMARKS, face.landmarks)
    assert LANDMARKS @ matrix[:, :2].T + matrix[:, 2] == pytest.approx(face.landmarks)
    assert np.sqrt(np.linalg.det(matrix[:, :2])) == pytest.approx(1.2)


def test_crops_with_different_boxes_are_aligned_by_their_landmarks():
    """Pasting a turned, larger copy of the source into the source gives the source again."""
    for seed in range(6):
        image, _ = swap(seed, only("fake_face_into_source"), moved(SOURCE, 10, 1.1, (3, 2)))
        error = np.abs(image.astype(int) - SOURCE.image)
        assert error.max() <= 25
        assert error.mean() < 2


def test_faces_that_cannot_be_aligned_are_not_swapped():
    crooked = LANDMARKS.copy()
    crooked[0] += (8, 20)
    fake = CroppedFace(FAKE.image, crooked, BOX)
    image, box = swap(0, only("fake_face_into_source"), fake)
    assert np.array_equal(image, FAKE.image)
    assert np.array_equal(box, WHOLE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "cut", [lambda face: face, lambda face: moved(face, -8, 0.9, (2, 3))], ids=["same box", "other box"]
)
def test_one_mask_covers_the_eyes_of_both_faces(kind, cut):
    """The masked area is that of one mask, so it does not reveal that two faces were combined."""
    fake = cut(FAKE)
    for seed in range(6):
        image, _ = swap(seed, only(kind), fake, face_mask=EYES)
        into_source = kind in ("fake_face_into_source", "window_into_source")
        under, over = (SOURCE, fake) if into_source else (fake, SOURCE)
        region = EYES.region(SIDE, SIDE, under.landmarks)
        assert (image[region] == 0).all()
        assert not (image[~region] == 0).all(axis=1).any()
        matrix = similarity(over.landmarks, under.landmarks)
        for x, y in np.rint(over.eyes @ matrix[:, :2].T + matrix[:, 2]).astype(int):
            assert region[y - 3 : y + 4, x - 6 : x + 7].all()


def test_differences_under_the_mask_attract_no_window(windows):
    windows((40, 80))
    image = SOURCE.image.copy()
    image[42:54, 30:82] = 255 - image[42:54, 30:82]  # the eyes
    image[74:86, 46:66] = 255 - image[74:86, 46:66]  # the mouth
    fake = CroppedFace(image, LANDMARKS, BOX)
    kinds = only("window_into_source")
    assert pixels_of(swap(0, kinds, fake)[1])[42:54, 40:72].mean() > 0.5
    assert pixels_of(swap(0, kinds, fake, face_mask=EYES)[1])[74:86, 46:66].mean() > 0.5


# --- flips


def test_a_flip_moves_the_box():
    augmentation = augmentation_of("facial_swap")
    image, box = formula_image(0), np.array([0.125, 0.25, 0.5, 0.75], dtype=np.float32)
    seen = set()
    for seed in range(20):
        flipped, moved_box = augment_with_box(augmentation, image, box, seed)
        is_flipped = np.array_equal(flipped, image[:, ::-1])
        assert is_flipped or np.array_equal(flipped, image)
        assert moved_box == pytest.approx([0.5, 0.25, 0.875, 0.75] if is_flipped else box)
        assert moved_box.dtype == np.float32
        seen.add(is_flipped)
        without_box, nowhere = augment_with_box(augmentation, image, NOWHERE, seed)
        assert np.array_equal(without_box, flipped)
        assert not nowhere.any()
    assert seen == {True, False}


# --- in the dataset


def faces_of(manifest, prepared, partners=True, **settings) -> FaceDataset:
    rows = np.arange(len(manifest))
    found = find_partners(manifest, rows, rows) if partners else np.full(len(rows), NO_PARTNER)
    settings = {"input_size": SIZE, "partners": found, "swap_kinds": RELEASED, **settings}
    return FaceDataset(manifest, rows, prepared, **settings)


def test_fakes_are_swapped_and_real_faces_are_not(manifest, prepared):
    swapped, unswapped = faces_of(manifest, prepared), faces_of(manifest, prepared, partners=False)
    items = [(epoch, position) for epoch in range(3) for position in range(len(manifest))]
    batch, plain = swapped.batch(items), unswapped.batch(items)
    fake = (batch["label"] == 1).numpy()
    differs = (batch["image"] != plain["image"]).flatten(1).any(dim=1).numpy()
    assert not differs[~fake].any()
    assert 0.6 < differs[fake].mean() < 0.95
    boxes = batch["artifact_box"].numpy()
    assert not boxes[~fake].any()
    assert ((boxes >= 0) & (boxes <= 1)).all()
    assert (boxes[fake, 2:] > boxes[fake, :2]).all()
    assert (plain["artifact_box"][fake] == np.array(WHOLE)).all()
    assert np.array_equal(swapped[2, 5]["artifact_box"], swapped.batch([(2, 5)])["artifact_box"][0])


@pytest.mark.parametrize("augmentation", ["facial_swap", "facial_swap_released"])
def test_augmented_swaps_keep_valid_boxes(manifest, prepared, augmentation):
    faces = faces_of(manifest, prepared, augmentation=augmentation_of(augmentation))
    plain = faces_of(manifest, prepared)
    items = [(epoch, position) for epoch in range(3) for position in range(len(manifest))]
    batch, unaugmented = faces.batch(items), plain.batch(items)
    fake = batch["label"] == 1
    boxes = batch["artifact_box"]
    assert ((boxes >= 0) & (boxes <= 1)).all()
    assert (boxes[fake, 2:] > boxes[fake, :2]).all()
    assert not boxes[~fake].any()
    size = [box[:, 2:] - box[:, :2] for box in (boxes, unaugmented["artifact_box"])]
    np.testing.assert_allclose(size[0], size[1], atol=1e-6)
    assert (batch["image"] != unaugmented["image"]).flatten(1).any(dim=1).float().mean() > 0.3


def test_other_probabilities_give_other_swaps(manifest, prepared):
    items = list(range(len(manifest)))
    unchanged, windowed, plain = (
        faces_of(manifest, prepared, **settings).batch(items)
        for settings in (
            {"swap_kinds": only("unchanged")},
            {"swap_kinds": only("window_into_source")},
            {"partners": False},
        )
    )
    assert all((unchanged[name] == plain[name]).all() for name in plain)
    fake = plain["label"] == 1
    assert (windowed["artifact_box"][fake] != plain["artifact_box"][fake]).any(dim=1).float().mean() > 0.4


def test_without_partners_there_are_no_boxes(manifest, prepared):
    assert set(faces_of(manifest, prepared)[0]) == {"image", "label", "index", "artifact_box"}
    plain = FaceDataset(manifest, np.arange(len(manifest)), prepared, input_size=SIZE)
    assert set(plain[0]) == set(plain.batch([0])) == {"image", "label", "index"}
