"""Reliance by occlusion: what a detector loses when a region of the face is covered at test time.

Attribution maps show where a gradient is large; this shows what the decision needs. Each region is compared with
as many boxes of the same size at random places, because any occlusion is unlike the training faces.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from deepfake_ms.data.face_masks import FILLS, FaceMask
from deepfake_ms.explanation.trained import TrainedStage, predict_faces

RANDOM = "random places"


def occlude(
    stage: TrainedStage, rows: np.ndarray, masks: dict[str, FaceMask], fills: tuple[str, ...] = FILLS, seed: int = 0
) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """Predictions of a detector on faces with one region covered.

    Args:
        stage: the detector.
        rows: positions of the faces in the manifest, int [N].
        masks: region → mask at its landmarks.
        fills: how the region is covered, of `deepfake_ms.data.face_masks.FILLS`.
        seed: of the random places.

    Yields:
        Region, place (``landmarks``, or ``random places`` for the control), fill, and predictions as from
        `predict_faces`. The first one has no region, place and fill (empty strings): the unchanged faces.
    """
    faces = stage.run.faces
    yield "", "", "", predict_faces(stage.detector, faces, rows)
    for region, mask in masks.items():
        for fill in fills:
            for place, name in (("landmarks", "landmarks"), ("random", RANDOM)):
                covered = replace(mask, place=place, fill=fill, missed=0.0)
                yield region, name, fill, predict_faces(stage.detector, faces, rows, covered, seed)
