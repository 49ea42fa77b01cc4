"""Augmentations: albumentations pipelines written out as values in ``conf/augmentation``.

Every strength is written out there, because the paper ran albumentations 1.3.0 and we run 2.0.8, whose defaults and
meanings changed silently. Compared with 1.3.0's source:

- GaussNoise: variance 10..50 (grey levels squared) became standard deviation .2 to .44 of the range, 16 times stronger.
  Setting the range is not enough: 2.0.8 draws the deviation instead of the variance and rounds the noise to whole grey
  levels towards zero, which together makes it about a tenth weaker. `GaussNoise13` of
  `deepfake_ms.data.released_transforms` is 1.3.0's noise.
- ShiftScaleRotate: the border became black instead of mirrored (REFLECT_101), and the face is stretched: each axis
  draws its own scale. `Affine` with `keep_ratio` is the same transform with one scale, and does not warn.
- RandomRotate90: p became 1 instead of .5; all probabilities are explicit.
- HueSaturationValue now leaves grey pixels grey, so a black mask stays black; 1.3.0 could tint it faintly. A negative
  fractional value shift is rounded to one grey level less than in 1.3.0.
- Affine shifts by whole pixels; 1.3.0's ShiftScaleRotate by fractions of one.
- CLAHE, Sharpen, Emboss, RandomBrightnessContrast: unchanged.

The released lists are those of `Monu-Khicher-1/multi-stage-learning`.
"""

import difflib
import inspect
import os
import random
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # read on import; prevents a query to PyPI for a newer version

import albumentations as A

from deepfake_ms.data import perturbing_transforms, released_transforms
from deepfake_ms.data.facial_swap import check_kinds
from deepfake_ms.errors import UserError


def ordered(settings: Mapping) -> dict:
    """The settings of a file in ``conf/augmentation`` with its transforms as a list.

    A run's record sorts the keys of mappings, and the order of the transforms matters. A key of `transforms` is the
    name of a class in albumentations, in `deepfake_ms.data.released_transforms` or in
    `deepfake_ms.data.perturbing_transforms`; where a class is needed twice, any other key whose value names it as
    ``transform``.

    Returns:
        ``{"name", "p", "transforms": [{"transform": name, ...arguments}], "facial_swap"}``; `transforms` inside a
        transform (``OneOf``) are lists too.

    Raises:
        UserError: `p` is not a probability, or the value of a transform is not a mapping.
    """
    p = settings.get("p", 1.0)
    if not isinstance(p, int | float) or not 0 <= p <= 1:
        raise UserError(f"augmentation.p={p}: give a probability from 0 to 1.")
    return {
        "name": settings["name"],
        "p": float(p),
        "transforms": _ordered(settings["transforms"]),
        "facial_swap": dict(settings["facial_swap"]) if settings.get("facial_swap") else None,
    }


def _ordered(transforms: Mapping[str, Mapping]) -> list[dict]:
    for name, arguments in transforms.items():
        if not isinstance(arguments, Mapping):
            raise UserError(f"augmentation: {name}={arguments}: give the transform's arguments, such as {{p: 0.5}}.")
    return [
        {"transform": name, **arguments}
        | ({"transforms": _ordered(arguments["transforms"])} if "transforms" in arguments else {})
        for name, arguments in transforms.items()
    ]


def build_augmentation(augmentation: Mapping) -> A.Compose | None:
    """The pipeline of settings from `ordered`; None if it has no transform.

    With ``facial_swap``, whose result has a box (`deepfake_ms.data.facial_swap`), the transforms move boxes too.

    Raises:
        UserError: a transform or an argument is unknown, or a value is not allowed.
    """
    kinds, boxes = augmentation["facial_swap"], None
    if kinds:
        check_kinds(kinds)
    if not augmentation["transforms"]:
        return None
    transforms = _build(augmentation["transforms"])
    if kinds and any("bboxes" in transform.available_keys for transform in transforms):
        boxes = A.BboxParams(format="albumentations")
    return A.Compose(transforms, p=augmentation["p"], bbox_params=boxes)


def _build(transforms: Sequence[Mapping]) -> list[A.BasicTransform]:
    return [_build_transform(each["transform"], each) for each in transforms]


def _build_transform(name: str, settings: Mapping) -> A.BasicTransform:
    found = vars(A) | vars(released_transforms) | vars(perturbing_transforms)
    classes = {key: each for key, each in found.items() if inspect.isclass(each)}
    known = {key: each for key, each in classes.items() if issubclass(each, A.BasicTransform | A.BaseCompose)}
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
        raise UserError(f"augmentation: albumentations has no transform {name}; the nearest name is {nearest}.")
    arguments = {key: _as_argument(value) for key, value in settings.items() if key != "transform"}
    if "transforms" in arguments:
        arguments["transforms"] = _build(settings["transforms"])
    # albumentations ignores unknown arguments with a warning
    if unknown := arguments.keys() - inspect.signature(known[name]).parameters.keys():
        raise UserError(f"augmentation: {name} has no argument {', '.join(sorted(unknown))}.")
    try:
        return known[name](**arguments)
    except (ValueError, TypeError) as error:  # pydantic's errors are ValueErrors
        reason = " ".join(str(error).split())
        raise UserError(f"augmentation: {name} rejects {dict(settings)}: {reason}.") from error


def _as_argument(value: object) -> object:
    """Lists as tuples; names of OpenCV's constants (``INTER_LINEAR``, ``BORDER_REFLECT_101``) as their values."""
    if isinstance(value, list):
        return tuple(map(_as_argument, value))
    if isinstance(value, Mapping):
        return {key: _as_argument(each) for key, each in value.items()}
    if isinstance(value, str) and value.startswith(("INTER_", "BORDER_")):
        if not hasattr(cv2, value):
            raise UserError(f"augmentation: OpenCV has no constant {value}.")
        return getattr(cv2, value)
    return value


def augment(augmentation: A.Compose, image: np.ndarray, seed: int) -> np.ndarray:
    """`image` (uint8 RGB [H, W, 3]) augmented with draws that depend on `seed` alone; same shape if it is square.

    By itself, albumentations repeats its draws in every epoch when the DataLoader has workers, and they depend on
    the number of workers. `Compose.set_random_seed` does not help: it gives every transform its own generator with the
    *same* seed, so that all of them draw the same first number and, for instance, a horizontal flip never comes without
    a vertical one. Here all transforms share one stream.
    """
    augmentation.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return augmentation(image=image)["image"]


def augment_with_box(
    augmentation: A.Compose, image: np.ndarray, box: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `augment`, for an image and a box on it.

    Args:
        augmentation: built for `facial_swap`; without ``bbox_params`` if it moves no pixel.
        image: uint8 RGB [H, W, 3].
        box: left, top, right, bottom in fractions of the image: float [4]; one without area stays as it is.
        seed: determines all draws, whatever the box.

    Returns:
        The augmented image and the box's new place, float32 [4].
    """
    if "bboxes" not in augmentation.processors or not (box[2:] > box[:2]).all():
        return augment(augmentation, image, seed), box
    augmentation.set_random_state(np.random.default_rng(seed), random.Random(seed))
    augmented = augmentation(image=image, bboxes=box[None])
    return augmented["image"], augmented["bboxes"][0].astype(np.float32)
