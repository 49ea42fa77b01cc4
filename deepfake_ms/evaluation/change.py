"""How much images differ from their originals."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Change:
    """The difference between images and their originals.

    Attributes:
        mean_psnr: peak signal-to-noise ratio in dB, averaged over the changed images; None if none is changed.
        share_changed: share of the images in which a pixel differs, 0..1.
        images: number of images compared.
    """

    mean_psnr: float | None
    share_changed: float
    images: int


def measure_change(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Change:
    """Compare pairs of original and changed image, uint8 [H, W, 3] each, at least one pair.

    The PSNR of a pair is 10 log10(255² / the mean squared difference over all pixels and channels).
    """
    squares = np.array([np.square(one.astype(np.float32) - other).mean(dtype=np.float64) for one, other in pairs])
    changed = squares[squares > 0]
    psnr = float(np.mean(10 * np.log10(255**2 / changed))) if changed.size else None
    return Change(psnr, changed.size / squares.size, squares.size)
