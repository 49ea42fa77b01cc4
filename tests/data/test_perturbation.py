"""Perturbations: their values against independent computation, their levels and their draws."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from formulas import formula_image
from omegaconf import OmegaConf

from deepfake_ms.composition import CONFIG_FOLDER, compose
from deepfake_ms.data.perturbation import Perturbation, preparation_settings
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.change import measure_change
from deepfake_ms.preprocessing.settings import PreparationSettings

NAMES = sorted({path.stem for path in (CONFIG_FOLDER / "perturbation").glob("*.yaml")} - {"none"})
LEVELS = range(1, 6)
SIZE = 256  # the smallest on which blockwise draws
RAMP = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(8, axis=0)


def settings_of(name: str, level: int) -> dict:
    cfg = compose(f"perturbation={name}", f"perturbation.level={level}", "run=.", config_name="evaluate")
    return OmegaConf.to_container(cfg.perturbation)


@pytest.fixture(scope="module")
def perturbed():
    """Calls the perturbation of a name and level on an image; composes the settings of each name once."""
    known = {name: settings_of(name, 1) for name in NAMES}

    def perturb(name: str, level: int, image: np.ndarray, seed: int = 0) -> np.ndarray:
        return Perturbation.from_settings(known[name] | {"level": level})(image, seed)

    return perturb


def alone(image: np.ndarray, seed: int = 0, **transforms: dict) -> np.ndarray:
    return Perturbation.from_settings({"name": "mine", "level": 1, "levels": [transforms]})(image, seed)


def textured(number: int, size: int = SIZE) -> np.ndarray:
    """The formula's smooth pattern, with detail: as much for every codec and filter to lose as in a photograph."""
    detail = np.random.default_rng(number).normal(0, 12, (size, size, 3))
    return np.clip(formula_image(number, size) + cv2.GaussianBlur(detail, (0, 0), 1), 0, 255).astype(np.uint8)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return measure_change([(one, other)]).mean_psnr


# --- levels and draws


@pytest.mark.parametrize("name", NAMES)
def test_every_level_is_stronger_than_the_one_before(perturbed, name):
    images = [textured(number) for number in range(3)]
    found = [
        measure_change((image, perturbed(name, level, image, seed)) for seed, image in enumerate(images))
        for level in LEVELS
    ]
    assert [each.share_changed for each in found] == [1] * 5
    loss = [each.mean_psnr for each in found]
    assert all(weaker > stronger + 0.3 for weaker, stronger in pairwise(loss)), loss


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(SIZE, SIZE), (271, 333)])
def test_the_seed_alone_determines_the_pixels(perturbed, name, size):
    image = np.ascontiguousarray(textured(0, 400)[: size[0], : size[1]])
    original = image.copy()
    first = perturbed(name, 3, image, 7)
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    perturbed(name, 3, image, 8)
    assert np.array_equal(perturbed(name, 3, image, 7), first)
    assert np.array_equal(image, original)
    draws = any(word in name for word in ("noise", "blockwise"))
    assert np.array_equal(perturbed(name, 3, image, 8), first) != draws


def test_a_level_is_chosen_on_the_command_line():
    mildest, strongest = (Perturbation.from_settings(settings_of("jpeg", level)) for level in (1, 5))
    assert (mildest.title, strongest.title) == ("jpeg_1", "jpeg_5")
    assert mildest.transforms[0]["quality_range"] == [80, 80]
    assert strongest.transforms[0]["quality_range"] == [10, 10]


def test_the_third_level_has_the_strength_of_before_there_were_levels():
    before = {
        "jpeg": {"quality_range": [40, 40]},
        "gaussian_noise": {"std_range": [0.05, 0.05]},
        "gaussian_blur": {"sigma_limit": [2, 2], "blur_limit": 0},
        "brightness": {"brightness_limit": [0.3, 0.3], "contrast_limit": [0, 0]},
    }
    for name, arguments in before.items():
        (transform,) = Perturbation.from_settings(settings_of(name, 3)).transforms
        assert arguments.items() <= transform.items()


# --- DeeperForensics-1.0


def test_saturation_scales_the_difference_from_grey(perturbed):
    image = textured(1)
    grey = (image @ np.array([0.299, 0.587, 0.114]))[..., None]
    for level, factor in zip(LEVELS, (0.4, 0.3, 0.2, 0.1, 0), strict=True):
        expected = grey + factor * (image - grey)
        assert np.abs(perturbed("deeperforensics_saturation", level, image) - expected).max() < 1
    assert np.ptp(perturbed("deeperforensics_saturation", 5, image), axis=2).max() == 0
    assert np.array_equal(perturbed("deeperforensics_saturation", 1, RAMP), RAMP)


def test_contrast_multiplies(perturbed):
    for level, factor in zip(LEVELS, (0.85, 0.725, 0.6, 0.475, 0.35), strict=True):
        expected = (RAMP.astype(np.float32) * factor).astype(np.uint8)
        assert np.array_equal(perturbed("deeperforensics_contrast", level, RAMP), expected)


@pytest.mark.parametrize(("size", "times"), [((300, 270), 1), ((512, 700), 2), ((767, 900), 2)])
def test_blocks_are_grey_and_as_many_as_fit_the_shorter_side(size, times):
    white = np.full((*size, 3), 255, np.uint8)
    found = alone(white, GreyBlocks={"count": 3})
    changed = (found != white).any(axis=2)
    assert (found[changed] == 128).all()
    assert changed.sum() == times * 3 * 64
    assert changed.any(axis=1).sum() <= times * 3 * 8


