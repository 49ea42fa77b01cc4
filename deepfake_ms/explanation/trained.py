"""Finished stages of runs and the faces that they see: what every explanation begins with."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from deepfake_ms.data.dataset import FaceDataset
from deepfake_ms.data.face_masks import FaceMask
from deepfake_ms.data.prepared_faces import PreparedFaces
from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES, FAKE
from deepfake_ms.manifest import LANDMARK_COLUMNS
from deepfake_ms.models.base import DetectionModel
from deepfake_ms.training.detector import Detector
from deepfake_ms.training.run import Run
from deepfake_ms.training.stage_chain import finished_chain, load_weights

BATCH_SIZE = 32


@dataclass(frozen=True, eq=False)
class TrainedStage:
    """A detector as a stage of a run handed it on.

    Attributes:
        run: of the stage.
        name: of the stage.
        detector: in evaluation mode.
    """

    run: Run
    name: str
    detector: Detector = field(repr=False)

    @classmethod
    def all_of(cls, run: Run, device: str = "cpu") -> list[Self]:
        """Every stage of a finished run, in order; errors as in `last_of`."""
        return [cls._load(run, number, device) for number in range(len(run.curriculum.stages))]

    @classmethod
    def last_of(cls, run: Run, device: str = "cpu") -> Self:
        """The last stage of a finished run.

        Args:
            run: of the stage.
            device: of the detector, as torch names it.

        Raises:
            UserError: the run is not finished, or a checkpoint is missing or has changed.
        """
        return cls._load(run, -1, device)

    @classmethod
    def _load(cls, run: Run, number: int, device: str) -> Self:
        stages = run.curriculum.stages
        handoff = finished_chain(run.folder, len(stages))[number]
        detector = run.detector(stages[number], from_scratch=False)
        detector.load_state_dict(load_weights(run.folder / handoff.checkpoint, handoff.sha256))
        return cls(run, handoff.stage, detector.eval().to(device))

    @property
    def model(self) -> DetectionModel:
        return self.detector.model


@dataclass(frozen=True, eq=False)
class Batch:
    """Faces as a detector sees them.

    Attributes:
        rows: positions in the manifest, int [B].
        pixels: uint8 RGB [B, S, S, 3], with the mask if there is one.
        image: the same, normalised, float32 [B, 3, S, S].
        labels: int [B].
        landmarks: MTCNN's five points in pixels of these crops, float [B, 5, 2].
    """

    rows: np.ndarray
    pixels: np.ndarray
    image: Tensor
    labels: Tensor
    landmarks: np.ndarray


def batches(
    detector: Detector, faces: PreparedFaces, rows: np.ndarray, mask: FaceMask | None = None, seed: int = 0
) -> Iterator[Batch]:
    """The faces at `rows` of the manifest in batches of at most `BATCH_SIZE`.

    Args:
        detector: gives size, normalisation and device.
        faces: prepared.
        rows: int [N].
        mask: drawn on every face.
        seed: of random places of the mask.

    Raises:
        UserError: a crop is missing, or a face lacks a landmark that the mask needs.
    """
    dataset = FaceDataset(
        faces.manifest, rows, faces.folder, mask=mask, input_size=detector.model.input_size, seed=seed
    )
    for start in range(0, len(rows), BATCH_SIZE):
        positions = list(range(start, min(start + BATCH_SIZE, len(rows))))
        batch = dataset.batch(positions)
        device = next(detector.parameters()).device
        image = detector.on_after_batch_transfer({"image": batch["image"].to(device)}, 0)["image"]
        landmarks = np.stack([dataset.landmarks_at_size(position) for position in positions])
        pixels = batch["image"].permute(0, 2, 3, 1).numpy()
        yield Batch(rows[positions], pixels, image, batch["label"].to(device), landmarks)


def require_landmarks(faces: PreparedFaces, rows: np.ndarray) -> None:
    """Raise a UserError unless all faces at `rows` have landmarks, which their regions need."""
    chosen = faces.manifest.iloc[rows]
    lacking = chosen.loc[chosen[LANDMARK_COLUMNS].isna().any(axis=1), "sample_id"]
    if len(lacking):
        raise UserError(
            f"{len(lacking)} of {len(rows)} faces in {faces.folder} lack landmarks, which regions need (first: "
            f"{lacking.iloc[0]}): prepare the corpus with face detection."
        )


@torch.no_grad()
def predict_faces(
    detector: Detector, faces: PreparedFaces, rows: np.ndarray, mask: FaceMask | None = None, seed: int = 0
) -> pd.DataFrame:
    """Predictions of the faces at `rows`, in the form that `deepfake_ms.scoring` takes; arguments as in `batches`.

    Nothing is written: these faces may be masked, and the run's own test scores must not count them.
    """
    about = faces.manifest.iloc[rows][["sample_id", "video_id", "label"]].reset_index(drop=True)
    about["label"] = about["label"].map({name: label for label, name in enumerate(CLASS_NAMES)})
    probability = [
        detector(batch.image).softmax(dim=1)[:, FAKE].cpu().numpy()
        for batch in batches(detector, faces, rows, mask, seed)
    ]
    return about.assign(fake_probability=np.concatenate(probability))
