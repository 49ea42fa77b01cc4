"""Pictures of prepared faces, so that a person can check crops and eye masks."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.face_masks import EyeMask
from deepfake_ms.errors import UserError

NO_NORMALISATION = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
CAPTION_HEIGHT = 18


def mask_sheet(manifest: pd.DataFrame, prepared: Path, eye_mask: EyeMask, count: int, seed: int) -> np.ndarray:
    """A contact sheet: `count` faces drawn at random, as cropped and, below each, with the eyes masked.

    Args:
        manifest: of the prepared folder.
        prepared: the folder with the crops.
        eye_mask: what to draw.
        count: faces; as many of each label as there are, in turn.
        seed: decides which faces.

    Returns:
        uint8 RGB [H, W, 3], eight faces to a row, each with its label and sample id.

    Raises:
        UserError: `count` is not positive.
    """
    if count < 1:
        raise UserError(f"count={count}: ask for at least one face.")
    shuffled = manifest.sample(frac=1, random_state=seed)
    turn = shuffled.groupby("label").cumcount()
    rows = manifest.index.get_indexer(turn.sort_values(kind="stable").index[:count])
    common = {"manifest": manifest, "rows": rows, "folder": prepared, "input_size": 224, **NO_NORMALISATION}
    cropped = FaceDataset(faces="cropped", **common)
    masked = FaceDataset(faces="masked_eyes", eye_mask=eye_mask, **common)
    tiles = [
        np.vstack([_caption(manifest.iloc[row]), cropped.pixels(position), masked.pixels(position)])
        for position, row in enumerate(rows)
    ]
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % min(8, len(tiles)))
    return np.vstack([np.hstack(tiles[start : start + 8]) for start in range(0, len(tiles), 8)])


def _caption(face: pd.Series) -> np.ndarray:
    strip = np.full((CAPTION_HEIGHT, 224, 3), 255, np.uint8)
    text = f"{face['label']} {face['sample_id'].split('/')[-1]}"
    return cv2.putText(strip, text, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