def test_blocks_lie_everywhere_inside_the_image(perturbed):
    black = np.zeros((SIZE, SIZE, 3), np.uint8)
    hit = np.mean([perturbed("deeperforensics_blockwise", 5, black, seed)[..., 0] > 0 for seed in range(40)], axis=0)
    assert hit[16:-16, 16:-16].mean() == pytest.approx(1 - (1 - 64 / 248**2) ** 80, abs=0.005)
    reached = alone(black, GreyBlocks={"count": 20_000}) > 0
    assert reached[8:-9, 8:-9].all()
    assert not reached[-1].any()  # as in the original, the last row and column stay free
    assert not reached[:, -1].any()


def test_an_image_below_256_pixels_has_no_blocks(perturbed):
    image = textured(0, 255)
    assert np.array_equal(perturbed("deeperforensics_blockwise", 5, image), image)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_colour_noise_has_the_variance_of_its_level_in_studio_range(perturbed, level):
    """The noise in Y, Cb and Cr is measured in the perturbed image, where few values are clipped."""
    variance = (0.001, 0.002, 0.005, 0.01)[level - 1]
    grey = np.full((512, 512, 3), 128, np.uint8)
    noisy = perturbed("deeperforensics_colour_noise", level, grey).astype(np.float64)
    red, green, blue = np.moveaxis(noisy, 2, 0)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    components = (y * 219 / 255, (blue - y) / 1.772 * 224 / 255, (red - y) / 1.402 * 224 / 255)
    for component in components:
        assert np.var(component / 255) == pytest.approx(variance, rel=0.05)


@pytest.mark.parametrize(("level", "kernel"), [(1, 7), (2, 9), (3, 13), (4, 17), (5, 21)])
def test_blur_is_opencvs_with_a_sixth_of_the_kernel(perturbed, level, kernel):
    image = textured(2)
    expected = cv2.GaussianBlur(image.astype(np.float64), (kernel, kernel), kernel / 6)
    assert np.abs(perturbed("deeperforensics_blur", level, image) - expected).max() <= 1.2  # whole grey levels


def test_pixelation_reduces_and_enlarges(perturbed):
    image = textured(3, 224)
    for level, factor in zip(LEVELS, (2, 3, 4, 5, 6), strict=True):
        small = cv2.resize(image, (224 // factor, 224 // factor), interpolation=cv2.INTER_LINEAR)
        expected = cv2.resize(small, (224, 224), interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(perturbed("deeperforensics_pixelation", level, image), expected)
    assert alone(image[:4, :4], Pixelation={"factor": 6}).shape == (4, 4, 3)


def test_a_higher_rate_factor_loses_more():
    image = textured(4)
    assert psnr(image, alone(image, H264={"crf": 40})) < psnr(image, alone(image, H264={"crf": 30})) - 2


# --- refused


@pytest.mark.parametrize(
    ("transforms", "sentence"),
    [
        ({"H264": {"crf": 52}}, "H264 rejects .*: crf must lie between 0 and 51"),
        ({"Pixelation": {"factor": 0}}, "Pixelation rejects .*: factor must be at least 1"),
        ({"YCbCrNoise": {"variance": -1}}, "YCbCrNoise rejects .*: variance must not be negative"),
        ({"GreyBlocks": {"number": 3}}, "GreyBlocks has no argument number"),
        ({"GreyBlocks": {}}, "GreyBlocks rejects"),
    ],
)
def test_wrong_values_are_refused_with_a_sentence(transforms, sentence):
    with pytest.raises(UserError, match=rf"{sentence}.*\.$"):
        alone(RAMP, **transforms)


# --- whole frames


def test_only_h264_alone_compresses_whole_videos():
    def crf_of(**transforms: dict) -> float | None:
        return Perturbation.from_settings({"name": "mine", "level": 1, "levels": [transforms]}).crf

    assert crf_of(H264={"crf": 30}) == 30
    assert crf_of(Pixelation={"factor": 2}) is None
    assert crf_of(H264={"crf": 30}, Pixelation={"factor": 2}) is None


def test_the_perturbation_of_frames_belongs_to_the_settings_only_if_there_is_one():
    plain = preparation_settings({"fps": 2})
    assert plain == PreparationSettings(fps=2) == preparation_settings({"fps": 2, "perturbation": settings_of_none()})
    assert "perturbation" not in plain.as_dict()
    changed = preparation_settings({"perturbation": settings_of("jpeg", 2)}).as_dict()["perturbation"]
    jpeg = {"transform": "ImageCompression", "compression_type": "jpeg", "quality_range": [60, 60], "p": 1}
    assert changed == {"name": "jpeg", "level": 2, "transforms": [jpeg]}


def test_the_perturbation_of_frames_is_chosen_on_the_command_line():
    choice = "perturbation@preparation.perturbation=deeperforensics_video_compression"
    for config_name, plus in (("prepare", ""), ("explain", "+"), ("train", "+")):
        cfg = compose(f"{plus}{choice}", "preparation.perturbation.level=5", config_name=config_name)
        settings = preparation_settings(OmegaConf.to_container(cfg.preparation))
        assert settings.perturbation.crf == 40
    assert preparation_settings(compose(config_name="prepare").preparation) == PreparationSettings()


def settings_of_none() -> dict:
    return OmegaConf.to_container(compose("run=.", config_name="evaluate").perturbation)
