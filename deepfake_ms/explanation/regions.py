"""Regions of a face, and how an attribution map is divided among them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from deepfake_ms.data.face_masks import FaceMask

PARTS = ("eyes", "mouth", "nose")
FACE = "face"
REST, OUTSIDE = "rest of the face", "outside the face"
REGIONS = (*PARTS, REST, OUTSIDE)
"""They divide a crop: where two parts overlap, a pixel belongs to the first one."""


def divide(masks: Mapping[str, FaceMask], size: int, landmarks: np.ndarray) -> np.ndarray:
    """The regions of faces, from the shapes that masks would cover.

    Args:
        masks: `PARTS` and `FACE` → mask, as in ``conf/mask``.
        size: height and width of the crops in pixels.
        landmarks: MTCNN's five points in pixels of these crops, [B, 5, 2].

    Returns:
        bool [B, len(REGIONS), size, size]; exactly one region per pixel.
    """
    regions = np.zeros((len(landmarks), len(REGIONS), size, size), dtype=bool)
    for face, points in zip(regions, landmarks, strict=True):
        free = np.ones((size, size), dtype=bool)
        for place, name in enumerate((*PARTS, FACE)):
            face[place] = masks[name].region(size, size, points) & free
            free &= ~face[place]
        face[-1] = free
    return regions


def shares(maps: np.ndarray, regions: np.ndarray) -> pd.DataFrame:
    """The share of each region in attribution maps.

    Args:
        maps: non-negative, float [B, S, S].
        regions: from `divide`, bool [B, R, S, S].

    Returns:
        B * R rows: `face` (position in the batch), `region`, `share` of the map's sum, `area` share of the crop, and
        `density`, share divided by area: 1 if attribution is spread evenly. NaN for a map that is zero everywhere, and
        `density` for a region without a pixel.
    """
    total = maps.sum(axis=(1, 2))[:, None]
    inside = np.einsum("bhw,brhw->br", maps, regions.astype(maps.dtype))
    area = regions.mean(axis=(2, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(total > 0, inside / total, np.nan)
        density = np.where(area > 0, share / area, np.nan)
    frame = pd.DataFrame({"face": np.repeat(np.arange(len(maps)), len(REGIONS)), "region": REGIONS * len(maps)})
    return frame.assign(share=share.ravel(), area=area.ravel(), density=density.ravel())
