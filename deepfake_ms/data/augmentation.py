"""The three augmentations that the paper compares, and those of other detectors, as albumentations pipelines.

Every strength is written out, because the paper ran albumentations 1.3.0 and we run 2.0.8, whose defaults and
meanings changed silently. Against 1.3.0's source:

- GaussNoise: variance 10..50 (grey levels squared) became standard deviation .2 to .44 of the range, 16 times stronger.
  Setting the range is not enough: 2.0.8 draws the deviation instead of the variance and cuts the noise to whole grey
  levels towards zero, together about a tenth weaker. `GaussNoise13` is 1.3.0's noise.
- ShiftScaleRotate: the border became black instead of mirrored (REFLECT_101), and the face is stretched: each axis
  draws its own scale. `Affine` with `keep_ratio` is the same transform with one scale, and does not warn.
- RandomRotate90: p became 1 instead of .5; all probabilities are explicit here.
- HueSaturationValue now leaves grey pixels grey, so a black eye mask stays grey; 1.3.0 could tint it faintly.
- CLAHE, Sharpen, Emboss, RandomBrightnessContrast: unchanged.

The released lists are those of `Monu-Khicher-1/multi-stage-learning`.
"""

import os
import random
from collections.abc import Callable

import cv2
import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # read on import: otherwise it asks PyPI for a newer version

import albumentations as A

from deepfake_ms.errors import UserError


class GaussNoise13(A.ImageOnlyTransform):
    """Gaussian noise as albumentations 1.3.0 made it by default, for uint8 images.

    The variance is uniform in 10..50 (grey levels squared), so the deviation is 3.2..7.1; every channel has noise of
    its own; the sum is clipped and its fraction dropped.
    """

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict[str, np.ndarray]:
        deviation = self.py_random.uniform(10, 50) ** 0.5
        return {"noise": deviation * self.random_generator.standard_normal(params["shape"], dtype=np.float32)}

    def apply(self, img: np.ndarray, noise: np.ndarray, **params: object) -> np.ndarray:
        return np.clip(img + noise, 0, 255).astype(np.uint8)


def _turns_and_flips() -> list[A.BasicTransform]:
    return [
        A.RandomRotate90(p=0.2),
        A.Transpose(p=0.2),
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
    ]


def _shift_scale_rotate() -> A.BasicTransform:
    return A.Affine(
        translate_percent={"x": (-0.0625, 0.0625), "y": (-0.0625, 0.0625)},
        scale=(0.9, 1.1),
        keep_ratio=True,
        rotate=(-45, 45),
        interpolation=cv2.INTER_LINEAR,
        border_mode=cv2.BORDER_REFLECT_101,
        p=0.2,
    )


def _standard() -> A.Compose:
    """The released augmentation of the base model."""
    return A.Compose(
        [
            *_turns_and_flips(),
            GaussNoise13(p=0.2),
            _shift_scale_rotate(),
            A.OneOf(
                [
                    A.CLAHE(clip_limit=(1, 2), tile_grid_size=(8, 8), p=1),
                    A.Sharpen(alpha=(0.2, 0.5), lightness=(0.5, 1), method="kernel", p=1),
                    A.Emboss(alpha=(0.2, 0.5), strength=(0.2, 0.7), p=1),
                    A.RandomBrightnessContrast(
                        brightness_limit=(-0.2, 0.2),
                        contrast_limit=(-0.2, 0.2),
                        brightness_by_max=True,
                        ensure_safe_range=False,
                        p=1,
                    ),
                ],
                p=0.2,
            ),
            A.HueSaturationValue(
                hue_shift_limit=(-20, 20), sat_shift_limit=(-30, 30), val_shift_limit=(-20, 20), p=0.2
            ),
        ],
        p=0.9,
    )


def _random_flips() -> A.Compose:
    """RF as the paper's text describes it: flips and nothing else."""
    return A.Compose([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])


def _horizontal_flip() -> A.Compose:
    """RECCE's augmentation (Cao et al., CVPR 2022): a face and its mirror image are equally likely."""
    return A.Compose([A.HorizontalFlip(p=0.5)])


def _released_rf() -> A.Compose:
    """RF as released: more than flips."""
    return A.Compose([*_turns_and_flips(), _shift_scale_rotate()], p=0.9)


def _facial_swap() -> A.Compose:
    """What follows the multi-scale facial swap (`deepfake_ms.data.facial_swap`): a horizontal flip, box and all.

    The released code computes the flip and throws it away; it means to flip every face.
    """
    return A.Compose([A.HorizontalFlip(p=0.5)], bbox_params=A.BboxParams(format="albumentations"))


FACIAL_SWAP = "facial_swap"
"""The augmentation whose fakes are swapped with their sources first."""

AUGMENTATIONS: dict[str, Callable[[], A.Compose | None]] = {
    "standard": _standard,
    "none": lambda: None,
    "horizontal_flip": _horizontal_flip,
    "random_flips": _random_flips,
    "released_rf": _released_rf,
    FACIAL_SWAP: _facial_swap,
}


def build_augmentation(name: str) -> A.Compose | None:
    """The augmentation called `name` (a key of `AUGMENTATIONS`), or None for "none".

    Raises:
        UserError: there is no such augmentation.
    """
    if name not in AUGMENTATIONS:
        raise UserError(f"augmentation: there is no {name!r}; choose one of {', '.join(AUGMENTATIONS)}.")
    return AUGMENTATIONS[name]()


def augment(augmentation: A.Compose, image: np.ndarray, seed: int) -> np.ndarray:
    """`image` (uint8 RGB [H, W, 3]) augmented with draws that depend on `seed` alone; same shape if it is square.

    Left to itself, albumentations repeats its draws in every epoch when the DataLoader has workers, and they depend on
    the number of workers. `Compose.set_random_seed` is no remedy: it gives every transform its own generator with the
    *same* seed, so that all of them draw the same first number and, for one, a horizontal flip never comes without a
    vertical one. Here all transforms share one stream.
    """
    augmentation.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return augmentation(image=image)["image"]


def augment_with_box(
    augmentation: A.Compose, image: np.ndarray, box: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `augment`, and where `box` is then.

    Args:
        augmentation: built with ``bbox_params`` in albumentations' own format, as `facial_swap` is.
        image: uint8 RGB [H, W, 3].
        box: left, top, right, bottom in fractions of the image: float [4]; one without area stays as it is.
        seed: decides about all draws, whatever the box.
    """
    if not (box[2:] > box[:2]).all():
        return augment(augmentation, image, seed), box
    augmentation.set_random_state(np.random.default_rng(seed), random.Random(seed))
    augmented = augmentation(image=image, bboxes=box[None])
    return augmented["image"], augmented["bboxes"][0].astype(np.float32)
