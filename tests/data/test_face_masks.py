import numpy as np
import pytest

from deepfake_ms.data.face_masks import EyeMask
from deepfake_ms.errors import UserError

EYES = np.array([[70.0, 90.0], [130.0, 90.0]])  # 60 px apart
WHITE = np.full((200, 200, 3), 255, dtype=np.uint8)


def rolled(eyes: np.ndarray, degrees: float) -> np.ndarray:
    turn = np.deg2rad(degrees)
    centre = eyes.mean(axis=0)
    return (eyes - centre) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + centre


def test_box_is_centred_and_sized_in_eye_distances():
    region = EyeMask(width=0.5, height=0.3).region(200, 200, EYES)  # 30 x 18 px
    y, x = np.nonzero(region[:, :100])
    assert (x.min(), x.max(), y.min(), y.max()) == (55, 85, 81, 99)
    assert region[81:100, 55:86].all()
    y, x = np.nonzero(region[:, 100:])
    assert (x.min() + 100, x.max() + 100, y.min(), y.max()) == (115, 145, 81, 99)


def test_only_the_region_changes_and_the_input_is_kept():
    image = np.random.default_rng(0).integers(1, 256, (200, 200, 3), dtype=np.uint8)
    before = image.copy()
    mask = EyeMask()
    masked = mask.draw(image, EYES)
    region = mask.region(200, 200, EYES)
    assert (masked[region] == 0).all()
    assert np.array_equal(masked[~region], image[~region])
    assert np.array_equal(image, before)


def test_scales_with_the_face():
    near, far = EyeMask().region(200, 200, EYES), EyeMask().region(200, 200, EYES.mean(axis=0) + (EYES - EYES[0]) / 2)
    assert near.sum() / far.sum() == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("degrees", [-30, 20, 90])
def test_turns_with_the_roll(degrees):
    eyes = rolled(EYES, degrees)
    region = EyeMask().region(200, 200, eyes)
    assert region.sum() == pytest.approx(EyeMask().region(200, 200, EYES).sum(), rel=0.05)
    along = (eyes[1] - eyes[0]) / 60
    across = np.array([-along[1], along[0]])
    for eye in eyes:  # default box: 54 x 30 px, so the edges lie 27 and 15 px off the centre
        for direction, edge in ((along, 27), (across, 15)):
            inside, outside = np.rint(eye + direction * (edge - 2)), np.rint(eye + direction * (edge + 2))
            assert region[int(inside[1]), int(inside[0])]
            assert not region[int(outside[1]), int(outside[0])] or direction is along  # the other eye's box is near


def test_ellipse_is_inscribed_in_the_box():
    box, ellipse = EyeMask(width=0.6).region(200, 200, EYES), EyeMask("ellipse", width=0.6).region(200, 200, EYES)
    assert not (ellipse & ~box).any()
    assert ellipse.sum() / box.sum() == pytest.approx(np.pi / 4, rel=0.1)


def test_mean_fill_takes_the_images_colour():
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    image[:] = (200, 100, 50)
    assert np.array_equal(EyeMask(fill="mean").draw(image, EYES), image)


def test_eyes_at_or_beyond_the_border():
    masked = EyeMask().draw(WHITE, np.array([[-5.0, 0.0], [55.0, 0.0]]))
    assert (masked[0, :20] == 0).all()
    assert (EyeMask().draw(WHITE, EYES - 500) == 255).all()


@pytest.mark.parametrize("setting", [{"shape": "star"}, {"fill": "blue"}, {"width": 0}, {"height": -1}])
def test_refuses_bad_settings(setting):
    with pytest.raises(UserError, match="eye mask"):
        EyeMask(**setting)
