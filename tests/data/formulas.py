"""Images from a formula, and augmentations as the command line composes them; tests import them."""

from functools import cache

import albumentations as A
import numpy as np
from omegaconf import OmegaConf

from deepfake_ms.composition import compose
from deepfake_ms.data.augmentation import build_augmentation, ordered

SIZE = 64


def formula_image(number: int, size: int = SIZE) -> np.ndarray:
    """A smooth, asymmetric uint8 RGB pattern without black pixels, another for each number."""
    y, x = np.mgrid[:size, :size].astype(np.float64)
    channels = [
        120 + 60 * np.sin(x * (channel + 1) / 9 + number) + 40 * np.cos(y / 7 - channel) for channel in range(3)
    ]
    return np.stack(channels, axis=2).astype(np.uint8)


@cache
def augmentation_settings(*overrides: str) -> dict:
    """What a run with these overrides records of its augmentation."""
    return ordered(OmegaConf.to_container(compose(*overrides).augmentation))


def augmentation_of(name: str, *overrides: str) -> A.Compose | None:
    """The augmentation that a run with ``augmentation=name`` and further overrides uses."""
    return build_augmentation(augmentation_settings(f"augmentation={name}", *overrides))
