"""The true artefact regions of drawn fakes, in pixels of the crops that a detector sees."""

from pathlib import Path

import cv2
import numpy as np

from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.datasets.miniature.truth import artefact_regions, read_plan
from deepfake_ms.errors import UserError
from deepfake_ms.manifest import BOX_COLUMNS
from deepfake_ms.preprocessing.crops import crop_face
from deepfake_ms.preprocessing.faces import Face
from deepfake_ms.preprocessing.settings import PreparationSettings


def true_regions(faces: PreparedFaces, corpus: Path, rows: np.ndarray, size: int) -> list[dict[str, np.ndarray]]:
    """Where each face has which artefact.

    Args:
        faces: prepared from a drawn corpus.
        corpus: its folder.
        rows: positions in the manifest, int [N].
        size: height and width of the crops in pixels.

    Returns:
        Per face: artefact → bool [size, size]; empty for a real face.

    Raises:
        UserError: the folder is not the drawn corpus of these faces, or the faces are aligned.
    """
    drawn, videos = read_plan(corpus)
    recorded = {
        name: value
        for name, value in faces.about["preparation"].items()
        if name not in ("pipeline_version", "perturbation")
    }
    settings = PreparationSettings(**recorded)
    if settings.align != "none":
        raise UserError(
            f"{faces.folder} holds aligned faces, whose place in the frame is not recorded: prepare the corpus with "
            "preparation.align=none to know the true regions."
        )
    found = []
    for face in faces.manifest.iloc[rows].itertuples():
        video = videos.get(face.source)
        if video is None or video.is_fake != (face.label == "fake"):
            raise UserError(f"{corpus} is not the corpus of {faces.folder}: it has no {face.label} {face.source}.")
        if not video.is_fake:
            found.append({})
            continue
        box = np.array([getattr(face, name) for name in BOX_COLUMNS], dtype=np.float64)
        detected = Face(box, np.zeros((5, 2)), face.probability)
        in_frame = artefact_regions(video, drawn, face.frame_index)
        found.append({name: _cropped(region, detected, settings, size) for name, region in in_frame.items()})
    return found


def _cropped(region: np.ndarray, face: Face, settings: PreparationSettings, size: int) -> np.ndarray:
    grey = np.repeat(region[..., None].astype(np.uint8) * 255, 3, axis=2)
    crop = crop_face(grey, face, settings)[0][..., 0]
    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA) > 127
