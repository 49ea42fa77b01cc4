"""Face masks: which pixels they cover, in which size, and where random boxes lie."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from deepfake_ms.composition import CONFIG_FOLDER, compose
from deepfake_ms.data.face_masks import FaceMask, Size
from deepfake_ms.errors import UserError
from deepfake_ms.manifest import LANDMARKS

FACE = np.array([[70.0, 90.0], [130.0, 90.0], [100.0, 125.0], [75.0, 160.0], [125.0, 160.0]])  # eyes 60 px apart
SIDE = 200
WHITE = np.full((SIDE, SIDE, 3), 255, dtype=np.uint8)
EYES = FaceMask({"eyes": Size(0.9, 0.5)})
RANDOM = FaceMask(EYES.regions, place="random")
MASKS = sorted(path.stem for path in (CONFIG_FOLDER / "mask").glob("*.yaml"))


@pytest.fixture(scope="module")
def masks() -> dict[str, FaceMask]:
    """The masks of conf/mask by name."""
    return {name: FaceMask.from_settings(OmegaConf.to_container(compose(f"mask={name}").mask)) for name in MASKS}


def region_of(mask: FaceMask, landmarks: np.ndarray = FACE) -> np.ndarray:
    return mask.region(SIDE, SIDE, landmarks)


def extent(region: np.ndarray) -> tuple[int, int, int, int]:
    """First and last column, first and last row of what is covered."""
    y, x = np.nonzero(region)
    return x.min(), x.max(), y.min(), y.max()


def rolled(points: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """`points` turned around the face's middle, and the matrix that turns an image so."""
    matrix = cv2.getRotationMatrix2D((100, 120), degrees, 1)
    return points @ matrix[:, :2].T + matrix[:, 2], matrix


# --- regions


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("eyes", {"left_eye", "right_eye"}),
        ("mouth", {"left_mouth", "right_mouth"}),
        ("nose", {"nose"}),
        ("eyes_and_mouth", {"left_eye", "right_eye", "left_mouth", "right_mouth"}),
    ],
)
def test_a_mask_covers_its_landmarks_and_no_others(masks, name, covered):
    for degrees in (0, 25, -40):
        landmarks, _ = rolled(FACE, degrees)
        region = region_of(masks[name], landmarks)
        under = {point for point, (x, y) in zip(LANDMARKS, np.rint(landmarks).astype(int), strict=True) if region[y, x]}
        assert under == covered


def test_the_size_is_in_inter_ocular_distances():
    region = region_of(FaceMask({"eyes": Size(0.5, 0.3)}))  # 30 x 18 px
    assert extent(region[:, :100]) == (55, 85, 81, 99)
    assert region[81:100, 55:86].all()
    left, right, *rows = extent(region[:, 100:])
    assert (left + 100, right + 100, *rows) == (115, 145, 81, 99)


@pytest.mark.parametrize(("name", "centre"), [("nose", (100, 125)), ("mouth", (100, 160))])
def test_nose_and_mouth_have_one_box(name, centre):
    x, y = centre
    region = region_of(FaceMask({name: Size(1.0, 0.5)}))  # 60 x 30 px
    assert extent(region) == (x - 30, x + 30, y - 15, y + 15)
    assert region.sum() == 61 * 31


def test_lower_moves_the_box_towards_the_chin():
    assert extent(region_of(FaceMask({"nose": Size(1.0, 0.5, lower=0.2)}))) == (70, 130, 122, 152)  # 12 px
    assert extent(region_of(FaceMask({"nose": Size(1.0, 0.5, lower=-0.25)}))) == (70, 130, 95, 125)
    turned, _ = rolled(FACE, -90)  # the chin is on the left
    assert extent(region_of(FaceMask({"nose": Size(1.0, 0.5, lower=0.2)}), turned)) == (68, 98, 90, 150)


def test_eyes_and_mouth_is_both_masks(masks):
    both = region_of(masks["eyes"]) | region_of(masks["mouth"])
    assert np.array_equal(region_of(masks["eyes_and_mouth"]), both)


