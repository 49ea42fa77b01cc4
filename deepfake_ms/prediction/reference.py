"""Are faces unlike the training data? The distance of their image statistics from those of the training faces.

A detector's own features hardly tell: a network that was fine-tuned on one kind of faces maps others into the same
region. Colour and detail of the crop do (`experiments/abstention` compares the two).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import cv2
import numpy as np
import pandas as pd

from deepfake_ms.scoring.metrics import LEVELS

QUANTILE = 0.99
"""Share of the validation faces, and of the validation videos, that lie within the limits."""
SMALLER = 0.01
"""Share of the training faces that are smaller than the smallest face to be scored."""
SIZE, OCTAVES = 112, 4
"""Side in pixels at which crops are described, and number of times that this is halved."""
STATISTICS = 2 * 3 + 2 * OCTAVES
"""Number of values that describe a face."""
_RIDGE = 0.01
"""Added to the diagonal of the correlation matrix, so that it can be inverted."""
_LEAST = 1e-3
"""Added before logarithms, in units of lightness 0..1."""


def image_statistics(crops: Iterable[np.ndarray]) -> np.ndarray:
    """Colour and detail of face crops.

    Mean and standard deviation of the channels of CIELAB. Then, at `SIZE` pixels and three times half of that, for the
    detail of the lightness, i.e. its difference from a blurred copy: the logarithm of its standard deviation, and of
    its mean magnitude divided by that, which is lower the sparser the detail is.

    Args:
        crops: RGB, uint8 [3, S, S].

    Returns:
        float64 [N, 14].
    """
    rows = [_describe(crop) for crop in crops]
    return np.array(rows, dtype=np.float64).reshape(-1, STATISTICS)


def _describe(crop: np.ndarray) -> list[float]:
    image = cv2.resize(np.ascontiguousarray(crop.transpose(1, 2, 0)), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32) / 255
    values = [*lab.mean(axis=(0, 1)), *lab.std(axis=(0, 1))]
    lightness = lab[..., 0]
    for _ in range(OCTAVES):
        blurred = cv2.GaussianBlur(lightness, (0, 0), 1.0)
        detail = lightness - blurred
        spread = float(detail.std())
        values += [np.log(spread + _LEAST), np.log(np.abs(detail).mean() / (spread + _LEAST / 10) + _LEAST)]
        lightness = blurred[::2, ::2]
    return values


@dataclass(frozen=True, eq=False)
class Reference:
    """The distribution of the training faces' statistics, and how far from its centre a face or a video may be.

    Attributes:
        mean: of the statistics, float64 [14].
        precision: inverse of their covariance, float64 [14, 14].
        limits: per level (frame, video), the largest distance that is not unlike the training data: `QUANTILE` of the
            validation faces; for a video, of the mean distance of its faces.
        smallest_face: longer side of the box in pixels of the frame that all but `SMALLER` of the training faces have
            at least; 0 if it is not recorded.
    """

    mean: np.ndarray = field(repr=False)
    precision: np.ndarray = field(repr=False)
    limits: Mapping[str, float]
    smallest_face: float = 0.0

    @classmethod
    def of(
        cls, training: np.ndarray, validation: np.ndarray, videos: pd.Series, sides: np.ndarray | None = None
    ) -> Self:
        """The reference of a run.

        Args:
            training: statistics of training faces, [N, 14].
            validation: statistics of validation faces, [M, 14].
            videos: the video of each validation face, [M].
            sides: longer side of the box of each training face in pixels of its frame; NaN where unknown.
        """
        spread = training.std(axis=0) + np.finfo(np.float64).eps
        correlation = np.corrcoef((training - training.mean(axis=0)) / spread, rowvar=False, dtype=np.float64)
        correlation = (1 - _RIDGE) * np.nan_to_num(correlation) + _RIDGE * np.eye(training.shape[1])
        unlimited = cls(training.mean(axis=0), np.linalg.inv(correlation) / np.outer(spread, spread), {})
        faces = pd.Series(unlimited.distances(validation))
        distances = {"frame": faces, "video": faces.groupby(videos.to_numpy()).mean()}
        limits = {level: float(distances[level].quantile(QUANTILE)) for level in LEVELS}
        known = np.array([]) if sides is None else sides[np.isfinite(sides)]
        smallest = float(np.quantile(known, SMALLER)) if len(known) else 0.0
        return cls(unlimited.mean, unlimited.precision, limits, smallest)

    def distances(self, statistics: np.ndarray) -> np.ndarray:
        """Mahalanobis distance of faces from the training faces, float64 [N].

        Args:
            statistics: from `image_statistics`, [N, 14].
        """
        centred = statistics - self.mean
        return np.sqrt(np.maximum(0, np.einsum("ni,ij,nj->n", centred, self.precision, centred)))

    def as_record(self) -> dict[str, Any]:
        """In plain values."""
        return {
            "mean": self.mean.tolist(),
            "precision": self.precision.tolist(),
            "limits": dict(self.limits),
            "smallest_face": self.smallest_face,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The reference that `as_record` describes."""
        return cls(np.array(record["mean"]), np.array(record["precision"]), record["limits"], record["smallest_face"])
