"""Contact sheets of prepared faces, to check crops, face masks, augmentations and perturbations by eye."""

from collections.abc import Sequence

import albumentations as A
import cv2
import numpy as np
import pandas as pd

from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.data.perturbation import Perturbation
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.change import measure_change

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
    manifest, rows = faces.manifest, _choose(faces, count, seed)
    cropped = FaceDataset(manifest, rows, faces.folder, input_size=SIZE)
    changed = FaceDataset(
        manifest, rows, faces.folder, mask=mask, augmentation=augmentation, input_size=SIZE, seed=seed
    )
    tiles = [
        np.vstack([_caption(_describe(manifest.iloc[row])), cropped.pixels(position), changed.pixels(position)])
        for position, row in enumerate(rows)
    ]
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % min(8, len(tiles)))
    return np.vstack([np.hstack(tiles[start : start + 8]) for start in range(0, len(tiles), 8)])


def perturbation_sheet(
    faces: PreparedFaces, count: int, seed: int, types: Sequence[Sequence[Perturbation]]
) -> np.ndarray:
    """A contact sheet of `count` random faces under perturbations, a block for each type and a column for each level.

    The first column shows the faces as cropped and names the type. Below every other one are its level and the mean
    PSNR of its faces against the first, in dB.

    Args:
        faces: to choose from.
        count: number of faces; the labels alternate as long as there are faces of each.
        seed: determines the choice and the perturbations' draws.
        types: the levels of each type, mildest first.

    Returns:
        uint8 RGB [H, W, 3].

    Raises:
        UserError: `count` is not positive.
    """
    manifest, rows = faces.manifest, _choose(faces, count, seed)

    def shown(perturbation: Perturbation | None) -> list[np.ndarray]:
        change = perturbation.build() if perturbation else None
        found = FaceDataset(manifest, rows, faces.folder, augmentation=change, input_size=SIZE, seed=seed)
        return [found.pixels(position) for position in range(len(rows))]

    cropped = shown(None)
    captions = [_caption(_describe(manifest.iloc[row])) for row in rows]
    named = [each for pair in zip(cropped, captions, strict=True) for each in pair]
    blank = np.full_like(captions[0], 255)
    blocks = []
    for levels in types:
        columns = [np.vstack([*named, _caption(levels[0].name)])]
        for perturbation in levels:
            images = shown(perturbation)
            psnr = measure_change(zip(cropped, images, strict=True)).mean_psnr
            text = _caption(f"level {perturbation.level}: {'unchanged' if psnr is None else f'{psnr:.1f} dB'}")
            columns.append(np.vstack([each for image in images for each in (image, blank)] + [text]))
        columns += [np.full_like(columns[0], 255)] * (max(map(len, types)) - len(levels))
        blocks.append(np.hstack(columns))
    return np.vstack(blocks)


def _choose(faces: PreparedFaces, count: int, seed: int) -> np.ndarray:
    """Manifest positions of `count` random faces whose labels alternate, int [count]."""
    if count < 1:
        raise UserError(f"count={count}: ask for at least one face.")
    shuffled = faces.manifest.sample(frac=1, random_state=seed)
    turn = shuffled.groupby("label").cumcount()
    return faces.manifest.index.get_indexer(turn.sort_values(kind="stable").index[:count])


def _describe(face: pd.Series) -> str:
    return f"{face['label']} {face['sample_id'].split('/')[-1]}"


def _caption(text: str) -> np.ndarray:
    strip = np.full((CAPTION_HEIGHT, SIZE, 3), 255, np.uint8)
    return cv2.putText(strip, text, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
