"""A trained detector with everything that scoring needs: weights, preparation, thresholds, calibration, provenance."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from deepfake_ms.data.dataset import resize_face
from deepfake_ms.errors import UserError
from deepfake_ms.files import replacing, write_json
from deepfake_ms.labels import FAKE
from deepfake_ms.models.base import DetectionModel
from deepfake_ms.prediction.features import pool, recorded_features
from deepfake_ms.prediction.reference import Reference
from deepfake_ms.preprocessing.settings import PreparationSettings

FACTS_NAME, REFERENCE_NAME = "detector.json", "reference.npy"
BATCH_SIZE = 32


@dataclass(frozen=True, eq=False)
class TrainedDetector:
    """A detector that scores faces as the evaluation of its run does.

    Attributes:
        name: of the run, for people.
        preparation: how its training faces were cut out of videos.
        thresholds: per level (frame, video), the decision threshold of P(fake) that is best on the run's validation
            set; NaN if that lacks a class.
        temperatures: per level, of temperature scaling, fitted on validation; NaN if that lacks a class.
        synthetic: whether it was trained on drawn faces.
        about: what every number depends on, in plain values: `protocol_card`, `data`, `checkpoint_sha256`, `code` and
            more.
        reference: tells which faces are unlike the training data.
        model: in evaluation mode.
    """

    name: str
    preparation: PreparationSettings
    thresholds: Mapping[str, float]
    temperatures: Mapping[str, float]
    synthetic: bool
    about: Mapping[str, Any] = field(repr=False)
    reference: Reference = field(repr=False)
    model: DetectionModel = field(repr=False)

    def probabilities(self, crops: np.ndarray) -> np.ndarray:
        """P(fake) of face crops, before calibration: float32 [N].

        Args:
            crops: RGB, uint8 [N, 3, S, S], as `preparation` makes them.
        """
        return self.analyse(crops)[0]

    def analyse(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """P(fake) of face crops, and how far they are from the validation faces (`Reference.distances`).

        Args:
            crops: RGB, uint8 [N, 3, S, S], as `preparation` makes them.

        Returns:
            float32 [N] and float64 [N].
        """
        probabilities, features = score_faces(self.model, crops)
        return probabilities, self.reference.distances(features)

    def facts(self) -> dict[str, Any]:
        """Everything but weights and reference features, in plain values."""
        return {
            "name": self.name,
            "preparation": self.preparation.as_dict(),
            "thresholds": _null_for_nan(self.thresholds),
            "temperatures": _null_for_nan(self.temperatures),
            "synthetic": self.synthetic,
            "about": dict(self.about),
            "limits": dict(self.reference.limits),
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], features: np.ndarray, model: DetectionModel) -> Self:
        """The detector that `facts` describes.

        Args:
            facts: from `facts`, perhaps read from a file.
            features: of the reference, float32 [M, D].
            model: with its trained weights.

        Raises:
            UserError: its faces were prepared by another version of the pipeline.
        """
        settings = {**facts["preparation"]}
        if (version := settings.pop("pipeline_version")) != PreparationSettings.PIPELINE_VERSION:
            raise UserError(
                f"{facts['name']} was trained on faces of pipeline version {version}, and this version cuts out other "
                f"faces ({PreparationSettings.PIPELINE_VERSION}): use the version that trained it, or train again."
            )
        settings.pop("perturbation", None)  # frames are taken as they are
        thresholds, temperatures = (
            {level: np.nan if value is None else value for level, value in facts[name].items()}
            for name in ("thresholds", "temperatures")
        )
        reference = Reference(features, facts["limits"])
        return cls(
            facts["name"],
            PreparationSettings(**settings),
            thresholds,
            temperatures,
            facts["synthetic"],
            facts["about"],
            reference,
            model.eval(),
        )


def load_detector(source: Path, device: str = "cpu") -> TrainedDetector:
    """The detector of a finished run.

    Args:
        source: folder of the run. Its prepared faces are needed the first time only.
        device: as torch names it.

    Raises:
        UserError: there is no finished run, its checkpoint has changed, or its faces are missing the first time.
    """
    from deepfake_ms.prediction.finished_run import open_run  # needs Lightning, which takes seconds to import

    return open_run(Path(source), device)


@torch.inference_mode()
def score_faces(model: DetectionModel, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P(fake) and features of face crops, in 32-bit floats.

    Args:
        model: in evaluation mode.
        crops: RGB, uint8 [N, 3, S, S].

    Returns:
        float32 [N], and vectors of unit length, float32 [N, D].
    """
    probabilities, features = [np.empty(0, np.float32)], []
    for start in range(0, len(crops), BATCH_SIZE):
        images = normalise(model, crops[start : start + BATCH_SIZE])
        with recorded_features(model) as maps:
            logits = model(images)
        probabilities.append(logits.float().softmax(dim=1)[:, FAKE].cpu().numpy())
        features.append(pool(maps, len(images)).numpy())
    return np.concatenate(probabilities), np.concatenate(features) if features else np.empty((0, 0), np.float32)


def normalise(model: DetectionModel, crops: np.ndarray) -> Tensor:
    """The model's input: crops, uint8 [N, 3, S, S], at its size and normalised, float32 [N, 3, size, size]."""
    size, device = model.input_size, next(model.parameters()).device
    if crops.shape[2:] != (size, size):
        crops = np.stack([resize_face(crop.transpose(1, 2, 0), size).transpose(2, 0, 1) for crop in crops])
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (model.mean, model.std))
    return torch.from_numpy(np.ascontiguousarray(crops)).to(device).float().div_(255).sub_(mean).div_(std)


def write_facts(detector: TrainedDetector, folder: Path) -> None:
    """Write everything but the weights into a folder: `FACTS_NAME` and `REFERENCE_NAME`."""
    with replacing(folder / REFERENCE_NAME) as part, part.open("wb") as stream:
        np.save(stream, detector.reference.features, allow_pickle=False)
    write_json(folder / FACTS_NAME, detector.facts())


def read_facts(folder: Path) -> tuple[dict[str, Any], np.ndarray] | None:
    """What `write_facts` wrote: the facts and the features of the reference; None if it is not there or damaged."""
    try:
        features = np.load(folder / REFERENCE_NAME, allow_pickle=False)
        return json.loads((folder / FACTS_NAME).read_text()), features
    except (OSError, ValueError, EOFError):
        return None


def _null_for_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    """The same with None in place of NaN, which JSON does not have."""
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}
