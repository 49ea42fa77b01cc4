"""Are faces unlike the training data? The distance of their features from those of the validation faces.

The distance of a face is that to its k-th nearest validation face, between feature vectors of unit length (Sun et al.,
"Out-of-distribution detection with deep nearest neighbors", ICML 2022). Distances of validation faces, each measured
against the faces of the other videos, give the limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from deepfake_ms.scoring.metrics import LEVELS

NEIGHBOUR = 5
"""k: which of the nearest validation faces counts."""
QUANTILE = 0.99
"""Share of the validation faces and videos that lie within the limits."""
LARGEST_BANK = 4000
"""Validation faces that are kept, evenly spaced if there are more."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Features of validation faces, and how far from them a face or a video may be.

    Attributes:
        features: of unit length, float32 [M, D].
        limits: per level (frame, video), the largest distance that is not unlike the training data; for a video, of
            the mean distance of its faces.
    """

    features: np.ndarray = field(repr=False)
    limits: Mapping[str, float]

    @classmethod
    def of(cls, features: np.ndarray, videos: pd.Series) -> "Reference":
        """The reference of validation faces.

        Args:
            features: of unit length, float32 [N, D].
            videos: the video of each, [N].
        """
        kept = np.linspace(0, len(features) - 1, min(LARGEST_BANK, len(features)), dtype=int)
        features, videos = features[kept], pd.Series(videos.to_numpy()[kept])
        names = pd.factorize(videos)[0]
        own = np.concatenate(
            [_distances(features[names == name], features[names != name]) for name in range(names.max() + 1)]
        )
        order = np.concatenate([np.flatnonzero(names == name) for name in range(names.max() + 1)])
        faces = pd.Series(own, index=order).sort_index()
        distances = {"frame": faces, "video": faces.groupby(names).mean()}
        return cls(features, {level: float(distances[level].quantile(QUANTILE)) for level in LEVELS})

    def distances(self, features: np.ndarray) -> np.ndarray:
        """How far faces are from the validation faces, 0 (the same features) to 2 (opposite): float64 [N].

        Args:
            features: of unit length, float32 [N, D].
        """
        return _distances(features, self.features)


def _distances(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    if not len(others) or not features.shape[1]:
        return np.zeros(len(features))
    similarity = features.astype(np.float64) @ others.T
    nearest = min(NEIGHBOUR, len(others))
    kth = np.partition(similarity, -nearest, axis=1)[:, -nearest]
    return np.sqrt(np.maximum(0, 2 - 2 * kth))