@pytest.mark.parametrize("shape", ["box", "ellipse"])
@pytest.mark.parametrize("degrees", [-30, 20, 90])
@pytest.mark.parametrize("name", ["eyes", "mouth", "nose", "eyes_and_mouth"])
def test_a_mask_turns_with_the_roll(masks, name, degrees, shape):
    mask = FaceMask(masks[name].regions, shape=shape)
    landmarks, matrix = rolled(FACE, degrees)
    expected = cv2.warpAffine(region_of(mask).astype(np.float32), matrix, (SIDE, SIDE)) > 0.5
    found = region_of(mask, landmarks)
    assert (found & expected).sum() / (found | expected).sum() > 0.95


def test_a_mask_scales_with_the_face(masks):
    far = 100 + (FACE - 100) / 2
    for name in ("eyes", "mouth", "nose"):
        assert region_of(masks[name]).sum() / region_of(masks[name], far).sum() == pytest.approx(4, rel=0.15)


def test_only_the_region_changes_and_the_input_is_kept():
    image = np.random.default_rng(0).integers(1, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    before = image.copy()
    masked = EYES.draw(image, FACE)
    region = region_of(EYES)
    assert (masked[region] == 0).all()
    assert np.array_equal(masked[~region], image[~region])
    assert np.array_equal(image, before)


def test_an_ellipse_is_inscribed_in_the_box():
    sizes = {"eyes": Size(0.6, 0.5)}
    box, ellipse = region_of(FaceMask(sizes)), region_of(FaceMask(sizes, shape="ellipse"))
    assert not (ellipse & ~box).any()
    assert ellipse.sum() / box.sum() == pytest.approx(np.pi / 4, rel=0.1)


def test_mean_fill_takes_the_images_colour():
    image = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    image[:] = (200, 100, 50)
    assert np.array_equal(FaceMask(EYES.regions, fill="mean").draw(image, FACE), image)


def test_eyes_at_or_beyond_the_border():
    outside = FACE - FACE[0] + (-5, 0)
    masked = EYES.draw(WHITE, outside)
    assert (masked[0, :20] == 0).all()
    assert (EYES.draw(WHITE, FACE - 500) == 255).all()


def test_without_a_distance_between_the_eyes_nothing_is_covered(masks):
    for mask in masks.values():
        assert not region_of(mask, np.full((5, 2), 100.0)).any()


def test_a_mask_needs_the_landmarks_of_its_regions_and_both_eyes(masks):
    assert {name: mask.landmarks for name, mask in masks.items()} == {
        "eyes": [0, 1],
        "eyes_and_mouth": [0, 1, 3, 4],
        "face": [0, 1, 3, 4],
        "mouth": [0, 1, 3, 4],
        "nose": [0, 1, 2],
        "random_boxes": [0, 1],
    }
    without_mouth = np.vstack([FACE[:3], np.full((2, 2), np.nan)])
    assert np.array_equal(region_of(masks["eyes"], without_mouth), region_of(masks["eyes"]))


@pytest.mark.parametrize("name", MASKS)
def test_every_mask_of_the_configuration_covers_a_part_of_the_face(masks, name):
    region = region_of(masks[name])
    assert 0.02 < region.mean() < (0.6 if name == "face" else 0.2)
    assert np.array_equal((masks[name].draw(WHITE, FACE) == 0).all(axis=2), region)


# --- random boxes


def boxes_of(region: np.ndarray) -> int:
    return cv2.connectedComponents(region.astype(np.uint8))[0] - 1


def test_random_boxes_are_the_eye_masks_boxes_in_other_places(masks):
    eyes, scattered = region_of(masks["eyes"]), masks["random_boxes"]
    assert scattered.regions == masks["eyes"].regions
    regions = [region_of(scattered.for_face(seed)) for seed in range(100)]
    for region in regions:
        # Each box is whole: inside the image, and it overlaps no other one.
        assert region.sum() / eyes.sum() == pytest.approx(1, abs=0.08)
    assert np.mean([boxes_of(region) == 2 for region in regions]) > 0.95  # two boxes may touch
    everywhere = np.mean(regions, axis=0)
    assert (everywhere[20:-20, 30:-30] > 0).mean() > 0.99
    assert everywhere.max() < 0.3


@pytest.mark.parametrize("degrees", [0, 30])
def test_random_boxes_are_turned_like_the_face(degrees):
    landmarks, _ = rolled(FACE, degrees)
    one = FaceMask({"mouth": Size(1.2, 0.4)}, place="random")
    for seed in range(20):
        region = region_of(one.for_face(seed), landmarks).astype(np.uint8)
        _, size, angle = cv2.minAreaRect(np.argwhere(region)[:, ::-1].astype(np.float32))
        assert sorted(size) == pytest.approx([24, 72], abs=2)
        assert (angle + degrees + 45) % 90 == pytest.approx(45, abs=2)  # sides alternate, so only modulo 90 degrees


def test_random_boxes_depend_on_the_face():
    first, again, other = (region_of(RANDOM.for_face(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert EYES.for_face(1) is EYES


def test_random_boxes_without_room_still_fit_into_the_image():
    """Eyes 60 px apart in a crop of 60 px: two boxes of 54 x 30 px overlap in most places."""
    for seed in range(20):
        region = RANDOM.for_face(seed).region(60, 60, FACE)
        assert 1600 <= region.sum() <= 2 * 55 * 31
    assert RANDOM.for_face(0).region(20, 20, FACE).all()  # each box is larger than the image


# --- refused settings


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"shape": "star"}, r"mask\.shape=star is unknown: choose from box, ellipse"),
        ({"fill": "blue"}, r"mask\.fill=blue is unknown: choose from black, mean"),
        ({"place": "nowhere"}, r"mask\.place=nowhere is unknown: choose from landmarks, random"),
        ({"regions": {}}, r"mask\.regions is empty: choose from eyes, nose, mouth"),
        ({"regions": {"ears": {"width": 1, "height": 1}}}, r"mask\.regions does not know ears: choose from eyes, nose"),
        ({"regions": {"eyes": {"width": 0, "height": 1}}}, r"mask\.regions\.eyes: width 0 and height 1 must be pos"),
        ({"regions": {"eyes": {"width": 1, "height": -1}}}, r"mask\.regions\.eyes: width 1 and height -1 must be"),
        ({"regions": {"eyes": {"width": "wide", "height": 1}}}, "mask: .*a region width and height"),
        ({"regions": {"eyes": {"width": 1}}}, "mask: .*height"),
        ({"regions": {"eyes": {"width": 1, "height": 1, "higher": 1}}}, "mask: .*higher"),
        ({"regions": {"eyes": None}}, "mask: .*a region width and height"),
        ({"regions": None}, "mask: .*a mask has regions"),
        ({"colour": "red"}, "mask: .*colour"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(change, sentence):
    settings = {"name": "mine", "regions": {"eyes": {"width": 0.9, "height": 0.5}}}
    assert FaceMask.from_settings(settings) == EYES
    with pytest.raises(UserError, match=sentence) as error:
        FaceMask.from_settings(settings | change)
    assert "\n" not in str(error.value)


def test_blur_keeps_the_colours_and_removes_the_details(masks):
    """A checkered image becomes grey inside the mask and stays as it is outside."""
    checkers = ((np.add.outer(np.arange(200), np.arange(200)) // 4 % 2) * 255).astype(np.uint8)
    image = np.repeat(checkers[..., None], 3, axis=2)
    mask = replace(masks["mouth"], fill="blur")
    drawn, region = mask.draw(image, FACE), region_of(mask)
    assert np.array_equal(drawn[~region], image[~region])
    assert np.abs(drawn[region].astype(int) - 127).max() < 20
