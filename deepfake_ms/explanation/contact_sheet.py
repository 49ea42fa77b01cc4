"""Contact sheets of prepared faces, to check crops, face masks and augmentations by eye."""

import albumentations as A
import cv2
import numpy as np
import pandas as pd

from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError

CAPTION_HEIGHT = 18
SIZE = 224


def contact_sheet(
    faces: PreparedFaces, count: int, seed: int, mask: FaceMask | None = None, augmentation: A.Compose | None = None
) -> np.ndarray:
    """A contact sheet of `count` random faces, each as cropped and, below, with a mask, an augmentation or both.

    Args:
        faces: to choose from.
        count: number of faces; the labels alternate as long as there are faces of each.
        seed: determines the choice and the augmentation.
        mask: to draw.
        augmentation: from `build_augmentation`.

    Returns:
        uint8 RGB [H, W, 3], eight faces to a row, each with its label and sample id.

    Raises:
        UserError: `count` is not positive.
    """
    if count < 1:
        raise UserError(f"count={count}: ask for at least one face.")
    manifest = faces.manifest
    shuffled = manifest.sample(frac=1, random_state=seed)
    turn = shuffled.groupby("label").cumcount()
    rows = manifest.index.get_indexer(turn.sort_values(kind="stable").index[:count])
    cropped = FaceDataset(manifest, rows, faces.folder, input_size=SIZE)
    changed = FaceDataset(
        manifest, rows, faces.folder, mask=mask, augmentation=augmentation, input_size=SIZE, seed=seed
    )
    tiles = [
        np.vstack([_caption(manifest.iloc[row]), cropped.pixels(position), changed.pixels(position)])
        for position, row in enumerate(rows)
    ]
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % min(8, len(tiles)))
    return np.vstack([np.hstack(tiles[start : start + 8]) for start in range(0, len(tiles), 8)])


def _caption(face: pd.Series) -> np.ndarray:
    strip = np.full((CAPTION_HEIGHT, SIZE, 3), 255, np.uint8)
    text = f"{face['label']} {face['sample_id'].split('/')[-1]}"
    return cv2.putText(strip, text, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
